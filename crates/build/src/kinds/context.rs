//! The digest of a context as a Dockerfile sees it: everything that `.dockerignore` leaves, links as
//! they are. Other than for a native build, nothing is left out by itself.

use super::ignore::Ignore;
use super::tree::{BYTE_LIMIT, DEPTH_LIMIT, FILE_LIMIT, file_digest, frame, read_text_if_there};
use crate::BuildError;
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Something of a context that a builder is shown: a directory, a file or a link.
pub struct Visited<'a> {
    /// Relative, `/` between parts.
    pub path: &'a str,
    pub real: &'a Path,
    pub meta: &'a Metadata,
}

/// Equal digests mean equal content, modes and links.
pub fn context_digest(root: &Path, ignore_file: Option<&Path>) -> Result<Digest, BuildError> {
    let mut hasher = Sha256::new();
    visit_context(root, ignore_file, &mut |visited| hash(&mut hasher, visited))?;
    Ok(Digest::from_raw(hasher.finalize().into()))
}

fn hash(hasher: &mut Sha256, visited: &Visited<'_>) -> Result<(), BuildError> {
    let Visited { path, real, meta } = visited;
    frame(hasher, path.as_bytes());
    if meta.is_dir() {
        return Ok(());
    }
    hasher.update((meta.permissions().mode() & 0o7777).to_le_bytes());
    if meta.is_symlink() {
        let target =
            fs::read_link(real).map_err(BuildError::io(format!("read the link {}", real.display())))?;
        hasher.update([1]);
        frame(hasher, target.as_os_str().as_bytes());
    } else {
        hasher.update([0]);
        frame(hasher, file_digest(real)?.as_str().as_bytes());
    }
    Ok(())
}

/// Calls `each` for everything that is not ignored, in one order on every machine, directories
/// before what is in them.
pub fn visit_context(
    root: &Path,
    ignore_file: Option<&Path>,
    each: &mut dyn FnMut(&Visited<'_>) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    if !root.is_dir() {
        return Err(BuildError::input_hint(
            format!("the build context {} is not a directory", root.display()),
            "check `build:` in the Compose file; it is relative to the file's directory",
        ));
    }
    let text = ignore_file.map(read_text_if_there).transpose()?.flatten().unwrap_or_default();
    let patterns = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let ignore = Ignore::of(patterns)
        .map_err(|reason| BuildError::input(format!("{}/.dockerignore: {reason}", root.display())))?;
    Walk { root, ignore, each, files: 0, bytes: 0 }.directory(root, "", 0)
}

struct Walk<'a> {
    root: &'a Path,
    ignore: Ignore,
    each: &'a mut dyn FnMut(&Visited<'_>) -> Result<(), BuildError>,
    files: usize,
    bytes: u64,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, prefix: &str, depth: usize) -> Result<(), BuildError> {
        if depth > DEPTH_LIMIT {
            return Err(self.too_much(&format!("is nested deeper than {DEPTH_LIMIT} directories")));
        }
        let failed = || BuildError::io(format!("read the directory {}", directory.display()));
        let mut entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        if let Ok(entries) = &mut entries {
            entries.sort_by_key(fs::DirEntry::file_name);
        }
        for entry in entries.map_err(failed())? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let meta = fs::symlink_metadata(entry.path()).map_err(failed())?;
            self.entry(&entry.path(), &path, &meta, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, real: &Path, path: &str, meta: &Metadata, depth: usize) -> Result<(), BuildError> {
        if meta.is_dir() {
            if !self.ignore.prunes(path) {
                (self.each)(&Visited { path, real, meta })?;
                self.directory(real, path, depth + 1)?;
            }
            return Ok(());
        }
        let kind = meta.file_type();
        let is_no_content =
            kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device();
        if is_no_content || self.ignore.leaves_out(path) {
            return Ok(());
        }
        self.files += 1;
        self.bytes = self.bytes.saturating_add(meta.len());
        if self.files > FILE_LIMIT {
            return Err(self.too_much(&format!("holds more than {FILE_LIMIT} files")));
        }
        if self.bytes > BYTE_LIMIT {
            return Err(self.too_much(&format!("holds more than {} GiB", BYTE_LIMIT >> 30)));
        }
        (self.each)(&Visited { path, real, meta })
    }

    fn too_much(&self, what: &str) -> BuildError {
        BuildError::input_hint(
            format!("the build context {} {what}", self.root.display()),
            "leave out what the program does not need with .dockerignore",
        )
    }
}
