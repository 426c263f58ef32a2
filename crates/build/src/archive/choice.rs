//! Which archive packages come from.

use model::image::ArchiveSpec;
use std::path::PathBuf;

/// Which archive packages come from; pure data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveChoice {
    /// Base URL (`http://`, `https://` or `file://`), no slash at the end.
    pub mirror: String,
    /// Base URL of the security archive; `None` when there is none for this mirror.
    pub security: Option<String>,
    /// `trixie` unless declared.
    pub suite: String,
    /// An OpenPGP keyring trusted beside the built-in keys of Debian.
    pub keyring: Option<PathBuf>,
}

pub const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
pub const DEFAULT_SECURITY: &str = "http://deb.debian.org/debian-security";
pub const DEFAULT_SUITE: &str = "trixie";

impl Default for ArchiveChoice {
    fn default() -> Self {
        Self::from_spec(None)
    }
}

impl ArchiveChoice {
    /// Fills what is not declared. A mirror of one's own has no security archive unless stated.
    pub fn from_spec(spec: Option<&ArchiveSpec>) -> Self {
        let none = ArchiveSpec::default();
        let spec = spec.unwrap_or(&none);
        let tidy = |url: &String| url.trim_end_matches('/').to_owned();
        let security = match (&spec.security, &spec.mirror) {
            (Some(url), _) => Some(tidy(url)),
            (None, None) => Some(DEFAULT_SECURITY.to_owned()),
            (None, Some(_)) => None,
        };
        Self {
            mirror: spec.mirror.as_ref().map_or_else(|| DEFAULT_MIRROR.to_owned(), tidy),
            security,
            suite: spec.suite.clone().unwrap_or_else(|| DEFAULT_SUITE.to_owned()),
            keyring: None,
        }
    }
}

/// Suites that have neither updates nor security archive of their own.
const ROLLING: [&str; 4] = ["sid", "unstable", "testing", "experimental"];

/// One suite of an archive to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SuiteAddress {
    pub base: String,
    pub suite: String,
    /// Whether the archive may be without it.
    pub optional: bool,
}

impl SuiteAddress {
    pub fn url(&self, path: &str) -> String {
        format!("{}/dists/{}/{path}", self.base, self.suite)
    }
    /// A dated snapshot (`…/20260912T000000Z/…`) is asked for because of its date, so that its
    /// age is no fault.
    pub fn is_snapshot(&self) -> bool {
        self.base.split('/').any(|part| {
            part.len() == 16
                && part.bytes().enumerate().all(|(i, b)| match i {
                    8 => b == b'T',
                    15 => b == b'Z',
                    _ => b.is_ascii_digit(),
                })
        })
    }
}

impl ArchiveChoice {
    /// The suites to read. The default archive must have all of them, or somebody who can answer
    /// "not found" could hold back corrections.
    pub(crate) fn suites(&self) -> Vec<SuiteAddress> {
        let address =
            |base: &str, suite: String, optional| SuiteAddress { base: base.to_owned(), suite, optional };
        let mut suites = vec![address(&self.mirror, self.suite.clone(), false)];
        if ROLLING.contains(&self.suite.as_str()) {
            return suites;
        }
        suites.push(address(&self.mirror, format!("{}-updates", self.suite), self.mirror != DEFAULT_MIRROR));
        if let Some(security) = &self.security {
            suites.push(address(security, format!("{}-security", self.suite), false));
        }
        suites
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_is_filled_in() {
        let all = ArchiveChoice::default().suites();
        assert_eq!(
            all[2].url("InRelease"),
            "http://deb.debian.org/debian-security/dists/trixie-security/InRelease"
        );
        assert!(all.iter().all(|suite| !suite.optional && !suite.is_snapshot()));
        let spec = ArchiveSpec {
            mirror: Some("https://snapshot.debian.org/archive/debian/20260912T000000Z/".to_owned()),
            suite: Some("bookworm".to_owned()),
            ..ArchiveSpec::default()
        };
        let own = ArchiveChoice::from_spec(Some(&spec)).suites();
        assert_eq!(own.len(), 2);
        assert!(own[0].is_snapshot() && own[1].optional);
    }
}
