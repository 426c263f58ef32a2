//! How much of the disk builds may keep for later ones.

use crate::home::Home;
use build::caches::{Amount, Caches};
use model::{Bytes, Report};
use std::env;
use std::path::Path;

/// Takes the place of what follows from the disk.
pub const VARIABLE: &str = "JUCHU_CACHE_MAX";
const MOST: Bytes = Bytes::mib(10 << 10);
const LEAST: Bytes = Bytes::mib(1 << 10);
/// Of the whole disk.
const SHARE: u64 = 10;

/// The bound: what the variable says, else 10 GiB, on small disks a tenth of them.
pub fn most(home: &Path) -> Result<Bytes, Report> {
    match env::var(VARIABLE).ok().filter(|text| !text.is_empty()) {
        Some(text) => Bytes::parse(&text).map_err(|error| {
            Report::usage(format!("{VARIABLE}: {error}")).hint(format!("a size, such as `{VARIABLE}=20g`"))
        }),
        None => Ok(of_disk(disk(home))),
    }
}

fn of_disk(disk: Option<u64>) -> Bytes {
    disk.map_or(MOST, |disk| Bytes(disk / SHARE).clamp(LEAST, MOST))
}

fn disk(home: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(home).ok()?;
    Some(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// What builds below `home` keep.
pub fn held(home: &Home) -> Amount {
    Caches::new(&home.join("cache"), &home.join("images")).held()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_keeps_less() {
        let gib = |count: u64| count << 30;
        assert_eq!(of_disk(Some(gib(1000))), MOST);
        assert_eq!(of_disk(Some(gib(40))), Bytes(gib(4)));
        assert_eq!(of_disk(Some(gib(2))), LEAST);
        assert_eq!(of_disk(None), MOST);
    }
}
