//! The kernel's own messages, read as they come: how many of which severity, and what it ended for
//! want of memory.

use super::Sink;
use rustix::fs::{Mode, OFlags, SeekFrom};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Severities of syslog, by their numbers.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
/// Messages read at one time; the rest the next time.
const MESSAGES_MAX: usize = 1000;
/// One record of `/dev/kmsg` is never longer.
const RECORD_MAX: usize = 8 << 10;

#[derive(Debug)]
pub struct KernelLog {
    file: Option<File>,
    counts: [u64; SEVERITIES.len()],
    killed: u64,
}

impl KernelLog {
    /// From now on; without the right to read it nothing is counted.
    pub fn open(path: &Path) -> Self {
        let opened =
            rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        let file = opened.ok().filter(|file| rustix::fs::seek(file, SeekFrom::End(0)).is_ok());
        Self { file: file.map(File::from), counts: [0; SEVERITIES.len()], killed: 0 }
    }

    pub fn collect(&mut self, sink: &mut dyn Sink) {
        if self.file.is_none() {
            return;
        }
        self.read();
        for (severity, count) in SEVERITIES.iter().zip(self.counts).take(5) {
            sink.counter("juchu_kernel_messages_total", &[("severity", severity)], count as f64);
        }
        sink.counter("juchu_kernel_oom_kills_total", &[], self.killed as f64);
    }

    fn read(&mut self) {
        let mut record = [0; RECORD_MAX];
        for _ in 0..MESSAGES_MAX {
            let Some(mut file) = self.file.as_ref() else { return };
            match file.read(&mut record) {
                Ok(0) => return,
                Ok(length) => self.count(&String::from_utf8_lossy(&record[..length])),
                // Records were overwritten before they were read: it goes on with the oldest.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => return,
            }
        }
    }

    /// `6,339,5140900,-;text`: the first number is the facility times eight, and the severity.
    fn count(&mut self, record: &str) {
        let Some((head, text)) = record.split_once(';') else { return };
        let Some(priority) = head.split(',').next().and_then(|word| word.parse::<usize>().ok()) else {
            return;
        };
        self.counts[priority % SEVERITIES.len()] += 1;
        let text = text.lines().next().unwrap_or_default();
        self.killed += u64::from(text.contains("Killed process "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    #[test]
    fn messages_are_counted_by_severity() {
        let mut log = KernelLog { file: None, counts: [0; 8], killed: 0 };
        log.count("3,339,5140900,-;Out of memory: Killed process 12 (x) total-vm:1kB\n SUBSYSTEM=x\n");
        log.count("6,340,5140901,-;eth0: link up\n");
        log.count("12,341,5140901,-;somebody wrote this\n");
        log.count("broken");
        assert_eq!((log.counts[3], log.counts[6], log.counts[4], log.killed), (1, 1, 1, 1));
        assert_eq!(shown(|sink| KernelLog::open(Path::new("/nowhere")).collect(sink)), "");
    }
}
