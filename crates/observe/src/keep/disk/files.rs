//! Files that are there whole or not at all, and what can go wrong with them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the directory {} cannot be used", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("the file {} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the file {} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the file {} cannot be removed", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("the directory {} is in use by another process", path.display())]
    InUse { path: PathBuf },
}

/// Files that are not finished end in this.
pub const UNFINISHED: &str = "unfinished";

/// Writes a file, makes it durable and only then gives it its name. What fails leaves nothing.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), KeepError> {
    let unfinished = path.with_extension(UNFINISHED);
    let work = || -> io::Result<()> {
        let mut writer = io::BufWriter::with_capacity(1 << 16, File::create(&unfinished)?);
        write(&mut writer)?;
        writer.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_directory(path.parent().expect("a file of the store is in its directory"))
    };
    work().map_err(|source| {
        // What is left is removed at the next start, too.
        let _ = fs::remove_file(&unfinished);
        KeepError::Write { path: path.into(), source }
    })
}

/// Makes names that were given or taken durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

pub fn remove(path: &Path) -> Result<(), KeepError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(KeepError::Remove { path: path.into(), source })
        }
        _ => Ok(()),
    }
}
