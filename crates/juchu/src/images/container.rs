//! Build commands in containers of the embedded engine: fresh, with little weight, gone afterwards.

use super::limits::{Exceeded, Limits};
use super::secrets::SecretFile;
use super::watch::Watch;
use super::wire::ContainerCommand;
use build::kinds::{RunMount, RunOutcome};
use model::instance::{InstanceNetwork, InstanceSpec, InstanceState, ResolvedMount};
use model::mount::MountSource;
use model::service::{ProcessSettings, Resources};
use model::{Digest, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use run::engine::{Engine, EngineError, LogQuery};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout_at};

/// The stack that build containers belong to. No Compose file has a name that begins so.
pub const BUILD_STACK: &str = "0-build";
const LOG_BYTES: u64 = 4 << 20;

static NUMBER: AtomicU64 = AtomicU64::new(0);

pub struct BuildContainers {
    engine: Arc<dyn Engine>,
    /// Where the engine keeps its instances.
    state: PathBuf,
    /// One build at a time: what a command of the present one ran into.
    exceeded: Mutex<Option<Exceeded>>,
}

/// What every command of one build has in common.
pub struct Surroundings<'a> {
    pub limits: &'a Limits,
    pub secrets: &'a [SecretFile],
    /// `x-juchu.build.network`; each command's own wish unless stated.
    pub network: Option<bool>,
    pub disk: &'a Watch,
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
    pub fn new(engine: Arc<dyn Engine>, state: PathBuf) -> Self {
        Self { engine, state, exceeded: Mutex::new(None) }
    }

    /// The limit that a command ran into; asked once after a build, the next one begins anew.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.lock().expect("no holder of this lock can panic").take()
    }

    fn note(&self, exceeded: Option<Exceeded>) {
        let mut noted = self.exceeded.lock().expect("no holder of this lock can panic");
        *noted = noted.or(exceeded);
    }

    /// Ends commands whose build was stopped while they ran.
    pub async fn end_all(&self) {
        sweep(self.engine.as_ref()).await;
    }

    /// Runs the command in a fresh container until it ends or nobody wants it any more; `output`
    /// gets each line as it comes.
    pub async fn run(
        &self,
        command: &ContainerCommand,
        around: &Surroundings<'_>,
        output: mpsc::Sender<String>,
        cancel: &AtomicBool,
    ) -> Result<RunOutcome, EngineError> {
        let mut spec = spec(command, around);
        if !around.limits.stated {
            without_what_cannot_be_had(&mut spec.resources, self.engine.as_ref());
        }
        let written =
            command.mounts.iter().filter(|mount| !mount.read_only).map(|mount| mount.source.clone());
        let own = host::instance_directory(&self.state, &spec.id);
        let _watched = around.disk.also(written.chain([own]));
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
        let mut ended = None;
        while ended.is_none() && Instant::now() < deadline && !cancel.load(Ordering::Relaxed) {
            let look = (Instant::now() + Duration::from_millis(50)).min(deadline);
            while let Ok(Some(line)) = timeout_at(look, lines.recv()).await {
                // Without a listener it still runs to its end.
                let _ = output.send(line.text).await;
            }
            ended = self.end(&spec.id).await?;
            // The counter goes with the container.
            self.note(host::refused_tasks(&spec.id).then_some(Exceeded::Tasks));
        }
        // What it said last may still be on its way.
        let last = Instant::now() + Duration::from_millis(50);
        while let Ok(Some(line)) = timeout_at(last, lines.recv()).await {
            let _ = output.send(line.text).await;
        }
        let timed_out = ended.is_none();
        let (code, out_of_memory) = ended.unwrap_or((-1, false));
        if out_of_memory {
            self.note(Some(Exceeded::Memory));
        }
        Ok(RunOutcome { code, timed_out })
    }

    /// Exit code, and whether memory ran out; `None` while it runs.
    async fn end(&self, id: &InstanceId) -> Result<Option<(i32, bool)>, EngineError> {
        let all = self.engine.observe().await?;
        Ok(match all.into_iter().find(|o| o.spec.id == *id).map(|o| o.state) {
            Some(InstanceState::Exited(exit)) => Some((exit.code, exit.oom)),
            Some(InstanceState::Lost) | None => Some((-1, false)),
            Some(_) => None,
        })
    }
}

/// One file cannot become larger than the whole build may, whatever the watch sees of it.
fn ulimits(limits: &Limits) -> BTreeMap<String, (i64, i64)> {
    let most = i64::try_from(limits.disk.0).unwrap_or(i64::MAX);
    BTreeMap::from([("fsize".to_owned(), (most, most))])
}

/// Where nobody stated them, limits are ours: without root there may be none, and the build goes on.
fn without_what_cannot_be_had(resources: &mut Resources, engine: &dyn Engine) {
    resources.memory = resources.memory.filter(|_| engine.can_limit("memory"));
    resources.cpus = resources.cpus.filter(|_| engine.can_limit("cpu"));
    resources.cpu_shares = resources.cpu_shares.filter(|_| engine.can_limit("cpu"));
    resources.pids = resources.pids.filter(|_| engine.can_limit("pids"));
}

fn spec(command: &ContainerCommand, around: &Surroundings<'_>) -> InstanceSpec {
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
    let secrets = around.secrets.iter().map(|secret| RunMount {
        source: secret.path.clone(),
        target: format!("/run/secrets/{}", secret.id),
        read_only: true,
    });
    let mounts: Vec<RunMount> = command.mounts.iter().cloned().chain(secrets).collect();
    let network = around.network.unwrap_or(command.network);
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
            ulimits: ulimits(around.limits),
            ..ProcessSettings::default()
        },
        resources: around.limits.resources(),
        mounts: mounts.iter().map(mount).collect(),
        files: Vec::new(),
        network: if network { InstanceNetwork::Host } else { InstanceNetwork::None },
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
