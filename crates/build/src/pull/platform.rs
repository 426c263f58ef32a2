//! Which of the images under one name is wanted: this machine's, or one that was named.

use crate::archive::host_architecture;
use crate::document::{self, Config, Descriptor, Index, Platform};
use crate::error::BuildError;
use crate::remote::{Fetched, Reference, Registry, RegistryError};
use model::Digest;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

/// `OS/ARCHITECTURE[/VARIANT]` in the words of the image format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPlatform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Default for WantedPlatform {
    /// This machine.
    fn default() -> Self {
        Self { os: "linux".to_owned(), architecture: host_architecture().to_owned(), variant: None }
    }
}

impl FromStr for WantedPlatform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [_, _] | [_, _, _] if parts.iter().all(plain) => Ok(Self {
                os: parts[0].to_owned(),
                architecture: parts[1].to_owned(),
                variant: parts.get(2).map(|variant| (*variant).to_owned()),
            }),
            _ => Err(format!("`{text}` is not a platform such as linux/amd64 or linux/arm/v7")),
        }
    }
}

impl fmt::Display for WantedPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl WantedPlatform {
    /// Whether what it holds can run on this machine.
    pub fn runs_here(&self) -> bool {
        let here = Self::default();
        self.os == here.os && self.architecture == here.architecture
    }

    /// Whether the configuration of an image says the same.
    pub fn is_of(&self, config: &Config) -> bool {
        config.os == self.os && config.architecture == self.architecture
    }

    /// How well an entry of an index fits: the lower, the better.
    fn fit(&self, platform: &Platform) -> Option<usize> {
        if platform.os != self.os || platform.architecture != self.architecture {
            return None;
        }
        let stated = platform.variant.as_deref().unwrap_or_default();
        match &self.variant {
            Some(wanted) => (wanted == stated).then_some(0),
            // Every machine of the architecture has these; of 32-bit Arm, most have the seventh.
            None if self.architecture == "arm" => ["v7", "", "v6", "v5"].iter().position(|v| *v == stated),
            None => ["", "v8", "v1"].iter().position(|v| *v == stated).map(|_| 0),
        }
    }

    /// The error about an image for others.
    pub fn is_other(&self, reference: &Reference, available: &str) -> BuildError {
        let (reference, available, wanted) = (reference.to_string(), available.to_owned(), self.to_string());
        match *self == Self::default() {
            true => BuildError::Architecture { reference, available, wanted },
            false => RegistryError::Platform { reference, available, wanted }.into(),
        }
    }
}

/// The manifest for the platform, and the index that leads to it where there is one.
pub fn choose(
    registry: &Registry<'_>,
    reference: &Reference,
    wanted: &WantedPlatform,
    cancel: &AtomicBool,
) -> Result<(Fetched, Option<Digest>), BuildError> {
    let first = registry.manifest(reference.target(), cancel)?;
    if !first.is_index() {
        return Ok((first, None));
    }
    let index: Index = document::read(&format!("the index of {reference}"), &first.bytes)?;
    let stated = index.manifests.iter().filter_map(|entry| Some((entry, entry.platform.as_ref()?)));
    // Attestations stand there as images for nobody.
    let platforms: Vec<(&Descriptor, &Platform)> = stated.filter(|(_, p)| p.os != "unknown").collect();
    let fitting = platforms.iter().filter_map(|(entry, platform)| Some((wanted.fit(platform)?, entry)));
    let Some((_, chosen)) = fitting.min_by_key(|(fit, _)| *fit) else {
        let names: BTreeSet<String> = platforms.iter().map(|(_, platform)| name(platform)).collect();
        return Err(wanted.is_other(reference, &names.into_iter().collect::<Vec<_>>().join(", ")));
    };
    let manifest = registry.manifest(chosen.digest.as_str(), cancel)?;
    match manifest.is_index() {
        true => Err(BuildError::malformed(format!("the index of {reference}"), "it leads to another index")),
        false => Ok((manifest, Some(first.digest))),
    }
}

fn name(platform: &Platform) -> String {
    let variant = platform.variant.as_deref().filter(|v| !v.is_empty()).map(|v| format!("/{v}"));
    format!("{}/{}{}", platform.os, platform.architecture, variant.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_the_image_format_writes_them() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(text.parse::<WantedPlatform>().unwrap().to_string(), text);
        }
        for bad in ["", "linux", "linux/", "Linux/AMD64", "a/b/c/d", "linux//v7"] {
            assert!(bad.parse::<WantedPlatform>().unwrap_err().contains("is not a platform"), "{bad}");
        }
    }

    #[test]
    fn the_variant_that_every_machine_has_is_taken() {
        let fit = |wanted: &str, variant: &str| {
            let wanted: WantedPlatform = wanted.parse().unwrap();
            let variant = Some(variant.to_owned());
            let (architecture, os) = (wanted.architecture.clone(), "linux".to_owned());
            wanted.fit(&Platform { architecture, os, variant })
        };
        assert_eq!((fit("linux/amd64", ""), fit("linux/amd64", "v3")), (Some(0), None));
        assert_eq!((fit("linux/arm64", "v8"), fit("linux/arm", "v5")), (Some(0), Some(3)));
        assert!(fit("linux/arm", "v7") < fit("linux/arm", "v6"));
        assert_eq!((fit("linux/arm/v6", "v6"), fit("linux/arm/v6", "v7")), (Some(0), None));
    }
}
