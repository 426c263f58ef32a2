//! Which commit an image was built from, for reports.

use super::recipe::REVISION;
use async_trait::async_trait;
use build::{ImageStore, catalogue};
use console::report::Origins;
use juchu::home::Home;
use model::Digest;
use std::path::PathBuf;

pub struct Built {
    store: PathBuf,
}

impl Built {
    pub fn of(home: &Home) -> Self {
        Self { store: home.join("images") }
    }
}

#[async_trait]
impl Origins for Built {
    async fn commit(&self, manifest: &Digest) -> Option<String> {
        let (store, manifest) = (self.store.clone(), manifest.clone());
        let read = tokio::task::spawn_blocking(move || {
            let all = catalogue::stored(&ImageStore::open(&store).ok()?).ok()?;
            let image = all.into_iter().find(|image| image.digest == manifest)?;
            image.annotations.get(REVISION).cloned()
        });
        read.await.ok().flatten()
    }
}
