//! Debian archive client: signed index, dependency resolution, verified downloads.

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
