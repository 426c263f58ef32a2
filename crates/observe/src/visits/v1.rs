//! How it is kept between two starts: JSON, version 1. Fields are added, never renamed.

use super::day::Day;
use super::tally::{Salt, Visits};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

pub const VERSION: u32 = 1;

/// Up to where the access log was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub inode: u64,
    pub offset: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the count of visits cannot be read")]
    Malformed(#[source] serde_json::Error),
    #[error("the count of visits is of version {0}, which this program does not know")]
    Version(u32),
}

#[derive(Deserialize)]
struct Kept {
    version: u32,
    #[serde(default)]
    cursor: Option<Cursor>,
    salt: Salt,
    today: Day,
    past: VecDeque<Day>,
}

#[derive(Serialize)]
struct Keeping<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<Cursor>,
    salt: &'a Salt,
    today: &'a Day,
    past: &'a VecDeque<Day>,
}

pub fn write(visits: &Visits, cursor: Option<Cursor>) -> Vec<u8> {
    let (salt, today, past) = visits.parts();
    let keeping = Keeping { version: VERSION, cursor, salt, today, past };
    serde_json::to_vec(&keeping).expect("numbers and texts with text keys")
}

pub fn read(bytes: &[u8], random: fn() -> Salt) -> Result<(Visits, Option<Cursor>), ReadError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(bytes).map_err(ReadError::Malformed)?;
    if version != VERSION {
        return Err(ReadError::Version(version));
    }
    let kept: Kept = serde_json::from_slice(bytes).map_err(ReadError::Malformed)?;
    debug_assert_eq!(kept.version, VERSION);
    Ok((Visits::of(kept.salt, kept.today, kept.past, random), kept.cursor))
}
