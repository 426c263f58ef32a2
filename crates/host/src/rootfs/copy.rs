//! Copying a tree with owners, modes, times, links, extended attributes and special files.

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// Deepest nesting that is copied; deeper trees are an error rather than a stack overflow.
const MAX_DEPTH: usize = 200;

/// Copies what is in `from` into `to`, and gives `to` the owner and mode of `from`.
/// Neither tree may change meanwhile; links are copied, never followed.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    copy_dir(from, to, 0)
}

fn copy_dir(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!(
            "{}: nested deeper than {MAX_DEPTH} directories",
            from.display()
        )));
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_dir(&entry.path(), &target, depth + 1)?;
            continue;
        }
        // Sockets and devices mean nothing in a volume.
        if kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
            continue;
        }
        copy_leaf(&entry.path(), &target, kind)?;
        copy_attributes(&entry.path(), &target)?;
    }
    copy_attributes(from, to)
}

fn copy_leaf(from: &Path, to: &Path, kind: fs::FileType) -> io::Result<()> {
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_fifo() {
        rustix::fs::mknodat(CWD, to, rustix::fs::FileType::Fifo, Mode::RUSR, 0)?;
        return Ok(());
    }
    fs::copy(from, to).map(drop)
}

fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    let owner = (Some(Uid::from_raw(metadata.uid())), Some(Gid::from_raw(metadata.gid())));
    rustix::fs::chownat(CWD, to, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    if !metadata.is_symlink() {
        copy_extended(from, to)?;
        // After the owner, whose change clears set-user-id bits.
        fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_extended(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0; 65_536];
    let Ok(length) = rustix::fs::llistxattr(from, &mut names[..]) else { return Ok(()) };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Marks of the overlay itself are not part of the content.
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0; 65_536];
        let Ok(length) = rustix::fs::lgetxattr(from, name, &mut value[..]) else { continue };
        rustix::fs::lsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_modes_times_links_and_empty_directories() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("empty")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("file"), "text").unwrap();
        fs::set_permissions(from.join("file"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o711)).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        copy_tree(&from, &to).unwrap();
        let metadata = |name: &str| fs::symlink_metadata(to.join(name)).unwrap();
        assert_eq!(metadata("file").mode() & 0o7777, 0o4750);
        assert_eq!(metadata("file").mtime_nsec(), fs::metadata(from.join("file")).unwrap().mtime_nsec());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/nowhere"));
        assert!(metadata("empty").is_dir());
        assert_eq!(metadata("").mode() & 0o7777, 0o711);
    }
}
