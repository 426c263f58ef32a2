//! Debian packages read straight into the tree of a layer. No maintainer script ever runs; what
//! only a person at a terminal would read stays out.

use crate::compress::decompress;
use crate::durable;
use crate::error::BuildError;
use crate::job::go_on;
use crate::pieces::{self, Index, PIECE_MIN, Piece};
use crate::spool::{Content, Spool};
use crate::tree::{Node, NodeKind, image_path};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tar::EntryType;

/// Unpacked size of one package.
pub const MAX_UNPACKED_BYTES: u64 = 8 << 30;
const MAX_ENTRIES: usize = 500_000;
const MAX_CONTROL_BYTES: u64 = 1 << 20;
/// Maintainer scripts and checksums stand there, too.
const MAX_CONTROL_TAR_BYTES: u64 = 64 << 20;
const MAX_MEMBERS: usize = 16;

/// Below these nothing is kept, except what [`is_kept`] names.
pub const LEFT_OUT: &[&str] = &[
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/groff",
    "usr/share/info",
    "usr/share/linda",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
];

/// Directories at the root that are links into `usr` in every merged system.
pub const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What a package brings.
#[derive(Debug)]
pub struct Package {
    pub entries: Vec<(String, Node)>,
    /// The text of its `control` file.
    pub control: String,
}

/// Compression of a package kept for the next time: it has to be quick, not small.
const QUICK_LEVEL: i32 = 1;

/// Where pieces lie in it; with their level.
const PIECES: &str = "pieces-9";
const MAX_INDEX_BYTES: u64 = 32 << 20;

/// Reads the verified package at `path`; contents go through a spool in `temporary`. Most packages
/// are packed by xz, which is slow to unpack: beside each lies a copy packed by zstd, with
/// checksums, made when it was first read. Large contents are frames of their own in it, which go
/// into layers as they are. A damaged copy is made anew.
pub fn read(path: &Path, temporary: &Path, cancel: &AtomicBool) -> Result<Package, BuildError> {
    let quick = path.with_extension("quick");
    if quick.is_file() {
        match read_one(&quick, temporary, cancel) {
            Err(BuildError::Cancelled) => return Err(BuildError::Cancelled),
            Ok(read) if read.has_index => {
                durable::touch(&quick);
                return Ok(read.package);
            }
            _ => drop(fs::remove_file(&quick)),
        }
    }
    let mut read = read_one(path, temporary, cancel)?;
    // Without the copy, the next time takes as long as this one.
    if let Ok((index, inode)) = keep_quick(&quick, &read) {
        let quick: Arc<Path> = quick.into();
        for (_, node) in &mut read.package.entries {
            if let NodeKind::File(Content::Spooled { offset, piece, .. }) = &mut node.kind {
                *piece = index.find(*offset, &quick, inode);
            }
        }
    }
    Ok(read.package)
}

