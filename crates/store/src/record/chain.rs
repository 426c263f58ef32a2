//! Version 1 of the hash chain: which bytes of an entry its hash covers.
//!
//! Each field is preceded by its length, so that no two entries have the same bytes. The event is
//! hashed as the exact bytes that are stored; it is never written again for a comparison.

use model::Digest;
use sha2::{Digest as _, Sha256};

/// Begins the bytes of every entry, so that a hash of this form is no hash of anything else.
const DOMAIN: &[u8] = b"juchu journal 1\0";
/// Stands for the hash before the first entry: 64 zeros.
pub const GENESIS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// The fields of an entry as they are stored.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// Hash of the entry before, or [`GENESIS`].
    pub prev: &'a [u8],
    pub seq: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub at: i64,
    pub stack: Option<&'a [u8]>,
    pub actor: &'a [u8],
    /// The event as JSON.
    pub body: &'a [u8],
    /// Digests of the content that came with the entry, separated by one space.
    pub blobs: &'a [u8],
}

impl Link<'_> {
    pub fn hash(&self) -> Digest {
        let mut sha = Sha256::new();
        sha.update(DOMAIN);
        sha.update(self.seq.to_be_bytes());
        sha.update(self.at.to_be_bytes());
        sha.update([u8::from(self.stack.is_some())]);
        for field in [self.stack.unwrap_or_default(), self.actor, self.body, self.blobs, self.prev] {
            sha.update((field.len() as u64).to_be_bytes());
            sha.update(field);
        }
        Digest::from_raw(sha.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link<'static> = Link {
        prev: GENESIS.as_bytes(),
        seq: 1,
        at: 2,
        stack: Some(b"shop"),
        actor: b"root",
        body: b"{}",
        blobs: b"",
    };

    #[test]
    fn every_field_counts() {
        let others = [
            Link { prev: b"x", ..LINK },
            Link { seq: 2, ..LINK },
            Link { at: 3, ..LINK },
            Link { stack: None, ..LINK },
            Link { stack: Some(b""), ..LINK },
            Link { actor: b"rook", ..LINK },
            Link { body: b"[]", ..LINK },
            Link { blobs: b"x", ..LINK },
            // The same bytes, divided otherwise.
            Link { actor: b"root{", body: b"}", ..LINK },
        ];
        let mut hashes: Vec<_> = others.iter().chain([&LINK]).map(Link::hash).collect();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 1);
    }
}
