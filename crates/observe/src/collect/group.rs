//! What one instance uses: its control group, of version 1 or 2, and its network; names as cAdvisor's.

use super::node::is_ours;
use super::text::{keyed, number, only_number, words};
use super::{Held, Sink};
use std::path::{Path, PathBuf};

/// Where the figures of an instance are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub layout: Layout,
    /// Of the process whose network is the instance's.
    pub pid: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One directory for everything.
    Unified(PathBuf),
    /// A directory for each controller that there is.
    Split {
        cpu: Option<PathBuf>,
        cpuacct: Option<PathBuf>,
        memory: Option<PathBuf>,
        pids: Option<PathBuf>,
        blkio: Option<PathBuf>,
    },
    Nowhere,
}

type Collect = fn(&str, &mut dyn Sink);

/// The files of one instance, held open.
#[derive(Debug)]
pub struct Group {
    place: Place,
    files: Vec<(Held, Collect)>,
    network: Option<PathBuf>,
    buffer: Vec<u8>,
}

impl Group {
    pub fn new(place: Place) -> Self {
        let held = |dir: &Path, file: &str, collect: Collect| (Held::new(dir.join(file)), collect);
        let files = match &place.layout {
            Layout::Nowhere => Vec::new(),
            Layout::Unified(dir) => V2.iter().map(|(file, collect)| held(dir, file, *collect)).collect(),
            Layout::Split { cpu, cpuacct, memory, pids, blkio } => V1
                .iter()
                .filter_map(|(controller, file, collect)| {
                    let dir = match *controller {
                        "cpu" => cpu,
                        "cpuacct" => cpuacct,
                        "memory" => memory,
                        "pids" => pids,
                        _ => blkio,
                    };
                    Some(held(dir.as_ref()?, file, *collect))
                })
                .collect(),
        };
        let network = place.pid.map(|pid| PathBuf::from(format!("/proc/{pid}/net/dev")));
        Self { place, files, network, buffer: Vec::new() }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn collect(&mut self, sink: &mut dyn Sink) {
        self.memory(sink);
        for (file, collect) in &mut self.files {
            if let Some(text) = file.read() {
                collect(text, sink);
            }
        }
        self.network(sink);
    }

    /// The working set needs two files: usage without what the kernel would give away first.
    fn memory(&mut self, sink: &mut dyn Sink) {
        let mut usage = None;
        let mut inactive = 0.0;
        for (file, _) in &mut self.files {
            match file.path().file_name().and_then(|name| name.to_str()) {
                Some("memory.current" | "memory.usage_in_bytes") => usage = file.read().and_then(only_number),
                Some("memory.stat") => {
                    let Some(text) = file.read() else { continue };
                    let found = keyed(text, "total_inactive_file").or_else(|| keyed(text, "inactive_file"));
                    inactive = found.unwrap_or_default();
                }
                _ => {}
            }
        }
        if let Some(usage) = usage {
            sink.gauge("container_memory_usage_bytes", &[], usage);
            sink.gauge("container_memory_working_set_bytes", &[], (usage - inactive).max(0.0));
        }
    }

    /// Opened anew each time: a file that is held would keep the network of an instance that ended.
    fn network(&mut self, sink: &mut dyn Sink) {
        let Some(path) = &self.network else { return };
        self.buffer.clear();
        let read = std::fs::File::open(path)
            .and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut self.buffer));
        if let (Ok(_), Ok(text)) = (read, std::str::from_utf8(&self.buffer)) {
            network(text, sink);
        }
    }
}

/// `/proc/PID/net/dev`
fn network(text: &str, sink: &mut dyn Sink) {
    const COLUMNS: [(&str, &str); 8] = [
        ("receive_bytes_total", "container_network_receive_bytes_total"),
        ("receive_packets_total", "container_network_receive_packets_total"),
        ("receive_errs_total", "container_network_receive_errors_total"),
        ("receive_drop_total", "container_network_receive_packets_dropped_total"),
        ("transmit_bytes_total", "container_network_transmit_bytes_total"),
        ("transmit_packets_total", "container_network_transmit_packets_total"),
        ("transmit_errs_total", "container_network_transmit_errors_total"),
        ("transmit_drop_total", "container_network_transmit_packets_dropped_total"),
    ];
    for (column, name) in COLUMNS {
        let devices = super::node::columns(text, column);
        for (device, value) in devices.filter(|(device, _)| *device != "lo" && !is_ours(device)) {
            sink.counter(name, &[("interface", device)], value);
        }
    }
}

