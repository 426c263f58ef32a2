//! All processes of this machine, by their state.

use crate::collect::Sink;
use crate::collect::text::{number, only_number, words};
use std::fs;
use std::path::Path;

/// The most processes that are looked at.
const PROCESSES_MAX: usize = 50_000;

pub fn collect(proc: &Path, sink: &mut dyn Sink) {
    let mut counts = Counts::default();
    let mut stat = String::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten().take(PROCESSES_MAX) {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        stat.clear();
        // One that has ended meanwhile is none.
        let read = fs::File::open(entry.path().join("stat"))
            .and_then(|mut file| std::io::Read::read_to_string(&mut file, &mut stat));
        if read.is_ok() {
            counts.add(&stat);
        }
    }
    counts.put(sink);
    for (file, name) in [
        ("sys/kernel/threads-max", "node_processes_max_threads"),
        ("sys/kernel/pid_max", "node_processes_max_processes"),
    ] {
        let value = fs::read_to_string(proc.join(file)).ok();
        value.as_deref().and_then(only_number).into_iter().for_each(|value| sink.gauge(name, &[], value));
    }
}

/// States as the kernel names them.
const STATES: [&str; 7] = ["D", "I", "R", "S", "T", "Z", "t"];

#[derive(Debug, Default)]
struct Counts {
    processes: u64,
    threads: f64,
    states: [u64; STATES.len()],
}

impl Counts {
    /// `/proc/PID/stat`; the name in brackets may hold anything.
    fn add(&mut self, stat: &str) {
        let Some((_, rest)) = stat.rsplit_once(')') else { return };
        let mut words = words(rest);
        let Some(state) = words.next() else { return };
        self.processes += 1;
        // The 20th field of all.
        self.threads += words.nth(16).and_then(number).unwrap_or(1.0);
        if let Some(at) = STATES.iter().position(|letter| *letter == state) {
            self.states[at] += 1;
        }
    }

    fn put(&self, sink: &mut dyn Sink) {
        sink.gauge("node_processes_pids", &[], self.processes as f64);
        sink.gauge("node_processes_threads", &[], self.threads);
        for (state, count) in STATES.iter().zip(self.states) {
            sink.gauge("node_processes_state", &[("state", state)], count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    #[test]
    fn a_name_may_hold_anything() {
        let mut counts = Counts::default();
        counts.add("12 (a) Z (b) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 7 0 1\n");
        counts.add("13 (gone) Z 1 13 13 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1\n");
        counts.add("broken");
        insta::assert_snapshot!(shown(|sink| counts.put(sink)), @r#"
        node_processes_pids 2
        node_processes_threads 8
        node_processes_state{state="D"} 0
        node_processes_state{state="I"} 0
        node_processes_state{state="R"} 0
        node_processes_state{state="S"} 1
        node_processes_state{state="T"} 0
        node_processes_state{state="Z"} 1
        node_processes_state{state="t"} 0
        "#);
    }
}
