//! Debian archive client: signed indexes, dependency resolution, verified downloads.
//!
//! ```text
//! InRelease ─(signature, dates)─▶ Packages ─(SHA-256)─▶ resolve ─▶ .deb ─(SHA-256)─▶ cache
//! ```

pub mod openpgp;
pub mod version;

mod choice;
mod index;
mod packages;
mod relation;
mod release;
mod resolve;
mod suite;

pub use choice::{ArchiveChoice, DEFAULT_MIRROR, DEFAULT_SECURITY, DEFAULT_SUITE};
pub use index::is_package_name;
#[cfg(test)]
pub(crate) use packages::debian_keyring;
pub use packages::{Archive, ResolvedPackage, Wishes};
pub use resolve::{ResolveError, SCRIPT_ONLY};

/// A package as an index describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub architecture: &'a str,
    pub priority: &'a str,
    pub size: u64,
    pub sha256: &'a str,
    /// Path below the archive's base.
    pub filename: &'a str,
    pub pre_depends: &'a str,
    pub depends: &'a str,
    pub provides: &'a str,
    pub conflicts: &'a str,
}

/// Debian's name for the architecture of this machine.
pub const fn host_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
