//! Layers as directories an overlay can be made of. Everything is opened relative to the layer's
//! own root in a way that no path or link can leave, whatever the layer says.

use crate::error::BuildError;
use crate::job::go_on;
use crate::ownership::Ownership;
use crate::tree::{NodeKind, Tree, image_path};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tar::EntryType;

const MAX_ENTRIES: u64 = 2_000_000;
const BUFFER: usize = 64 << 10;
const CAPABILITY: &str = "security.capability";

/// Bounds on what a layer may become.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub unpacked_bytes: u64,
    /// Unpacked size beyond which the ratio counts at all.
    pub ratio_from_bytes: u64,
    /// How often the packed size may fit into the unpacked one.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unpacked_bytes: 32 << 30, ratio_from_bytes: 512 << 20, ratio: 500 }
    }
}

/// Owner, permissions and time of an entry.
#[derive(Debug, Clone, Copy)]
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    /// Seconds since 1970.
    mtime: i64,
}

impl Attributes {
    fn times(&self) -> Timestamps {
        let at = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        Timestamps { last_access: at, last_modification: at }
    }
}

/// A directory that is being filled.
struct Target {
    root: OwnedFd,
    ownership: Ownership,
    parent: Option<(String, OwnedFd)>,
    /// Applied last, or writing into a directory would undo its time and need its permission.
    directories: Vec<(String, Attributes)>,
}

impl Target {
    fn open(path: &Path) -> Result<Self, BuildError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| BuildError::io(format!("open {}", path.display()))(e.into()))?;
        Ok(Self { root, ownership: Ownership::of_process(), parent: None, directories: Vec::new() })
    }

    /// The directory in which the last part of `path` lies, made where it is missing.
    fn parent_of<'p>(&mut self, path: &'p str) -> io::Result<(BorrowedFd<'_>, &'p str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if self.parent.as_ref().is_none_or(|(known, _)| known != parent) {
            let opened = self.open_directory(parent)?;
            self.parent = Some((parent.to_owned(), opened));
        }
        let (_, opened) = self.parent.as_ref().expect("it was opened above");
        Ok((opened.as_fd(), name))
    }

    fn open_directory(&self, path: &str) -> io::Result<OwnedFd> {
        match self.try_open(path) {
            Err(Errno::NOENT) if !path.is_empty() => {
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                let above = self.open_directory(above)?;
                rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
                Ok(self.try_open(path)?)
            }
            other => Ok(other?),
        }
    }

    fn try_open(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Takes away what a new entry replaces.
    fn clear(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?),
            Err(error) => Err(error.into()),
        }
    }

    fn kind_at(parent: BorrowedFd<'_>, name: &str) -> Option<FileType> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    fn directory(&mut self, path: &str, attributes: Attributes) -> io::Result<()> {
        if !path.is_empty() {
            let (parent, name) = self.parent_of(path)?;
            match Self::kind_at(parent, name) {
                Some(FileType::Directory) => {}
                other => {
                    if other.is_some() {
                        Self::clear(parent, name)?;
                    }
                    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
                    if other == Some(FileType::CharacterDevice) {
                        self.opaque(path)?;
                    }
                }
            }
        }
        self.directories.push((path.to_owned(), attributes));
        Ok(())
    }

    fn file(
        &mut self,
        path: &str,
        attributes: Attributes,
        content: &mut dyn Read,
        capability: Option<&[u8]>,
        cancel: &AtomicBool,
    ) -> Result<u64, BuildError> {
        let written = self.file_inner(path, attributes, content, capability, cancel);
        written.map_err(|error| match cancel.load(std::sync::atomic::Ordering::Relaxed) {
            true => BuildError::Cancelled,
            false => BuildError::io(format!("unpack /{path}"))(error),
        })
    }

    fn file_inner(
        &mut self,
        path: &str,
        attributes: Attributes,
        content: &mut dyn Read,
        capability: Option<&[u8]>,
        cancel: &AtomicBool,
    ) -> io::Result<u64> {
        let ownership = self.ownership;
        let (parent, name) = self.parent_of(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR);
        let opened = match create() {
            Err(Errno::EXIST) => {
                Self::clear(parent, name)?;
                create()?
            }
            other => other?,
        };
        let mut file = File::from(opened);
        let mut buffer = [0; BUFFER];
        let mut written = 0;
        loop {
            go_on(cancel).map_err(io::Error::other)?;
            match content.read(&mut buffer)? {
                0 => break,
                n => {
                    file.write_all(&buffer[..n])?;
                    written += n as u64;
                }
            }
        }
        give(ownership, &file, attributes)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
        if let Some(value) = capability.filter(|_| ownership.gives_files_away()) {
            rustix::fs::fsetxattr(&file, CAPABILITY, value, XattrFlags::empty())?;
        }
        rustix::fs::futimens(&file, &attributes.times())?;
        Ok(written)
    }

    fn symlink(&mut self, path: &str, target: &str, attributes: Attributes) -> io::Result<()> {
        let ownership = self.ownership;
        let (parent, name) = self.parent_of(path)?;
        match rustix::fs::symlinkat(target, parent, name) {
            Err(Errno::EXIST) => {
                Self::clear(parent, name)?;
                rustix::fs::symlinkat(target, parent, name)?;
            }
            other => other?,
        }
        if ownership.gives_files_away() {
            let (user, group) = (uid(attributes.uid), gid(attributes.gid));
            rustix::fs::chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| ownership.explain(error, attributes.uid, attributes.gid))?;
        }
        Ok(rustix::fs::utimensat(parent, name, &attributes.times(), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn hardlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        if path == target {
            return Ok(());
        }
        let (above, old) = target.rsplit_once('/').unwrap_or(("", target));
        let above = self.try_open(above)?;
        let (parent, name) = self.parent_of(path)?;
        let link = || rustix::fs::linkat(&above, old, parent, name, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {
                Self::clear(parent, name)?;
                Ok(link()?)
            }
            other => Ok(other?),
        }
    }

    /// Hides what a lower layer has at `path`: the overlay's form of that is a device 0/0. A
    /// directory of this same layer hides the lower one by being opaque.
    fn whiteout(&mut self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        match Self::kind_at(parent, name) {
            Some(FileType::Directory) => self.opaque(path),
            Some(_) => Ok(()),
            None => Ok(rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)?),
        }
    }

    fn opaque(&mut self, path: &str) -> io::Result<()> {
        let name = format!("{}.opaque", self.ownership.overlay_attributes());
        let directory = rustix::fs::openat2(
            &self.root,
            if path.is_empty() { "." } else { path },
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?;
        Ok(rustix::fs::fsetxattr(&directory, name.as_str(), b"y", XattrFlags::empty())?)
    }

    /// Gives every directory its owner, permissions and time, the deepest first.
    fn finish(mut self) -> Result<(), BuildError> {
        self.parent = None;
        for (path, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            match self.finish_directory(&path, attributes) {
                // A later entry put something else in its place.
                Err(error)
                    if [Some(libc::ENOTDIR), Some(libc::ELOOP), Some(libc::ENOENT)]
                        .contains(&error.raw_os_error()) => {}
                other => other.map_err(BuildError::io(format!("set the attributes of /{path}")))?,
            }
        }
        Ok(())
    }

    fn finish_directory(&self, path: &str, attributes: Attributes) -> io::Result<()> {
        let directory = rustix::fs::openat2(
            &self.root,
            if path.is_empty() { "." } else { path },
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?;
        give(self.ownership, &directory, attributes)?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(attributes.mode))?;
        Ok(rustix::fs::futimens(&directory, &attributes.times())?)
    }
}

