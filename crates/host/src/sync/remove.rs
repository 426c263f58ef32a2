//! Removing a tree by descriptors: no link is followed, and no mount is entered.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// Deepest nesting that is removed.
const DEPTH_MAX: usize = 200;

/// Whether something was there. What is mounted below stays, and so do the directories above it.
pub(super) fn remove(parent: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
        Ok(about) if FileType::from_raw_mode(about.st_mode) == FileType::Directory => {
            remove_dir(parent, name, 0).map(|()| true)
        }
        Ok(_) => gone(rustix::fs::unlinkat(parent, name, AtFlags::empty())).map(|()| true),
    }
}

fn remove_dir(parent: &OwnedFd, name: &OsStr, depth: usize) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let confined = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let dir = match openat2(parent, name, flags, Mode::empty(), confined) {
        Ok(dir) => dir,
        // Something is mounted here.
        Err(Errno::XDEV) => return Ok(()),
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    for (name, kind) in entries(&dir)? {
        match kind {
            FileType::Directory => remove_dir(&dir, &name, depth + 1)?,
            _ => match gone(rustix::fs::unlinkat(&dir, &name, AtFlags::empty())) {
                // A file that is mounted.
                Err(Errno::BUSY) => {}
                other => other?,
            },
        }
    }
    match gone(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)) {
        Err(Errno::NOTEMPTY | Errno::BUSY) => Ok(()),
        other => other,
    }
}

fn entries(dir: &OwnedFd) -> Result<Vec<(OsString, FileType)>, Errno> {
    let mut all = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let about = rustix::fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(about.st_mode)
            }
            kind => kind,
        };
        all.push((OsStr::from_bytes(name).to_owned(), kind));
    }
    Ok(all)
}

/// Somebody else was quicker.
fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
