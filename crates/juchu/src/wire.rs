//! The one place that names concrete types: which engine, which store, which builder, which
//! gateway the control loop stands on.

use crate::images::Builders;
use crate::images::container::{BuildContainers, sweep};
use crate::images::place::sweep_dead;
use crate::machine::Host;
use crate::router::GatewayProcess;
use crate::rows;
use crate::spans;
use crate::unprivileged;
use build::ImageStore;
use host::{HostConfig, HostEngine, LayerSource};
use juchu::home::Home;
use model::{Digest, ErrorKind, Report};
use observe::logs::Logs;
use run::Parts;
use run::engine::{Engine, Lack};
use run::rows::Rows;
use run::traces::Traces;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::SqliteLedger;

/// Disk that the output of all instances together may take.
const LOG_BUDGET_BYTES: u64 = 2 << 30;

struct Layers(Arc<ImageStore>);

impl LayerSource for Layers {
    fn layer_dir(&self, digest: &Digest) -> Option<PathBuf> {
        self.0.layer_dir(digest).ok()
    }
}

/// Where rows and spans that others send are kept, too; none of what cannot be.
#[derive(Clone, Default)]
pub struct Texts {
    pub rows: Option<Arc<Logs>>,
    pub spans: Option<Arc<Logs>>,
}

/// Opens everything below the home. Must be called within a runtime.
pub async fn parts(home: &Home) -> Result<(Parts, Texts), Report> {
    make_directory(&home.state)?;
    make_directory(&home.runtime)?;
    let executable = juchu::program::path()
        .map_err(|error| Report::environment(format!("find this program's own file: {error}")))?;
    let ledger = SqliteLedger::open(&home.join("journal.db")).map_err(journal_report)?;
    let store = Arc::new(ImageStore::open(&home.join("images")).map_err(|e| e.report())?);
    let config = HostConfig {
        state: home.state.clone(),
        runtime: home.runtime.join("host"),
        layers: Arc::new(Layers(Arc::clone(&store))),
        volumes: home.join("volumes"),
        executable: executable.clone(),
        log_budget_bytes: LOG_BUDGET_BYTES,
        unprivileged: unprivileged::entered().cloned(),
    };
    let engine: Arc<dyn Engine> = Arc::new(
        HostEngine::open(config)
            .await
            .map_err(|e| Report::from_error(ErrorKind::Environment, &e).hint("juchu doctor"))?,
    );
    sweep(engine.as_ref()).await;
    sweep_dead(home).await;
    let containers = BuildContainers::new(Arc::clone(&engine), home.state.clone());
    let texts = Texts { rows: kept("rows", rows::start(home)), spans: kept("spans", spans::start(home)) };
    let parts = Parts {
        ledger: Arc::new(ledger),
        engine,
        images: Arc::new(Builders::new(store, home, containers)),
        router: Arc::new(GatewayProcess::new(home, executable)),
        machine: Arc::new(Host),
        settings: plan::Settings { files: home.join("files") },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        home: home.state.clone(),
        rows: texts.rows.clone().map(|logs| Arc::new(rows::Kept::new(logs)) as Arc<dyn Rows>),
        traces: texts.spans.clone().map(|store| Arc::new(spans::Kept::new(store)) as Arc<dyn Traces>),
    };
    Ok((parts, texts))
}

/// Services are run also where what they write and send cannot be kept.
fn kept(what: &str, started: Result<Arc<Logs>, Report>) -> Option<Arc<Logs>> {
    started.inspect_err(|report| eprintln!("{what} are not kept: {}", report.error)).ok()
}

/// An engine over directories of its own, beside the daemon's.
pub async fn engine_over(state: &Path, runtime: &Path, store: Arc<ImageStore>) -> Result<HostEngine, Report> {
    let executable = juchu::program::path()
        .map_err(|error| Report::environment(format!("find this program's own file: {error}")))?;
    let config = HostConfig {
        state: state.to_owned(),
        runtime: runtime.join("host"),
        layers: Arc::new(Layers(store)),
        volumes: state.join("volumes"),
        executable,
        log_budget_bytes: LOG_BUDGET_BYTES,
        unprivileged: unprivileged::entered().cloned(),
    };
    HostEngine::open(config)
        .await
        .map_err(|e| Report::from_error(ErrorKind::Environment, &e).hint("juchu doctor"))
}

/// What this machine lacks, asked without a daemon, or beside one for what only this user sees.
pub fn lacks(home: &Home, is_running: bool) -> Vec<Lack> {
    if !rustix::process::geteuid().is_root() {
        let executable = juchu::program::path().unwrap_or_default();
        return host::rootless::lacks(&home.runtime, &executable, is_running);
    }
    if is_running { Vec::new() } else { lacks_of_machine(home) }
}

/// Asked of an engine over an empty directory.
fn lacks_of_machine(home: &Home) -> Vec<Lack> {
    let directory = home.runtime.join(format!("doctor-{}", std::process::id()));
    let look = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| {
            runtime.block_on(async {
                let store = make_directory(&directory)
                    .and_then(|()| ImageStore::open(&directory.join("images")).map_err(|e| e.report()))?;
                let config = HostConfig {
                    state: directory.clone(),
                    runtime: directory.join("host"),
                    layers: Arc::new(Layers(Arc::new(store))),
                    volumes: directory.join("volumes"),
                    executable: directory.clone(),
                    log_budget_bytes: LOG_BUDGET_BYTES,
                    unprivileged: unprivileged::entered().cloned(),
                };
                let engine =
                    HostEngine::open(config).await.map_err(|e| Report::environment(e.to_string()))?;
                Ok::<_, Report>(engine.lacks().await)
            })
        })
    };
    // A thread of its own: the command line has a runtime on this one.
    let found = std::thread::scope(|scope| scope.spawn(look).join().expect("looking does not panic"));
    // Nothing in it is of use to anybody.
    let _ = std::fs::remove_dir_all(&directory);
    let unusable = |what: String| Lack {
        what,
        effect: "nothing can run".to_owned(),
        hint: "sudo juchu doctor".to_owned(),
        fatal: true,
    };
    match found {
        Ok(Ok(lacks)) => lacks,
        Ok(Err(report)) => vec![unusable(report.error)],
        Err(error) => vec![unusable(error.to_string())],
    }
}

pub fn make_directory(path: &Path) -> Result<(), Report> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Report::environment(format!("make {}: {error}", path.display()))
            .hint("JUCHU_HOME names another directory")
    })
}

fn journal_report(error: store::StoreError) -> Report {
    match &error {
        store::StoreError::Locked(_) => Report::new(ErrorKind::Conflict, error.to_string())
            .hint("`juchu ps` speaks to the daemon that runs"),
        _ => Report::from_error(ErrorKind::Environment, &error),
    }
}
