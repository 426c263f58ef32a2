//! What belongs to an image goes with it: lists of what it was made from, signatures. A registry
//! without the referrers API gets the tag that stands in for it (distribution 1.1).

use super::Push;
use super::pack::{Packed, Part};
use crate::document::{self, Descriptor, Index, Manifest};
use crate::error::BuildError;
use crate::layout::Layout;
use crate::remote::{MAX_REFERRERS, fallback_tag};
use crate::sign;
use model::Digest;

#[derive(Debug, Default)]
pub struct Beside {
    pub documents: usize,
    /// Those among them.
    pub signatures: usize,
    pub signatures_left: usize,
}

impl Push<'_> {
    /// Sends the documents of the image that hold for the form in which it travels.
    pub fn beside(&self, packed: &Packed) -> Result<Beside, BuildError> {
        let layout = self.store.layout();
        let mut beside = Beside::default();
        let mut unlisted = Vec::new();
        let entries = layout.entries()?;
        let belongs = |entry: &&Descriptor| Layout::subject_of(entry) == Some(self.image.as_str());
        for entry in entries.iter().filter(belongs).take(MAX_REFERRERS) {
            let stored: Manifest = layout.document(&entry.digest)?;
            let holds = stored.subject.as_ref().is_some_and(|subject| subject.digest == packed.digest);
            let is_signature = entry.artifact_type.as_deref() == Some(sign::BUNDLE);
            let (bytes, manifest) = match (holds, is_signature) {
                (true, _) => (layout.bytes(&entry.digest)?, stored),
                (false, true) => {
                    beside.signatures_left += 1;
                    continue;
                }
                (false, false) => {
                    // A list of files and packages holds however they are packed.
                    let manifest = Manifest { subject: Some(packed.descriptor()), ..stored };
                    (document::write(&manifest), manifest)
                }
            };
            let parts: Vec<Part> =
                manifest.layers.iter().chain([&manifest.config]).map(Part::as_it_is).collect();
            self.small_blobs(&parts)?;
            let digest = Digest::of(&bytes);
            let cancel = self.options.job.cancel;
            beside.documents += 1;
            beside.signatures += usize::from(is_signature);
            if !self.endpoint.put_manifest(digest.as_str(), document::MANIFEST, &bytes, cancel)? {
                unlisted.push(Descriptor {
                    artifact_type: manifest.artifact_type,
                    annotations: manifest.annotations,
                    ..crate::assemble::descriptor(document::MANIFEST, digest, bytes.len() as u64)
                });
            }
        }
        if !unlisted.is_empty() {
            self.list(&packed.digest, unlisted)?;
        }
        Ok(beside)
    }

    /// Adds documents to the index under the tag that stands in for the API.
    fn list(&self, subject: &Digest, documents: Vec<Descriptor>) -> Result<(), BuildError> {
        let cancel = self.options.job.cancel;
        let empty = || Index {
            schema_version: 2,
            media_type: Some(document::INDEX.to_owned()),
            manifests: Vec::new(),
        };
        let mut index = self.endpoint.fallback_index(subject, cancel)?.unwrap_or_else(empty);
        let before = index.clone();
        index.manifests.retain(|entry| !documents.iter().any(|document| document.digest == entry.digest));
        index.manifests.extend(documents);
        if index == before {
            return Ok(());
        }
        let bytes = document::write(&index);
        self.endpoint.put_manifest(&fallback_tag(subject), document::INDEX, &bytes, cancel).map(|_| ())
    }
}
