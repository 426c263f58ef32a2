//! An image made for a command, with no daemon: an engine of its own for the build's containers,
//! in directories that go away with the build, or with the next one after a crash.

use super::container::{BuildContainers, sweep};
use super::wire::Order;
use super::{drive, turn};
use crate::wire::engine_over;
use build::ImageStore;
use build::layout::lock;
use juchu::cli::{BUILDS_DIRECTORY, BuildOrder};
use juchu::home::Home;
use model::Report;
use model::image::BuiltImage;
use run::engine::Engine;
use run::ports::Say;
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Work of builds that died; more are swept by the next build.
const SWEPT_MAX: usize = 16;

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
    let _turn = turn::take(&images, &say, cancel).await?;
    sweep_dead(home).await;
    let place = Place::new(home)?;
    let store = Arc::new(ImageStore::open(&order.store).map_err(|e| e.report())?);
    let engine: Arc<dyn Engine> = Arc::new(engine_over(&place.state, &place.runtime, store).await?);
    let containers = BuildContainers { engine };
    let wanted = Order { store: order.store, cache: order.cache, service: order.service, umask: order.umask };
    drive::obtain(wanted, &order.variables, &say, cancel, &containers).await
}

/// Where one build's containers have their files.
struct Place {
    state: PathBuf,
    runtime: PathBuf,
    /// Held while the build goes on.
    _lock: File,
}

impl Place {
    fn new(home: &Home) -> Result<Self, Report> {
        let name = std::process::id().to_string();
        let (state, runtime) = (home.join(BUILDS_DIRECTORY).join(&name), runtime_of(home, &name));
        for directory in [&state, &runtime] {
            crate::wire::make_directory(directory)?;
        }
        let held = lock(&lock_file(&state), FlockOperation::LockExclusive).map_err(|e| e.report())?;
        Ok(Self { state, runtime, _lock: held })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays is swept by the next build.
        let _ = fs::remove_dir_all(&self.runtime);
        let _ = fs::remove_dir_all(&self.state);
    }
}

fn runtime_of(home: &Home, name: &str) -> PathBuf {
    home.runtime.join(BUILDS_DIRECTORY).join(name)
}

fn lock_file(state: &Path) -> PathBuf {
    state.join("lock")
}

/// Ends what builds left running whose command died, and removes their files.
async fn sweep_dead(home: &Home) {
    let entries = fs::read_dir(home.join(BUILDS_DIRECTORY)).into_iter().flatten().flatten();
    for entry in entries.take(SWEPT_MAX) {
        let state = entry.path();
        let Ok(_held) = lock(&lock_file(&state), FlockOperation::NonBlockingLockExclusive) else { continue };
        let runtime = runtime_of(home, &entry.file_name().to_string_lossy());
        let Ok(store) = ImageStore::open(&home.join("images")) else { continue };
        if let Ok(engine) = engine_over(&state, &runtime, Arc::new(store)).await {
            sweep(&engine).await;
        }
        let _ = fs::remove_dir_all(&runtime);
        let _ = fs::remove_dir_all(&state);
    }
}
