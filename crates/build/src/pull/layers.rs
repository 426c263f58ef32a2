//! The layers of an image side by side, each unpacked by a thread of its own while it arrives.

use super::blob::Blob;
use crate::document::Descriptor;
use crate::error::BuildError;
use crate::growing::Growing;
use crate::job::{Job, go_on};
use crate::remote::Registry;
use crate::store::ImageStore;
use model::{Bytes, Digest};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

const PARALLEL_LAYERS: usize = 3;
const MAX_LAYER_BYTES: u64 = 32 << 30;
/// How often it is said how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

type Outcome = Result<Vec<String>, BuildError>;

/// One layer on its way.
struct Arriving<'a> {
    of: &'a Descriptor,
    diff_id: &'a Digest,
    growing: Growing,
}

/// Fetches the layers, and unpacks them where `unpack` is set.
pub fn fetch(
    registry: &Registry<'_>,
    store: &ImageStore,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    unpack: bool,
    job: &Job<'_>,
) -> Result<(), BuildError> {
    let arriving: Vec<Arriving<'_>> = layers
        .iter()
        .zip(diff_ids)
        .filter(|(layer, diff_id)| !(store.layout().has(&layer.digest) && store.is_ready(diff_id)))
        .map(|(of, diff_id)| Arriving { of, diff_id, growing: Growing::default() })
        .collect();
    if arriving.is_empty() {
        return Ok(());
    }
    let total = arriving.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.of.size));
    let noun = if arriving.len() == 1 { "layer" } else { "layers" };
    job.say(&format!("fetching {} {noun} ({})", arriving.len(), Bytes(total)));
    let (next, cancel) = (AtomicUsize::new(0), job.cancel);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_LAYERS.min(arriving.len()) {
            let (sender, next, arriving) = (sender.clone(), &next, &arriving);
            scope.spawn(move || {
                loop {
                    let Some(layer) = arriving.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    let outcome = layer.fetch(registry, store, unpack, cancel);
                    let failed = outcome.is_err();
                    if failed {
                        next.store(arriving.len(), Ordering::Relaxed);
                    }
                    if sender.send(outcome).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(sender);
        follow(&receiver, &arriving, total, job)
    })
}

/// Tells how far it is until everything has ended.
fn follow(
    receiver: &Receiver<Outcome>,
    arriving: &[Arriving<'_>],
    total: u64,
    job: &Job<'_>,
) -> Result<(), BuildError> {
    let (mut failure, mut done) = (None, 0);
    loop {
        match receiver.recv_timeout(PROGRESS_EVERY) {
            Ok(Ok(notes)) => {
                done += 1;
                job.say(&format!("{done} of {} layers are there", arriving.len()));
                notes.iter().for_each(|note| job.say(&format!("warning: {note}")));
            }
            Ok(Err(error)) => failure = failure.or(Some(error)),
            Err(RecvTimeoutError::Disconnected) => return failure.map_or(Ok(()), Err),
            Err(RecvTimeoutError::Timeout) => {
                let there: u64 = arriving.iter().map(|layer| layer.growing.have()).sum();
                job.say(&format!("fetched {} of {}", Bytes(there), Bytes(total)));
            }
        }
    }
}

impl Arriving<'_> {
    fn fetch(
        &self,
        registry: &Registry<'_>,
        store: &ImageStore,
        unpack: bool,
        cancel: &AtomicBool,
    ) -> Outcome {
        go_on(cancel)?;
        let path = store.layout().blob_path(&self.of.digest);
        let growing = &self.growing;
        let blob = Blob { of: self.of, path: &path, limit: MAX_LAYER_BYTES, growing: Some(growing) };
        if !unpack || store.is_ready(self.diff_id) || store.layout().has(&self.of.digest) {
            blob.fetch(registry, cancel)?;
            return if unpack {
                store.unpack_blob(&self.of.digest, self.diff_id, cancel)
            } else {
                Ok(Vec::new())
            };
        }
        std::thread::scope(|scope| {
            let (of, diff_id) = (&self.of.digest, self.diff_id);
            let unpacker = scope.spawn(move || {
                store.unpack_stream(growing.reader(cancel), self.of.size, of, diff_id, cancel)
            });
            let fetched = blob.fetch(registry, cancel);
            growing.end(fetched.is_ok());
            let unpacked = unpacker.join().map_err(|_| BuildError::input("unpacking a layer broke off"))?;
            // Only what is known to be right is kept, and a wrong blob is worse than what came of it.
            fetched?;
            match unpacked {
                Ok((layer, notes)) => store.publish_layer(layer, diff_id).map(|()| notes),
                Err(BuildError::Cancelled) => Err(BuildError::Cancelled),
                Err(_) if !growing.came_at_once() => store.unpack_blob(of, diff_id, cancel),
                Err(error) => Err(error),
            }
        })
    }
}
