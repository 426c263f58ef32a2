//! A tree as the bytes of a layer: the same tree gives the same bytes on every machine. Sorted
//! paths, one time for all, numbers for owners, PAX records only where a path needs them.

use crate::error::BuildError;
use crate::job::go_on;
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

/// Writes `tree` to a new file at `path` and syncs it; `mtime` in seconds since 1970.
pub fn write(tree: &Tree, mtime: u64, path: &Path, cancel: &AtomicBool) -> Result<Written, BuildError> {
    let failed = || BuildError::io(format!("write the layer {}", path.display()));
    let file = File::create(path).map_err(failed())?;
    let out = Hashing::new(BufWriter::with_capacity(256 << 10, file));
    let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL).map_err(failed())?;
    encoder.multithread(ZSTD_THREADS).map_err(failed())?;
    let (encoder, diff_id, _) = tar(tree, mtime, Hashing::new(encoder), cancel)?.finish();
    let (buffered, blob, size) = encoder.finish().map_err(failed())?.finish();
    let file = buffered.into_inner().map_err(|e| failed()(e.into_error()))?;
    file.sync_data().map_err(failed())?;
    Ok(Written { diff_id, blob, size })
}

fn tar<W: Write>(tree: &Tree, mtime: u64, mut out: W, cancel: &AtomicBool) -> Result<W, BuildError> {
    let mut buffer = vec![0; COPY_BUFFER];
    for (path, node) in tree.iter() {
        go_on(cancel)?;
        entry(&mut out, path, node, mtime, &mut buffer)
            .map_err(BuildError::io(format!("write /{path} into a layer")))?;
    }
    out.write_all(&[0; 2 * BLOCK as usize]).map_err(BuildError::io("write a layer"))?;
    Ok(out)
}

fn entry(out: &mut impl Write, path: &str, node: &Node, mtime: u64, buffer: &mut [u8]) -> io::Result<()> {
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
    out.write_all(header.as_bytes())?;
    if let NodeKind::File(content) = &node.kind {
        let copied = copy(&mut content.reader(), out, buffer)?;
        if copied != content.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its content ended early"));
        }
        pad(out, copied)?;
    }
    Ok(())
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
