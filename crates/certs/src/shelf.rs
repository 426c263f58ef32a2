//! The directory that the gateway reads. Files appear whole, readable by this user alone.

use crate::CertError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of any file that is read here.
pub const MAX_BYTES: u64 = 256 * 1024;

#[derive(Debug, Clone)]
pub struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.pem"))
    }

    pub fn put(&self, name: &str, pem: &[u8]) -> Result<(), CertError> {
        write(&self.path(name), pem)
    }

    /// Chain and key, if it is there.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        read(&self.path(name)).ok()
    }

    pub fn remove(&self, name: &str) -> Result<(), CertError> {
        remove(&self.path(name))
    }

    /// Names of what is there.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let ours = paths.filter(|path| path.extension().is_some_and(|ending| ending == "pem"));
        ours.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    }

    /// What HTTP-01 is answered, and what TLS-ALPN-01 is shown.
    pub fn token(&self, token: &str) -> Result<PathBuf, CertError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match !token.is_empty() && token.len() <= 200 && token.bytes().all(is_name) {
            true => Ok(self.directory.join("challenges").join(format!("{token}.txt"))),
            false => Err(CertError::BadToken),
        }
    }

    pub fn proof(&self, host: &str) -> PathBuf {
        self.directory.join("challenges").join(format!("{host}.pem"))
    }
}

pub fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content));
    read.map_err(CertError::file(path))?;
    match content.len() as u64 > MAX_BYTES {
        true => Err(CertError::TooLarge { path: path.to_owned(), limit: MAX_BYTES }),
        false => Ok(content),
    }
}

/// Replaces the file at once; after a power cut either the old or the new one is there.
pub fn write(path: &Path, content: &[u8]) -> Result<(), CertError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let written = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        remove_if_there(&temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    written().map_err(CertError::file(path))
}

pub fn remove(path: &Path) -> Result<(), CertError> {
    remove_if_there(path).map_err(CertError::file(path))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_whole_and_for_this_user_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shelf = Shelf::new(directory.path().join("certificates"));
        assert_eq!(shelf.names(), [] as [String; 0]);
        for content in [b"one", b"two"] {
            shelf.put("shop.web", content).expect("it is writable");
            assert_eq!(shelf.get("shop.web").as_deref(), Some(&content[..]));
        }
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&shelf.path("shop.web")), 0o600);
        assert_eq!(mode(&directory.path().join("certificates")), 0o700);
        assert_eq!(shelf.names(), ["shop.web"]);
        shelf.remove("shop.web").expect("it is there");
        shelf.remove("shop.web").expect("it is gone already");
    }

    #[test]
    fn a_token_is_a_file_name_and_nothing_else() {
        let shelf = Shelf::new("/x");
        assert_eq!(shelf.token("aB-_9").expect("valid"), Path::new("/x/challenges/aB-_9.txt"));
        for bad in ["", "../a", "a/b", "a.b", "a\0", &"a".repeat(201)] {
            assert!(shelf.token(bad).is_err(), "{bad}");
        }
    }
}
