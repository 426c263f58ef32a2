//! Processors, load, interrupts, pressure and the kernel's tables.

use crate::collect::Sink;
use crate::collect::text::{Name, number, only_number, words};

/// Ticks of a second in `/proc/stat` (`USER_HZ`), the same on all platforms of today.
const TICKS_PER_SECOND: f64 = 100.0;

const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// `/proc/stat`
pub fn stat(text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let mut words = words(line);
        let Some(key) = words.next() else { continue };
        if let Some(cpu) = key.strip_prefix("cpu") {
            if !cpu.is_empty() {
                processor(cpu, words, sink);
            }
            continue;
        }
        let Some(value) = words.next().and_then(number) else { continue };
        match key {
            "intr" => sink.counter("node_intr_total", &[], value),
            "ctxt" => sink.counter("node_context_switches_total", &[], value),
            "processes" => sink.counter("node_forks_total", &[], value),
            "btime" => sink.gauge("node_boot_time_seconds", &[], value),
            "procs_running" => sink.gauge("node_procs_running", &[], value),
            "procs_blocked" => sink.gauge("node_procs_blocked", &[], value),
            _ => {}
        }
    }
}

fn processor<'a>(cpu: &str, mut words: impl Iterator<Item = &'a str>, sink: &mut dyn Sink) {
    let mut seconds = || words.next().and_then(number).map(|ticks| ticks / TICKS_PER_SECOND);
    for mode in MODES {
        let Some(value) = seconds() else { return };
        sink.counter("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], value);
    }
    for mode in ["user", "nice"] {
        let Some(value) = seconds() else { return };
        sink.counter("node_cpu_guest_seconds_total", &[("cpu", cpu), ("mode", mode)], value);
    }
}

/// `/proc/loadavg`
pub fn loadavg(text: &str, sink: &mut dyn Sink) {
    for (name, value) in ["node_load1", "node_load5", "node_load15"].iter().zip(words(text)) {
        number(value).into_iter().for_each(|value| sink.gauge(name, &[], value));
    }
}

/// `/proc/net/softnet_stat`: hexadecimal, a line for each processor, whose number is the 13th since Linux 5.14.
pub fn softnet(text: &str, sink: &mut dyn Sink) {
    for (index, line) in text.lines().enumerate() {
        let column = |at: usize| words(line).nth(at).and_then(|word| u32::from_str_radix(word, 16).ok());
        let Some(cpu) = Name::decimal(column(12).unwrap_or(index as u32)) else { continue };
        let labels = [("cpu", cpu.as_str())];
        for (at, name) in [
            (0, "node_softnet_processed_total"),
            (1, "node_softnet_dropped_total"),
            (2, "node_softnet_times_squeezed_total"),
        ] {
            column(at).into_iter().for_each(|value| sink.counter(name, &labels, f64::from(value)));
        }
    }
}

/// `/proc/schedstat`: nanoseconds run and waited, and the slices, at the end of each processor's line.
pub fn schedstat(text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let mut words = words(line);
        let Some(cpu) = words.next().and_then(|word| word.strip_prefix("cpu")) else { continue };
        let mut last = words.skip(6).filter_map(number);
        let labels = [("cpu", cpu)];
        for (name, divisor) in [
            ("node_schedstat_running_seconds_total", 1e9),
            ("node_schedstat_waiting_seconds_total", 1e9),
            ("node_schedstat_timeslices_total", 1.0),
        ] {
            last.next().into_iter().for_each(|value| sink.counter(name, &labels, value / divisor));
        }
    }
}

/// `/proc/pressure/*`: microseconds in which some, or all, had to wait.
pub fn pressure(of: &str, text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let total = words(line).find_map(|word| number(word.strip_prefix("total=")?));
        let name = match (of, line.split(' ').next()) {
            ("cpu", Some("some")) => "node_pressure_cpu_waiting_seconds_total",
            ("io", Some("some")) => "node_pressure_io_waiting_seconds_total",
            ("io", Some("full")) => "node_pressure_io_stalled_seconds_total",
            ("memory", Some("some")) => "node_pressure_memory_waiting_seconds_total",
            ("memory", Some("full")) => "node_pressure_memory_stalled_seconds_total",
            _ => continue,
        };
        total.into_iter().for_each(|total| sink.counter(name, &[], total / 1e6));
    }
}

