//! A directory in memory for one run; it goes away with it.

use crate::Failure;
use std::fs;
use std::path::{Path, PathBuf};

pub struct Room {
    path: PathBuf,
}

impl Room {
    pub fn new(name: &str) -> Result<Self, Failure> {
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = above.join(format!("juchu-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // It is memory of this machine, and nobody else knows it.
        let _ = fs::remove_dir_all(&self.path);
    }
}
