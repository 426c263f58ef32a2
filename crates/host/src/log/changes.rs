//! Tells when output was written, by the kernel's word, so that nobody has to look for it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Bytes of events read at a time; what they say is not looked at.
const BUFFER: usize = 16 << 10;

/// The directories of output that are watched. One that is removed is forgotten by itself.
pub struct OutputChanges(OwnedFd);

impl OutputChanges {
    pub fn new() -> io::Result<Self> {
        Ok(Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?))
    }

    /// Watches the output of an instance, also when it was watched before.
    pub fn watch(&self, log: &Path) -> io::Result<()> {
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.0, log, flags)?;
        Ok(())
    }

    /// Waits at most so long; true when something was written since the last time.
    pub fn wait(&self, at_most: Duration) -> bool {
        let limit = Timespec::try_from(at_most).ok();
        // Cut short by a signal: as if the time were over.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], limit.as_ref());
        let mut buffer = [0; BUFFER];
        let mut has_changed = false;
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok(read) if read > 0 => has_changed = true,
                Err(Errno::INTR) => {}
                _ => return has_changed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::TempDir;

    #[test]
    fn what_is_written_is_told_once() {
        let directory = TempDir::new();
        let path = directory.path().join("current");
        let changes = OutputChanges::new().expect("the kernel has inotify");
        assert!(changes.watch(&directory.path().join("missing")).is_err());
        changes.watch(directory.path()).expect("it is there");
        assert!(!changes.wait(Duration::ZERO));
        std::fs::write(&path, "a").expect("written");
        assert!(changes.wait(Duration::from_secs(10)));
        assert!(!changes.wait(Duration::ZERO));
        let writer = std::thread::spawn(move || {
            std::fs::rename(&path, path.with_extension("1")).expect("renamed");
        });
        assert!(changes.wait(Duration::from_secs(10)));
        writer.join().expect("it ends");
    }
}