/// `/proc/sys/fs/file-nr`: open, unused, at most.
pub fn file_nr(text: &str, sink: &mut dyn Sink) {
    let mut numbers = words(text).filter_map(number);
    if let (Some(open), Some(_), Some(most)) = (numbers.next(), numbers.next(), numbers.next()) {
        sink.gauge("node_filefd_allocated", &[], open);
        sink.gauge("node_filefd_maximum", &[], most);
    }
}

/// A file with one number.
pub fn single(name: &str, text: &str, sink: &mut dyn Sink) {
    only_number(text).into_iter().for_each(|value| sink.gauge(name, &[], value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    #[test]
    fn processors_and_counters() {
        let text = "cpu  3 0 0 0 0 0 0 0 0 0\ncpu0 150 2 3 4 5 6 7 8 9 10\nintr 42 1 2 3\nctxt 7\nbtime 1795356346\nprocesses 5\nprocs_running 2\nprocs_blocked 1\nsoftirq 9 1\n";
        insta::assert_snapshot!(shown(|sink| stat(text, sink)), @r#"
        node_cpu_seconds_total{cpu="0",mode="user"} 1.5
        node_cpu_seconds_total{cpu="0",mode="nice"} 0.02
        node_cpu_seconds_total{cpu="0",mode="system"} 0.03
        node_cpu_seconds_total{cpu="0",mode="idle"} 0.04
        node_cpu_seconds_total{cpu="0",mode="iowait"} 0.05
        node_cpu_seconds_total{cpu="0",mode="irq"} 0.06
        node_cpu_seconds_total{cpu="0",mode="softirq"} 0.07
        node_cpu_seconds_total{cpu="0",mode="steal"} 0.08
        node_cpu_guest_seconds_total{cpu="0",mode="user"} 0.09
        node_cpu_guest_seconds_total{cpu="0",mode="nice"} 0.1
        node_intr_total 42
        node_context_switches_total 7
        node_boot_time_seconds 1795356346
        node_forks_total 5
        node_procs_running 2
        node_procs_blocked 1
        "#);
        assert_eq!(shown(|sink| stat("cpu0\nnonsense\n\n", sink)), "");
    }

    #[test]
    fn tables_of_each_processor() {
        let old = "04b8e7f8 00000001 0000001d 0 0 0 0 0 0 0\n0411e17f 00000000 00000025 0 0 0 0 0 0 0\n";
        let new = "00000010 00000002 00000003 0 0 0 0 0 0 0 0 0 00000007 0 0\n";
        insta::assert_snapshot!(shown(|sink| { softnet(old, sink); softnet(new, sink) }), @r#"
        node_softnet_processed_total{cpu="0"} 79226872
        node_softnet_dropped_total{cpu="0"} 1
        node_softnet_times_squeezed_total{cpu="0"} 29
        node_softnet_processed_total{cpu="1"} 68280703
        node_softnet_dropped_total{cpu="1"} 0
        node_softnet_times_squeezed_total{cpu="1"} 37
        node_softnet_processed_total{cpu="7"} 16
        node_softnet_dropped_total{cpu="7"} 2
        node_softnet_times_squeezed_total{cpu="7"} 3
        "#);
        let text = "version 15\ntimestamp 15819019232\ncpu0 498494191 0 3533438552 2553969831 3853684107 2465731542 2045936778163039 343796328169361 4767485306\ndomain0 00000000,00000003 212499247\n";
        insta::assert_snapshot!(shown(|sink| schedstat(text, sink)), @r#"
        node_schedstat_running_seconds_total{cpu="0"} 2045936.778163039
        node_schedstat_waiting_seconds_total{cpu="0"} 343796.328169361
        node_schedstat_timeslices_total{cpu="0"} 4767485306
        "#);
    }

    #[test]
    fn pressure_and_load() {
        let text = "some avg10=0.00 avg60=1.27 avg300=0.99 total=446923966\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n";
        insta::assert_snapshot!(shown(|sink| {
            pressure("io", text, sink);
            pressure("cpu", text, sink);
            loadavg("8.46 6.94 3.88 4/377 12\n", sink);
            file_nr("870\t0\t2466170\n", sink);
            single("node_entropy_available_bits", "256\n", sink);
        }), @r"
        node_pressure_io_waiting_seconds_total 446.923966
        node_pressure_io_stalled_seconds_total 1.5
        node_pressure_cpu_waiting_seconds_total 446.923966
        node_load1 8.46
        node_load5 6.94
        node_load15 3.88
        node_filefd_allocated 870
        node_filefd_maximum 2466170
        node_entropy_available_bits 256
        ");
    }
}
