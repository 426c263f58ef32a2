//! Documents that belong to an image, as a registry lists them: by its referrers API, or under the
//! tag that stands in for it where a registry is older than that (distribution 1.1).

use super::endpoint::{Call, Endpoint};
use crate::document::{self, Descriptor, Index};
use crate::error::BuildError;
use crate::http::{self, Method};
use model::Digest;
use std::sync::atomic::AtomicBool;

const MAX_INDEX_BYTES: u64 = 4 << 20;
/// More documents of one image are not looked at.
pub const MAX_REFERRERS: usize = 256;

/// `sha256-HEX`.
pub fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

impl Endpoint<'_> {
    /// The documents that belong to `subject`.
    pub fn referrers(&self, subject: &Digest, cancel: &AtomicBool) -> Result<Vec<Descriptor>, BuildError> {
        let url = self.url("referrers", subject.as_str());
        let response = self.call(&Call::new(Method::GET, &url), cancel)?;
        let index = match response.status().as_u16() {
            200 => {
                let bytes = http::read_body(&url, response.into_body(), MAX_INDEX_BYTES)?;
                // Some answer every path with a page of theirs.
                serde_json::from_slice(&bytes).ok()
            }
            _ => None,
        };
        let index = match index {
            Some(index) => Some(index),
            None => self.fallback_index(subject, cancel)?,
        };
        let mut found = index.map(|index: Index| index.manifests).unwrap_or_default();
        found.truncate(MAX_REFERRERS);
        Ok(found)
    }

    /// The index under the tag that stands in for the API.
    pub fn fallback_index(&self, subject: &Digest, cancel: &AtomicBool) -> Result<Option<Index>, BuildError> {
        let Some(fetched) = self.manifest(&fallback_tag(subject), cancel)? else { return Ok(None) };
        if !fetched.is_index() {
            return Ok(None);
        }
        document::read(&self.url("manifests", &fallback_tag(subject)), &fetched.bytes).map(Some)
    }
}
