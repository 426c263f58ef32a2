//! Images of others, fetched from a registry by digest: manifest, the choice of platform, layers
//! checked while they arrive and once more while they are unpacked.

mod client;
mod credentials;
mod reference;

use crate::archive::host_architecture;
use crate::document::{self, Config, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Index, Manifest, Platform};
use crate::error::BuildError;
use crate::job::{Job, go_on};
use crate::layout::MAX_DOCUMENT_BYTES;
use crate::store::ImageStore;
use client::{Client, Fetched};
use model::Digest;
use model::image::{BuiltImage, PullPolicy};
pub use reference::Reference;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

const PARALLEL_LAYERS: usize = 3;
const MAX_LAYERS: usize = 512;
const MAX_LAYER_BYTES: u64 = 32 << 30;
const LAYER_TYPES: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    crate::layer::MEDIA_TYPE_GZIP,
    crate::layer::MEDIA_TYPE_ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// How to fetch, beside what.
pub struct PullOptions<'a> {
    pub job: Job<'a>,
    pub policy: PullPolicy,
    /// Docker's `config.json`; the user's own unless stated.
    pub credentials: Option<PathBuf>,
}

/// Fetches `reference` for this machine, unless the policy is content with what is there.
pub fn pull(
    reference: &str,
    store: &ImageStore,
    options: &PullOptions<'_>,
) -> Result<BuiltImage, BuildError> {
    let reference = Reference::parse(reference)?;
    let name = reference.to_string();
    let present = || store.image_named(&name);
    match options.policy {
        PullPolicy::Never => return present()?.ok_or(BuildError::Absent { reference: name.clone() }),
        PullPolicy::Missing => {
            if let Some(image) = present()? {
                return Ok(image);
            }
        }
        PullPolicy::Always => {}
    }
    let _working = store.working()?;
    let credentials = options.credentials.clone().or_else(credentials::default_file);
    let client = Client::new(store.http(), &reference, credentials.as_deref())?;
    options.job.say(&format!("looking up {name}"));
    let manifest = choose(&client, &reference, options.job.cancel)?;
    fetch(&client, &reference, store, manifest, &options.job)
}

/// The manifest digest that the registry has for this machine under `reference` now.
pub fn resolve(reference: &str, store: &ImageStore, options: &PullOptions<'_>) -> Result<Digest, BuildError> {
    let reference = Reference::parse(reference)?;
    let credentials = options.credentials.clone().or_else(credentials::default_file);
    let client = Client::new(store.http(), &reference, credentials.as_deref())?;
    Ok(choose(&client, &reference, options.job.cancel)?.digest)
}

/// The manifest for this machine; through an index where there is one.
fn choose(client: &Client<'_>, reference: &Reference, cancel: &AtomicBool) -> Result<Fetched, BuildError> {
    let first = client.manifest(reference.target(), cancel)?;
    if !first.is_index() {
        return Ok(first);
    }
    let index: Index = document::read(&format!("the index of {reference}"), &first.bytes)?;
    let platforms: Vec<&Descriptor> = index.manifests.iter().filter(|m| !is_attestation(m)).collect();
    let chosen = platforms.iter().find(|m| m.platform.as_ref().is_some_and(is_this_machine));
    let Some(chosen) = chosen else {
        let names = platforms.iter().filter_map(|m| m.platform.as_ref()).map(platform_name);
        let available =
            names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
        return Err(other_architecture(reference, available));
    };
    let manifest = client.manifest(chosen.digest.as_str(), cancel)?;
    match manifest.is_index() {
        true => Err(BuildError::malformed(format!("the index of {reference}"), "it leads to another index")),
        false => Ok(manifest),
    }
}

fn is_attestation(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_some_and(|p| p.os == "unknown")
}

fn is_this_machine(platform: &Platform) -> bool {
    let variant = platform.variant.as_deref();
    platform.os == "linux"
        && platform.architecture == host_architecture()
        && matches!(variant, None | Some("" | "v8" | "v1"))
}

fn platform_name(platform: &Platform) -> String {
    format!("{}/{}", platform.os, platform.architecture)
}

