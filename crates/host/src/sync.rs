//! Files written from this host into the tree of a running instance, as its program sees it:
//! overlay, volumes and mounts alike. No path, links included, leads out of the instance, and a
//! file is there whole or not at all.

mod remove;

use crate::layout::Layout;
use crate::record::{ProcessId, Run};
use crate::rootfs::Tree;
use crate::{durable, process};
use model::{Bytes, InstanceId};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest file that is copied.
pub const FILE_MAX: Bytes = Bytes::mib(256);
/// Bytes copied at a time.
const CHUNK: usize = 128 << 10;
/// `OVERLAYFS_SUPER_MAGIC` in `linux/magic.h`.
const OVERLAY: u64 = 0x794c_7630;

#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error("it does not run")]
    NotRunning,
    #[error("{0} is read-only there")]
    ReadOnly(PathBuf),
    #[error("{0} is a directory there")]
    IsDirectory(PathBuf),
    #[error("{0} is not below a directory there")]
    NotBelowDirectory(PathBuf),
    #[error("something is mounted at {0} there")]
    Mounted(PathBuf),
    #[error("{0} does not name a file")]
    Unnamed(PathBuf),
    #[error("{path} has {size}, more than the {FILE_MAX} that are copied")]
    TooLarge { path: PathBuf, size: Bytes },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    Written,
    Removed,
    /// It was like that already, or is of a kind that is not copied.
    Unchanged,
}

/// The file tree of a running instance.
pub struct Inside {
    tree: Tree,
}

impl Inside {
    /// `state` is the engine's own directory. The tree stays that of this instance, whatever
    /// becomes of its process.
    pub fn open(state: &Path, id: &InstanceId) -> Result<Self, SyncError> {
        let record = Layout::new(state, state, id.as_str()).run();
        let io = |source| SyncError::Io { path: record.clone(), source };
        let run: Option<Run> = durable::read_json(&record).map_err(io)?;
        let init = run.and_then(|run| run.init).ok_or(SyncError::NotRunning)?;
        Self::of_process(init)
    }

    fn of_process(init: ProcessId) -> Result<Self, SyncError> {
        let path = PathBuf::from(format!("/proc/{}/root", init.pid));
        let root = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.map_err(|_| SyncError::NotRunning)?;
        // Alive after the root was opened: the number was not taken by another process meanwhile.
        if !process::is_alive(init) || !is_own_tree(&root).unwrap_or(false) {
            return Err(SyncError::NotRunning);
        }
        Ok(Self { tree: Tree::of(root) })
    }

    /// Makes `target` inside what `source` is on this host: a copy, a directory, a link, or nothing.
    pub fn sync(&self, source: &Path, target: &Path) -> Result<Synced, SyncError> {
        let target = &absolute(target);
        let about = match rustix::fs::statat(CWD, source, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => about,
            Err(Errno::NOENT | Errno::NOTDIR) => return self.remove(target),
            Err(errno) => return Err(failed(source, errno)),
        };
        match FileType::from_raw_mode(about.st_mode) {
            FileType::RegularFile => self.copy(source, target),
            FileType::Directory => self.make_dir(target, &about),
            FileType::Symlink => self.link(source, target),
            // Sockets, pipes and devices mean nothing elsewhere.
            _ => Ok(Synced::Unchanged),
        }
    }

