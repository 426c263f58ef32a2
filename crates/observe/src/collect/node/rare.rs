//! What changes rarely: looked at every 15 s, said again at each tick.

use super::{is_ours, processes, sockets};
use crate::collect::text::{Name, number, only_number, words};
use crate::collect::{Kept, Sink};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel shows itself.
#[derive(Debug, Clone)]
pub struct Rare {
    proc: PathBuf,
    sys: PathBuf,
    os_release: PathBuf,
}

impl Default for Rare {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), os_release: "/etc/os-release".into() }
    }
}

/// The most devices of one kind that are looked at.
const DEVICES_MAX: usize = 256;

impl Rare {
    pub fn collect(&self) -> Kept {
        let mut kept = Kept::default();
        uname(&mut kept);
        read(&self.os_release).iter().for_each(|text| os_release(text, &mut kept));
        clock(&mut kept);
        self.devices(&mut kept);
        read(&self.proc.join("net/stat/nf_conntrack")).iter().for_each(|text| conntrack(text, &mut kept));
        for (name, ip) in [("net/udp", "v4"), ("net/udp6", "v6")] {
            read(&self.proc.join(name)).iter().for_each(|text| sockets::udp_queues(ip, text, &mut kept));
        }
        processes::collect(&self.proc, &mut kept);
        self.temperatures(&mut kept);
        self.memory_errors(&mut kept);
        kept
    }

    fn devices(&self, sink: &mut dyn Sink) {
        for (device, directory) in listed(&self.sys.join("class/net")).filter(|(name, _)| !is_ours(name)) {
            network_device(&device, |file| read(&directory.join(file)), sink);
        }
    }

    fn temperatures(&self, sink: &mut dyn Sink) {
        for (zone, directory) in listed(&self.sys.join("class/thermal")) {
            let Some(zone) = zone.strip_prefix("thermal_zone") else { continue };
            let kind = read(&directory.join("type")).unwrap_or_default();
            if let Some(value) = read(&directory.join("temp")).as_deref().and_then(only_number) {
                let labels = [("type", kind.trim_ascii()), ("zone", zone)];
                sink.gauge("node_thermal_zone_temp", &labels, value / 1000.0);
            }
        }
        for (chip, directory) in listed(&self.sys.join("class/hwmon")) {
            let chip_name = read(&directory.join("name")).unwrap_or_default();
            sink.gauge(
                "node_hwmon_chip_names",
                &[("chip", &chip), ("chip_name", chip_name.trim_ascii())],
                1.0,
            );
            for (file, path) in listed(&directory) {
                let Some(sensor) = file.strip_suffix("_input").filter(|file| file.starts_with("temp")) else {
                    continue;
                };
                if let Some(value) = read(&path).as_deref().and_then(only_number) {
                    let labels = [("chip", &*chip), ("sensor", sensor)];
                    sink.gauge("node_hwmon_temp_celsius", &labels, value / 1000.0);
                }
            }
        }
    }

    fn memory_errors(&self, sink: &mut dyn Sink) {
        for (name, directory) in listed(&self.sys.join("devices/system/edac/mc")) {
            let Some(controller) = name.strip_prefix("mc") else { continue };
            for (file, metric) in [
                ("ce_count", "node_edac_correctable_errors_total"),
                ("ue_count", "node_edac_uncorrectable_errors_total"),
            ] {
                if let Some(value) = read(&directory.join(file)).as_deref().and_then(only_number) {
                    sink.counter(metric, &[("controller", controller)], value);
                }
            }
        }
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn listed(directory: &Path) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let mut found: Vec<(String, PathBuf)> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .take(DEVICES_MAX)
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().into_string().ok()?, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter()
}

fn uname(sink: &mut dyn Sink) {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let values = [
        ("domainname", text(uname.domainname())),
        ("machine", text(uname.machine())),
        ("nodename", text(uname.nodename())),
        ("release", text(uname.release())),
        ("sysname", text(uname.sysname())),
        ("version", text(uname.version())),
    ];
    let labels = values.each_ref().map(|(name, value)| (*name, value.as_str()));
    sink.gauge("node_uname_info", &labels, 1.0);
}

/// `/etc/os-release`
fn os_release(text: &str, sink: &mut dyn Sink) {
    let value = |wanted: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix('='));
        found.unwrap_or_default().trim_matches(['"', '\''])
    };
    let labels = [
        ("build_id", value("BUILD_ID")),
        ("id", value("ID")),
        ("id_like", value("ID_LIKE")),
        ("image_id", value("IMAGE_ID")),
        ("image_version", value("IMAGE_VERSION")),
        ("name", value("NAME")),
        ("pretty_name", value("PRETTY_NAME")),
        ("variant", value("VARIANT")),
        ("variant_id", value("VARIANT_ID")),
        ("version", value("VERSION")),
        ("version_codename", value("VERSION_CODENAME")),
        ("version_id", value("VERSION_ID")),
    ];
    sink.gauge("node_os_info", &labels, 1.0);
    let labels = [("id", value("ID")), ("id_like", value("ID_LIKE")), ("name", value("NAME"))];
    number(value("VERSION_ID"))
        .into_iter()
        .for_each(|version| sink.gauge("node_os_version", &labels, version));
}

