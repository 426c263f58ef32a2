//! inotify: tells that something happened at a path, by the kernel's word for it. What is there now
//! is for others to look at.

use model::Report;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::mem::MaybeUninit;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// Bytes of events read at a time.
const BUFFER: usize = 64 << 10;

/// Something happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// At this path; `written` when content was certainly changed.
    At { path: PathBuf, written: bool },
    /// More than the kernel's queue holds: anything may have changed.
    Overflow,
}

/// The directories that are watched, one by one.
pub struct Events {
    inotify: AsyncFd<OwnedFd>,
    paths: HashMap<i32, PathBuf>,
    numbers: BTreeMap<PathBuf, i32>,
}

impl Events {
    pub fn new() -> Result<Self, Report> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|errno| {
            let report = Report::environment(format!("files cannot be watched: {errno}"));
            match errno {
                Errno::MFILE => report.hint(raise("max_user_instances", 1024)),
                _ => report,
            }
        })?;
        // SAFETY: the descriptor is the value's own, open as long as it is; nothing replaces or closes it.
        let inotify = unsafe { AsyncFd::register(inotify) };
        let inotify = inotify.map_err(|error| {
            Report::internal(format!("files cannot be watched: {}", std::io::Error::from(error)))
        })?;
        Ok(Self { inotify, paths: HashMap::new(), numbers: BTreeMap::new() })
    }

    /// Watches one directory. False when it is not there any more, or not to be read.
    pub fn watch(&mut self, directory: &Path) -> Result<bool, Report> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW
            | WatchFlags::EXCL_UNLINK;
        match inotify::add_watch(self.inotify.get_ref(), directory, flags) {
            Ok(number) => {
                if let Some(before) = self.paths.insert(number, directory.to_owned())
                    && before != directory
                {
                    self.numbers.remove(&before);
                }
                self.numbers.insert(directory.to_owned(), number);
                Ok(true)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => Ok(false),
            Err(Errno::NOSPC) => {
                let watched = self.paths.len();
                let text =
                    format!("the kernel watches no more directories for this user than these {watched}");
                Err(Report::environment(text)
                    .hint(raise("max_user_watches", 524_288))
                    .hint("or leave large directories out: `ignore: [node_modules/]`"))
            }
            Err(errno) => {
                Err(Report::environment(format!("{} cannot be watched: {errno}", directory.display())))
            }
        }
    }

    /// Forgets a directory and everything below it.
    pub fn forget(&mut self, directory: &Path) {
        let below = self.numbers.range::<Path, _>((Bound::Included(directory), Bound::Unbounded));
        let below: Vec<_> = below.take_while(|(path, _)| path.starts_with(directory)).collect();
        let below: Vec<_> = below.into_iter().map(|(path, number)| (path.clone(), *number)).collect();
        for (path, number) in below {
            self.numbers.remove(&path);
            self.paths.remove(&number);
            // The kernel may have forgotten it already.
            let _ = inotify::remove_watch(self.inotify.get_ref(), number);
        }
    }

    /// Directories that are watched.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Completes when there are events.
    pub async fn ready(&self) {
        // An error is found where events are read.
        let _ = self.inotify.readable().await.map(|mut guard| guard.retain_ready());
    }

    /// Hands over everything that happened.
    pub fn drain(&mut self, mut hand: impl FnMut(Event)) -> Result<(), Report> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut forgotten = Vec::new();
        // What comes while this reads is told anew: the guard clears only what it has seen.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let guard = self.inotify.poll_read_ready(&mut context);
        let mut reader = Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => hand(Event::Overflow),
                Ok(event) => {
                    let flags = event.events();
                    let Some(directory) = self.paths.get(&event.wd()) else { continue };
                    if flags.contains(ReadFlags::IGNORED) {
                        forgotten.push((event.wd(), directory.clone()));
                    }
                    let path = match event.file_name() {
                        Some(name) => directory.join(OsStr::from_bytes(name.to_bytes())),
                        None => directory.clone(),
                    };
                    hand(Event::At { path, written: flags.contains(ReadFlags::MODIFY) });
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Report::environment(format!("files cannot be watched: {errno}"))),
            }
        }
        for (number, path) in forgotten {
            self.paths.remove(&number);
            if self.numbers.get(&path) == Some(&number) {
                self.numbers.remove(&path);
            }
        }
        if let std::task::Poll::Ready(Ok(mut guard)) = guard {
            guard.clear_ready();
        }
        Ok(())
    }
}

/// How a limit of the kernel is raised.
fn raise(limit: &str, to: u32) -> String {
    let file = format!("/proc/sys/fs/inotify/{limit}");
    let now = fs::read_to_string(file).unwrap_or_default();
    match now.trim().parse::<u32>() {
        Ok(now) => {
            format!("`sudo sysctl fs.inotify.{limit}={}` raises it from {now}", to.max(now.saturating_mul(2)))
        }
        Err(_) => format!("`sudo sysctl fs.inotify.{limit}={to}` raises it"),
    }
}
