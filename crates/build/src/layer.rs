//! A tree as the bytes of a layer: the same tree gives the same bytes on every machine. Sorted
//! paths, one time for all, numbers for owners, PAX records only where a path needs them.

use crate::error::BuildError;
use crate::job::go_on;
use crate::pieces::{self, PIECE_MIN};
use crate::spool::{COPY_BUFFER, copy};
use crate::tree::{Node, NodeKind, Tree};
use model::Digest;
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tar::{EntryType, Header};

pub const MEDIA_TYPE_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const MEDIA_TYPE_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD_LEVEL: i32 = 3;
/// The bytes are the same for every number from one on; without any they are others.
const ZSTD_THREADS: u32 = 2;
const BLOCK: u64 = 512;

/// What a written layer is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Of the uncompressed tar.
    pub diff_id: Digest,
    /// Of the file.
    pub blob: Digest,
    /// Of the file, in bytes.
    pub size: u64,
}

/// Counts and hashes what passes.
pub struct Hashing<W> {
    inner: W,
    context: Context,
    size: u64,
}

impl<W> Hashing<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, context: Context::new(&SHA256), size: 0 }
    }
    pub fn finish(self) -> (W, Digest, u64) {
        let raw = self.context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
        (self.inner, Digest::from_raw(raw), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.context.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: io::Read> io::Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.context.update(&buffer[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

/// How a layer is packed; the content of the archive differs in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One stream, in the order of paths.
    Whole,
    /// Large contents behind everything else, each packed by itself, then the links to them.
    InPieces,
}

/// Writes `tree` to a new file at `path` and syncs it; `mtime` in seconds since 1970.
pub fn write(
    tree: &Tree,
    form: Form,
    mtime: u64,
    path: &Path,
    cancel: &AtomicBool,
) -> Result<Written, BuildError> {
    let failed = || BuildError::io(format!("write the layer {}", path.display()));
    let file = File::create(path).map_err(failed())?;
    let blob = Hashing::new(BufWriter::with_capacity(256 << 10, file));
    let mut packing = Packing { blob: Some(blob), tar: Context::new(&SHA256), mtime, cancel };
    let place = |node: &Node| match form {
        Form::Whole => Place::Together,
        Form::InPieces => place_of(tree, node),
    };
    let of = |wanted: Place| tree.iter().filter(move |(_, node)| place(node) == wanted);
    packing.together(&mut of(Place::Together), form == Form::Whole)?;
    if form == Form::InPieces {
        for (path, node) in of(Place::Apart) {
            go_on(cancel)?;
            packing.apart(path, node).map_err(of_entry(path))?;
        }
        packing.together(&mut of(Place::Last), true)?;
    }
    let diff_id = digest(packing.tar);
    let (buffered, blob, size) = packing.blob.expect("it is given back by every step").finish();
    let file = buffered.into_inner().map_err(|e| failed()(e.into_error()))?;
    file.sync_data().map_err(failed())?;
    Ok(Written { diff_id, blob, size })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Together,
    Apart,
    /// Links must come after what they lead to.
    Last,
}

fn place_of(tree: &Tree, node: &Node) -> Place {
    let is_large = |node: &Node| matches!(&node.kind, NodeKind::File(content) if content.len() >= PIECE_MIN);
    match &node.kind {
        NodeKind::File(_) if is_large(node) => Place::Apart,
        NodeKind::Hardlink(target) if tree.get(target).is_some_and(is_large) => Place::Last,
        _ => Place::Together,
    }
}

fn of_entry(path: &str) -> impl FnOnce(io::Error) -> BuildError {
    BuildError::io(format!("write /{path} into a layer"))
}

fn digest(context: Context) -> Digest {
    Digest::from_raw(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// A layer on its way to disk: the digest of the archive, and its packed form.
struct Packing<'a> {
    /// Absent only while a stream is being packed into it.
    blob: Option<Hashing<BufWriter<File>>>,
    tar: Context,
    mtime: u64,
    cancel: &'a AtomicBool,
}

/// What is written goes into the digest, too.
struct Archived<'a, W> {
    tar: &'a mut Context,
    out: W,
}

impl<W: Write> Write for Archived<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.tar.update(&bytes[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Packing<'_> {
    /// One stream of entries, by several threads; `ends` closes the archive.
    fn together<'t>(
        &mut self,
        entries: &mut dyn Iterator<Item = (&'t str, &'t Node)>,
        ends: bool,
    ) -> Result<(), BuildError> {
        let failed = || BuildError::io("write a layer");
        let blob = self.blob.take().expect("it is given back by every step");
        let mut encoder = zstd::stream::write::Encoder::new(blob, ZSTD_LEVEL).map_err(failed())?;
        encoder.multithread(ZSTD_THREADS).map_err(failed())?;
        let mut out = Archived { tar: &mut self.tar, out: encoder };
        let mut buffer = vec![0; COPY_BUFFER];
        for (path, node) in entries {
            go_on(self.cancel)?;
            entry(&mut out, path, node, self.mtime, &mut buffer).map_err(of_entry(path))?;
        }
        if ends {
            out.write_all(&[0; 2 * BLOCK as usize]).map_err(failed())?;
        }
        self.blob = Some(out.out.finish().map_err(failed())?);
        Ok(())
    }

    /// One file: its header, and its content as it lies packed in the cache or is packed now.
    fn apart(&mut self, path: &str, node: &Node) -> io::Result<()> {
        let NodeKind::File(content) = &node.kind else { return Ok(()) };
        let blob = self.blob.as_mut().expect("it is given back by every step");
        let mut head = Vec::new();
        header(&mut head, path, node, self.mtime)?;
        self.tar.update(&head);
        let mut encoder = zstd::stream::write::Encoder::new(&mut *blob, ZSTD_LEVEL)?;
        encoder.write_all(&head)?;
        encoder.finish()?;
        let mut sink = Archived { tar: &mut self.tar, out: io::sink() };
        let copied = copy(&mut content.reader(), &mut sink, &mut vec![0; COPY_BUFFER])?;
        if copied != content.len() {
            return Err(ended_early());
        }
        pad(&mut sink, copied)?;
        match content.piece() {
            Some(piece) if piece.copy(blob)? => Ok(()),
            _ => pieces::pack(&mut content.reader(), content.len(), blob),
        }
    }
}

fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "its content ended early")
}

fn entry(out: &mut impl Write, path: &str, node: &Node, mtime: u64, buffer: &mut [u8]) -> io::Result<()> {
    header(out, path, node, mtime)?;
    if let NodeKind::File(content) = &node.kind {
        let copied = copy(&mut content.reader(), out, buffer)?;
        if copied != content.len() {
            return Err(ended_early());
        }
        pad(out, copied)?;
    }
    Ok(())
}

/// Everything of an entry before its content.
fn header(out: &mut impl Write, path: &str, node: &Node, mtime: u64) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(node.mode);
    header.set_uid(node.uid.into());
    header.set_gid(node.gid.into());
    header.set_mtime(mtime);
    header.set_size(0);
    let mut records = Vec::new();
    let (kind, link) = match &node.kind {
        NodeKind::File(content) => {
            header.set_size(content.len());
            if content.len() > 0o7_7777_7777 {
                record(&mut records, "size", content.len().to_string().as_bytes());
            }
            (EntryType::Regular, None)
        }
        NodeKind::Directory => (EntryType::Directory, None),
        NodeKind::Symlink(target) => (EntryType::Symlink, Some(target)),
        NodeKind::Hardlink(target) => (EntryType::Link, Some(target)),
    };
    header.set_entry_type(kind);
    // The octal fields end at 2 MiB worth of ids.
    for (name, id) in [("uid", node.uid), ("gid", node.gid)] {
        if id > 0o777_7777 {
            record(&mut records, name, id.to_string().as_bytes());
        }
    }
    let written = if node.is_directory() { format!("{path}/") } else { path.to_owned() };
    if !written.is_ascii() || header.set_path(&written).is_err() {
        record(&mut records, "path", written.as_bytes());
        set_raw(&mut header.as_old_mut().name, &written);
    }
    if let Some(target) = link {
        // `set_link_name` tidies paths; what a package says is kept as it is.
        if !target.is_ascii() || target.len() > 100 {
            record(&mut records, "linkpath", target.as_bytes());
        }
        set_raw(&mut header.as_old_mut().linkname, target);
    }
    if !records.is_empty() {
        extended_header(out, &records)?;
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// As much of a name as an old reader will see.
fn set_raw(field: &mut [u8; 100], text: &str) {
    *field = [0; 100];
    let plain: Vec<u8> = text.bytes().map(|b| if b.is_ascii() { b } else { b'_' }).take(100).collect();
    field[..plain.len()].copy_from_slice(&plain);
}

fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let rest = (BLOCK - size % BLOCK) % BLOCK;
    out.write_all(&[0; BLOCK as usize][..rest as usize])
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn extended_header(out: &mut impl Write, records: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    set_raw(&mut header.as_old_mut().name, "PaxHeaders/0");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(records)?;
    pad(out, records.len() as u64)
}
