//! The disk that a build takes: its directories are measured again and again, and it is ended when
//! they hold more than it may write, or when the disk itself is about to be full.
//!
//! No file system here can be relied on to have quotas, so the limit is kept within what can be
//! written between two looks; a single file is bounded by the kernel (`RLIMIT_FSIZE`).

use super::limits::{DISK_FLOOR, Exceeded};
use build::caches::allocated;
use model::Bytes;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(250);
/// Of the time, at most one part in so many is spent measuring.
const REST: u32 = 10;

#[derive(Clone, Default)]
pub struct Watch {
    watched: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Clone)]
struct Watched {
    directory: PathBuf,
    /// What was there before the build.
    before: u64,
}

/// Directories that are watched only as long as this is held. What they held stays counted.
pub struct Also<'a> {
    watch: &'a Watch,
    directories: Vec<PathBuf>,
}

impl Watch {
    pub fn new(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let watch = Self::default();
        watch.add(directories);
        watch
    }

    fn add(&self, directories: impl IntoIterator<Item = PathBuf>) {
        let mut watched = self.watched.lock().expect("no holder of this lock can panic");
        for directory in directories {
            // What lies in another watched directory is measured there.
            if !watched.iter().any(|other| directory.starts_with(&other.directory)) {
                watched.push(Watched { before: allocated(&directory), directory });
            }
        }
    }

    /// What its directories held when they came.
    pub fn held_before(&self) -> u64 {
        let watched = self.watched.lock().expect("no holder of this lock can panic");
        watched.iter().map(|one| one.before).sum()
    }

    pub fn also(&self, directories: impl IntoIterator<Item = PathBuf>) -> Also<'_> {
        let before = self.watched.lock().expect("no holder of this lock can panic").len();
        self.add(directories);
        let watched = self.watched.lock().expect("no holder of this lock can panic");
        let directories = watched[before..].iter().map(|one| one.directory.clone()).collect();
        Also { watch: self, directories }
    }

    /// Completes when the build has written more than `limit`.
    pub async fn exceeded(&self, limit: Bytes) -> Exceeded {
        loop {
            let all = self.watched.lock().expect("no holder of this lock can panic").clone();
            let began = Instant::now();
            let look = tokio::task::spawn_blocking(move || judge(&all, limit));
            if let Ok(Some(exceeded)) = look.await {
                return exceeded;
            }
            tokio::time::sleep(LOOK.max(began.elapsed() * REST)).await;
        }
    }
}

impl Drop for Also<'_> {
    fn drop(&mut self) {
        let mut watched = self.watch.watched.lock().expect("no holder of this lock can panic");
        watched.retain(|one| !self.directories.contains(&one.directory));
    }
}

fn judge(all: &[Watched], limit: Bytes) -> Option<Exceeded> {
    let written: u64 = all.iter().map(|one| allocated(&one.directory).saturating_sub(one.before)).sum();
    if written > limit.0 {
        return Some(Exceeded::Disk);
    }
    let is_full = all.iter().any(|one| free(&one.directory).is_some_and(|free| free < DISK_FLOOR));
    is_full.then_some(Exceeded::NoSpace)
}

fn free(directory: &Path) -> Option<Bytes> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    Some(Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn what_was_there_before_does_not_count_and_what_is_written_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: usize| {
            fs::write(directory.path().join(name), vec![1; bytes]).expect("written");
        };
        write("before", 3 << 20);
        let watch = Watch::new([directory.path().join("missing"), directory.path().to_owned()]);
        write("within", 1 << 20);
        let limit = Bytes::mib(2);
        assert_eq!(judge(&watch.watched.lock().expect("free"), limit), None);
        write("beyond", 2 << 20);
        assert_eq!(watch.exceeded(limit).await, Exceeded::Disk);
    }

    #[test]
    fn what_is_watched_for_a_while_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let watch = Watch::new([]);
        let also = watch.also([directory.path().to_owned()]);
        fs::write(directory.path().join("a"), vec![1; 2 << 20]).expect("written");
        assert_eq!(judge(&watch.watched.lock().expect("free"), Bytes::mib(1)), Some(Exceeded::Disk));
        drop(also);
        assert_eq!(judge(&watch.watched.lock().expect("free"), Bytes::mib(1)), None);
    }
}
