//! A file of the kernel that is held open and read from its beginning again and again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The most that is read of one file; the rest is left out.
const BYTES_MAX: usize = 1 << 20;
/// What a buffer begins with.
const BYTES_FIRST: usize = 4 << 10;

#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Held {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, buffer: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says now; none when it is not there, which is asked again the next time.
    pub fn read(&mut self) -> Option<&str> {
        if self.file.is_none() {
            self.file = Some(File::open(&self.path).ok()?);
        }
        let length = match fill(self.file.as_ref()?, &mut self.buffer) {
            Ok(length) => length,
            Err(_) => {
                self.file = None;
                return None;
            }
        };
        let bytes = &self.buffer[..length];
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        }
    }
}

fn fill(file: &File, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut length = 0;
    loop {
        if length == buffer.len() {
            if length >= BYTES_MAX {
                return Ok(length);
            }
            buffer.resize((length * 2).max(BYTES_FIRST), 0);
        }
        match file.read_at(&mut buffer[length..], length as u64)? {
            0 => return Ok(length),
            read => length += read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_and_found_again() {
        let directory = testkit::TempDir::new();
        let path = directory.path().join("figures");
        let mut held = Held::new(&path);
        assert_eq!(held.read(), None);
        std::fs::write(&path, "1").unwrap();
        assert_eq!(held.read(), Some("1"));
        std::fs::write(&path, "2".repeat(10_000)).unwrap();
        assert_eq!(held.read().map(str::len), Some(10_000));
        let mut stat = Held::new("/proc/stat");
        assert!(stat.read().unwrap().starts_with("cpu "));
        assert!(stat.read().unwrap().starts_with("cpu "));
    }
}
