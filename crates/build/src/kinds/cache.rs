//! The build cache: downloads by digest, their unpacked trees, and resolved lists. Everything in it
//! is there whole or not at all, and can be deleted at any time.

use super::settings::Context;
use crate::{BuildError, durable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};

pub struct Cache<'a> {
    root: &'a Path,
}

impl<'a> Cache<'a> {
    pub fn of(ctx: &Context<'a>) -> Self {
        Self { root: ctx.cache }
    }

    /// `root/area/name`, with its directory made; what is there counts as used.
    pub fn place(&self, area: &str, name: &str) -> Result<PathBuf, BuildError> {
        let directory = self.root.join(area);
        durable::create_directories(&directory)?;
        let path = directory.join(name);
        durable::touch(&path);
        Ok(path)
    }

    /// A list written earlier; one that cannot be read counts as absent.
    pub fn read<T: DeserializeOwned>(&self, area: &str, name: &str) -> Option<T> {
        let path = self.root.join(area).join(name);
        durable::touch(&path);
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Keeps a list; answers where.
    pub fn write<T: Serialize>(&self, area: &str, name: &str, value: &T) -> Result<PathBuf, BuildError> {
        let path = self.place(area, name)?;
        let mut text = serde_json::to_vec_pretty(value).expect("lists of the cache are plain data");
        text.push(b'\n');
        durable::write(&path, &text)?;
        Ok(path)
    }

    /// The directory `area/name`, filled by `fill` when it is not there yet.
    pub fn directory(
        &self,
        area: &str,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), BuildError>,
    ) -> Result<PathBuf, BuildError> {
        let target = self.place(area, name)?;
        if target.is_dir() {
            return Ok(target);
        }
        let scratch = Scratch::new(durable::temporary_beside(&target))?;
        fill(&scratch.path)?;
        match fs::rename(&scratch.path, &target) {
            Ok(()) => Ok(target),
            Err(_) if target.is_dir() => Ok(target), // somebody else was quicker
            Err(error) => Err(BuildError::io(format!("write {}", target.display()))(error)),
        }
    }

    /// An empty directory that is removed when dropped.
    pub fn scratch(&self) -> Result<Scratch, BuildError> {
        Scratch::new(durable::temporary_beside(&self.place("scratch", "run")?))
    }
}

pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, BuildError> {
        durable::create_directories(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove; a leftover is only disk space.
        let _ = fs::remove_dir_all(&self.path);
    }
}
