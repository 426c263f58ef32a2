//! Build commands in containers of the embedded engine: fresh, with little weight, gone afterwards.

use build::ImageStore;
use build::kinds::{RunMount, RunOutcome, RunRequest, Runner, RunnerError};
use model::image::BuiltImage;
use model::instance::{InstanceNetwork, InstanceSpec, InstanceState, ResolvedMount};
use model::mount::MountSource;
use model::service::{ProcessSettings, Resources};
use model::{Digest, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use run::engine::{Engine, LogQuery};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    pub store: Arc<ImageStore>,
    pub runtime: tokio::runtime::Handle,
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

impl Runner for BuildContainers {
    fn run(&self, request: &RunRequest, output: &mut dyn FnMut(&str)) -> Result<RunOutcome, RunnerError> {
        let failed = |error: String| RunnerError(error);
        let image =
            build::assemble(&request.image, &self.store, &|_| {}).map_err(|e| failed(e.report().error))?;
        let spec = spec(&image, request);
        self.runtime.block_on(async {
            let outcome = self.run_spec(&spec, request, output).await;
            let removed = self.engine.remove(&spec.id).await;
            let outcome = outcome.map_err(|e| failed(e.to_string()))?;
            removed.map_err(|e| failed(e.to_string()))?;
            Ok(outcome)
        })
    }
}

impl BuildContainers {
    async fn run_spec(
        &self,
        spec: &InstanceSpec,
        request: &RunRequest,
        output: &mut dyn FnMut(&str),
    ) -> Result<RunOutcome, run::engine::EngineError> {
        self.engine.create(spec).await?;
        self.engine.start(&spec.id).await?;
        let deadline = Instant::now() + request.time_limit.as_std();
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let mut lines = self.engine.logs(&spec.id, query).await?;
        let mut code = None;
        while code.is_none() && Instant::now() < deadline {
            let look = (Instant::now() + Duration::from_millis(50)).min(deadline);
            while let Ok(Some(line)) = timeout_at(look, lines.recv()).await {
                output(&line.text);
            }
            code = self.exit_code(&spec.id).await?;
        }
        // What it said last may still be on its way.
        let last = Instant::now() + Duration::from_millis(50);
        while let Ok(Some(line)) = timeout_at(last, lines.recv()).await {
            output(&line.text);
        }
        Ok(RunOutcome { code: code.unwrap_or(-1), timed_out: code.is_none() })
    }

    async fn exit_code(&self, id: &InstanceId) -> Result<Option<i32>, run::engine::EngineError> {
        let all = self.engine.observe().await?;
        Ok(match all.into_iter().find(|o| o.spec.id == *id).map(|o| o.state) {
            Some(InstanceState::Exited(exit)) => Some(exit.code),
            Some(InstanceState::Lost) | None => Some(-1),
            Some(_) => None,
        })
    }
}

fn spec(image: &BuiltImage, request: &RunRequest) -> InstanceSpec {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{}\0{number}\0{}", std::process::id(), crate::machine::now().0);
    let id =
        InstanceId::new(format!("b{}", Digest::of(unique.as_bytes()).short())).expect("hexadecimal digits");
    let mount = |m: &RunMount| ResolvedMount {
        source: MountSource::Bind { path: m.source.clone(), create: false, recursive: false },
        target: m.target.clone(),
        read_only: m.read_only,
    };
    let mut environment = image.config.environment.clone();
    environment.insert("PATH".to_owned(), plan::spec::DEFAULT_PATH.to_owned());
    environment.extend(request.environment.clone());
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
        argv: request.argv.clone(),
        environment,
        process: ProcessSettings {
            user: Some("0".to_owned()),
            working_dir: Some(request.working_dir.clone()),
            init: true,
            ..ProcessSettings::default()
        },
        resources: Resources { cpu_shares: Some(CPU_SHARES), pids: Some(TASKS), ..Resources::default() },
        mounts: request.mounts.iter().map(mount).collect(),
        files: Vec::new(),
        network: if request.network { InstanceNetwork::Host } else { InstanceNetwork::None },
        stop_signal: "SIGKILL".to_owned(),
        stop_grace_ms: Timestamp(0).0.unsigned_abs(),
        log_max_bytes: LOG_BYTES,
        log_max_files: 1,
        labels: BTreeMap::new(),
        id,
    }
}
