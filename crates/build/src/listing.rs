//! What is in an image, entry by entry, read from the layers themselves: nothing is unpacked.

use crate::compress::decompress;
use crate::document::{Descriptor, Manifest};
use crate::error::BuildError;
use crate::job::go_on;
use crate::layout::Layout;
use crate::tree::image_path;
use model::Digest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::AtomicBool;
use tar::EntryType;

/// More entries than this in one layer are not listed.
const MAX_ENTRIES: usize = 2_000_000;
/// More bytes than this out of one layer are not read.
const MAX_LAYER_BYTES: u64 = 64 << 30;
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const BUFFER: usize = 128 << 10;

/// One path of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub kind: ListedKind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds since 1970.
    pub modified: u64,
    /// Which layer it comes from, counted from 1.
    pub layer: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ListedKind {
    File {
        size: u64,
        digest: Digest,
    },
    Directory,
    Symlink {
        target: String,
    },
    Hardlink {
        target: String,
    },
    /// A device, a pipe or what else a tar may hold.
    Other {
        flag: char,
    },
}

pub type Listing = BTreeMap<String, Listed>;

/// The files of the whole image: upper layers hide lower ones.
pub fn list(layout: &Layout, manifest: &Manifest, cancel: &AtomicBool) -> Result<Listing, BuildError> {
    let mut whole = Listing::new();
    for (position, layer) in manifest.layers.iter().enumerate() {
        let entries = list_layer(layout, layer, position + 1, cancel)?;
        lay_over(&mut whole, entries);
    }
    Ok(whole)
}

fn lay_over(whole: &mut Listing, upper: Vec<(String, Listed)>) {
    for (path, entry) in upper {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let hidden =
            |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
        if name == OPAQUE {
            let layer = entry.layer;
            remove_below(whole, parent, |listed| listed.layer < layer);
        } else if let Some(name) = name.strip_prefix(WHITEOUT) {
            let path = hidden(name);
            remove_below(whole, &path, |_| true);
            whole.remove(&path);
        } else {
            if !matches!(entry.kind, ListedKind::Directory) {
                remove_below(whole, &path, |_| true);
            }
            whole.insert(path, entry);
        }
    }
}

fn remove_below(whole: &mut Listing, directory: &str, wanted: impl Fn(&Listed) -> bool) {
    let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let below = whole.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    let gone: Vec<String> = below.filter(|(_, l)| wanted(l)).map(|(path, _)| path.clone()).collect();
    gone.iter().for_each(|path| {
        whole.remove(path);
    });
}

/// The entries of one layer in their order.
fn list_layer(
    layout: &Layout,
    layer: &Descriptor,
    number: usize,
    cancel: &AtomicBool,
) -> Result<Vec<(String, Listed)>, BuildError> {
    let path = layout.blob_path(&layer.digest);
    let what = || format!("the layer {}", layer.digest);
    let broken = |error: std::io::Error| BuildError::malformed(what(), error);
    let stream =
        File::open(&path).and_then(decompress).map_err(BuildError::io(format!("read {}", path.display())))?;
    let mut archive = tar::Archive::new(stream.take(MAX_LAYER_BYTES));
    let mut listed = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        go_on(cancel)?;
        let mut entry = entry.map_err(broken)?;
        let raw = entry.path_bytes().into_owned();
        let text = String::from_utf8_lossy(&raw).into_owned();
        let path = image_path(&text).map_err(|reason| BuildError::malformed(what(), reason))?;
        let kind = kind_of(&mut entry, cancel).map_err(broken)?;
        if path.is_empty() {
            continue;
        }
        if listed.len() == MAX_ENTRIES {
            return Err(BuildError::malformed(what(), format!("it has more than {MAX_ENTRIES} entries")));
        }
        let header = entry.header();
        let entry = Listed {
            kind,
            mode: header.mode().map_err(broken)? & 0o7777,
            uid: header.uid().map_err(broken)?,
            gid: header.gid().map_err(broken)?,
            modified: header.mtime().map_err(broken)?,
            layer: number,
        };
        listed.push((path, entry));
    }
    Ok(listed)
}

fn kind_of<R: Read>(entry: &mut tar::Entry<'_, R>, cancel: &AtomicBool) -> std::io::Result<ListedKind> {
    let link = |entry: &tar::Entry<'_, R>| {
        let target = entry.link_name_bytes().unwrap_or_default();
        String::from_utf8_lossy(&target).into_owned()
    };
    Ok(match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; BUFFER];
            let mut size = 0;
            loop {
                go_on(cancel).map_err(std::io::Error::other)?;
                match entry.read(&mut buffer)? {
                    0 => break,
                    n => {
                        hasher.update(&buffer[..n]);
                        size += n as u64;
                    }
                }
            }
            ListedKind::File { size, digest: Digest::from_raw(hasher.finalize().into()) }
        }
        EntryType::Directory => ListedKind::Directory,
        EntryType::Symlink => ListedKind::Symlink { target: link(entry) },
        EntryType::Link => ListedKind::Hardlink { target: link(entry) },
        other => ListedKind::Other { flag: char::from(other.as_byte()) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(layer: usize, kind: ListedKind) -> Listed {
        Listed { kind, mode: 0o644, uid: 0, gid: 0, modified: 0, layer }
    }

    fn check(layers: &[&[&str]], expect: &str) {
        let mut whole = Listing::new();
        for (position, layer) in layers.iter().enumerate() {
            let entry = |path: &&str| match path.strip_suffix('/') {
                Some(directory) => (directory.to_owned(), listed(position + 1, ListedKind::Directory)),
                None => {
                    let kind = ListedKind::File { size: 0, digest: Digest::of(b"") };
                    ((*path).to_owned(), listed(position + 1, kind))
                }
            };
            lay_over(&mut whole, layer.iter().map(entry).collect());
        }
        let text: Vec<_> = whole.iter().map(|(path, l)| format!("{path}@{}", l.layer)).collect();
        assert_eq!(text.join(" "), expect);
    }

    #[test]
    fn upper_layers_hide_lower_ones() {
        check(&[&["a/", "a/x", "b"], &["a/x"]], "a@1 a/x@2 b@1");
        check(&[&["a/", "a/x", "ab"], &["a/", "a/.wh.x"]], "a@2 ab@1");
        check(&[&["a/", "a/x", "ab"], &[".wh.a"]], "ab@1");
        check(&[&["a/", "a/x", "ab"], &["a/", "a/y", "a/.wh..wh..opq"]], "a@2 a/y@2 ab@1");
        check(&[&["a/", "a/x"], &["a"]], "a@2");
    }
}
