//! Processes that do not outlive their test.

use rustix::process::{Pid, Signal, WaitOptions};
use std::process::{Child, Command};

/// A child that is killed, by its own id, and reaped when dropped.
#[derive(Debug)]
pub struct ProcessGuard {
    pub child: Child,
}

impl ProcessGuard {
    /// Starts the command; panics when that fails.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self { child },
            Err(error) => panic!("start {command:?}: {error}"),
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are positive 32-bit numbers")
    }

    /// Sends a signal, such as `Signal::TERM`.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a child's id is not 0");
        // The child is not reaped before it is dropped or waited for, so its id is still its own.
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Kills now instead of at the end.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ProcessGuard {
    fn drop(&mut self) {
        self.end();
    }
}

impl From<Child> for ProcessGuard {
    fn from(child: Child) -> Self {
        Self { child }
    }
}

/// A process that is not our child, such as a daemon that detached itself: killed by its id when
/// dropped, if it still is the process that was named.
#[derive(Debug)]
pub struct StrangerGuard {
    fd: rustix::fd::OwnedFd,
    pid: Pid,
}

impl StrangerGuard {
    /// Panics when there is no such process.
    #[track_caller]
    pub fn new(pid: i32) -> Self {
        let pid = Pid::from_raw(pid).expect("a process id is not 0");
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .unwrap_or_else(|error| panic!("no process {pid:?}: {error}"));
        Self { fd, pid }
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }
}

impl Drop for StrangerGuard {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.fd, Signal::KILL);
        // Only a process whose parent we became, as a sub-reaper, can be reaped by us.
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_ends_with_its_guard() {
        let guard = ProcessGuard::spawn(Command::new("sleep").arg("600"));
        let path = format!("/proc/{}", guard.pid());
        assert!(std::path::Path::new(&path).exists());
        drop(guard);
        assert!(!std::path::Path::new(&path).exists());
    }

    #[test]
    fn a_stranger_ends_with_its_guard() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let guard = StrangerGuard::new(i32::try_from(child.id()).unwrap());
        assert_eq!(guard.pid(), i32::try_from(child.id()).unwrap());
        drop(guard);
        // Reaped by the guard or here, it was killed.
        let killed = child.wait().map_or(true, |status| !status.success());
        assert!(killed);
    }
}
