//! Files that are whole or not there, also after a power cut.

use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Writes beside `path`, synchronises, renames over it, synchronises the directory.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, true)
}

/// As [`write`], but only whole, not durable: for what a reboot makes worthless.
pub fn write_volatile(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, false)
}

pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write(path, &serde_json::to_vec(value)?)
}

/// `None` when the file is not there.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a directory and its parents that only root can enter.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a tree; its absence is fine.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn replace(path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
    let parent = path.parent().expect("records lie in a directory");
    let mut name = path.file_name().expect("records have a name").to_owned();
    name.push(".new");
    let beside = parent.join(name);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&beside, path)?;
    if sync { sync_dir(parent) } else { Ok(()) }
}
