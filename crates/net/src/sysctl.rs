//! Kernel settings below `/proc/sys/net`, of the network namespace the calling thread is in.

use crate::NetError;
use std::fs;
use std::io;
use std::path::PathBuf;

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(key)
}

/// The value as it stands; `None` when this kernel does not know the setting.
pub fn read(key: &str) -> Result<Option<String>, NetError> {
    match fs::read_to_string(path(key)) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetError::file("read", path(key))(error)),
    }
}

/// Sets a value unless it stands already, so that a read-only `/proc/sys` with the right values
/// is no obstacle. `key` uses slashes: an interface may have a dot in its name.
pub fn set(key: &str, value: &str) -> Result<(), NetError> {
    if read(key)?.as_deref() == Some(value) {
        return Ok(());
    }
    fs::write(path(key), value).map_err(NetError::file("write", path(key)))
}

/// As `set`, for settings that not every kernel has.
pub fn set_if_known(key: &str, value: &str) -> Result<(), NetError> {
    match read(key)? {
        Some(current) if current != value => {
            fs::write(path(key), value).map_err(NetError::file("write", path(key)))
        }
        _ => Ok(()),
    }
}