/// `/sys/class/net/DEVICE`; a file that cannot be read is left out.
fn network_device(device: &str, read: impl Fn(&str) -> Option<String>, sink: &mut dyn Sink) {
    const GAUGES: [(&str, &str); 11] = [
        ("addr_assign_type", "node_network_address_assign_type"),
        ("carrier", "node_network_carrier"),
        ("dormant", "node_network_dormant"),
        ("ifindex", "node_network_iface_id"),
        ("iflink", "node_network_iface_link"),
        ("link_mode", "node_network_iface_link_mode"),
        ("mtu", "node_network_mtu_bytes"),
        ("name_assign_type", "node_network_name_assign_type"),
        ("netdev_group", "node_network_net_dev_group"),
        ("type", "node_network_protocol_type"),
        ("tx_queue_len", "node_network_transmit_queue_length"),
    ];
    const COUNTERS: [(&str, &str); 4] = [
        ("carrier_changes", "node_network_carrier_changes_total"),
        ("carrier_down_count", "node_network_carrier_down_changes_total"),
        ("carrier_up_count", "node_network_carrier_up_changes_total"),
        ("statistics/rx_nohandler", "node_network_receive_nohandler_total"),
    ];
    let labels = [("device", device)];
    let value = |file: &str| read(file).as_deref().and_then(only_number);
    for (file, name) in GAUGES {
        value(file).into_iter().for_each(|value| sink.gauge(name, &labels, value));
    }
    for (file, name) in COUNTERS {
        value(file).into_iter().for_each(|value| sink.counter(name, &labels, value));
    }
    let hexadecimal = |file: &str| {
        let text = read(file)?;
        u64::from_str_radix(text.trim_ascii().strip_prefix("0x")?, 16).ok()
    };
    for (file, name) in [("dev_id", "node_network_device_id"), ("flags", "node_network_flags")] {
        hexadecimal(file).into_iter().for_each(|value| sink.gauge(name, &labels, value as f64));
    }
    if let Some(megabits) = value("speed") {
        sink.gauge("node_network_speed_bytes", &labels, megabits * 1e6 / 8.0);
    }
    let text = |file: &str| read(file).unwrap_or_default().trim_ascii().to_owned();
    let operstate = text("operstate");
    sink.gauge("node_network_up", &labels, if operstate == "up" { 1.0 } else { 0.0 });
    let (address, broadcast) = (text("address"), text("broadcast"));
    let (duplex, ifalias) = (text("duplex"), text("ifalias"));
    let labels = [
        ("address", &*address),
        ("broadcast", &*broadcast),
        ("device", device),
        ("duplex", &*duplex),
        ("ifalias", &*ifalias),
        ("operstate", &*operstate),
    ];
    sink.gauge("node_network_info", &labels, 1.0);
}

