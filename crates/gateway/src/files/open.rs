//! Finds and opens a file below a directory; nothing leads out of it, neither `..` nor a link.
//! Everything here may wait for a disk: it runs beside the thread that serves.

use super::conditions::Version;
use crate::policy::compress::Accepted;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::SystemTime;

const INDEX: &str = "index.html";
/// Siblings that hold the same content packed: ending, name of the coding.
const PACKED: [(&str, &str); 3] = [("zst", "zstd"), ("br", "br"), ("gz", "gzip")];

/// What was found.
pub enum Found {
    File(Opened),
    /// A directory that was asked for without a slash at its end.
    Directory,
    Nothing,
}

pub struct Opened {
    pub file: File,
    /// Whose ending says what it is, however it is packed.
    pub name: String,
    pub version: Version,
    /// The coding of a sibling that was taken.
    pub packed: Option<&'static str>,
    /// Another client may be sent another form.
    pub varies: bool,
}

/// Looks for a path below `root`.
pub fn find(root: &Path, path: &str, is_directory: bool, accepted: Accepted) -> io::Result<Found> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let name = match (is_directory, path) {
        (true, "") => INDEX.to_owned(),
        (true, path) => format!("{path}/{INDEX}"),
        (false, path) => path.to_owned(),
    };
    let Some((file, modified, length)) = open_below(&root, &name)? else {
        return Ok(Found::Nothing);
    };
    let Some(file) = file else {
        return Ok(if is_directory { Found::Nothing } else { Found::Directory });
    };
    let mut opened =
        Opened { file, version: Version::new(modified, length, ""), packed: None, varies: false, name };
    for (ending, coding) in PACKED {
        let sibling = format!("{}.{ending}", opened.name);
        // One that is older than what it was made of is not what it says.
        let Ok(Some((Some(file), packed_at, length))) = open_below(&root, &sibling) else { continue };
        if packed_at < modified {
            continue;
        }
        opened.varies = true;
        if opened.packed.is_none() && accepted.takes(coding) {
            let version = Version::new(packed_at, length, &format!("-{ending}"));
            (opened.file, opened.version, opened.packed) = (file, version, Some(coding));
        }
    }
    Ok(Found::File(opened))
}

/// A file with its time and length, a directory without, or nothing that can be read as a file.
type Below = Option<(Option<File>, SystemTime, u64)>;

fn open_below(root: &OwnedFd, path: &str) -> io::Result<Below> {
    // A pipe is opened without waiting for its other end, and then is no file.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(opened) => opened,
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::NXIO
            | Errno::ACCESS
            | Errno::PERM,
        ) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = fstat(&opened)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let file = File::from(opened);
            let metadata = file.metadata()?;
            Ok(Some((Some(file), metadata.modified()?, metadata.len())))
        }
        FileType::Directory => Ok(Some((None, SystemTime::UNIX_EPOCH, 0))),
        _ => Ok(None),
    }
}
