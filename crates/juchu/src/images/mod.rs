//! Where images come from: the native builder, the recipes of components, and registries. Each is
//! made by a process of its own, one at a time; what one costs of memory ends with it.

pub mod alone;
pub mod container;
mod drive;
mod limits;
pub mod origins;
pub mod place;
mod recipe;
mod room;
mod secrets;
mod turn;
mod watch;
mod wire;
pub mod worker;

use crate::machine::Host;
use async_trait::async_trait;
use build::ImageStore;
use build::catalogue::LOCAL;
use container::BuildContainers;
use juchu::cli::BuildOrder;
use juchu::home::Home;
use model::image::BuiltImage;
use model::{Bytes, Digest, Report, Service, Stack};
use place::{Place, clear_unfinished};
use recipe::Workshop;
use run::ports::{Images, Machine, Say};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Images younger than this are never collected: a build may be about to use them.
const COLLECT_GRACE: Duration = Duration::from_secs(600);

/// With less free than this, what only `juchu build` made is not kept.
const DISK_FLOOR: Bytes = Bytes::mib(1024);

pub struct Builders {
    inner: Arc<Inner>,
    containers: BuildContainers,
    home: Home,
}

struct Inner {
    store: Arc<ImageStore>,
    workshop: Workshop,
}

impl Builders {
    pub fn new(store: Arc<ImageStore>, home: &Home, containers: BuildContainers) -> Self {
        let inner = Inner { store, workshop: Workshop::new(home.join("cache")) };
        Self { inner: Arc::new(inner), containers, home: home.clone() }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Report> + Send + 'static,
    ) -> Result<T, Report> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(panic) => Err(Report::internal(format!("the builder broke: {panic}"))),
        }
    }
}

impl Inner {
    /// The last image that `juchu build` made of each service; a later one takes its name.
    fn built(&self) -> Result<Vec<Digest>, Report> {
        let named = self.store.layout().list().map_err(|e| e.report())?.into_iter();
        let is_built = |name: &Option<String>| name.as_ref().is_some_and(|n| n.starts_with(LOCAL));
        Ok(named.filter(|(name, _)| is_built(name)).map(|(_, digest)| digest).collect())
    }
}

#[async_trait]
impl Images for Builders {
    fn complete(&self, stack: &mut Stack) -> Result<(), Report> {
        catalog::complete(stack).map_err(|e| e.report())
    }

    async fn inputs(&self, service: &Service) -> Result<Digest, Report> {
        let service = service.clone();
        let name = service.name.clone();
        self.blocking(move |inner| inner.workshop.inputs(&service)).await.map_err(|mut report| {
            report.error = format!("service {name}: {}", report.error);
            report
        })
    }

    async fn obtain(
        &self,
        service: &Service,
        say: Say,
        cancel: Arc<AtomicBool>,
    ) -> Result<BuiltImage, Report> {
        let root = self.inner.store.root();
        // Builds wait here for their turn, so that they do not starve what runs.
        let _turn = turn::take(root, service, &say, &cancel).await?;
        clear_unfinished(&self.inner.workshop.cache);
        let place = Place::new(&self.home, service, &say)?;
        let order = BuildOrder {
            store: root.to_owned(),
            cache: self.inner.workshop.cache.clone(),
            service: service.clone(),
            umask: None,
            variables: BTreeMap::new(),
        };
        drive::obtain(order, &place, &say, &cancel, &self.containers).await
    }

    async fn holds(&self, image: &BuiltImage) -> bool {
        let image = image.clone();
        let looked = self.blocking(move |inner| {
            let store = &inner.store;
            // From here until it is in the journal nobody else says that it is needed.
            let known = store.layout().touch(&image.manifest).is_ok();
            Ok(known && image.layers.iter().all(|layer| store.layer_dir(layer).is_ok()))
        });
        looked.await.unwrap_or(false)
    }

    async fn keep_only(&self, used: Vec<BuiltImage>) {
        let mut keep: BTreeSet<Digest> = used.into_iter().map(|image| image.manifest).collect();
        let swept = self.blocking(move |inner| {
            if Host.disk_free(inner.store.root()).is_none_or(|free| free >= DISK_FLOOR) {
                keep.extend(inner.built()?);
            }
            inner.store.collect(&keep, COLLECT_GRACE).map_err(|e| e.report())?;
            // What is kept need not be unpacked again after a restart of the machine.
            inner.store.settle().map_err(|e| e.report())
        });
        if let Err(report) = swept.await {
            eprintln!("{report}");
        }
    }
}
