//! Which manifests name another one as their subject: signatures, lists of contents, and the like.

use super::{ContentDigest, Contents, Repository, RepositoryError, entries, failed};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;

/// How a manifest is listed for its subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    pub media_type: String,
    pub digest: ContentDigest,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Referrer {
    /// `contents` are those of the manifest with this digest.
    pub fn new(contents: Contents, digest: ContentDigest, size: u64) -> Self {
        let Contents { media_type, artifact_type, annotations, .. } = contents;
        Self { media_type, digest, size, artifact_type, annotations }
    }
}

impl Repository {
    /// The digests of those that name `subject`, sorted.
    pub fn referrers(&self, subject: &ContentDigest) -> Result<Vec<ContentDigest>, RepositoryError> {
        let names = entries(&self.referrers_path(subject))?;
        let mut found: Vec<_> = names.iter().filter_map(|name| ContentDigest::of_file(name)).collect();
        found.retain(|digest| self.record_path(digest).exists());
        found.sort();
        Ok(found)
    }

    /// One of them as it is listed; `None` if it has gone in the meantime.
    pub fn referrer(&self, digest: &ContentDigest) -> Result<Option<Referrer>, RepositoryError> {
        let Some(record) = self.manifest(digest)? else { return Ok(None) };
        let path = self.all.blob_path(digest);
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let contents = Contents::read(&bytes, Some(&record.media_type))?;
        Ok(Some(Referrer::new(contents, digest.clone(), record.size)))
    }
}
