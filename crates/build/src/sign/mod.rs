//! Signatures of images by a key of one's own, as Sigstore bundles beside the image in the index:
//! `cosign verify --key` accepts them without asking anybody, and we accept those of cosign.

mod bundle;
mod key;

use crate::document::{self, Descriptor, Manifest};
use crate::error::BuildError;
use crate::job::Job;
use crate::layout::Layout;
use crate::push::packed_digest;
use crate::store::ImageStore;
use bundle::Bundle;
pub use key::{PrivateKey, PublicKey, SignError};
use model::Digest;
use serde::Serialize;
use std::collections::BTreeMap;

/// The kind of a document that holds a signature.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What cosign says of the document in annotations.
const CONTENT: (&str, &str) = ("dev.sigstore.bundle.content", "dsse-envelope");
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
/// Signatures of one image that are looked at.
const MAX_SIGNATURES: usize = 64;

/// One signature that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// Of the manifest that was signed.
    pub digest: Digest,
    /// Whether this is the image as it is stored; else it is the form in which it is pushed.
    pub stored: bool,
    /// Of the document that holds the signature.
    pub signature: Digest,
}

/// Signs the image as it is stored, and in the form in which it is pushed where that is another.
pub fn sign(
    store: &ImageStore,
    image: &Digest,
    key: &PrivateKey,
    job: &Job<'_>,
) -> Result<Vec<Signed>, BuildError> {
    let _working = store.working()?;
    let layout = store.layout();
    let stored = layout.entries()?.into_iter().find(|entry| entry.digest == *image);
    let stored =
        stored.ok_or_else(|| BuildError::input(format!("there is no image {image} in the store")))?;
    let stored = crate::assemble::descriptor(&stored.media_type, stored.digest, stored.size);
    let mut forms = vec![(packed_digest(store, image, job)?, false), (stored, true)];
    forms.dedup_by(|a, b| a.0.digest == b.0.digest);
    let mut signed = Vec::new();
    let mut documents = Vec::new();
    for (subject, stored) in forms {
        let stored = stored || subject.digest == *image;
        if let Some(signature) = signature_of(layout, image, &subject.digest, &key.public())? {
            signed.push(Signed { digest: subject.digest, stored, signature });
            continue;
        }
        let document = document_of(layout, &subject, &Bundle::sign(&subject.digest, key)?)?;
        signed.push(Signed { digest: subject.digest, stored, signature: document.digest.clone() });
        documents.push(document);
    }
    signed.sort_by_key(|signed| !signed.stored);
    layout.put_referrers(documents, image, &BTreeMap::new())?;
    Ok(signed)
}

/// Keeps a bundle as a document that belongs to `subject`.
fn document_of(layout: &Layout, subject: &Descriptor, bundle: &Bundle) -> Result<Descriptor, BuildError> {
    let blob = |media_type: &str, bytes: &[u8]| -> Result<Descriptor, BuildError> {
        let size = bytes.len() as u64;
        Ok(crate::assemble::descriptor(media_type, layout.put(bytes)?, size))
    };
    let annotations = [CONTENT, (PREDICATE, bundle::PREDICATE_TYPE)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let manifest = document::write(&Manifest {
        schema_version: 2,
        media_type: Some(document::MANIFEST.to_owned()),
        artifact_type: Some(BUNDLE.to_owned()),
        config: blob(document::EMPTY, b"{}")?,
        layers: vec![blob(BUNDLE, &bundle.to_json())?],
        subject: Some(subject.clone()),
        annotations: annotations.into(),
    });
    Ok(Descriptor {
        artifact_type: Some(BUNDLE.to_owned()),
        ..crate::assemble::descriptor(document::MANIFEST, layout.put(&manifest)?, manifest.len() as u64)
    })
}

/// What was found of a valid signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub digest: Digest,
    /// Of the document that holds the signature.
    pub signature: Digest,
    /// Signatures of others, or of other things, that were passed over.
    pub passed_over: usize,
}

/// Looks among the documents beside the image for a signature of exactly this manifest by this key.
pub fn verify(store: &ImageStore, image: &Digest, key: &PublicKey) -> Result<Verified, BuildError> {
    let layout = store.layout();
    let (mut passed_over, mut failure) = (0, None);
    for entry in signatures(layout, image)? {
        match verify_one(layout, &entry, image, key) {
            Ok(()) => {
                let (digest, signature) = (image.clone(), entry.digest.clone());
                return Ok(Verified { digest, signature, passed_over });
            }
            Err(BuildError::Sign(reason)) => failure = Some(reason),
            Err(error) => return Err(error),
        }
        passed_over += 1;
    }
    // With one signature its own reason is the best one to tell.
    let reason = failure.filter(|_| passed_over == 1).map(|reason| reason.to_string());
    Err(SignError::Unsigned { image: image.to_string(), signatures: passed_over, reason }.into())
}

/// The documents beside an image that hold signatures.
fn signatures(layout: &Layout, image: &Digest) -> Result<Vec<Descriptor>, BuildError> {
    let is_one = |entry: &Descriptor| {
        Layout::subject_of(entry) == Some(image.as_str()) && entry.artifact_type.as_deref() == Some(BUNDLE)
    };
    Ok(layout.entries()?.into_iter().filter(is_one).take(MAX_SIGNATURES).collect())
}

/// A signature of `subject` by this key that is there beside `image` already.
fn signature_of(
    layout: &Layout,
    image: &Digest,
    subject: &Digest,
    key: &PublicKey,
) -> Result<Option<Digest>, BuildError> {
    for entry in signatures(layout, image)? {
        match verify_one(layout, &entry, subject, key) {
            Ok(()) => return Ok(Some(entry.digest)),
            Err(BuildError::Sign(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn verify_one(
    layout: &Layout,
    entry: &Descriptor,
    image: &Digest,
    key: &PublicKey,
) -> Result<(), BuildError> {
    let manifest: Manifest = layout.document(&entry.digest)?;
    let blob = manifest.layers.first().filter(|layer| layer.media_type == BUNDLE);
    let blob = blob.ok_or_else(|| SignError::Bundle { reason: "it holds no bundle".to_owned() })?;
    Bundle::read(&layout.bytes(&blob.digest)?)?.verify(image, key)?;
    Ok(())
}

#[cfg(test)]
mod tests;
