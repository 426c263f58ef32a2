//! A directory of a test's own, with a path short enough for Unix sockets (108 bytes).

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Removed with everything in it when dropped; what is mounted below is unmounted first.
/// `JUCHU_TEST_KEEP=1` keeps it.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// A new directory `/tmp/jt…` (below `TMPDIR` where that is set and short).
    #[allow(clippy::new_without_default, reason = "making a directory is not a default value")]
    pub fn new() -> Self {
        let base = std::env::temp_dir();
        Self::below(if base.as_os_str().len() <= 20 { base } else { PathBuf::from("/tmp") })
    }

    /// One that every user of this machine can reach, wherever `TMPDIR` is.
    pub fn reachable() -> Self {
        let base = std::env::temp_dir();
        let all = |path: &Path| fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o005 == 0o005);
        let directory = Self::below(if base.ancestors().all(all) { base } else { PathBuf::from("/tmp") });
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&directory.path, mode).expect("the directory is ours");
        directory
    }

    fn below(base: PathBuf) -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        for _ in 0..1000 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("jt{:x}-{number:x}{:x}", std::process::id(), clock & 0xffff));
            match fs::create_dir(&path) {
                Ok(()) => return Self { path },
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => panic!("create {}: {error}", path.display()),
            }
        }
        panic!("no free name for a directory in {}", base.display());
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, making the directories above it, and returns its path.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        let parent = path.parent().expect("a path below a directory has a parent");
        fs::create_dir_all(parent).unwrap_or_else(|e| panic!("create {}: {e}", parent.display()));
        fs::write(&path, content).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        path
    }
}

impl Deref for TempDir {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for TempDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        unmount_below(&self.path);
        if std::env::var_os("JUCHU_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.path.display());
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("could not remove {}: {error}", self.path.display());
        }
    }
}

/// Everything mounted at or below `path`, last mount first.
fn unmount_below(path: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let below: Vec<_> = targets.filter(|target| target.starts_with(path)).collect();
    for target in below.iter().rev() {
        let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
        if let Err(error) = rustix::mount::unmount(target, flags) {
            eprintln!("could not unmount {}: {error}", target.display());
        }
    }
}

/// The kernel writes blanks and backslashes as octal numbers.
fn unescape(field: &str) -> PathBuf {
    let text =
        field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_short_and_goes_away() {
        let dir = TempDir::new();
        let other = TempDir::new();
        assert_ne!(dir.path(), other.path());
        assert!(dir.as_os_str().len() <= 40, "{dir:?}");
        let path = dir.path().to_owned();
        dir.write("a/b", "c");
        drop(dir);
        assert!(!path.exists() && other.is_dir());
    }

    #[test]
    fn what_is_mounted_below_is_unmounted() {
        if !crate::require_root("what_is_mounted_below_is_unmounted") {
            return;
        }
        let source = TempDir::new();
        let kept = source.write("kept", "x");
        let dir = TempDir::new();
        let target = dir.join("with blank");
        fs::create_dir(&target).unwrap();
        rustix::mount::mount_bind(source.path(), &target).unwrap();
        assert!(target.join("kept").exists());
        drop(dir);
        assert!(kept.exists(), "only the mount went away, not what was mounted");
        assert!(!target.exists());
    }
}