/// `/proc/net/stat/nf_conntrack`: names, then a line of hexadecimal numbers for each processor.
fn conntrack(text: &str, sink: &mut dyn Sink) {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().map(|line| words(line).collect()).unwrap_or_default();
    let mut sums = vec![0u64; names.len()];
    for line in lines {
        for (sum, word) in sums.iter_mut().zip(words(line)) {
            *sum += u64::from_str_radix(word, 16).unwrap_or_default();
        }
    }
    let wanted =
        ["drop", "early_drop", "found", "ignore", "insert", "insert_failed", "invalid", "search_restart"];
    for (field, sum) in names.iter().zip(sums).filter(|(name, _)| wanted.contains(name)) {
        if let Some(name) = Name::of(&["node_nf_conntrack_stat_", field]) {
            sink.counter(name.as_str(), &[], sum as f64);
        }
    }
}

/// `STA_NANO`: offsets are in nanoseconds.
const STA_NANO: i32 = 0x2000;
/// `TIME_ERROR`: the clock is not held by anybody.
const TIME_ERROR: i32 = 5;

/// How the kernel's clock is held in time.
fn clock(sink: &mut dyn Sink) {
    let Some((state, clock)) = adjtimex() else { return };
    let divisor = if clock.status & STA_NANO == 0 { 1e6 } else { 1e9 };
    // Scaled parts per million: 16 bits after the point.
    let ratio = 1.0 + clock.freq as f64 / 65_536e6;
    sink.gauge("node_timex_offset_seconds", &[], clock.offset as f64 / divisor);
    sink.gauge("node_timex_frequency_adjustment_ratio", &[], ratio);
    sink.gauge("node_timex_maxerror_seconds", &[], clock.maxerror as f64 / 1e6);
    sink.gauge("node_timex_estimated_error_seconds", &[], clock.esterror as f64 / 1e6);
    sink.gauge("node_timex_status", &[], f64::from(clock.status));
    sink.gauge("node_timex_loop_time_constant", &[], clock.constant as f64);
    sink.gauge("node_timex_tick_seconds", &[], clock.tick as f64 / 1e6);
    sink.gauge("node_timex_tai_offset_seconds", &[], f64::from(clock.tai));
    sink.gauge("node_timex_sync_status", &[], if state == TIME_ERROR { 0.0 } else { 1.0 });
}

fn adjtimex() -> Option<(i32, libc::timex)> {
    // SAFETY: the structure is plain numbers, for which zero is valid; with `modes` 0 the call only
    // fills it in.
    let (state, clock) = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut clock), clock)
    };
    (state >= 0).then_some((state, clock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    #[test]
    fn names_of_the_system() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        let shown = shown(|sink| os_release(text, sink));
        assert!(shown.contains("id=\"debian\"") && shown.contains("version_id=\"12\""), "{shown}");
        assert!(
            shown.ends_with("node_os_version{id=\"debian\",id_like=\"\",name=\"Debian GNU/Linux\"} 12\n")
        );
    }

    #[test]
    fn a_device_by_its_files() {
        let files = [("carrier", "1\n"), ("flags", "0x1003\n"), ("speed", "10000\n"), ("operstate", "up\n")];
        let read =
            |file: &str| files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned());
        insta::assert_snapshot!(shown(|sink| network_device("eth0", read, sink)), @r#"
        node_network_carrier{device="eth0"} 1
        node_network_flags{device="eth0"} 4099
        node_network_speed_bytes{device="eth0"} 1250000000
        node_network_up{device="eth0"} 1
        node_network_info{address="",broadcast="",device="eth0",duplex="",ifalias="",operstate="up"} 1
        "#);
    }

    #[test]
    fn connections_are_summed_over_processors() {
        let text = "entries  clashres found new invalid drop\n00000001 00000000 00000002 0 0000000a 00000001\n00000001 00000000 00000003 0 00000001 00000000\n";
        insta::assert_snapshot!(shown(|sink| conntrack(text, sink)), @r"
        node_nf_conntrack_stat_found 5
        node_nf_conntrack_stat_invalid 11
        node_nf_conntrack_stat_drop 1
        ");
    }

    #[test]
    fn this_machine_says_something_of_itself() {
        let text = Rare::default().collect().to_string();
        for name in [
            "node_uname_info{",
            "node_timex_tick_seconds 0.01",
            "node_processes_threads ",
            "node_network_up{",
        ] {
            assert!(text.contains(name), "{name} is not in {text}");
        }
    }
}
