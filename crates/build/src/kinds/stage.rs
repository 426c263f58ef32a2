//! A copy of a project's files that build commands may write to. It is kept from build to build, and
//! a file whose content is the same keeps its time, by which compilers tell what changed.

use super::tree::{Tree, TreeKind};
use crate::BuildError;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const COMPARED_AT_ONCE: u64 = 64 << 10;

/// What is to lie where, by path below the copy.
#[derive(Debug, Default)]
pub struct Stage {
    files: BTreeMap<PathBuf, Content>,
}

#[derive(Debug)]
enum Content {
    Of { file: PathBuf, executable: bool },
    Link(String),
}

impl Stage {
    pub fn add_tree(&mut self, tree: &Tree, below: &Path) {
        for file in &tree.files {
            let content = match &file.kind {
                TreeKind::Link(target) => Content::Link(target.clone()),
                TreeKind::File { executable, .. } => {
                    Content::Of { file: tree.root.join(&file.path), executable: *executable }
                }
            };
            self.files.insert(below.join(&file.path), content);
        }
    }

    pub fn add_file(&mut self, file: &Path, at: PathBuf) {
        self.files.insert(at, Content::Of { file: file.to_owned(), executable: false });
    }

    /// The file that is to lie at `path`.
    pub fn file(&self, path: &Path) -> Option<PathBuf> {
        match self.files.get(path)? {
            Content::Of { file, .. } => Some(file.clone()),
            Content::Link(_) => None,
        }
    }

    /// All files of that name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Path> {
        let named = self.files.iter().filter(move |(path, _)| path.file_name().is_some_and(|n| n == name));
        named.filter_map(|(_, content)| match content {
            Content::Of { file, .. } => Some(file.as_path()),
            Content::Link(_) => None,
        })
    }

    /// Makes `root` hold these files and nothing else. What build commands left there is not
    /// trusted: nothing is written through a link.
    pub fn bring(&self, root: &Path) -> Result<(), BuildError> {
        self.try_bring(root).map_err(BuildError::io(format!("copy the project to {}", root.display())))
    }

    fn try_bring(&self, root: &Path) -> io::Result<()> {
        fs::create_dir_all(root)?;
        let directories: BTreeSet<&Path> =
            self.files.keys().flat_map(|path| path.ancestors().skip(1)).collect();
        self.clear(root, Path::new(""), &directories)?;
        for directory in directories {
            fs::create_dir_all(root.join(directory))?;
        }
        for (path, content) in &self.files {
            content.bring(&root.join(path))?;
        }
        Ok(())
    }

    /// Removes what does not belong there, or is of another kind.
    fn clear(&self, root: &Path, below: &Path, directories: &BTreeSet<&Path>) -> io::Result<()> {
        for entry in fs::read_dir(root.join(below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() && directories.contains(path.as_path()) {
                self.clear(root, &path, directories)?;
            } else if kind.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if !(kind.is_file() && self.files.contains_key(&path)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Content {
    /// What is at `target` is a regular file, or nothing.
    fn bring(&self, target: &Path) -> io::Result<()> {
        let (file, mode) = match self {
            Self::Link(to) => {
                return match fs::remove_file(target) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => symlink(to, target),
                };
            }
            Self::Of { file, executable } => (file, if *executable { 0o755 } else { 0o644 }),
        };
        if target.is_file() && same(file, target)? {
            return fs::set_permissions(target, Permissions::from_mode(mode));
        }
        if target.is_file() {
            fs::remove_file(target)?;
        }
        let mut source = File::open(file)?;
        let mut copy = File::options().write(true).create_new(true).mode(mode).open(target)?;
        io::copy(&mut source, &mut copy)?;
        copy.set_permissions(Permissions::from_mode(mode))
    }
}

fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        (&a).take(COMPARED_AT_ONCE).read_to_end(&mut left)?;
        (&b).take(COMPARED_AT_ONCE).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

/// A file that build commands left: none of their links is followed, so that nothing of this
/// machine gets into an image.
pub fn made_by_command(directory: &Path, path: &Path) -> io::Result<PathBuf> {
    let directory = directory.canonicalize()?;
    let file = directory.join(path);
    let is_there = file.canonicalize()? == file && fs::symlink_metadata(&file)?.is_file();
    match is_there {
        true => Ok(file),
        false => Err(io::Error::other("it is a link")),
    }
}

/// Writes `bytes` to a new file in place of whatever is there.
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        fs::remove_file(path)?;
    }
    File::options().write(true).create_new(true).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};
    use testkit::TempDir;

    fn stage(project: &Path) -> Stage {
        let mut stage = Stage::default();
        stage.add_tree(&Tree::read(project, &[]).expect("a tree"), Path::new("app"));
        stage
    }

    #[test]
    fn what_is_the_same_keeps_its_time_and_what_is_not_gets_a_new_one() {
        let directory = TempDir::new();
        let (project, copy) = (directory.path().join("project"), directory.path().join("copy"));
        fs::create_dir_all(project.join("src")).unwrap();
        for name in ["src/same", "src/other", "gone"] {
            fs::write(project.join(name), "one").unwrap();
        }
        stage(&project).bring(&copy).expect("copied");
        let old = SystemTime::now() - Duration::from_secs(1000);
        let time = |name: &str| fs::metadata(copy.join("app").join(name)).unwrap().modified().unwrap();
        for name in ["src/same", "src/other"] {
            File::open(copy.join("app").join(name)).unwrap().set_modified(old).unwrap();
        }
        // As a checkout of an older commit leaves it.
        fs::write(project.join("src/other"), "two").unwrap();
        File::open(project.join("src/other")).unwrap().set_modified(old - Duration::from_secs(1)).unwrap();
        fs::remove_file(project.join("gone")).unwrap();
        stage(&project).bring(&copy).expect("copied");
        assert!(time("src/same") == old && time("src/other") > old);
        assert_eq!(fs::read_to_string(copy.join("app/src/other")).unwrap(), "two");
        assert!(!copy.join("app/gone").exists());
    }

    #[test]
    fn links_that_a_command_left_lead_nowhere() {
        let directory = TempDir::new();
        let (project, copy) = (directory.path().join("project"), directory.path().join("copy"));
        let outside = directory.path().join("outside");
        for path in [&project.join("src"), &copy.join("app"), &outside] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(project.join("src/a"), "mine").unwrap();
        fs::write(project.join("b"), "mine").unwrap();
        fs::write(outside.join("a"), "theirs").unwrap();
        symlink(&outside, copy.join("app/src")).unwrap();
        symlink(outside.join("a"), copy.join("app/b")).unwrap();
        stage(&project).bring(&copy).expect("copied");
        assert_eq!(fs::read_to_string(outside.join("a")).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(copy.join("app/src/a")).unwrap(), "mine");
        assert!(made_by_command(&copy, Path::new("app/b")).is_ok());
        symlink(outside.join("a"), copy.join("app/link")).unwrap();
        symlink(&outside, copy.join("app/dir")).unwrap();
        for path in ["app/link", "app/dir/a", "../outside/a", "app/none"] {
            assert!(made_by_command(&copy, Path::new(path)).is_err(), "{path}");
        }
        put(&copy.join("app/link"), b"new").expect("written");
        assert_eq!(fs::read_to_string(outside.join("a")).unwrap(), "theirs");
    }
}