/// Writes a package with these members, packed by zstd; the index of its pieces, and its inode.
fn keep_quick(quick: &Path, read: &ReadPackage) -> io::Result<(Index, u64)> {
    let temporary = durable::temporary_beside(quick);
    let write = || -> io::Result<(Index, u64)> {
        let control = &read.control_tar;
        let mut file = File::create(&temporary)?;
        file.write_all(b"!<arch>\n")?;
        file.write_all(&member_header("control.tar", control.len() as u64))?;
        file.write_all(control)?;
        file.write_all(&b"\n"[..control.len() % 2])?;
        let header = file.stream_position()?;
        file.write_all(&member_header("data.tar.zst", 0))?;
        let index = write_data(&mut file, read)?;
        let length = file.stream_position()? - header - 60;
        file.write_all(&b"\n"[..(length % 2) as usize])?;
        let text = index.to_text();
        file.write_all(&member_header(PIECES, text.len() as u64))?;
        file.write_all(text.as_bytes())?;
        file.seek(SeekFrom::Start(header))?;
        file.write_all(&member_header("data.tar.zst", length))?;
        file.sync_data()?;
        fs::rename(&temporary, quick)?;
        Ok((index, file.metadata()?.ino()))
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// The archive as frames: one for each large content, and those between them.
fn write_data(file: &mut File, read: &ReadPackage) -> io::Result<Index> {
    let large = read.package.entries.iter().filter_map(|(_, node)| match &node.kind {
        NodeKind::File(Content::Spooled { offset, len, .. }) if *len >= PIECE_MIN => Some((*offset, *len)),
        _ => None,
    });
    let mut large: Vec<(u64, u64)> = large.collect();
    large.sort_unstable();
    let mut data = read.data.try_clone()?;
    let mut at = 0;
    let mut index = Index::default();
    let between = |data: &mut File, file: &mut File, length: u64| -> io::Result<()> {
        let mut encoder = zstd::stream::write::Encoder::new(file, QUICK_LEVEL)?;
        encoder.include_checksum(true)?;
        io::copy(&mut data.take(length), &mut encoder)?;
        encoder.finish().map(drop)
    };
    for (offset, len) in large {
        data.seek(SeekFrom::Start(at))?;
        between(&mut data, file, offset - at)?;
        data.seek(SeekFrom::Start(offset))?;
        let begin = file.stream_position()?;
        pieces::pack(&mut data, len, &mut *file)?;
        index.add(offset, begin, file.stream_position()? - begin);
        at = offset + pieces::padded(len);
    }
    data.seek(SeekFrom::Start(at))?;
    between(&mut data, file, u64::MAX)?;
    Ok(index)
}

fn member_header(name: &str, length: u64) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n", 0, 0, 0, 100_644).into_bytes()
}

/// A package, and its members as they were unpacked.
struct ReadPackage {
    package: Package,
    control_tar: Vec<u8>,
    data: Arc<File>,
    /// It is a copy of ours that says where its pieces lie.
    has_index: bool,
}

fn read_one(path: &Path, temporary: &Path, cancel: &AtomicBool) -> Result<ReadPackage, BuildError> {
    let name = || path.display().to_string();
    let wrong = |error: io::Error| match error.raw_os_error() {
        Some(_) => BuildError::io(format!("unpack {}", path.display()))(error),
        None => BuildError::malformed(path.display().to_string(), error),
    };
    let mut file = File::open(path).map_err(BuildError::io(format!("read {}", path.display())))?;
    let members = members(&mut file).map_err(wrong)?;
    let member = |prefix: &str| {
        let found = members.iter().find(|m| m.name.starts_with(prefix));
        found.ok_or_else(|| BuildError::malformed(name(), format!("it has no member {prefix}")))
    };
    let (control, data) = (member("control.tar")?, member("data.tar")?);
    let mut control_tar = Vec::new();
    let opened = control.open(&mut file).map_err(wrong)?;
    opened.take(MAX_CONTROL_TAR_BYTES).read_to_end(&mut control_tar).map_err(wrong)?;
    let control = read_control(&control_tar[..]).map_err(wrong)?;
    let index = match members.iter().find(|member| member.name == PIECES) {
        Some(member) => Some(member.index(&mut file).map_err(wrong)?),
        None => None,
    };
    let inode = file.metadata().map_err(wrong)?.ino();
    let (quick, has_index): (Arc<Path>, bool) = (path.into(), index.is_some());
    let piece = |place: u64| index.as_ref()?.find(place, &quick, inode);
    let spool = Spool::new(temporary, MAX_UNPACKED_BYTES)?;
    let whole = spool.file();
    let data = data.open(&mut file).map_err(wrong)?;
    let entries = read_data(data, spool, &piece, cancel).map_err(|error| match error {
        DataError::Cancelled => BuildError::Cancelled,
        DataError::Io(error) => wrong(error),
        DataError::Entry(path, reason) => {
            BuildError::malformed(name(), format!("its entry `{path}` {reason}"))
        }
    })?;
    Ok(ReadPackage { package: Package { entries, control }, control_tar, data: whole, has_index })
}

struct Member {
    name: String,
    offset: u64,
    len: u64,
}

impl Member {
    fn open<'a>(&self, file: &'a mut File) -> io::Result<Box<dyn Read + 'a>> {
        file.seek(SeekFrom::Start(self.offset))?;
        decompress(file.take(self.len))
    }
    fn index(&self, file: &mut File) -> io::Result<Index> {
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = String::new();
        file.take(self.len.min(MAX_INDEX_BYTES)).read_to_string(&mut text)?;
        Index::parse(&text).ok_or_else(|| invalid("its list of pieces is damaged"))
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The members of an `ar` archive.
fn members(file: &mut File) -> io::Result<Vec<Member>> {
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(invalid("it is not a Debian package"));
    }
    let end = file.metadata()?.len();
    let mut members = Vec::new();
    let mut at = 8;
    while at < end && members.len() < MAX_MEMBERS {
        let mut header = [0; 60];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).unwrap_or("").trim();
        let len: u64 = text(48..58).parse().map_err(|_| invalid("a member has no size"))?;
        if &header[58..] != b"`\n" || at + 60 + len > end {
            return Err(invalid("a member is cut short"));
        }
        let name = text(0..16).trim_end_matches('/').to_owned();
        members.push(Member { name, offset: at + 60, len });
        at += 60 + len + len % 2;
    }
    Ok(members)
}