const V2: &[(&str, Collect)] = &[
    ("cpu.stat", cpu_v2),
    ("memory.current", nothing),
    ("memory.stat", memory_v2),
    ("memory.max", |text, sink| limit("container_spec_memory_limit_bytes", text, sink)),
    ("memory.peak", |text, sink| single("container_memory_max_usage_bytes", text, sink)),
    ("memory.swap.current", |text, sink| single("container_memory_swap", text, sink)),
    ("memory.events", events_v2),
    ("pids.current", |text, sink| single("container_threads", text, sink)),
    ("pids.max", |text, sink| limit("container_threads_max", text, sink)),
    ("io.stat", io_v2),
    ("cpu.pressure", |text, sink| pressure("cpu", text, sink)),
    ("memory.pressure", |text, sink| pressure("memory", text, sink)),
    ("io.pressure", |text, sink| pressure("io", text, sink)),
];

const V1: &[(&str, &str, Collect)] = &[
    ("cpuacct", "cpuacct.usage", cpu_usage_v1),
    ("cpuacct", "cpuacct.stat", cpu_modes_v1),
    ("cpu", "cpu.stat", throttled_v1),
    ("memory", "memory.usage_in_bytes", nothing),
    ("memory", "memory.stat", memory_v1),
    ("memory", "memory.limit_in_bytes", |text, sink| limit("container_spec_memory_limit_bytes", text, sink)),
    ("memory", "memory.max_usage_in_bytes", |text, sink| {
        single("container_memory_max_usage_bytes", text, sink)
    }),
    ("memory", "memory.failcnt", |text, sink| {
        only_number(text).into_iter().for_each(|value| sink.counter("container_memory_failcnt", &[], value));
    }),
    ("memory", "memory.oom_control", |text, sink| {
        let kills = keyed(text, "oom_kill");
        kills.into_iter().for_each(|value| sink.counter("container_oom_events_total", &[], value));
    }),
    ("pids", "pids.current", |text, sink| single("container_threads", text, sink)),
    ("pids", "pids.max", |text, sink| limit("container_threads_max", text, sink)),
    ("blkio", "blkio.throttle.io_service_bytes", |text, sink| {
        io_v1(["container_fs_reads_bytes_total", "container_fs_writes_bytes_total"], text, sink)
    }),
    ("blkio", "blkio.throttle.io_serviced", |text, sink| {
        io_v1(["container_fs_reads_total", "container_fs_writes_total"], text, sink)
    }),
];

/// Read together with another file.
fn nothing(_: &str, _: &mut dyn Sink) {}

fn single(name: &str, text: &str, sink: &mut dyn Sink) {
    only_number(text).into_iter().for_each(|value| sink.gauge(name, &[], value));
}

/// On version 1 "no limit" is the largest number, rounded to a page.
const UNLIMITED: f64 = (1u64 << 62) as f64;

/// No limit is 0, as cAdvisor has it.
fn limit(name: &str, text: &str, sink: &mut dyn Sink) {
    let value = only_number(text).filter(|value| *value < UNLIMITED).unwrap_or_default();
    sink.gauge(name, &[], value);
}

fn cpu_v2(text: &str, sink: &mut dyn Sink) {
    for (key, name, labels) in [
        ("usage_usec", "container_cpu_usage_seconds_total", &[("cpu", "total")][..]),
        ("user_usec", "container_cpu_user_seconds_total", &[]),
        ("system_usec", "container_cpu_system_seconds_total", &[]),
        ("throttled_usec", "container_cpu_cfs_throttled_seconds_total", &[]),
    ] {
        keyed(text, key).into_iter().for_each(|value| sink.counter(name, labels, value / 1e6));
    }
    periods(text, sink);
}

fn periods(text: &str, sink: &mut dyn Sink) {
    for (key, name) in [
        ("nr_periods", "container_cpu_cfs_periods_total"),
        ("nr_throttled", "container_cpu_cfs_throttled_periods_total"),
    ] {
        keyed(text, key).into_iter().for_each(|value| sink.counter(name, &[], value));
    }
}

