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

/// Highest number of a group that the kernel takes for `ping_group_range`.
const GROUP_MAX: u64 = 2_147_483_647;

/// All groups there are, as `ping_group_range` wants them: in a user name space those that are mapped.
pub fn all_groups(between: char) -> String {
    let map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    format!("0{between}{}", last_group(&map))
}

/// The last group of the run without gaps that begins with group 0.
fn last_group(map: &str) -> u64 {
    let mut lines: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
        })
        .collect();
    lines.sort_unstable();
    let end = lines.iter().fold(0, |end, (first, count)| if *first == end { end + count } else { end });
    end.saturating_sub(1).min(GROUP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_end_where_the_map_ends() {
        assert_eq!(last_group("         0          0 4294967295\n"), GROUP_MAX);
        assert_eq!(last_group("  0 1000 1\n  1 100000 65536\n"), 65_536);
        assert_eq!(last_group("  0 1000 1\n  5 100000 65536\n"), 0, "beyond a gap nothing is asked for");
        assert_eq!(last_group(""), 0);
    }
}