/// Gives the file its owner, where files can be given away.
fn give(ownership: Ownership, file: impl AsFd, attributes: Attributes) -> io::Result<()> {
    if !ownership.gives_files_away() {
        return Ok(());
    }
    rustix::fs::fchown(file, Some(uid(attributes.uid)), Some(gid(attributes.gid)))
        .map_err(|error| ownership.explain(error, attributes.uid, attributes.gid))
}

fn uid(id: u32) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(id)
}

fn gid(id: u32) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(id)
}

/// Writes a tree of our own into the empty directory `path`.
pub fn tree_into(tree: &Tree, mtime: i64, path: &Path, cancel: &AtomicBool) -> Result<(), BuildError> {
    let mut target = Target::open(path)?;
    target
        .directory("", Attributes { mode: 0o755, uid: 0, gid: 0, mtime })
        .map_err(BuildError::io("unpack a layer"))?;
    for (path, node) in tree.iter() {
        go_on(cancel)?;
        let attributes = Attributes { mode: node.mode, uid: node.uid, gid: node.gid, mtime };
        let done = match &node.kind {
            NodeKind::File(content) => {
                target.file(path, attributes, &mut content.reader(), None, cancel)?;
                Ok(())
            }
            NodeKind::Directory => target.directory(path, attributes),
            NodeKind::Symlink(to) => target.symlink(path, to, attributes),
            NodeKind::Hardlink(to) => target.hardlink(path, to),
        };
        done.map_err(BuildError::io(format!("unpack /{path}")))?;
    }
    target.finish()
}

/// Unpacks the tar stream of somebody else's layer into the empty directory `path`. `packed` is
/// the size of the blob. Answers what was left out, such as devices.
pub fn stream_into(
    reader: impl Read,
    packed: u64,
    path: &Path,
    limits: Limits,
    cancel: &AtomicBool,
) -> Result<Vec<String>, BuildError> {
    let mut target = Target::open(path)?;
    let root = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: 0 };
    target.directory("", root).map_err(BuildError::io("unpack a layer"))?;
    let mut notes = Vec::new();
    let limited = Limited::new(reader, packed, limits);
    let mut archive = tar::Archive::new(limited);
    let mut count = 0;
    for entry in archive.entries().map_err(broken)? {
        go_on(cancel)?;
        count += 1;
        if count > MAX_ENTRIES {
            return Err(BuildError::malformed("a layer", format!("it has more than {MAX_ENTRIES} entries")));
        }
        let mut entry = entry.map_err(broken)?;
        if let Some(note) = unpack_entry(&mut target, &mut entry, cancel)? {
            notes.push(note);
        }
    }
    // The digest covers everything up to the end of the stream.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    target.finish()?;
    Ok(notes)
}

