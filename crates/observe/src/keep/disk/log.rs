//! The file of the write-ahead log: appended to at each tick, made durable once a second.

use super::files::{KeepError, sync_directory};
use crate::keep::v1::log;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const ENDING: &str = "wal";

#[derive(Debug)]
pub struct Log {
    pub number: u64,
    path: PathBuf,
    file: Arc<File>,
    /// Up to here everything was written as it should be.
    bytes: u64,
    is_dirty: bool,
}

pub fn file_name(number: u64) -> String {
    format!("{number:012}.{ENDING}")
}

pub fn parse_name(file: &str) -> Option<u64> {
    file.strip_suffix(ENDING)?.strip_suffix('.')?.parse().ok()
}

impl Log {
    pub fn create(directory: &Path, number: u64) -> Result<Self, KeepError> {
        let path = directory.join(file_name(number));
        let make = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
            file.write_all(&log::header(number))?;
            sync_directory(directory)?;
            Ok(file)
        };
        let file = make().map_err(|source| {
            // An empty log would say nothing; what cannot be removed is overwritten by the next try.
            let _ = std::fs::remove_file(&path);
            KeepError::Write { path: path.clone(), source }
        })?;
        Ok(Self { number, path, file: Arc::new(file), bytes: log::HEADER_BYTES as u64, is_dirty: true })
    }

    /// Appends all or nothing.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), KeepError> {
        use std::os::unix::fs::FileExt;
        if let Err(source) = self.file.write_all_at(bytes, self.bytes) {
            // What was written of it is behind the end that counts, and overwritten by the next.
            let _ = self.file.set_len(self.bytes);
            return Err(KeepError::Write { path: self.path.clone(), source });
        }
        self.bytes += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    /// What has to be made durable, if anything; done by the caller without holding anything up.
    pub fn take_dirty(&mut self) -> Option<Arc<File>> {
        std::mem::take(&mut self.is_dirty).then(|| self.file.clone())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
