//! What builds keep for later ones: downloads, what tools of languages made, packages of Debian. It
//! has a bound, within which it is brought before a build begins: what was used longest ago goes.

use crate::BuildError;
use crate::durable;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where commands work; it holds nothing that is kept.
const UNFINISHED: &str = "scratch";
/// More directories below each other are not looked at.
const DEPTH_MAX: usize = 128;

/// The two places of one home.
#[derive(Debug, Clone)]
pub struct Caches {
    /// `AREA/ENTRY`, see `kinds`.
    languages: PathBuf,
    /// One file for each package of the archive.
    packages: PathBuf,
}

/// What is kept, or what went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub bytes: u64,
    pub entries: usize,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.entries += 1;
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    used: SystemTime,
    path: PathBuf,
    bytes: u64,
}

impl Caches {
    /// Those of the languages, and those of the image store at `images`.
    pub fn new(languages: &Path, images: &Path) -> Self {
        Self { languages: languages.to_owned(), packages: images.join("archive/packages") }
    }

    /// What is kept at this moment; what vanishes meanwhile counts for nothing.
    pub fn held(&self) -> Amount {
        let mut held = Amount::default();
        self.entries().iter().for_each(|entry| held.add(entry.bytes));
        held
    }

    /// The part of it that is packages of Debian, which is quickly found out.
    pub fn packages_held(&self) -> u64 {
        allocated(&self.packages)
    }

    /// Removes what was used longest ago until at most `most` bytes are kept; answers what went. No
    /// build may go on meanwhile.
    pub fn keep_within(&self, most: u64) -> Result<Amount, BuildError> {
        let mut entries = self.entries();
        entries.sort();
        let mut kept: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let mut gone = Amount::default();
        for entry in entries {
            if kept <= most {
                break;
            }
            self.remove(&entry.path)?;
            kept -= entry.bytes;
            gone.add(entry.bytes);
        }
        Ok(gone)
    }

    fn entries(&self) -> Vec<Entry> {
        let areas = children(&self.languages).into_iter().filter(|area| !area.ends_with(UNFINISHED));
        let all = areas.flat_map(|area| children(&area)).chain(children(&self.packages));
        all.filter_map(Entry::of).collect()
    }

    /// Out of sight first, so that half an entry is never taken for a whole one.
    fn remove(&self, path: &Path) -> Result<(), BuildError> {
        let failed = || BuildError::io(format!("remove {}", path.display()));
        if !path.is_dir() {
            return fs::remove_file(path).map_err(failed());
        }
        let aside = self.languages.join(UNFINISHED).join("old");
        durable::create_directories(&self.languages.join(UNFINISHED))?;
        let aside = durable::temporary_beside(&aside);
        fs::rename(path, &aside).and_then(|()| fs::remove_dir_all(&aside)).map_err(failed())
    }
}

impl Entry {
    /// Used is what one of its parts was used: some are marked themselves, some by what is in them.
    fn of(path: PathBuf) -> Option<Self> {
        let used = |path: &Path| fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
        let newest = children(&path).iter().filter_map(|path| used(path)).max();
        let own = used(&path)?;
        Some(Self { used: newest.map_or(own, |newest| newest.max(own)), bytes: allocated(&path), path })
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// What is allocated below a path, links not followed; what vanishes meanwhile counts for nothing.
pub fn allocated(path: &Path) -> u64 {
    size(path, 0)
}

fn size(path: &Path, depth: usize) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let own = meta.blocks() * 512;
    if !meta.is_dir() || depth >= DEPTH_MAX {
        return own;
    }
    own + children(path).iter().map(|path| size(path, depth + 1)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use testkit::TempDir;

    const ENTRY: usize = 64 << 10;

    struct Home(TempDir);

    impl Home {
        /// An entry that was used so many days ago.
        fn entry(&self, path: &str, days: u64) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![1; ENTRY]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
            let area = path.ancestors().take_while(|at| !at.ends_with("cache") && !at.ends_with("packages"));
            area.for_each(|at| fs::File::open(at).unwrap().set_modified(used).unwrap());
        }

        fn caches(&self) -> Caches {
            Caches::new(&self.0.path().join("cache"), &self.0.path().join("images"))
        }

        fn has(&self, path: &str) -> bool {
            self.0.path().join(path).exists()
        }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_no_more_than_has_to() {
        let home = Home(TempDir::new());
        home.entry("cache/wheels/aa/a.whl", 4);
        home.entry("images/archive/packages/b.deb", 3);
        home.entry("cache/cargo-builds/c/target", 2);
        home.entry("cache/programs/d", 1);
        home.entry("cache/scratch/run/out", 9);
        let caches = home.caches();
        let all = caches.held();
        assert_eq!(all.entries, 4);
        assert_eq!(caches.keep_within(all.bytes).unwrap(), Amount::default());
        let gone = caches.keep_within(all.bytes - 2 * ENTRY as u64).unwrap();
        assert_eq!(gone.entries, 2);
        assert!(!home.has("cache/wheels/aa") && !home.has("images/archive/packages/b.deb"));
        assert!(home.has("cache/cargo-builds/c/target") && home.has("cache/programs/d"));
        assert!(home.has("cache/scratch/run/out"), "what a command works on is no entry");
        assert_eq!(caches.held().bytes, all.bytes - gone.bytes);
        assert_eq!(caches.keep_within(0).unwrap().entries, 2);
        assert_eq!(caches.held(), Amount::default());
    }

    #[test]
    fn an_entry_is_as_young_as_what_is_in_it() {
        let home = Home(TempDir::new());
        home.entry("cache/wheels/aa/a.whl", 9);
        home.entry("cache/wheels/bb/b.whl", 5);
        durable::touch(&home.0.path().join("cache/wheels/aa/a.whl"));
        let caches = home.caches();
        caches.keep_within(caches.held().bytes - 1).unwrap();
        assert!(home.has("cache/wheels/aa/a.whl") && !home.has("cache/wheels/bb"));
    }
}
