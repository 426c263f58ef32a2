//! What is known of a blob beyond itself: what it packs to, and which repositories have it. All of
//! it can be found out again, so that a lost or wrong record costs time alone.

use crate::durable;
use crate::error::BuildError;
use crate::store::ImageStore;
use model::Digest;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Repositories that are remembered, the last ones.
const MAX_PLACES: usize = 8;
const VERSION: u32 = 1;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    version: u32,
    /// Packed with gzip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gzip: Option<Form>,
    /// `HOST/REPOSITORY`, the last one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    pub digest: Digest,
    pub size: u64,
}

impl Known {
    pub fn of(store: &ImageStore, blob: &Digest) -> Self {
        let read = std::fs::read(path(store, blob)).ok();
        let known: Option<Self> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        known.filter(|known| known.version == VERSION).unwrap_or_default()
    }

    pub fn keep(mut self, store: &ImageStore, blob: &Digest) -> Result<(), BuildError> {
        self.version = VERSION;
        durable::create_directories(&store.known_blobs())?;
        durable::write(&path(store, blob), &serde_json::to_vec(&self).expect("plain data"))
    }

    /// Remembers that a repository has it; answers whether that is news.
    pub fn is_at(&mut self, place: &str) -> bool {
        if self.places.last().is_some_and(|last| last == place) {
            return false;
        }
        self.places.retain(|other| other != place);
        self.places.push(place.to_owned());
        let many = self.places.len().saturating_sub(MAX_PLACES);
        self.places.drain(..many);
        true
    }
}

fn path(store: &ImageStore, blob: &Digest) -> PathBuf {
    store.known_blobs().join(blob.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::TempDir;

    #[test]
    fn the_last_places_are_remembered() {
        let directory = TempDir::new();
        let store = ImageStore::open(directory.path()).unwrap();
        let blob = Digest::of(b"x");
        let mut known = Known::of(&store, &blob);
        for number in 0..=MAX_PLACES {
            assert!(known.is_at(&format!("a.b/{number}")));
        }
        assert!(known.is_at("a.b/3"));
        assert!(!known.is_at("a.b/3"));
        known.keep(&store, &blob).unwrap();
        let places = Known::of(&store, &blob).places;
        assert_eq!((places.len(), places[0].as_str(), places[7].as_str()), (MAX_PLACES, "a.b/1", "a.b/3"));
        std::fs::write(path(&store, &blob), "{\"version\":9}").unwrap();
        assert_eq!(Known::of(&store, &blob), Known::default());
    }
}
