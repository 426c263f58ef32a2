//! The images of a store as people see them: what each is called, holds and takes, and which one
//! a name or the beginning of a digest means.

use crate::document::{Config, Descriptor, Manifest};
use crate::error::BuildError;
use crate::layout::{Layout, ORIGIN, ref_name};
use crate::pull::Reference;
use crate::store::ImageStore;
use model::Digest;
use model::image::ImageConfig;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// Images that `juchu build` made have names of this host.
pub const LOCAL: &str = "localhost/";
/// Digits of a digest that are enough to ask for one.
const PREFIX_MIN: usize = 4;

/// One image of a store.
#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    /// Of the manifest.
    pub digest: Digest,
    pub names: Vec<String>,
    /// Packed, as a registry would keep it.
    pub size_bytes: u64,
    /// Time of the inputs, as the image states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it came into the store or was last wanted, in milliseconds since 1970.
    pub stored_ms: i64,
    pub platform: String,
    pub origin: String,
    pub layers: Vec<StoredLayer>,
    pub config: ImageConfig,
    /// Of the manifest and of its entry in the index.
    pub annotations: BTreeMap<String, String>,
    /// Documents that belong to it, by type: lists of what it was made from.
    pub referrers: BTreeMap<String, Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredLayer {
    /// Of the uncompressed tar.
    pub diff_id: Digest,
    pub blob: Digest,
    pub media_type: String,
    pub size_bytes: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
}

/// Every image, the one that came last first.
pub fn stored(store: &ImageStore) -> Result<Vec<Stored>, BuildError> {
    let layout = store.layout();
    let index = layout.entries()?;
    let mut found: Vec<Stored> = Vec::new();
    for entry in index.iter().filter(|entry| entry.artifact_type.is_none()) {
        let name = ref_name(entry).map(str::to_owned);
        match found.iter_mut().find(|stored| stored.digest == entry.digest) {
            Some(stored) => stored.names.extend(name),
            None => {
                let mut stored = read(layout, entry)?;
                stored.names.extend(name);
                stored.referrers = referrers(&index, &entry.digest);
                found.push(stored);
            }
        }
    }
    found.sort_by(|a, b| b.stored_ms.cmp(&a.stored_ms).then_with(|| a.digest.cmp(&b.digest)));
    found.iter_mut().for_each(|stored| stored.names.sort());
    Ok(found)
}

fn referrers(index: &[Descriptor], subject: &Digest) -> BTreeMap<String, Digest> {
    let of_it = index.iter().filter(|entry| Layout::subject_of(entry) == Some(subject.as_str()));
    of_it.filter_map(|entry| Some((entry.artifact_type.clone()?, entry.digest.clone()))).collect()
}

fn read(layout: &Layout, entry: &Descriptor) -> Result<Stored, BuildError> {
    let manifest: Manifest = layout.document(&entry.digest)?;
    let config: Config = layout.document(&manifest.config.digest)?;
    let mut steps = config.history.iter().filter(|step| !step.empty_layer);
    let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids).map(|(layer, diff_id)| StoredLayer {
        diff_id: diff_id.clone(),
        blob: layer.digest.clone(),
        media_type: layer.media_type.clone(),
        size_bytes: layer.size,
        created_by: steps.next().map(|step| step.created_by.clone()).unwrap_or_default(),
    });
    let layers: Vec<StoredLayer> = layers.collect();
    let modified = std::fs::metadata(layout.blob_path(&entry.digest)).and_then(|m| m.modified());
    let since = modified.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let mut annotations = entry.annotations.clone();
    annotations.extend(manifest.annotations.clone());
    annotations.retain(|key, _| key != ORIGIN && key != crate::layout::REF_NAME);
    Ok(Stored {
        digest: entry.digest.clone(),
        names: Vec::new(),
        size_bytes: entry.size + manifest.config.size + layers.iter().map(|l| l.size_bytes).sum::<u64>(),
        created: config.created,
        stored_ms: since.map_or(0, |since| since.as_millis() as i64),
        platform: format!("{}/{}", config.os, config.architecture),
        origin: entry.annotations.get(ORIGIN).cloned().unwrap_or_default(),
        layers,
        config: config.config.into(),
        annotations,
        referrers: BTreeMap::new(),
    })
}

/// Disk that several images take together: what they share counts once.
pub fn size_together<'a>(images: impl IntoIterator<Item = &'a Stored>) -> u64 {
    let mut blobs = BTreeSet::new();
    let mut documents = 0;
    for image in images {
        let layers: u64 = image.layers.iter().map(|l| l.size_bytes).sum();
        documents += image.size_bytes - layers;
        blobs.extend(image.layers.iter().map(|l| (&l.blob, l.size_bytes)));
    }
    documents + blobs.iter().map(|(_, size)| size).sum::<u64>()
}

/// The image that a digest, the beginning of one, or a name means.
pub fn find<'a>(images: &'a [Stored], wanted: &str) -> Result<&'a Stored, BuildError> {
    if let Some(named) = by_name(images, wanted) {
        return Ok(named);
    }
    let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    let is_prefix = hex.len() >= PREFIX_MIN && hex.bytes().all(|b| b.is_ascii_hexdigit());
    let matching: Vec<&Stored> =
        images.iter().filter(|image| is_prefix && image.digest.hex().starts_with(hex)).collect();
    match matching[..] {
        [one] => Ok(one),
        [] => Err(BuildError::input_hint(
            format!("there is no image `{wanted}` on this machine"),
            "`juchu image ls` shows names and digests",
        )),
        _ => Err(BuildError::input_hint(
            format!("`{wanted}` is the beginning of {} images", matching.len()),
            "give more digits of the digest",
        )),
    }
}

fn by_name<'a>(images: &'a [Stored], wanted: &str) -> Option<&'a Stored> {
    let full = Reference::parse(wanted).ok().map(|reference| reference.to_string());
    let local = format!("{LOCAL}{wanted}");
    let local = if wanted.contains(':') { local } else { format!("{local}:latest") };
    let is_meant = |name: &String| name == wanted || Some(name) == full.as_ref() || *name == local;
    images.iter().find(|image| image.names.iter().any(is_meant))
}
