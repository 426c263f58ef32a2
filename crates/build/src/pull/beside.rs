//! What belongs to an image in a registry: lists of what it was made from, signatures. Fetched as
//! whole documents and kept beside the image in the index.

use super::blob::Blob;
use crate::document::{self, Descriptor, Manifest};
use crate::error::BuildError;
use crate::layout::{Layout, MAX_DOCUMENT_BYTES};
use crate::remote::{Endpoint, RegistryError};
use crate::store::ImageStore;
use model::{Bytes, Digest};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// One document with all its parts.
const MAX_REFERRER_BYTES: u64 = 64 << 20;

/// Fetches the documents of `subject` that are not here yet; answers how many came.
pub fn fetch_beside(
    endpoint: &Endpoint<'_>,
    store: &ImageStore,
    subject: &Digest,
    cancel: &AtomicBool,
) -> Result<usize, BuildError> {
    let layout = store.layout();
    let known: Vec<Digest> = layout
        .entries()?
        .into_iter()
        .filter(|entry| Layout::subject_of(entry) == Some(subject.as_str()))
        .map(|entry| entry.digest)
        .collect();
    let mut came = Vec::new();
    for entry in endpoint.referrers(subject, cancel)? {
        let is_document = entry.media_type == document::MANIFEST && !known.contains(&entry.digest);
        if !is_document {
            continue;
        }
        // Whatever the list says, only what names the image as its subject belongs to it.
        came.extend(one(endpoint, store, subject, &entry, cancel)?);
    }
    let number = came.len();
    layout.put_referrers(came, subject, &BTreeMap::new())?;
    Ok(number)
}

fn one(
    endpoint: &Endpoint<'_>,
    store: &ImageStore,
    subject: &Digest,
    entry: &Descriptor,
    cancel: &AtomicBool,
) -> Result<Option<Descriptor>, BuildError> {
    let Some(fetched) = endpoint.manifest(entry.digest.as_str(), cancel)? else { return Ok(None) };
    let manifest: Manifest = document::read(&format!("the document {}", entry.digest), &fetched.bytes)?;
    if manifest.subject.as_ref().is_none_or(|stated| stated.digest != *subject) {
        return Ok(None);
    }
    let size = manifest.layers.iter().fold(manifest.config.size, |sum, layer| sum.saturating_add(layer.size));
    if size > MAX_REFERRER_BYTES {
        return Err(RegistryError::Referrer { size: Bytes(size), limit: Bytes(MAX_REFERRER_BYTES) }.into());
    }
    let layout = store.layout();
    for part in manifest.layers.iter().chain([&manifest.config]) {
        let limit = MAX_REFERRER_BYTES.max(MAX_DOCUMENT_BYTES);
        Blob { of: part, path: &layout.blob_path(&part.digest), limit, growing: None }
            .fetch_from(endpoint, cancel)?;
    }
    let digest = layout.put(&fetched.bytes)?;
    let kind = manifest.artifact_type.unwrap_or(manifest.config.media_type);
    Ok(Some(Descriptor {
        artifact_type: Some(kind),
        ..crate::assemble::descriptor(document::MANIFEST, digest, fetched.bytes.len() as u64)
    }))
}
