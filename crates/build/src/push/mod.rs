//! Images of this store into a registry: blobs it does not have yet, the manifest, and what belongs
//! to the image. Layers travel as gzip, which every puller reads, unless asked for as they are.

mod beside;
mod known;
mod pack;
mod upload;

use crate::document::Manifest;
use crate::error::BuildError;
use crate::job::{Job, go_on};
use crate::layout::ref_name;
use crate::remote::{Actions, Endpoint, LoginFiles, Reference, Registry, Settings};
use crate::store::ImageStore;
use model::{Bytes, Digest};
pub use pack::{Compression, packed_digest};
use pack::{Packed, Part};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use upload::{Came, Upload};

const PARALLEL_BLOBS: usize = 3;
/// A packed form that was remembered and does not come out again is made anew so often.
const MAX_PLANS: usize = 2;

/// How to push, beside what and where.
pub struct PushOptions<'a> {
    pub job: Job<'a>,
    /// Docker's `config.json` or Podman's `auth.json`; the user's own unless stated.
    pub credentials: Option<PathBuf>,
    pub compression: Compression,
    /// Also what belongs to the image: lists of what it was made from, signatures.
    pub beside: bool,
}

impl<'a> PushOptions<'a> {
    pub fn new(job: Job<'a>) -> Self {
        Self { job, credentials: None, compression: Compression::Gzip, beside: true }
    }
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// With nothing left out.
    pub reference: String,
    /// Of the manifest as the registry has it.
    pub digest: Digest,
    /// Whether it is the image as it is stored here, byte by byte.
    pub same: bool,
    /// Of all its layers and documents.
    pub size_bytes: u64,
    /// What had to be sent.
    pub sent_bytes: u64,
    pub blobs: Blobs,
    /// Documents that belong to it and were sent or there.
    pub documents: usize,
    /// How many of these are signatures.
    pub signatures: usize,
    /// Signatures that stayed here, because they are for another form of the image.
    pub signatures_left: usize,
}

/// How the blobs came there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Blobs {
    pub sent: usize,
    /// Taken over from another repository of the registry.
    pub mounted: usize,
    pub there: usize,
}

/// Pushes the image with this manifest.
pub fn push(
    store: &ImageStore,
    image: &Digest,
    reference: &str,
    options: &PushOptions<'_>,
) -> Result<Pushed, BuildError> {
    let reference = Reference::parse(reference)?;
    let _working = store.working()?;
    let logins = options.credentials.clone().map_or_else(LoginFiles::of_process, LoginFiles::one);
    let settings = Settings::read(&store.registries())?;
    let registry = Registry::new(store.http(), &logins, &settings, &reference, Actions::Push);
    let push = Push { store, image, reference: &reference, endpoint: registry.origin(), options };
    let mut plan = 1;
    loop {
        match push.run() {
            Err(BuildError::Digest { what, .. }) if plan < MAX_PLANS && what == pack::REMEMBERED => plan += 1,
            other => return other,
        }
    }
}

struct Push<'a> {
    store: &'a ImageStore,
    image: &'a Digest,
    reference: &'a Reference,
    endpoint: &'a Endpoint<'a>,
    options: &'a PushOptions<'a>,
}

impl Push<'_> {
    fn run(&self) -> Result<Pushed, BuildError> {
        let job = &self.options.job;
        let layout = self.store.layout();
        let stored: Manifest = layout.document(self.image)?;
        let packed = Packed::plan(self.store, self.image, &stored, self.options.compression, job)?;
        if let Some(wanted) = self.reference.digest.as_ref().filter(|wanted| **wanted != packed.digest) {
            let text = format!("the image is pushed as {}, not as {wanted}", packed.digest);
            return Err(BuildError::input_hint(text, "name a tag instead of a digest"));
        }
        let (blobs, sent_bytes) = self.blobs(&packed.parts)?;
        go_on(job.cancel)?;
        self.endpoint.put_manifest(self.reference.target(), &packed.media_type, &packed.bytes, job.cancel)?;
        let beside = match self.options.beside {
            true => self.beside(&packed)?,
            false => beside::Beside::default(),
        };
        Ok(Pushed {
            reference: self.reference.to_string(),
            same: packed.digest == *self.image,
            size_bytes: packed.parts.iter().map(|part| part.wire.size).sum::<u64>()
                + packed.bytes.len() as u64,
            digest: packed.digest,
            sent_bytes,
            blobs,
            documents: beside.documents,
            signatures: beside.signatures,
            signatures_left: beside.signatures_left,
        })
    }

    /// Brings the blobs of the image that are missing, several side by side.
    fn blobs(&self, parts: &[Part]) -> Result<(Blobs, u64), BuildError> {
        let (next, job) = (AtomicUsize::new(0), &self.options.job);
        let total: u64 = parts.iter().map(|part| part.wire.size).sum();
        job.say(&format!("pushing {} blobs ({}) to {}", parts.len(), Bytes(total), self.endpoint.host()));
        let elsewhere = self.elsewhere()?;
        let (sender, receiver) = mpsc::channel();
        let (store, endpoint, elsewhere, cancel) = (self.store, self.endpoint, &elsewhere, job.cancel);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL_BLOBS.min(parts.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        let upload = Upload { store, endpoint, elsewhere, cancel };
                        let outcome = upload.bring(part);
                        let failed = outcome.is_err();
                        if failed {
                            next.store(parts.len(), Ordering::Relaxed);
                        }
                        if sender.send(outcome.map(|came| (came, part.wire.size))).is_err() || failed {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let (mut blobs, mut bytes, mut failure) = (Blobs::default(), 0, None);
            for outcome in receiver {
                match outcome {
                    Ok((Came::Sent, size)) => {
                        blobs.sent += 1;
                        bytes += size;
                        job.say(&format!("sent a blob of {}", Bytes(size)));
                    }
                    Ok((Came::Mounted, _)) => blobs.mounted += 1,
                    Ok((Came::There, _)) => blobs.there += 1,
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            failure.map_or(Ok((blobs, bytes)), Err)
        })
    }

    /// The few small blobs of a document that belongs to the image.
    fn small_blobs(&self, parts: &[Part]) -> Result<(), BuildError> {
        let (store, endpoint, cancel) = (self.store, self.endpoint, self.options.job.cancel);
        let upload = Upload { store, endpoint, elsewhere: &[], cancel };
        parts.iter().try_for_each(|part| upload.bring(part).map(|_| ()))
    }

    /// Other repositories of the registry, and the images here that came from them.
    fn elsewhere(&self) -> Result<Vec<(String, Manifest)>, BuildError> {
        let layout = self.store.layout();
        let mut found = Vec::new();
        for entry in layout.entries()?.iter().filter(|entry| entry.artifact_type.is_none()) {
            let Some(other) = ref_name(entry).and_then(|name| Reference::parse(name).ok()) else { continue };
            if other.registry == self.reference.registry && other.repository != self.reference.repository {
                found.push((other.repository, layout.document(&entry.digest)?));
            }
        }
        Ok(found)
    }
}

/// The blob that a file of ours is kept under in the registry.
fn place(endpoint: &Endpoint<'_>) -> String {
    format!("{}/{}", endpoint.host(), endpoint.repository())
}

#[cfg(test)]
mod tests;
