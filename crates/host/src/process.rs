//! What the kernel says about processes: start times, boot id, locks, signals.

use crate::record::ProcessId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// The identity of a process, also of one that has ended and was not waited for.
pub fn identify(pid: i32) -> Option<ProcessId> {
    look_up(pid).map(|(process, _)| process)
}

pub fn is_alive(process: ProcessId) -> bool {
    look_up(process.pid) == Some((process, true))
}

/// Whether the process with this number has ended, be it collected or not.
pub fn has_ended(pid: i32) -> bool {
    !look_up(pid).is_some_and(|(_, is_alive)| is_alive)
}

/// The process with this number, and whether it has not ended.
fn look_up(pid: i32) -> Option<(ProcessId, bool)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and brackets; fields count from after its last bracket.
    let after_name = &stat[stat.rfind(')')? + 2..];
    let mut fields = after_name.split(' ');
    let is_alive = !matches!(fields.next()?, "Z" | "X");
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((ProcessId { pid, start_time }, is_alive))
}

pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A handle on this very process; `None` when it has gone, also if its number was reused.
pub fn open_pidfd(process: ProcessId) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(process.pid)?;
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok()?;
    is_alive(process).then_some(fd)
}

/// Kills this very process and waits until it has ended; false when it does not within the limit.
pub fn end(process: ProcessId, limit: Duration) -> io::Result<bool> {
    let Some(handle) = open_pidfd(process) else { return Ok(true) };
    match crate::sys::signal_by_handle(&handle, libc::SIGKILL) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
        _ => {}
    }
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    loop {
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return Ok(ended? == 1),
        }
    }
}

/// Whether somebody holds the lock file.
pub fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => false,
        Err(errno) => errno == rustix::io::Errno::WOULDBLOCK,
    }
}

/// Signal numbers by name, with or without `SIG`, or by number (1–64).
pub fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = short.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    SIGNALS.iter().find(|(known, _)| *known == short).map(|(_, number)| *number)
}

const SIGNALS: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (name, number) in
            [("SIGTERM", Some(15)), ("term", Some(15)), ("9", Some(9)), ("RTMIN+3", Some(37))]
        {
            assert_eq!(signal_number(name), number, "{name}");
        }
        for bad in ["", "SIGNOPE", "0", "65", "-1", "RTMIN+99"] {
            assert_eq!(signal_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let own = identify(std::process::id() as i32).expect("this process runs");
        assert!(is_alive(own));
        assert!(!is_alive(ProcessId { start_time: own.start_time + 1, ..own }));
        assert!(open_pidfd(own).is_some());
    }
}
