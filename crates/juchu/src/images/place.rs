//! Where one build goes on: directories, a control group and secrets of its own, all gone with it,
//! or with the next build after a crash.
//!
//! ```text
//! STATE/builds/PID-N/lock       held while the build goes on
//!                   /group      the name of its control group, written before that is made
//!                   /scratch/   what tools of others write
//! RUNTIME/builds/PID-N/secrets/ what build commands may read
//! ```

use super::limits::Limits;
use super::secrets::{self, SecretFile};
use crate::unprivileged;
use build::ImageStore;
use build::layout::lock;
use host::WorkGroup;
use juchu::cli::BUILDS_DIRECTORY;
use juchu::home::Home;
use model::{ErrorKind, Report, Service};
use run::ports::Say;
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Work of builds that died; more are swept by the next build.
const SWEPT_MAX: usize = 16;

static NUMBER: AtomicU64 = AtomicU64::new(0);

pub struct Place {
    pub state: PathBuf,
    pub runtime: PathBuf,
    pub scratch: PathBuf,
    pub secrets: Vec<SecretFile>,
    pub limits: Limits,
    /// Absent where this user may make no groups, and nobody asked for limits.
    pub group: Option<WorkGroup>,
    /// Held while the build goes on.
    _lock: File,
}

impl Place {
    pub fn new(home: &Home, service: &Service, say: &Say) -> Result<Self, Report> {
        let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (state, runtime) = (home.join(BUILDS_DIRECTORY).join(&name), runtime_of(home, &name));
        let scratch = state.join("scratch");
        for directory in [&state, &runtime, &scratch] {
            crate::wire::make_directory(directory)?;
        }
        let held = lock(&lock_file(&state), FlockOperation::LockExclusive).map_err(|e| e.report())?;
        let limits = Limits::of(service);
        let mut place =
            Self { state, runtime, scratch, secrets: Vec::new(), limits, group: None, _lock: held };
        place.group = place.make_group(say)?;
        place.secrets = secrets::gather(service, &place.runtime.join("secrets"))?;
        Ok(place)
    }

    fn make_group(&self, say: &Say) -> Result<Option<WorkGroup>, Report> {
        let unique = format!("{}\0{}", self.state.display(), crate::machine::now().0);
        let name = format!("build-{}", model::Digest::of(unique.as_bytes()).short());
        fs::write(self.state.join("group"), &name)
            .map_err(|error| Report::environment(format!("write {}: {error}", self.state.display())))?;
        match WorkGroup::make(&name, &self.limits.resources(), unprivileged::entered()) {
            Ok(group) => Ok(Some(group)),
            Err(error) if !self.limits.stated && !unprivileged::may_limit() => {
                say(format!("warning: this build has no limits of its own: {error}"));
                Ok(None)
            }
            Err(error) => Err(Report::from_error(ErrorKind::Environment, &error).hint("juchu doctor")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.group.as_ref().map(WorkGroup::end) {
            eprintln!("error: the processes of a build do not end: {error}");
        }
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

/// What builds that died left in the cache's place for unfinished work. Only for the one whose turn
/// it is.
pub fn clear_unfinished(cache: &Path) {
    // What cannot be removed now is tried again by the next build.
    let _ = fs::remove_dir_all(cache.join("scratch"));
}

/// Ends what builds left running that died, and removes their files.
pub async fn sweep_dead(home: &Home) {
    let entries = fs::read_dir(home.join(BUILDS_DIRECTORY)).into_iter().flatten().flatten();
    for entry in entries.take(SWEPT_MAX) {
        let state = entry.path();
        let Ok(_held) = lock(&lock_file(&state), FlockOperation::NonBlockingLockExclusive) else { continue };
        let runtime = runtime_of(home, &entry.file_name().to_string_lossy());
        // What cannot be ended now is tried again by the next build.
        if end_group(&state).is_err() {
            continue;
        }
        if runtime.join("host").is_dir() {
            sweep_containers(home, &state, &runtime).await;
        }
        let _ = fs::remove_dir_all(&runtime);
        let _ = fs::remove_dir_all(&state);
    }
}

fn end_group(state: &Path) -> io::Result<()> {
    let Ok(name) = fs::read_to_string(state.join("group")) else { return Ok(()) };
    let group =
        WorkGroup::find(&name, &Default::default(), unprivileged::entered()).map_err(io::Error::other)?;
    group.end()
}

async fn sweep_containers(home: &Home, state: &Path, runtime: &Path) {
    let Ok(store) = ImageStore::open(&home.join("images")) else { return };
    if let Ok(engine) = crate::wire::engine_over(state, runtime, Arc::new(store)).await {
        super::container::sweep(&engine).await;
    }
}
