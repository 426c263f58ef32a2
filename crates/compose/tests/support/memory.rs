//! A file tree in memory.

use compose::Files;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

#[derive(Default, Clone)]
pub struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Memory {
    pub fn add(&mut self, path: impl AsRef<Path>, content: &[u8]) {
        self.files.insert(clean(path.as_ref()), content.to_owned());
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.is_dir(path) {
            true => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            false => self.files.get(&clean(path)).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }
    fn is_dir(&self, path: &Path) -> bool {
        let path = clean(path);
        self.files.keys().any(|file| file.starts_with(&path) && *file != path)
    }
    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(&clean(path)) || self.is_dir(path)
    }
}

/// Without `.` and `..`, as the kernel would walk it where nothing is a symbolic link.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(cleaned.pop()),
            other => cleaned.push(other),
        }
    }
    cleaned
}
