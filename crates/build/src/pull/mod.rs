//! Images of others, fetched from a registry by digest: manifest, the choice of platform, layers
//! checked while they arrive and unpacked while they are checked.

mod beside;
mod blob;
mod layers;
mod platform;
mod signature;

use crate::document::{self, Config, Descriptor, Manifest};
use crate::error::BuildError;
use crate::job::Job;
use crate::layout::MAX_DOCUMENT_BYTES;
pub use crate::remote::Reference;
use crate::remote::{Actions, Fetched, LoginFiles, Registry, Settings};
use crate::store::ImageStore;
pub use beside::fetch_beside;
use blob::Blob;
use model::Digest;
use model::image::{BuiltImage, PullPolicy};
pub use platform::WantedPlatform;
use signature::Signer;
use std::collections::BTreeMap;
use std::path::PathBuf;

const MAX_LAYERS: usize = 512;
const LAYER_TYPES: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    crate::layer::MEDIA_TYPE_GZIP,
    crate::layer::MEDIA_TYPE_ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// How to fetch, beside what.
pub struct PullOptions<'a> {
    pub job: Job<'a>,
    pub policy: PullPolicy,
    /// Docker's `config.json` or Podman's `auth.json`; the user's own unless stated.
    pub credentials: Option<PathBuf>,
    /// Another one than this machine's. Its layers are fetched and not unpacked.
    pub platform: Option<WantedPlatform>,
    /// Also what belongs to the image: lists of what it was made from, signatures.
    pub beside: bool,
}

impl<'a> PullOptions<'a> {
    pub fn new(job: Job<'a>, policy: PullPolicy) -> Self {
        Self { job, policy, credentials: None, platform: None, beside: false }
    }

    fn logins(&self) -> LoginFiles {
        self.credentials.clone().map_or_else(LoginFiles::of_process, LoginFiles::one)
    }

    fn platform(&self) -> WantedPlatform {
        self.platform.clone().unwrap_or_default()
    }
}

/// Fetches `reference`, unless the policy is content with what is there.
pub fn pull(
    reference: &str,
    store: &ImageStore,
    options: &PullOptions<'_>,
) -> Result<BuiltImage, BuildError> {
    let reference = Reference::parse(reference)?;
    let name = reference.to_string();
    let platform = options.platform();
    let settings = Settings::read(&store.registries())?;
    let signer = Signer::of(&settings, &reference)?;
    let present = || present(store, &name, &platform, signer.as_ref());
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
    let logins = options.logins();
    let registry = Registry::new(store.http(), &logins, &settings, &reference, Actions::Pull);
    let job = &options.job;
    job.say(&format!("looking up {name}"));
    let fetching = Fetching { registry: &registry, reference: &reference, store, platform: &platform, job };
    let image = fetching.run(signer.as_ref(), options.beside);
    registry.remarks().iter().for_each(|remark| job.say(remark));
    image
}

/// The manifest digest that the registry has for this machine under `reference` now.
pub fn resolve(reference: &str, store: &ImageStore, options: &PullOptions<'_>) -> Result<Digest, BuildError> {
    let reference = Reference::parse(reference)?;
    let (logins, settings) = (options.logins(), Settings::read(&store.registries())?);
    let registry = Registry::new(store.http(), &logins, &settings, &reference, Actions::Pull);
    Ok(platform::choose(&registry, &reference, &options.platform(), options.job.cancel)?.0.digest)
}

/// What has the name here already, if it is for the platform that is wanted.
fn present(
    store: &ImageStore,
    name: &str,
    platform: &WantedPlatform,
    signer: Option<&Signer>,
) -> Result<Option<BuiltImage>, BuildError> {
    let Some(image) = store.image_named(name)? else { return Ok(None) };
    if let Some(signer) = signer
        && !signer.has_accepted(store, &image.manifest)?
    {
        return Ok(None);
    }
    let manifest: Manifest = store.layout().document(&image.manifest)?;
    let config: Config = store.layout().document(&manifest.config.digest)?;
    Ok(platform.is_of(&config).then_some(image))
}

/// One image on its way.
struct Fetching<'a> {
    registry: &'a Registry<'a>,
    reference: &'a Reference,
    store: &'a ImageStore,
    platform: &'a WantedPlatform,
    job: &'a Job<'a>,
}

impl Fetching<'_> {
    /// Nothing of an image that has to be signed is fetched before its signature was found.
    fn run(&self, signer: Option<&Signer>, beside: bool) -> Result<BuiltImage, BuildError> {
        let cancel = self.job.cancel;
        let (manifest, index) = platform::choose(self.registry, self.reference, self.platform, cancel)?;
        let mut annotations = BTreeMap::new();
        if let Some(signer) = signer {
            signer.demand(self.registry, self.store, &manifest.digest, index.as_ref(), cancel)?;
            annotations.insert(signature::VERIFIED.to_owned(), signer.hint());
        }
        let image = self.fetch(manifest, annotations)?;
        if beside {
            fetch_beside(self.registry.origin(), self.store, &image.manifest, cancel)?;
        }
        Ok(image)
    }

    fn fetch(
        &self,
        fetched: Fetched,
        annotations: BTreeMap<String, String>,
    ) -> Result<BuiltImage, BuildError> {
        let reference = self.reference;
        let what = format!("the manifest of {reference}");
        let manifest: Manifest = document::read(&what, &fetched.bytes)?;
        check_manifest(&manifest).map_err(|reason| BuildError::malformed(what, reason))?;
        let config = self.config(&manifest)?;
        let (layers, diff_ids) = (&manifest.layers, &config.rootfs.diff_ids);
        layers::fetch(self.registry, self.store, layers, diff_ids, self.platform.runs_here(), self.job)?;
        let layout = self.store.layout();
        let digest = layout.put(&fetched.bytes)?;
        let platform = document::Platform {
            architecture: config.architecture,
            os: config.os,
            variant: config.variant.filter(|v| !v.is_empty()),
        };
        let entry = Descriptor {
            platform: Some(platform),
            annotations,
            ..crate::assemble::descriptor(&fetched.media_type, digest.clone(), fetched.bytes.len() as u64)
        };
        let name = reference.to_string();
        layout.put_image(entry, Some(&name), &name)?;
        let layers = config.rootfs.diff_ids;
        Ok(BuiltImage { manifest: digest, layers, config: config.config.into(), origin: name })
    }

    /// The image's configuration, which agrees with what is wanted and with the manifest.
    fn config(&self, manifest: &Manifest) -> Result<Config, BuildError> {
        let layout = self.store.layout();
        let path = layout.blob_path(&manifest.config.digest);
        Blob { of: &manifest.config, path: &path, limit: MAX_DOCUMENT_BYTES, growing: None }
            .fetch(self.registry, self.job.cancel)?;
        let config: Config = layout.document(&manifest.config.digest)?;
        if !self.platform.is_of(&config) {
            let available = format!("{}/{}", config.os, config.architecture);
            return Err(self.platform.is_other(self.reference, &available));
        }
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let reason = "its configuration and its manifest have different numbers of layers";
            return Err(BuildError::malformed(format!("the image {}", self.reference), reason));
        }
        Ok(config)
    }
}

pub(crate) fn check_manifest(manifest: &Manifest) -> Result<(), String> {
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

#[cfg(test)]
mod tests;
