//! The collectors beside Debian's node exporter, on this machine at the same time.

use observe::collect::Kept;
use observe::collect::node::{Filesystems, Node, Rare};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What is left out on purpose, by how it begins.
const LEFT_OUT: &[&str] = &[
    "node_scrape_collector_",
    "node_exporter_build_info",
    "node_textfile_",
    // Facts about hardware and clocks that no figure depends on.
    "node_disk_info",
    "node_dmi_info",
    "node_selinux_enabled",
    "node_time_clocksource_",
    "node_time_zone_offset_seconds",
    "node_timex_pps_",
    // Said with each tick by the daemon rather than by a collector.
    "node_time_seconds",
];

/// These stand still while the test runs.
const STEADY: &[&str] = &[
    "node_memory_MemTotal_bytes",
    "node_memory_SwapTotal_bytes",
    "node_boot_time_seconds",
    "node_filefd_maximum",
    "node_filesystem_size_bytes",
    "node_filesystem_files{",
    "node_network_mtu_bytes",
    "node_network_flags",
    "node_uname_info",
    "node_os_info",
    "node_os_version",
    "node_nf_conntrack_entries_limit",
    "node_entropy_pool_size_bits",
    "node_timex_tick_seconds",
    "node_netstat_Ip_Forwarding",
];

#[test]
fn names_and_values_are_those_of_the_node_exporter() {
    let Some(program) = testkit::needs("prometheus-node-exporter", "prometheus-node-exporter") else {
        return;
    };
    let port = testkit::free_port();
    let mut command = Command::new(program);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).stdout(Stdio::null()).stderr(Stdio::null());
    let _exporter = testkit::ProcessGuard::spawn(&mut command);
    let before = collected();
    let theirs = testkit::wait_for(Duration::from_secs(60), "the exporter answers", || {
        scraped(port).filter(|m| !m.is_empty())
    });
    let after = collected();
    // Devices come and go while other tests run: what was there both before and after counts.
    let is_lasting = |series: &str| {
        let device = series.split("device=\"").nth(1).and_then(|rest| rest.split('"').next());
        device.is_none_or(|device| {
            before.keys().any(|ours| ours.contains(&format!("device=\"{device}\"")))
                && after.keys().any(|ours| ours.contains(&format!("device=\"{device}\"")))
        })
    };
    let mut missing = Vec::new();
    let mut compared = 0;
    for (series, value) in &theirs {
        if LEFT_OUT.iter().any(|prefix| series.starts_with(prefix)) || !is_lasting(series) {
            continue;
        }
        let (Some(first), Some(last)) = (before.get(series), after.get(series)) else {
            missing.push(series.clone());
            continue;
        };
        compared += 1;
        if STEADY.iter().any(|prefix| series.starts_with(prefix)) {
            assert_eq!((first, last), (value, value), "{series}");
        }
        // Neither idle nor waiting is kept from falling by the kernel.
        let falls = series.contains("mode=\"idle\"") || series.contains("mode=\"iowait\"");
        if series.split('{').next().is_some_and(|name| name.ends_with("_total")) && !falls {
            let margin = 1e-6 * value.abs();
            assert!(first - margin <= *value && *value <= last + margin, "{series}: {first} {value} {last}");
        }
    }
    assert!(missing.is_empty(), "{} of {} are missing: {missing:#?}", missing.len(), theirs.len());
    assert!(compared > 200, "{compared} were compared");
}

fn collected() -> BTreeMap<String, f64> {
    let mut kept = Kept::default();
    Node::new(Path::new("/proc")).collect(&mut kept);
    Rare::default().collect().replay(&mut kept);
    Filesystems::default().collect().replay(&mut kept);
    read(&kept.to_string())
}

fn scraped(port: u16) -> Option<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(read(answer.split_once("\r\n\r\n")?.1))
}

/// Series of the text format that are of the node, by name and labels in the order of their names.
fn read(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| line.starts_with("node_"));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let series = match series.split_once('{') {
                Some((name, labels)) => {
                    let mut labels: Vec<&str> = labels.trim_end_matches('}').split("\",").collect();
                    labels.iter_mut().for_each(|label| *label = label.trim_end_matches('"'));
                    labels.sort_unstable();
                    format!("{name}{{{}\"}}", labels.join("\","))
                }
                None => series.to_owned(),
            };
            Some((series, value.parse().ok()?))
        })
        .collect()
}