fn cpu_usage_v1(text: &str, sink: &mut dyn Sink) {
    if let Some(nanoseconds) = only_number(text) {
        sink.counter("container_cpu_usage_seconds_total", &[("cpu", "total")], nanoseconds / 1e9);
    }
}

/// In ticks of a hundredth of a second.
fn cpu_modes_v1(text: &str, sink: &mut dyn Sink) {
    for (key, name) in
        [("user", "container_cpu_user_seconds_total"), ("system", "container_cpu_system_seconds_total")]
    {
        keyed(text, key).into_iter().for_each(|ticks| sink.counter(name, &[], ticks / 100.0));
    }
}

fn throttled_v1(text: &str, sink: &mut dyn Sink) {
    periods(text, sink);
    if let Some(nanoseconds) = keyed(text, "throttled_time") {
        sink.counter("container_cpu_cfs_throttled_seconds_total", &[], nanoseconds / 1e9);
    }
}

fn memory_v2(text: &str, sink: &mut dyn Sink) {
    memory(text, ["anon", "file", "file_mapped", "", "pgfault", "pgmajfault"], sink);
}

fn memory_v1(text: &str, sink: &mut dyn Sink) {
    let keys =
        ["total_rss", "total_cache", "total_mapped_file", "total_swap", "total_pgfault", "total_pgmajfault"];
    memory(text, keys, sink);
}

fn memory(text: &str, keys: [&str; 6], sink: &mut dyn Sink) {
    let gauges = [
        "container_memory_rss",
        "container_memory_cache",
        "container_memory_mapped_file",
        "container_memory_swap",
    ];
    for (name, key) in gauges.iter().zip(keys).filter(|(_, key)| !key.is_empty()) {
        keyed(text, key).into_iter().for_each(|value| sink.gauge(name, &[], value));
    }
    for (kind, key) in ["pgfault", "pgmajfault"].iter().zip(&keys[4..]) {
        let labels = [("failure_type", *kind), ("scope", "hierarchy")];
        let value = keyed(text, key);
        value.into_iter().for_each(|value| sink.counter("container_memory_failures_total", &labels, value));
    }
}

