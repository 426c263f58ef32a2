//! The inputs of a project in another place, so that a build there can be compared with the build
//! here. What the build leaves out is left out, too.

use super::settings::kind_patterns;
use super::tree::{Tree, TreeKind};
use crate::BuildError;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

/// What must not matter to a build.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// User and group of every file.
    pub owner: u32,
    /// Taken away from every mode.
    pub umask: u32,
    /// Seconds since 1970.
    pub modified: i64,
}

/// Copies the inputs of the project at `root` to the new directory `target`. Answers whether they
/// are all there is: a Rust project may read crates beside it, which only its own place has.
pub fn copy_inputs(root: &Path, target: &Path, attributes: &Attributes) -> Result<bool, BuildError> {
    let tree = Tree::read(root, kind_patterns(root))?;
    if tree.has("Cargo.toml") && !super::rust::outside_inputs(&tree.root)?.is_empty() {
        return Ok(false);
    }
    let failed = |path: &Path| BuildError::io(format!("copy to {}", path.display()));
    make_directory(target, attributes)?;
    // Patterns that take files back have to be there again.
    let ignore = tree.root.join(".dockerignore");
    if ignore.is_file() {
        copy_file(&ignore, &target.join(".dockerignore"), false, attributes)?;
    }
    for file in &tree.files {
        let to = target.join(&file.path);
        let parents: Vec<_> = to.ancestors().skip(1).take_while(|parent| !parent.exists()).collect();
        parents.into_iter().rev().try_for_each(|parent| make_directory(parent, attributes))?;
        match &file.kind {
            TreeKind::Link(link) => symlink(link, &to).map_err(failed(&to))?,
            TreeKind::File { executable, .. } => {
                copy_file(&tree.root.join(&file.path), &to, *executable, attributes)?;
            }
        }
    }
    Ok(true)
}

fn make_directory(path: &Path, attributes: &Attributes) -> Result<(), BuildError> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o777 & !attributes.umask)))
        .and_then(|()| give(path, attributes))
        .map_err(BuildError::io(format!("create {}", path.display())))
}

fn copy_file(from: &Path, to: &Path, executable: bool, attributes: &Attributes) -> Result<(), BuildError> {
    let mode = if executable { 0o777 } else { 0o666 } & !attributes.umask;
    let at = Timespec { tv_sec: attributes.modified, tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    fs::copy(from, to)
        .and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(mode)))
        .and_then(|()| give(to, attributes))
        .and_then(|()| Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?))
        .map_err(BuildError::io(format!("copy {} to {}", from.display(), to.display())))
}

/// Only root can give files away; without it they stay this user's, and the owner is not compared.
fn give(path: &Path, attributes: &Attributes) -> io::Result<()> {
    match chown(path, Some(attributes.owner), Some(attributes.owner)) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => Ok(()),
        given => given,
    }
}
