//! The file tree of an instance: overlay, volumes, placed files. Made in a mount name
//! space of its own, so that nothing of it is left when the instance ends, however it ends.

mod copy;
mod driver;
mod overlay;
mod volume;

pub use overlay::mount_overlay;
pub use volume::{Source, prepare_source};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// Longest account file that is read.
const ACCOUNT_FILE_LIMIT: u64 = 4 << 20;

/// A file tree that nothing in it, links included, can lead out of.
pub struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Of a directory that is open already.
    pub fn of(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Opens what an absolute path means inside the tree.
    pub fn find(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?)
    }

    /// The content of a small file; empty when it is not there.
    pub fn read_to_string(&self, path: &str) -> io::Result<String> {
        let file = match self.find(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => File::from(fd),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                return Ok(String::new());
            }
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(ACCOUNT_FILE_LIMIT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes a directory and its parents, owned by `owner` where they are new.
    pub fn make_dirs(&self, path: &Path, owner: Option<(u32, u32)>) -> io::Result<OwnedFd> {
        let mut reached = PathBuf::from("/");
        let mut dir = self.find(&reached, OFlags::PATH | OFlags::DIRECTORY)?;
        for part in
            path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        {
            reached.push(part);
            dir = match self.find(&reached, OFlags::PATH | OFlags::DIRECTORY) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make_dir(&dir, part, &reached, owner)?
                }
                found => found?,
            };
        }
        Ok(dir)
    }

    fn make_dir(
        &self,
        parent: &OwnedFd,
        name: Component<'_>,
        reached: &Path,
        owner: Option<(u32, u32)>,
    ) -> io::Result<OwnedFd> {
        rustix::fs::mkdirat(parent, name.as_os_str(), Mode::from_raw_mode(0o755))?;
        if let Some((uid, gid)) = owner {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            rustix::fs::chownat(
                parent,
                name.as_os_str(),
                Some(uid),
                Some(gid),
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        self.find(reached, OFlags::PATH | OFlags::DIRECTORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_do_not_lead_out_of_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("out")).unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "inside").unwrap();
        let tree = Tree::open(dir.path()).unwrap();
        assert_eq!(tree.read_to_string("/out/etc/passwd").unwrap(), "inside");
        assert_eq!(tree.read_to_string("/etc/missing").unwrap(), "");
        tree.make_dirs(Path::new("/out/a/../b"), None).unwrap();
        assert!(dir.path().join("b").is_dir());
        assert!(!Path::new("/b").exists());
    }
}
