//! What a program of ours uses, by its process id; names as those of Prometheus' client libraries.

use super::text::{number, words};
use super::{Held, Sink};

/// Ticks of a second in `/proc/PID/stat`.
const TICKS_PER_SECOND: f64 = 100.0;

/// One process, its file held open: the kernel gives an error once it has ended.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    stat: Held,
}

impl Process {
    pub fn new(pid: u32) -> Self {
        Self { pid, stat: Held::new(format!("/proc/{pid}/stat")) }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Puts nothing when it has ended.
    pub fn collect(&mut self, labels: &[(&str, &str)], boot_seconds: f64, sink: &mut dyn Sink) {
        if let Some(text) = self.stat.read() {
            stat(text, labels, boot_seconds, sink);
        }
    }
}

/// `/proc/PID/stat`; the name in brackets may hold anything.
fn stat(text: &str, labels: &[(&str, &str)], boot_seconds: f64, sink: &mut dyn Sink) {
    let Some((_, rest)) = text.rsplit_once(')') else { return };
    // The first one is the third field of all.
    let field = |at: usize| words(rest).nth(at - 3).and_then(number);
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        sink.counter("process_cpu_seconds_total", labels, (user + system) / TICKS_PER_SECOND);
    }
    if let Some(ticks) = field(22) {
        sink.gauge("process_start_time_seconds", labels, boot_seconds + ticks / TICKS_PER_SECOND);
    }
    for (at, name, unit) in [
        (20, "process_threads", 1.0),
        (23, "process_virtual_memory_bytes", 1.0),
        (24, "process_resident_memory_bytes", rustix::param::page_size() as f64),
    ] {
        field(at).into_iter().for_each(|value| sink.gauge(name, labels, value * unit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    #[test]
    fn a_process_by_its_line() {
        let text =
            "12 (a) b) S 1 12 12 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 3 0 1000 4096 2 18446744073709551615";
        insta::assert_snapshot!(shown(|sink| stat(text, &[("role", "gateway")], 100.0, sink)), @r#"
        process_cpu_seconds_total{role="gateway"} 2
        process_start_time_seconds{role="gateway"} 110
        process_threads{role="gateway"} 3
        process_virtual_memory_bytes{role="gateway"} 4096
        process_resident_memory_bytes{role="gateway"} 8192
        "#);
        let own = shown(|sink| Process::new(std::process::id()).collect(&[], 0.0, sink));
        assert!(own.contains("process_resident_memory_bytes "), "{own}");
    }
}
