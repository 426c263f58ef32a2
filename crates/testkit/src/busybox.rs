//! A static busybox as the program of test containers: one file, no libraries. Taken from the
//! Debian package `busybox-static`, unpacked beside the build's other products and kept there.

use crate::TempDir;
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Path of the program. Panics, with what to do, when it can be neither found nor fetched.
pub fn busybox_static() -> PathBuf {
    let cache = cache_directory();
    let path = cache.join("busybox");
    fs::create_dir_all(&cache).unwrap_or_else(|e| panic!("create {}: {e}", cache.display()));
    // Test programs run side by side: one fetches, the others wait.
    let lock = File::create(cache.join("busybox.lock")).expect("the cache directory can be written");
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).expect("a file can be locked");
    if !works(&path) {
        fetch(&path).unwrap_or_else(|reason| {
            panic!("no static busybox: {reason}; `apt-get install busybox-static` gives one")
        });
    }
    path
}

/// `target/testkit`, wherever `target` is.
fn cache_directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = if target.is_absolute() { target } else { workspace.join(target) };
    fs::create_dir_all(&target).unwrap_or_else(|e| panic!("create {}: {e}", target.display()));
    target.canonicalize().expect("it was just made").join("testkit")
}

fn works(path: &Path) -> bool {
    Command::new(path).arg("true").status().is_ok_and(|status| status.success())
}

/// Whether an ELF program needs no loader: it has no `PT_INTERP` segment.
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = fs::read(path) else { return false };
    let word = |at: usize, len: usize| -> Option<usize> {
        let field = bytes.get(at..at + len)?;
        field.iter().rev().try_fold(0usize, |sum, byte| Some(sum << 8 | usize::from(*byte)))
    };
    let segments = || Some((word(32, 8)?, word(54, 2)?, word(56, 2)?));
    const PT_INTERP: usize = 3;
    bytes.starts_with(b"\x7fELF\x02\x01")
        && segments().is_some_and(|(start, size, count)| {
            (0..count).all(|index| word(start + index * size, 4) != Some(PT_INTERP))
        })
}

fn fetch(path: &Path) -> Result<(), String> {
    if let Some(installed) = crate::needs::find("busybox").filter(|found| is_static(found)) {
        return install(&installed, path);
    }
    let dir = TempDir::new();
    // `apt-get` hands the download to its own user, who must be able to write here.
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(dir.path(), open).map_err(|error| error.to_string())?;
    let download =
        || run(Command::new("apt-get").args(["-q", "download", "busybox-static"]).current_dir(&*dir));
    if download().is_err() {
        run(Command::new("apt-get").args(["-q", "update"]))?;
        download()?;
    }
    let package = fs::read_dir(&*dir)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("apt-get left no package")?;
    let root = dir.join("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root))?;
    // Before and after Debian moved everything below /usr.
    let unpacked = ["bin/busybox", "usr/bin/busybox"].map(|name| root.join(name));
    let unpacked = unpacked.iter().find(|file| file.is_file()).ok_or("the package has no busybox")?;
    install(unpacked, path)
}

fn install(from: &Path, to: &Path) -> Result<(), String> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).map_err(|error| format!("copy {}: {error}", from.display()))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
    fs::rename(&fresh, to).map_err(|error| error.to_string())?;
    if works(to) && is_static(to) { Ok(()) } else { Err("what was fetched does not run".to_owned()) }
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busybox_is_there_and_needs_no_libraries() {
        let path = busybox_static();
        assert!(path.is_absolute() && is_static(&path));
        let said = Command::new(&path).args(["echo", "hello"]).output().unwrap();
        assert_eq!(said.stdout, b"hello\n");
        assert!(!is_static(Path::new("/proc/self/exe")) || cfg!(target_feature = "crt-static"));
    }
}