fn events_v2(text: &str, sink: &mut dyn Sink) {
    for (key, name) in [("oom_kill", "container_oom_events_total"), ("max", "container_memory_failcnt")] {
        keyed(text, key).into_iter().for_each(|value| sink.counter(name, &[], value));
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`
fn io_v2(text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let Some((device, rest)) = line.split_once(' ') else { continue };
        for word in words(rest) {
            let Some((key, value)) = word.split_once('=') else { continue };
            let name = match key {
                "rbytes" => "container_fs_reads_bytes_total",
                "wbytes" => "container_fs_writes_bytes_total",
                "rios" => "container_fs_reads_total",
                "wios" => "container_fs_writes_total",
                _ => continue,
            };
            number(value).into_iter().for_each(|value| sink.counter(name, &[("device", device)], value));
        }
    }
}

/// `8:0 Read 12`, a line for each device and kind.
fn io_v1(names: [&str; 2], text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let mut words = words(line);
        let (Some(device), Some(kind), Some(value)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let name = match kind {
            "Read" => names[0],
            "Write" => names[1],
            _ => continue,
        };
        number(value).into_iter().for_each(|value| sink.counter(name, &[("device", device)], value));
    }
}

fn pressure(of: &str, text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let total = words(line).find_map(|word| number(word.strip_prefix("total=")?));
        let name = match (of, line.split(' ').next()) {
            ("cpu", Some("some")) => "container_pressure_cpu_waiting_seconds_total",
            ("cpu", Some("full")) => "container_pressure_cpu_stalled_seconds_total",
            ("memory", Some("some")) => "container_pressure_memory_waiting_seconds_total",
            ("memory", Some("full")) => "container_pressure_memory_stalled_seconds_total",
            ("io", Some("some")) => "container_pressure_io_waiting_seconds_total",
            ("io", Some("full")) => "container_pressure_io_stalled_seconds_total",
            _ => continue,
        };
        total.into_iter().for_each(|total| sink.counter(name, &[], total / 1e6));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Kept;
    use testkit::TempDir;

    fn check(layout: impl FnOnce(&Path) -> Layout, files: &[(&str, &str)]) -> String {
        let directory = TempDir::new();
        for (name, text) in files {
            directory.write(name, text);
        }
        let mut kept = Kept::default();
        Group::new(Place { layout: layout(directory.path()), pid: None }).collect(&mut kept);
        kept.to_string()
    }

    #[test]
    fn a_group_of_version_2() {
        let files = [
            (
                "cpu.stat",
                "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 2\nthrottled_usec 30000\n",
            ),
            ("memory.current", "1000\n"),
            (
                "memory.stat",
                "anon 500\nfile 400\ninactive_file 300\nfile_mapped 7\npgfault 9\npgmajfault 1\n",
            ),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
            ("pids.current", "4\n"),
            ("pids.max", "100\n"),
            ("io.stat", "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"),
            ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n"),
        ];
        insta::assert_snapshot!(check(|dir| Layout::Unified(dir.into()), &files), @r#"
        container_memory_usage_bytes 1000
        container_memory_working_set_bytes 700
        container_cpu_usage_seconds_total{cpu="total"} 1.5
        container_cpu_user_seconds_total 1
        container_cpu_system_seconds_total 0.5
        container_cpu_cfs_throttled_seconds_total 0.03
        container_cpu_cfs_periods_total 10
        container_cpu_cfs_throttled_periods_total 2
        container_memory_rss 500
        container_memory_cache 400
        container_memory_mapped_file 7
        container_memory_failures_total{failure_type="pgfault",scope="hierarchy"} 9
        container_memory_failures_total{failure_type="pgmajfault",scope="hierarchy"} 1
        container_spec_memory_limit_bytes 0
        container_oom_events_total 1
        container_memory_failcnt 3
        container_threads 4
        container_threads_max 100
        container_fs_reads_bytes_total{device="254:0"} 4096
        container_fs_writes_bytes_total{device="254:0"} 8192
        container_fs_reads_total{device="254:0"} 1
        container_fs_writes_total{device="254:0"} 2
        container_pressure_cpu_waiting_seconds_total 0.25
        "#);
    }

    #[test]
    fn a_group_of_version_1() {
        let files = [
            ("cpuacct.usage", "1500000000\n"),
            ("cpuacct.stat", "user 100\nsystem 50\n"),
            ("memory.usage_in_bytes", "1000\n"),
            (
                "memory.stat",
                "inactive_file 1\nrss 1\ntotal_cache 400\ntotal_rss 500\ntotal_mapped_file 7\ntotal_swap 0\ntotal_pgfault 9\ntotal_pgmajfault 1\ntotal_inactive_file 300\n",
            ),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("pids.current", "4\n"),
            (
                "blkio.throttle.io_service_bytes",
                "254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\nTotal 12288\n",
            ),
        ];
        let layout = |dir: &Path| {
            let dir = || Some(dir.to_owned());
            Layout::Split { cpu: None, cpuacct: dir(), memory: dir(), pids: dir(), blkio: dir() }
        };
        insta::assert_snapshot!(check(layout, &files), @r#"
        container_memory_usage_bytes 1000
        container_memory_working_set_bytes 700
        container_cpu_usage_seconds_total{cpu="total"} 1.5
        container_cpu_user_seconds_total 1
        container_cpu_system_seconds_total 0.5
        container_memory_rss 500
        container_memory_cache 400
        container_memory_mapped_file 7
        container_memory_swap 0
        container_memory_failures_total{failure_type="pgfault",scope="hierarchy"} 9
        container_memory_failures_total{failure_type="pgmajfault",scope="hierarchy"} 1
        container_spec_memory_limit_bytes 0
        container_oom_events_total 2
        container_threads 4
        container_fs_reads_bytes_total{device="254:0"} 4096
        container_fs_writes_bytes_total{device="254:0"} 8192
        "#);
    }

    #[test]
    fn traffic_of_an_instance_is_that_of_its_own_devices() {
        let text =
            "a\nb\n lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n eth0: 10 2 3 4 5 6 7 8 9 1 11 12 13 14 15 16\n";
        let shown = crate::collect::sink::shown(|sink| network(text, sink));
        assert!(
            shown.starts_with("container_network_receive_bytes_total{interface=\"eth0\"} 10\n"),
            "{shown}"
        );
        assert!(shown.contains("container_network_transmit_bytes_total{interface=\"eth0\"} 9\n"), "{shown}");
        assert_eq!(shown.lines().count(), 8);
    }
}
