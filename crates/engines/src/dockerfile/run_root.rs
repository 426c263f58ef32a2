//! Where a tool keeps what is of this boot only. podman takes no path of more than 50 characters, so
//! a home with a long name needs another place, which goes away with the build.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest path that podman takes.
const LONGEST: usize = 50;
/// What the others are called, with the number of the process behind it.
const SHORT: &str = "/run/juchu-build-";

pub struct RunRoot {
    path: PathBuf,
    is_elsewhere: bool,
}

impl RunRoot {
    /// In the scratch directory if its path is short enough.
    pub fn new(scratch: &Path) -> io::Result<Self> {
        let inside = scratch.join("run");
        let is_elsewhere = inside.as_os_str().len() > LONGEST;
        if is_elsewhere {
            forget_ended();
        }
        let path = if is_elsewhere { format!("{SHORT}{}", std::process::id()).into() } else { inside };
        // Nobody else's: a directory that is there already belongs to a process of another time.
        if is_elsewhere && path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self { path, is_elsewhere })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunRoot {
    fn drop(&mut self) {
        if self.is_elsewhere {
            // What is left is found by the next build.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what builds left that were killed.
fn forget_ended() {
    let Ok(entries) = fs::read_dir("/run") else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(process) = path.to_str().and_then(|path| path.strip_prefix(SHORT)) else { continue };
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_replaced_by_a_short_one_that_goes_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let near = RunRoot::new(directory.path()).expect("it can be made");
        assert_eq!(near.path(), directory.path().join("run"));
        let far = directory.path().join("a-home-with-a-name/that-is-rather/long");
        // A container of tests may have no /run that can be written to.
        let Ok(root) = RunRoot::new(&far) else { return };
        let path = root.path().to_owned();
        assert!(path.is_dir() && path.as_os_str().len() <= LONGEST, "{}", path.display());
        drop(root);
        assert!(!path.exists());
    }
}
