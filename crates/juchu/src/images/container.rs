//! Build commands in containers of the embedded engine: fresh, with little weight, gone afterwards.

use super::wire::ContainerCommand;
use build::kinds::{RunMount, RunOutcome};
use model::instance::{InstanceNetwork, InstanceSpec, InstanceState, ResolvedMount};
use model::mount::MountSource;
use model::service::{ProcessSettings, Resources};
use model::{Digest, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use run::engine::{Engine, EngineError, LogQuery};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout_at};

/// The stack that build containers belong to. No Compose file has a name that begins so.
pub const BUILD_STACK: &str = "0-build";
/// Against 1024 of a service: builds take what is left.
const CPU_SHARES: u64 = 128;
const TASKS: i64 = 4096;
const LOG_BYTES: u64 = 4 << 20;

static NUMBER: AtomicU64 = AtomicU64::new(0);

pub struct BuildContainers {
    pub engine: Arc<dyn Engine>,
}

/// Removes what builds of a daemon that died left behind.
pub async fn sweep(engine: &dyn Engine) {
    for observed in engine.observe().await.unwrap_or_default() {
        if observed.spec.stack.as_str() == BUILD_STACK {
            // What cannot be removed now is tried again by the next daemon.
            let _ = engine.remove(&observed.spec.id).await;
        }
    }
}

impl BuildContainers {
    /// Runs the command in a fresh container until it ends or nobody wants it any more; `output`
    /// gets each line as it comes.
    pub async fn run(
        &self,
        command: &ContainerCommand,
        output: mpsc::Sender<String>,
        cancel: &AtomicBool,
    ) -> Result<RunOutcome, EngineError> {
        let spec = spec(command);
        let outcome = self.run_spec(&spec, command.time_limit.as_std(), &output, cancel).await;
        let removed = self.engine.remove(&spec.id).await;
        let outcome = outcome?;
        removed?;
        Ok(outcome)
    }

    async fn run_spec(
        &self,
        spec: &InstanceSpec,
        time_limit: Duration,
        output: &mpsc::Sender<String>,
        cancel: &AtomicBool,
    ) -> Result<RunOutcome, EngineError> {
        self.engine.create(spec).await?;
        self.engine.start(&spec.id).await?;
        let deadline = Instant::now() + time_limit;
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let mut lines = self.engine.logs(&spec.id, query).await?;
        let mut code = None;
        while code.is_none() && Instant::now() < deadline && !cancel.load(Ordering::Relaxed) {
            let look = (Instant::now() + Duration::from_millis(50)).min(deadline);
            while let Ok(Some(line)) = timeout_at(look, lines.recv()).await {
                // Without a listener it still runs to its end.
                let _ = output.send(line.text).await;
            }
            code = self.exit_code(&spec.id).await?;
        }
        // What it said last may still be on its way.
        let last = Instant::now() + Duration::from_millis(50);
        while let Ok(Some(line)) = timeout_at(last, lines.recv()).await {
            let _ = output.send(line.text).await;
        }
        Ok(RunOutcome { code: code.unwrap_or(-1), timed_out: code.is_none() })
    }

    async fn exit_code(&self, id: &InstanceId) -> Result<Option<i32>, EngineError> {
        let all = self.engine.observe().await?;
        Ok(match all.into_iter().find(|o| o.spec.id == *id).map(|o| o.state) {
            Some(InstanceState::Exited(exit)) => Some(exit.code),
            Some(InstanceState::Lost) | None => Some(-1),
            Some(_) => None,
        })
    }
}

fn spec(command: &ContainerCommand) -> InstanceSpec {
    let image = &command.image;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{}\0{number}\0{}", std::process::id(), crate::machine::now().0);
    let id =
        InstanceId::new(format!("b{}", Digest::of(unique.as_bytes()).short())).expect("hexadecimal digits");
    let mount = |m: &RunMount| ResolvedMount {
        source: MountSource::Bind { path: m.source.clone(), create: false, recursive: false },
        target: m.target.clone(),
        read_only: m.read_only,
        options: Vec::new(),
        volume_options: BTreeMap::new(),
    };
    let mut environment = image.config.environment.clone();
    environment.insert("PATH".to_owned(), plan::spec::DEFAULT_PATH.to_owned());
    environment.extend(command.environment.clone());
    InstanceSpec {
        hostname: "build".to_owned(),
        stack: StackName::new(BUILD_STACK).expect("a valid name"),
        service: ServiceName::new("build").expect("a valid name"),
        slot: 1,
        release: ReleaseId(0),
        spec_hash: Digest::of(id.as_str().as_bytes()),
        image: image.manifest.clone(),
        layers: image.layers.clone(),
        image_config: image.config.clone(),
        argv: command.argv.clone(),
        environment,
        process: ProcessSettings {
            user: Some("0".to_owned()),
            working_dir: Some(command.working_dir.clone()),
            init: true,
            ..ProcessSettings::default()
        },
        resources: Resources { cpu_shares: Some(CPU_SHARES), pids: Some(TASKS), ..Resources::default() },
        mounts: command.mounts.iter().map(mount).collect(),
        files: Vec::new(),
        network: if command.network { InstanceNetwork::Host } else { InstanceNetwork::None },
        stop_signal: "SIGKILL".to_owned(),
        stop_grace_ms: Timestamp(0).0.unsigned_abs(),
        hooks: Default::default(),
        ipc_of: None,
        pid_of: None,
        log_max_bytes: LOG_BYTES,
        log_max_files: 1,
        labels: BTreeMap::new(),
        id,
    }
}
