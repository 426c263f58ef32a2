//! What an image was made from, as documents that other tools read: CycloneDX 1.6 and SPDX 2.3.
//! Both follow from the image alone, so the same image has the same documents, with no clock.

mod cyclonedx;
mod licences;
mod spdx;

use crate::catalogue::{Stored, find, stored};
use crate::document::{self, Descriptor, Manifest};
use crate::error::BuildError;
use crate::inventory::{self, Ecosystem, Package};
use crate::store::ImageStore;
use model::Digest;
use model::image::BuiltImage;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How `assemble` calls the layer of the application in the image's history.
const APPLICATION: &str = "juchu: application";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    CycloneDx,
    Spdx,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::CycloneDx, Self::Spdx];

    pub fn media_type(self) -> &'static str {
        match self {
            Self::CycloneDx => "application/vnd.cyclonedx+json",
            Self::Spdx => "application/spdx+json",
        }
    }

    fn write(self, bill: &Bill) -> Vec<u8> {
        let document = match self {
            Self::CycloneDx => cyclonedx::document(bill),
            Self::Spdx => spdx::document(bill),
        };
        let mut text = serde_json::to_vec_pretty(&document).expect("JSON values can be written");
        text.push(b'\n');
        text
    }
}

/// What both forms say in their own words.
struct Bill {
    image: Digest,
    /// Time of the inputs.
    created: Option<String>,
    packages: Vec<Package>,
    /// The files that are nobody's package: the uncompressed layer they stand in.
    application: Option<Digest>,
    /// Debian's code name, such as `trixie`.
    distribution: Option<String>,
}

/// Makes the documents of an image, and keeps them and `annotations` beside it in the index.
pub fn attach(
    store: &ImageStore,
    image: &BuiltImage,
    compiled_in: Vec<Package>,
    annotations: &BTreeMap<String, String>,
) -> Result<(), BuildError> {
    let _working = store.working()?;
    let all = stored(store)?;
    let bill = bill(store, find(&all, image.manifest.as_str())?, compiled_in)?;
    let layout = store.layout();
    let subject = subject(store, &image.manifest)?;
    let empty = Descriptor { media_type: document::EMPTY.to_owned(), ..descriptor(layout.put(b"{}")?, 2) };
    let mut entries = Vec::new();
    for format in Format::ALL {
        let bytes = format.write(&bill);
        let size = bytes.len() as u64;
        let blob = Descriptor {
            media_type: format.media_type().to_owned(),
            ..descriptor(layout.put(&bytes)?, size)
        };
        let manifest = document::write(&Manifest {
            schema_version: 2,
            media_type: Some(document::MANIFEST.to_owned()),
            artifact_type: Some(format.media_type().to_owned()),
            config: empty.clone(),
            layers: vec![blob],
            subject: Some(subject.clone()),
            annotations: annotations.clone(),
        });
        entries.push(Descriptor {
            artifact_type: Some(format.media_type().to_owned()),
            ..descriptor(layout.put(&manifest)?, manifest.len() as u64)
        });
    }
    layout.put_referrers(entries, &image.manifest, annotations)
}

fn descriptor(digest: Digest, size: u64) -> Descriptor {
    crate::assemble::descriptor(document::MANIFEST, digest, size)
}

fn subject(store: &ImageStore, manifest: &Digest) -> Result<Descriptor, BuildError> {
    let path = store.layout().blob_path(manifest);
    let about = std::fs::metadata(&path).map_err(BuildError::io(format!("read {}", path.display())))?;
    Ok(descriptor(manifest.clone(), about.len()))
}

/// The document that was made with the image, or one made now from what the image holds.
pub fn of(store: &ImageStore, image: &Stored, format: Format) -> Result<(Vec<u8>, bool), BuildError> {
    if let Some(referrer) = image.referrers.get(format.media_type()) {
        let manifest: Manifest = store.layout().document(referrer)?;
        if let Some(blob) = manifest.layers.first() {
            return Ok((store.layout().bytes(&blob.digest)?, true));
        }
    }
    Ok((format.write(&bill(store, image, Vec::new())?), false))
}

fn bill(store: &ImageStore, image: &Stored, compiled_in: Vec<Package>) -> Result<Bill, BuildError> {
    let layers: Vec<PathBuf> =
        image.layers.iter().map(|layer| store.layer_dir(&layer.diff_id)).collect::<Result<_, _>>()?;
    let mut packages = inventory::packages(&layers)?;
    packages.extend(compiled_in);
    packages.sort();
    // One from two places would have the same reference twice.
    packages.dedup_by(|a, b| key(a) == key(b));
    let own = image.layers.iter().find(|layer| layer.created_by == APPLICATION);
    Ok(Bill {
        image: image.digest.clone(),
        created: image.created.clone(),
        packages,
        application: own.map(|layer| layer.diff_id.clone()),
        distribution: inventory::distribution(&layers),
    })
}

fn key(package: &Package) -> (Ecosystem, &str, &str, Option<&str>) {
    (package.ecosystem, &package.name, &package.version, package.architecture.as_deref())
}

impl Bill {
    /// The package's name in a form that all tools share.
    fn purl(&self, package: &Package) -> String {
        let (name, version) = (encode(&package.name), encode(&package.version));
        match package.ecosystem {
            Ecosystem::Python => format!("pkg:pypi/{name}@{version}"),
            Ecosystem::Node => format!("pkg:npm/{}@{version}", encode(&package.name).replace("%2F", "/")),
            Ecosystem::Rust => format!("pkg:cargo/{name}@{version}"),
            Ecosystem::Debian => {
                let architecture = package.architecture.iter().map(|a| format!("arch={}", encode(a)));
                let distribution = self.distribution.iter().map(|d| format!("distro={}", encode(d)));
                let qualifiers: Vec<String> = architecture.chain(distribution).collect();
                let mark = if qualifiers.is_empty() { "" } else { "?" };
                format!("pkg:deb/debian/{name}@{version}{mark}{}", qualifiers.join("&"))
            }
        }
    }
}

/// Percent encoding of one part of a package URL.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~:".contains(&b) => out.push(char::from(b)),
            b => {
                let _ = write!(out, "%{b:02X}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests;
