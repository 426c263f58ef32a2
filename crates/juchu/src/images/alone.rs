//! An image made for a command, with no daemon: an engine of its own for the build's containers,
//! in directories that go away with the build, or with the next one after a crash.

use super::container::BuildContainers;
use super::place::{Place, clear_unfinished, sweep_dead};
use super::{drive, turn};
use crate::wire::engine_over;
use build::ImageStore;
use juchu::cli::BuildOrder;
use juchu::home::Home;
use model::Report;
use model::image::BuiltImage;
use run::engine::Engine;
use run::ports::Say;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Makes the image; blocks for as long as that takes. Not to be called within a runtime.
pub fn make(home: &Home, order: BuildOrder, say: Say, cancel: &AtomicBool) -> Result<BuiltImage, Report> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::environment(format!("start a build: {error}")))?
        .block_on(make_in_turn(home, order, say, cancel))
}

async fn make_in_turn(
    home: &Home,
    order: BuildOrder,
    say: Say,
    cancel: &AtomicBool,
) -> Result<BuiltImage, Report> {
    let images = home.join("images");
    ImageStore::open(&images).map_err(|e| e.report())?;
    let _turn = turn::take(&images, &order.service, &say, cancel).await?;
    sweep_dead(home).await;
    clear_unfinished(&home.join("cache"));
    let place = Place::new(home, &order.service, &say)?;
    let store = Arc::new(ImageStore::open(&order.store).map_err(|e| e.report())?);
    let engine: Arc<dyn Engine> = Arc::new(engine_over(&place.state, &place.runtime, store).await?);
    let containers = BuildContainers::new(engine, place.state.clone());
    drive::obtain(order, &place, &say, cancel, &containers).await
}