    fn copy(&self, source: &Path, target: &Path) -> Result<Synced, SyncError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let from = match rustix::fs::open(source, flags, Mode::empty()) {
            Ok(from) => File::from(from),
            // It was removed or replaced this moment, which is a change of its own.
            Err(Errno::NOENT | Errno::LOOP) => return Ok(Synced::Unchanged),
            Err(errno) => return Err(failed(source, errno)),
        };
        let about = rustix::fs::fstat(&from).map_err(|errno| failed(source, errno))?;
        let size = Bytes(about.st_size.unsigned_abs());
        if size > FILE_MAX {
            return Err(SyncError::TooLarge { path: source.to_owned(), size });
        }
        let (parent, name) = self.place(target)?;
        if let Ok(present) = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            if is_same(&present, &about) {
                return Ok(Synced::Unchanged);
            }
            make_way(&parent, &name, &present, target)?;
        }
        let beside = Beside::new(&parent);
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut to = File::from(rustix::fs::openat(&parent, &beside.name, flags, Mode::RUSR)?);
            copy_at_most(from, &mut to, FILE_MAX.0)?;
            rustix::fs::fchown(&to, Some(Uid::from_raw(about.st_uid)), Some(Gid::from_raw(about.st_gid)))?;
            rustix::fs::fchmod(&to, permissions(&about))?;
            Ok(rustix::fs::futimens(&to, &times(&about))?)
        };
        write().map_err(|source| io_failed(target, source))?;
        beside.becomes(&name).map_err(|errno| failed(target, errno))?;
        Ok(Synced::Written)
    }

    fn make_dir(&self, target: &Path, about: &Stat) -> Result<Synced, SyncError> {
        if self.tree.find(target, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
            return Ok(Synced::Unchanged);
        }
        let (parent, name) = self.place(target)?;
        if rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            rustix::fs::unlinkat(&parent, &name, AtFlags::empty()).map_err(|errno| failed(target, errno))?;
        }
        let make = || -> Result<(), Errno> {
            rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(&parent, &name, flags, Mode::empty())?;
            rustix::fs::fchown(&dir, Some(Uid::from_raw(about.st_uid)), Some(Gid::from_raw(about.st_gid)))?;
            rustix::fs::fchmod(&dir, permissions(about))
        };
        make().map_err(|errno| failed(target, errno))?;
        Ok(Synced::Written)
    }

    /// A link is copied as the text it is; where it leads is the instance's own affair.
    fn link(&self, source: &Path, target: &Path) -> Result<Synced, SyncError> {
        let text = match rustix::fs::readlink(source, Vec::new()) {
            Ok(text) => text,
            Err(Errno::NOENT | Errno::INVAL) => return Ok(Synced::Unchanged),
            Err(errno) => return Err(failed(source, errno)),
        };
        let (parent, name) = self.place(target)?;
        if rustix::fs::readlinkat(&parent, &name, Vec::new()).is_ok_and(|present| present == text) {
            return Ok(Synced::Unchanged);
        }
        if let Ok(present) = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            make_way(&parent, &name, &present, target)?;
        }
        let beside = Beside::new(&parent);
        rustix::fs::symlinkat(&text, &parent, &beside.name).map_err(|errno| failed(target, errno))?;
        beside.becomes(&name).map_err(|errno| failed(target, errno))?;
        Ok(Synced::Written)
    }

    /// Takes away what is at `target`, with everything below it but what is mounted there.
    pub fn remove(&self, target: &Path) -> Result<Synced, SyncError> {
        let target = &absolute(target);
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(SyncError::Unnamed(target.to_owned()));
        };
        let parent = match self.tree.find(parent, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(parent) => parent,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                return Ok(Synced::Unchanged);
            }
            Err(source) => return Err(io_failed(target, source)),
        };
        match remove::remove(&parent, name) {
            Ok(true) => Ok(Synced::Removed),
            Ok(false) => Ok(Synced::Unchanged),
            Err(errno) => Err(failed(target, errno)),
        }
    }

    /// Takes away what is at `target` unless it is a directory.
    pub fn remove_file(&self, target: &Path) -> Result<Synced, SyncError> {
        match self.tree.find(&absolute(target), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Ok(Synced::Unchanged),
            Err(_) => self.remove(target),
        }
    }

    /// The directory that `target` is in, made where it is missing, and the last part of its name.
    fn place(&self, target: &Path) -> Result<(OwnedFd, std::ffi::OsString), SyncError> {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(SyncError::Unnamed(target.to_owned()));
        };
        let parent = self.tree.make_dirs(parent, None).map_err(|source| io_failed(target, source))?;
        Ok((parent, name.to_owned()))
    }
}

/// Whether this is a root of its own: an instance that has not entered its tree yet still shows ours.
fn is_own_tree(root: &OwnedFd) -> io::Result<bool> {
    let its = rustix::fs::fstat(root)?;
    let ours = rustix::fs::stat("/")?;
    let kind = rustix::fs::fstatfs(root)?.f_type;
    Ok(kind as u64 == OVERLAY && its.st_dev != ours.st_dev)
}

/// Absolute and without `.` and `..`, which by name lead no further up than the root.
fn absolute(target: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in target.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// Whether nothing would change, or both are one file that is mounted inside.
fn is_same(present: &Stat, wanted: &Stat) -> bool {
    let identity = |s: &Stat| (s.st_dev, s.st_ino);
    let content =
        |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_uid, s.st_gid, s.st_mode & 0o170_777);
    identity(present) == identity(wanted) || content(present) == content(wanted)
}

/// A directory gives way to a file only when it is empty.
fn make_way(
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
    present: &Stat,
    target: &Path,
) -> Result<(), SyncError> {
    if FileType::from_raw_mode(present.st_mode) != FileType::Directory {
        return Ok(());
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err(SyncError::IsDirectory(target.to_owned())),
        Err(errno) => Err(failed(target, errno)),
    }
}

/// A name beside the final one; what is there when this goes is removed.
struct Beside<'a> {
    parent: &'a OwnedFd,
    name: String,
}

impl<'a> Beside<'a> {
    fn new(parent: &'a OwnedFd) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { parent, name: format!(".juchu-sync-{}-{number}", std::process::id()) }
    }

    fn becomes(&self, name: &std::ffi::OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(self.parent, &self.name, self.parent, name)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        // After the rename it is not there.
        let _ = rustix::fs::unlinkat(self.parent, &self.name, AtFlags::empty());
    }
}

fn copy_at_most(mut from: File, to: &mut File, limit: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut copied = 0u64;
    loop {
        let read = from.read(&mut buffer)?;
        copied += read as u64;
        if read == 0 || copied > limit {
            return if copied > limit {
                Err(io::Error::other("it grows while it is copied"))
            } else {
                Ok(())
            };
        }
        to.write_all(&buffer[..read])?;
    }
}

/// Without the bits that give others the rights of its owner.
fn permissions(about: &Stat) -> Mode {
    Mode::from_raw_mode(about.st_mode & 0o777)
}

fn times(about: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    Timestamps {
        last_access: time(about.st_atime, about.st_atime_nsec),
        last_modification: time(about.st_mtime, about.st_mtime_nsec),
    }
}

fn io_failed(path: &Path, source: io::Error) -> SyncError {
    match Errno::from_io_error(&source) {
        Some(errno) => failed(path, errno),
        None => SyncError::Io { path: path.to_owned(), source },
    }
}

fn failed(path: &Path, errno: Errno) -> SyncError {
    let path = path.to_owned();
    match errno {
        Errno::ROFS => SyncError::ReadOnly(path),
        Errno::ISDIR => SyncError::IsDirectory(path),
        Errno::NOTDIR => SyncError::NotBelowDirectory(path),
        Errno::BUSY => SyncError::Mounted(path),
        errno => SyncError::Io { path, source: errno.into() },
    }
}

#[cfg(test)]
mod tests;
