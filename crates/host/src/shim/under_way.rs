//! Starts that are under way when the daemon dies: the next one must not take an instance for one
//! that does not run while it is about to.
//!
//! The shims' common parent holds a shared lock, and each new shim until its start is on record.
//! An engine that opens ends that parent, if one is left, and goes on when the lock is free: from
//! then on every start there was is on record, and none begins without it.

use crate::process;
use crate::record::ProcessId;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a shim may take to record its start.
const RECORD_LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(2);

/// While one of them is open, a start may be under way.
pub struct UnderWay(File);

impl UnderWay {
    /// Waits while an engine is looking what runs.
    pub fn announce(lock: &Path) -> io::Result<Self> {
        let mut file = open(lock)?;
        while let Err(errno) = flock(&file, FlockOperation::LockShared) {
            if errno != Errno::INTR {
                return Err(errno.into());
            }
        }
        let own = process::identify(std::process::id() as i32).ok_or_else(|| io::Error::other("no /proc"))?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(&own)?)?;
        Ok(Self(file))
    }
}

impl AsFd for UnderWay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ends what an earlier engine left behind to start instances, and waits for what it has begun.
pub fn end_earlier(lock: &Path) -> io::Result<()> {
    let mut file = open(lock)?;
    let mut text = String::new();
    // What cannot be read names nobody; then its end is waited for.
    let _ = file.read_to_string(&mut text);
    if let Ok(parent) = serde_json::from_str::<ProcessId>(&text) {
        process::end(parent, RECORD_LIMIT)?;
    }
    let deadline = Instant::now() + RECORD_LIMIT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "an earlier start does not end"));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn open(lock: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_is_under_way_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let lock = directory.path().join("lock");
        end_earlier(&lock).expect("nobody holds it");
        let held = open(&lock).expect("a file");
        flock(&held, FlockOperation::LockShared).expect("free");
        let (free, is_free) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let lock = lock.clone();
            move || {
                end_earlier(&lock).expect("it is let go");
                let _ = free.send(());
            }
        });
        let early = is_free.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "a start was not waited for");
        drop(held);
        waiting.join().expect("no panic");
        assert_eq!(is_free.recv(), Ok(()));
    }
}
