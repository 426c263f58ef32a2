//! The signed `Release` file of a suite: how old it is, and the digests of its indexes.

use jiff::fmt::rfc2822;
use std::collections::HashMap;

/// More index lines than this are refused.
const MAX_INDEXES: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub suite: String,
    pub codename: String,
    /// Seconds since 1970.
    pub date: u64,
    pub valid_until: Option<u64>,
    pub by_hash: bool,
    /// SHA-256 in hexadecimal and size, by path within the suite.
    pub indexes: HashMap<String, (String, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error("the field `{0}` is missing or malformed")]
    Field(&'static str),
    #[error("it lists too many indexes")]
    TooMany,
}

impl Release {
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let mut release = Self {
            suite: String::new(),
            codename: String::new(),
            date: 0,
            valid_until: None,
            by_hash: false,
            indexes: HashMap::new(),
        };
        let mut in_digests = false;
        for line in text.lines() {
            if let Some(entry) = line.strip_prefix(' ') {
                if in_digests {
                    release.add_index(entry)?;
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.trim();
            in_digests = name == "SHA256";
            match name {
                "Suite" => release.suite = value.to_owned(),
                "Codename" => release.codename = value.to_owned(),
                "Date" => release.date = seconds(value).ok_or(ReleaseError::Field("Date"))?,
                "Valid-Until" => {
                    release.valid_until = Some(seconds(value).ok_or(ReleaseError::Field("Valid-Until"))?);
                }
                "Acquire-By-Hash" => release.by_hash = value == "yes",
                _ => {}
            }
        }
        if release.date == 0 {
            return Err(ReleaseError::Field("Date"));
        }
        if release.indexes.is_empty() {
            return Err(ReleaseError::Field("SHA256"));
        }
        Ok(release)
    }

    fn add_index(&mut self, entry: &str) -> Result<(), ReleaseError> {
        if self.indexes.len() == MAX_INDEXES {
            return Err(ReleaseError::TooMany);
        }
        let mut words = entry.split_ascii_whitespace();
        let (Some(digest), Some(size), Some(path)) = (words.next(), words.next(), words.next()) else {
            return Err(ReleaseError::Field("SHA256"));
        };
        let size = size.parse().map_err(|_| ReleaseError::Field("SHA256"))?;
        if !super::is_sha256(digest) {
            return Err(ReleaseError::Field("SHA256"));
        }
        self.indexes.insert(path.to_owned(), (digest.to_owned(), size));
        Ok(())
    }
}

/// `Sat, 12 Sep 2026 07:55:41 UTC`.
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim_end_matches("UTC").trim_end();
    let text = format!("{} +0000", text.strip_suffix("+0000").unwrap_or(text).trim_end());
    let zoned = rfc2822::parse(&text).ok()?;
    u64::try_from(zoned.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Suite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n\
        Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n x 1 main/a\nSHA256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 7 main/binary-amd64/Packages.xz\n";

    #[test]
    fn a_release_is_read() {
        let release = Release::parse(TEXT).unwrap();
        assert_eq!((release.date, release.valid_until), (1_789_199_741, Some(1_789_804_541)));
        assert_eq!(release.indexes.len(), 1);
        assert_eq!(release.indexes["main/binary-amd64/Packages.xz"].1, 7);
        assert!(release.by_hash);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (from, to, field) in [
            ("Date: Sat", "Date: Someday", "Date"),
            ("Valid-Until: Sat,", "Valid-Until: soon,", "Valid-Until"),
            ("e3b0", "../x", "SHA256"),
            (" 7 main", " many main", "SHA256"),
            ("SHA256:", "SHA512:", "SHA256"),
        ] {
            assert_eq!(Release::parse(&TEXT.replace(from, to)), Err(ReleaseError::Field(field)), "{to}");
        }
    }
}