fn read_control(reader: impl Read) -> io::Result<String> {
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let entry = entry?;
        if matches!(&*entry.path_bytes(), b"./control" | b"control") {
            let mut text = String::new();
            entry.take(MAX_CONTROL_BYTES).read_to_string(&mut text)?;
            return Ok(text);
        }
    }
    Err(invalid("it has no control file"))
}

enum DataError {
    Cancelled,
    Io(io::Error),
    Entry(String, &'static str),
}

impl From<io::Error> for DataError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes to the spool what is read through it.
struct Tee<'a, R> {
    reader: R,
    spool: &'a mut Spool,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.spool.write_all(&buffer[..n])?;
        Ok(n)
    }
}

fn read_data(
    reader: impl Read,
    mut spool: Spool,
    piece: &dyn Fn(u64) -> Option<Piece>,
    cancel: &AtomicBool,
) -> Result<Vec<(String, Node)>, DataError> {
    let file = spool.file();
    let mut archive = tar::Archive::new(Tee { reader, spool: &mut spool });
    let mut entries = Vec::new();
    for entry in archive.entries()? {
        go_on(cancel).map_err(|_| DataError::Cancelled)?;
        let mut entry = entry?;
        if entries.len() == MAX_ENTRIES {
            return Err(DataError::Entry(String::new(), "is one too many"));
        }
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| {
                DataError::Entry(String::from_utf8_lossy(bytes).into_owned(), "has a name that is not UTF-8")
            })
        };
        let shown = text(&entry.path_bytes())?;
        let path = image_path(&shown).map_err(|reason| DataError::Entry(shown.clone(), reason))?;
        let link = entry.link_name_bytes().map(|bytes| text(&bytes)).transpose()?;
        let (offset, len) = (entry.raw_file_position(), entry.size());
        let content = Content::Spooled { file: file.clone(), offset, len, piece: piece(offset) };
        let kind = match (entry.header().entry_type(), link) {
            (EntryType::Directory, _) => NodeKind::Directory,
            (EntryType::Regular | EntryType::Continuous, _) => NodeKind::File(content),
            (EntryType::Symlink, Some(target)) => NodeKind::Symlink(target),
            (EntryType::Link, Some(target)) => {
                let target =
                    image_path(&target).map_err(|reason| DataError::Entry(target.clone(), reason))?;
                NodeKind::Hardlink(merged(&target))
            }
            _ => return Err(DataError::Entry(shown, "is neither a file nor a directory nor a link")),
        };
        let header = entry.header();
        let node = Node {
            kind,
            mode: header.mode()? & 0o7777,
            uid: owner(header.uid()?)
                .ok_or_else(|| DataError::Entry(shown.clone(), "has no usable owner"))?,
            gid: owner(header.gid()?)
                .ok_or_else(|| DataError::Entry(shown.clone(), "has no usable group"))?,
        };
        io::copy(&mut entry, &mut io::sink())?;
        let is_merging_link = MERGED.contains(&path.as_str()) && matches!(node.kind, NodeKind::Symlink(_));
        let path = merged(&path);
        if !path.is_empty() && !is_merging_link && is_kept(&path, &node) {
            entries.push((path, node));
        }
    }
    // A checksum at the end of the stream is checked only by reading to there.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    spool.flush()?;
    Ok(entries)
}

fn owner(id: u64) -> Option<u32> {
    u32::try_from(id).ok().filter(|id| *id != u32::MAX)
}

/// Where a path lies in a system whose `/bin`, `/sbin` and `/lib*` are links into `/usr`.
pub fn merged(path: &str) -> String {
    // The base has links there, which a package's directory must not replace.
    for (link, place) in [("var/run/", "run/"), ("var/lock/", "run/lock/")] {
        if let Some(rest) = path.strip_prefix(link) {
            return format!("{place}{rest}");
        }
    }
    let first = path.split('/').next().unwrap_or_default();
    match MERGED.contains(&first) {
        true => format!("usr/{path}"),
        false => path.to_owned(),
    }
}

/// Copyright notices stay, and links from one package's documentation to another's that lead to
/// them; so does the list of locale aliases, which the C library reads.
fn is_kept(path: &str, node: &Node) -> bool {
    let below =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !LEFT_OUT.iter().any(|root| below(root)) {
        return true;
    }
    let notice = path.starts_with("usr/share/doc/") && path.ends_with("/copyright");
    let doc_link = path.starts_with("usr/share/doc/") && matches!(node.kind, NodeKind::Symlink(_));
    let doc_link = doc_link && path.matches('/').count() == 3;
    notice || doc_link || path == "usr/share/locale/locale.alias"
}