fn other_architecture(reference: &Reference, available: String) -> BuildError {
    BuildError::Architecture {
        reference: reference.to_string(),
        available,
        wanted: format!("linux/{}", host_architecture()),
    }
}

fn fetch(
    client: &Client<'_>,
    reference: &Reference,
    store: &ImageStore,
    fetched: Fetched,
    job: &Job<'_>,
) -> Result<BuiltImage, BuildError> {
    let what = format!("the manifest of {reference}");
    let manifest: Manifest = document::read(&what, &fetched.bytes)?;
    check_manifest(&manifest).map_err(|reason| BuildError::malformed(what, reason))?;
    let layout = store.layout();
    let config_path = layout.blob_path(&manifest.config.digest);
    client.blob(&manifest.config, &config_path, MAX_DOCUMENT_BYTES, job.cancel)?;
    let config: Config = layout.document(&manifest.config.digest)?;
    if config.os != "linux" || config.architecture != host_architecture() {
        let available = format!("{}/{}", config.os, config.architecture);
        return Err(other_architecture(reference, available));
    }
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        let reason = "its configuration and its manifest have different numbers of layers";
        return Err(BuildError::malformed(format!("the image {reference}"), reason));
    }
    fetch_layers(client, store, &manifest.layers, &config.rootfs.diff_ids, job)?;
    let digest = layout.put(&fetched.bytes)?;
    let entry = Descriptor {
        media_type: fetched.media_type,
        digest: digest.clone(),
        size: fetched.bytes.len() as u64,
        platform: Some(Platform { architecture: config.architecture, os: config.os, variant: None }),
        annotations: Default::default(),
        artifact_type: None,
    };
    let name = reference.to_string();
    layout.put_image(entry, Some(&name), &name)?;
    let layers = config.rootfs.diff_ids;
    Ok(BuiltImage { manifest: digest, layers, config: config.config.into(), origin: name })
}

fn check_manifest(manifest: &Manifest) -> Result<(), String> {
    if manifest.schema_version != 2 {
        return Err(format!("its schema version is {}", manifest.schema_version));
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(format!("it has more than {MAX_LAYERS} layers"));
    }
    match manifest.layers.iter().find(|layer| !LAYER_TYPES.contains(&layer.media_type.as_str())) {
        Some(layer) => {
            Err(format!("a layer is of the kind `{}`, which cannot be unpacked", layer.media_type))
        }
        None => Ok(()),
    }
}

/// Fetches and unpacks several layers side by side.
fn fetch_layers(
    client: &Client<'_>,
    store: &ImageStore,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    job: &Job<'_>,
) -> Result<(), BuildError> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let cancel = job.cancel;
    let total = layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
    job.say(&format!("fetching {} layers ({})", layers.len(), model::Bytes(total)));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_LAYERS.min(layers.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(layer) = layers.get(i) else { return };
                    let outcome = one_layer(client, store, layer, &diff_ids[i], cancel);
                    let failed = outcome.is_err();
                    if failed {
                        next.store(layers.len(), Ordering::Relaxed);
                    }
                    if sender.send(outcome).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut failure = None;
        let mut done = 0;
        for outcome in receiver {
            match outcome {
                Ok(notes) => {
                    done += 1;
                    job.say(&format!("unpacked {done} of {} layers", layers.len()));
                    notes.iter().for_each(|note| job.say(&format!("warning: {note}")));
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    })
}

fn one_layer(
    client: &Client<'_>,
    store: &ImageStore,
    layer: &Descriptor,
    diff_id: &Digest,
    cancel: &AtomicBool,
) -> Result<Vec<String>, BuildError> {
    go_on(cancel)?;
    if store.layout().has(&layer.digest) && store.is_ready(diff_id) {
        return Ok(Vec::new());
    }
    client.blob(layer, &store.layout().blob_path(&layer.digest), MAX_LAYER_BYTES, cancel)?;
    store.unpack_blob(&layer.digest, diff_id, cancel)
}

/// What a registry may be asked for under a name.
const ACCEPT: &str = concat!(
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.docker.distribution.manifest.v2+json"
);

#[cfg(test)]
mod tests;