/// How large what has this size packed may become.
pub(crate) fn ceiling(packed: u64, limits: Limits) -> u64 {
    limits.unpacked_bytes.min(limits.ratio_from_bytes.max(packed.saturating_mul(limits.ratio)))
}

fn broken(error: io::Error) -> BuildError {
    match error.raw_os_error() {
        Some(_) => BuildError::io("unpack a layer")(error),
        None => BuildError::malformed("a layer", error),
    }
}

/// Refuses to go on beyond what a layer or a package may become.
pub(crate) struct Limited<R> {
    reader: R,
    read: u64,
    limit: u64,
}

impl<R> Limited<R> {
    pub(crate) fn new(reader: R, packed: u64, limits: Limits) -> Self {
        Self { reader, read: 0, limit: ceiling(packed, limits) }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.read += n as u64;
        if self.read > self.limit {
            let text = format!("it unpacks to more than {}", model::Bytes(self.limit));
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(n)
    }
}

/// PAX records that say more than the header.
#[derive(Default)]
struct Extended {
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    capability: Option<Vec<u8>>,
}

fn extended<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Extended> {
    let mut extended = Extended::default();
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let text = || std::str::from_utf8(record.value_bytes()).unwrap_or_default();
        match record.key_bytes() {
            b"uid" => extended.uid = text().parse().ok(),
            b"gid" => extended.gid = text().parse().ok(),
            b"mtime" => extended.mtime = text().split('.').next().and_then(|s| s.parse().ok()),
            b"SCHILY.xattr.security.capability" => extended.capability = Some(record.value_bytes().to_vec()),
            _ => {}
        }
    }
    Ok(extended)
}

fn unpack_entry<R: Read>(
    target: &mut Target,
    entry: &mut tar::Entry<'_, R>,
    cancel: &AtomicBool,
) -> Result<Option<String>, BuildError> {
    let refuse =
        |path: &str, reason: &str| BuildError::malformed("a layer", format!("its entry `{path}` {reason}"));
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(refuse(&String::from_utf8_lossy(bytes), "has a name that is not UTF-8")),
    };
    let more = extended(entry).map_err(broken)?;
    let shown = text(&entry.path_bytes())?;
    let path = image_path(&shown).map_err(|reason| refuse(&shown, reason))?;
    let link = entry.link_name_bytes().map(|bytes| text(&bytes)).transpose()?;
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    let attributes = Attributes {
        mode: header.mode().map_err(broken)? & 0o7777,
        uid: id(more.uid.map_or_else(|| header.uid(), Ok).map_err(broken)?)
            .ok_or_else(|| refuse(&shown, "has no usable owner"))?,
        gid: id(more.gid.map_or_else(|| header.gid(), Ok).map_err(broken)?)
            .ok_or_else(|| refuse(&shown, "has no usable group"))?,
        mtime: more.mtime.unwrap_or(header.mtime().map_err(broken)?.cast_signed()),
    };
    let kind = header.entry_type();
    if path.is_empty() {
        if kind.is_dir() {
            target.directory("", attributes).map_err(broken)?;
        }
        return Ok(None);
    }
    if let Some(done) = whiteout(target, &path) {
        return done.map(|()| None).map_err(BuildError::io(format!("hide /{path}")));
    }
    let done = match (kind, link) {
        (EntryType::Directory, _) => target.directory(&path, attributes),
        (EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse, _) => {
            target.file(&path, attributes, entry, more.capability.as_deref(), cancel)?;
            Ok(())
        }
        (EntryType::Symlink, Some(to)) => target.symlink(&path, &to, attributes),
        (EntryType::Link, Some(to)) => {
            let to = image_path(&to).map_err(|reason| refuse(&to, reason))?;
            target.hardlink(&path, &to)
        }
        (EntryType::Char | EntryType::Block | EntryType::Fifo, _) => {
            return Ok(Some(format!("/{path} is a device or pipe and was left out")));
        }
        (EntryType::XGlobalHeader, _) => Ok(()),
        _ => return Err(refuse(&shown, "is of an unknown kind")),
    };
    done.map(|()| None).map_err(BuildError::io(format!("unpack /{path}")))
}

/// `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` everything in its directory.
fn whiteout(target: &mut Target, path: &str) -> Option<io::Result<()>> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let hidden = name.strip_prefix(".wh.")?;
    Some(match hidden {
        ".wh..opq" => target.open_directory(parent).and_then(|_| target.opaque(parent)),
        // Bookkeeping of the file system from which this form comes.
        other if other.starts_with(".wh.") || other.is_empty() || other == "." || other == ".." => Ok(()),
        _ if parent.is_empty() => target.whiteout(hidden),
        _ => target.whiteout(&format!("{parent}/{hidden}")),
    })
}

#[cfg(test)]
mod tests;
