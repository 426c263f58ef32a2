//! What a manifest consists of, as it is read when it is pushed and kept beside the repository, so
//! that nobody has to read all manifests again to know what is needed.

use super::{ContentDigest, RepositoryError, damaged};
use crate::document::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
use crate::error::BuildError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Blobs and manifests that one manifest may name.
pub const REFERENCES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Image,
    Index,
}

impl Kind {
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            MANIFEST | DOCKER_MANIFEST => Some(Self::Image),
            INDEX | DOCKER_LIST => Some(Self::Index),
            _ => None,
        }
    }
}

/// One manifest, read.
#[derive(Debug, Clone)]
pub struct Contents {
    pub media_type: String,
    /// Every blob it names.
    pub blobs: Vec<ContentDigest>,
    /// Those of them that must be had from the same place.
    pub required: Vec<ContentDigest>,
    /// Of an index.
    pub manifests: Vec<ContentDigest>,
    pub subject: Option<ContentDigest>,
    pub artifact_type: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Part>,
    layers: Option<Vec<Part>>,
    manifests: Option<Vec<Part>>,
    subject: Option<Part>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(default)]
    media_type: String,
    digest: ContentDigest,
    urls: Option<Vec<String>>,
}

impl Part {
    /// Layers that may not be handed on lie elsewhere.
    fn is_elsewhere(&self) -> bool {
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || self.media_type.contains("nondistributable")
            || self.media_type.contains(".foreign.")
    }
}

impl Contents {
    /// Reads a manifest that came as `media_type`; what its text says counts where it says it.
    pub fn read(bytes: &[u8], media_type: Option<&str>) -> Result<Self, RepositoryError> {
        let invalid = |reason: String| RepositoryError::Invalid { reason };
        let document: Document = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        let media_type = match (&document.media_type, media_type) {
            (Some(inside), Some(outside)) if inside != outside => {
                return Err(invalid(format!("it says it is {inside} and came as {outside}")));
            }
            (Some(one), _) => one.clone(),
            (None, Some(one)) => one.to_owned(),
            (None, None) => return Err(invalid("it came without a Content-Type".to_owned())),
        };
        let Some(kind) = Kind::of(&media_type) else {
            return Err(invalid(format!("manifests of type {media_type} are not kept here")));
        };
        if document.schema_version != 2 {
            return Err(invalid(format!("schemaVersion is {}, not 2", document.schema_version)));
        }
        document.contents(kind, media_type).map_err(|reason| invalid(reason.to_owned()))
    }
}

impl Document {
    fn contents(self, kind: Kind, media_type: String) -> Result<Contents, &'static str> {
        let (parts, listed, config_type) = match (kind, self.config, self.layers, self.manifests) {
            (Kind::Image, Some(config), layers, None) => {
                let config_type = config.media_type.clone();
                let parts: Vec<Part> = layers.unwrap_or_default().into_iter().chain([config]).collect();
                (parts, Vec::new(), Some(config_type))
            }
            (Kind::Index, None, None, Some(manifests)) => (Vec::new(), manifests, None),
            (Kind::Image, None, _, _) => return Err("an image has a `config`"),
            (Kind::Index, _, _, None) => return Err("an index has `manifests`"),
            // Two readers would see two different things in it.
            _ => return Err("it is an image and an index at once"),
        };
        if parts.len() + listed.len() > REFERENCES_MAX {
            return Err("it names more than 10000 blobs and manifests");
        }
        let artifact_type = self.artifact_type.filter(|text| !text.is_empty());
        Ok(Contents {
            media_type,
            required: parts.iter().filter(|part| !part.is_elsewhere()).map(|p| p.digest.clone()).collect(),
            blobs: parts.into_iter().map(|part| part.digest).collect(),
            manifests: listed.into_iter().map(|part| part.digest).collect(),
            subject: self.subject.map(|part| part.digest),
            artifact_type: artifact_type.or(config_type.filter(|text| !text.is_empty())),
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

/// The file beside a repository. Its time of modification tells since when no tag stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    pub media_type: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<ContentDigest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<ContentDigest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<ContentDigest>,
}

impl Record {
    pub(super) fn new(contents: Contents, size: u64) -> Self {
        let Contents { media_type, blobs, manifests, subject, .. } = contents;
        Self { version: 1, media_type, size, blobs, manifests, subject }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Self, BuildError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| damaged(path, error))?;
        match record.version {
            1 => Ok(record),
            other => Err(damaged(path, format!("it is of version {other}; a newer juchu wrote it"))),
        }
    }
}
