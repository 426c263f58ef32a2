//! The demand that what comes from a registry is signed: declared in `registries.toml`, met before
//! anything of the image is fetched, and remembered beside the image.

use super::fetch_beside;
use crate::document::Descriptor;
use crate::error::BuildError;
use crate::remote::{Reference, Registry, Settings};
use crate::sign::{self, PublicKey};
use crate::store::ImageStore;
use model::Digest;
use std::sync::atomic::AtomicBool;

/// In the index of the store, with the hint of the key.
pub const VERIFIED: &str = "dev.juchu.verified";

/// Who has to have signed.
pub struct Signer(PublicKey);

impl Signer {
    pub fn of(settings: &Settings, reference: &Reference) -> Result<Option<Self>, BuildError> {
        let key = settings.key_for(reference).map(PublicKey::read).transpose()?;
        Ok(key.map(Self))
    }

    pub fn hint(&self) -> String {
        self.0.hint()
    }

    /// Whether the image was found to be signed when it came.
    pub fn has_accepted(&self, store: &ImageStore, image: &Digest) -> Result<bool, BuildError> {
        let hint = self.hint();
        let is_it =
            |entry: &Descriptor| entry.digest == *image && entry.annotations.get(VERIFIED) == Some(&hint);
        Ok(store.layout().entries()?.iter().any(is_it))
    }

    /// Looks for the signature where the image comes from. Who signs an image for several platforms
    /// signs the index that leads to them, and with it everything it names by digest.
    pub fn demand(
        &self,
        registry: &Registry<'_>,
        store: &ImageStore,
        manifest: &Digest,
        index: Option<&Digest>,
        cancel: &AtomicBool,
    ) -> Result<(), BuildError> {
        for subject in index.into_iter().chain([manifest]) {
            let found = registry.first(|endpoint| {
                fetch_beside(endpoint, store, subject, cancel)?;
                Ok(sign::verify(store, subject, &self.0).ok())
            })?;
            if found.is_some() {
                return Ok(());
            }
        }
        sign::verify(store, manifest, &self.0).map(|_| ())
    }
}
