//! Files that are there whole or not at all, also after a power cut.

use crate::error::BuildError;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A name beside `target` that nobody else uses.
pub fn temporary_beside(target: &Path) -> PathBuf {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".tmp-{}-{number}-{name}", std::process::id()))
}

/// Writes `bytes` durably in place of whatever `target` was.
pub fn write(target: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let temporary = temporary_beside(target);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&temporary, target)).and_then(|()| sync_directory(target));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done.map_err(BuildError::io(format!("write {}", target.display())))
}

/// Makes a finished, synced temporary file `target`.
pub fn publish(temporary: &Path, target: &Path) -> Result<(), BuildError> {
    fs::rename(temporary, target)
        .and_then(|()| sync_directory(target))
        .map_err(BuildError::io(format!("write {}", target.display())))
}

/// Makes what came into a directory, or went from it, last.
pub fn sync(directory: &Path) -> Result<(), BuildError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(BuildError::io(format!("sync {}", directory.display())))
}

fn sync_directory(target: &Path) -> std::io::Result<()> {
    File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()
}

pub fn create_directories(path: &Path) -> Result<(), BuildError> {
    fs::create_dir_all(path).map_err(BuildError::io(format!("create {}", path.display())))
}

/// A directory that nobody else looks into.
pub fn private_directory(path: &Path) -> Result<(), BuildError> {
    create_directories(path)?;
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(path, private).map_err(BuildError::io(format!("protect {}", path.display())))
}

/// Marks a cached file as used, so that it is not taken for forgotten. Once a day is enough.
pub fn touch(path: &Path) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let Ok(file) = File::open(path) else { return };
    let modified = file.metadata().and_then(|m| m.modified());
    if modified.is_ok_and(|at| now.duration_since(at).unwrap_or_default() > DAY) {
        let _ = file.set_modified(now);
    }
}
