//! The engine itself: what the control loop asks for, done by shims and records on disk.

mod adopt;
mod command;
mod hooks;
mod instance;
mod lacks;
mod network;
mod output;
mod spawn;

use crate::cgroup::{Cgroup, Hierarchies};
use crate::config::HostConfig;
use crate::durable;
use crate::layout::{self, Layout};
use crate::record::Job;
use crate::shim;
use async_trait::async_trait;
use instance::Instance;
use model::instance::{InstanceSpec, NetworkSpec, Observed};
use model::{DurationMs, InstanceId, VolumeName};
use run::engine::{Engine, EngineError, ExecOutcome, ExecRequest, Lack, LogLine, LogQuery, Usage};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc};

/// Runs instances on this host. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct HostEngine {
    inner: Arc<Inner>,
}

struct Inner {
    config: HostConfig,
    hierarchies: Hierarchies,
    boot_id: String,
    spawner: spawn::Spawner,
    instances: Mutex<BTreeMap<InstanceId, Arc<Instance>>>,
    changed: Notify,
}

impl HostEngine {
    /// Opens the directories and takes over what runs; what died without a record is ended and
    /// shown as lost. Must be called within a tokio runtime.
    pub async fn open(config: HostConfig) -> Result<Self, EngineError> {
        tokio::task::spawn_blocking(move || Inner::open(config)).await.map_err(panicked)?.map(|inner| {
            let engine = Self { inner: Arc::new(inner) };
            engine.watch_all();
            engine.prepare_again();
            engine
        })
    }

    /// Runs work that blocks on a thread of its own.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(panicked)?
    }

    async fn start_now(self, instance: Arc<Instance>) -> Result<(), EngineError> {
        {
            let _turn = instance.turn.lock().await;
            let started = instance.clone();
            let is_new = self.blocking(move |inner| inner.start(&started)).await;
            self.inner.changed.notify_one();
            if is_new? {
                self.watch(&instance);
            }
        }
        // Whoever wants to stop it does not wait for this.
        self.prepare(&instance).await
    }

    async fn remove_now(self, instance: Arc<Instance>) -> Result<(), EngineError> {
        let _turn = instance.turn.lock().await;
        self.end(&instance, None).await?;
        let removed = instance.clone();
        self.blocking(move |inner| inner.remove(&removed)).await?;
        instance.close_logs();
        self.inner.changed.notify_one();
        Ok(())
    }

    fn watch_all(&self) {
        for instance in self.inner.all() {
            self.watch(&instance);
        }
    }

    /// Waits in the background for the end of an instance's shim.
    fn watch(&self, instance: &Arc<Instance>) {
        let Some(shim) = instance.shim() else { return };
        let (inner, instance) = (self.inner.clone(), instance.clone());
        tokio::spawn(async move {
            adopt::ended(shim).await;
            let settled = tokio::task::spawn_blocking(move || {
                inner.settle(&instance);
                inner.changed.notify_one();
                instance.announce();
            });
            // Only a panic could be answered here, and there is nobody to tell.
            let _ = settled.await;
        });
    }
}

impl Inner {
    fn open(config: HostConfig) -> Result<Self, EngineError> {
        let dirs = [
            layout::instances(&config.state),
            layout::instances(&config.runtime),
            layout::netns_dir(&config.runtime),
            config.volumes.clone(),
        ];
        for dir in &dirs {
            durable::make_private_dir(dir).map_err(EngineError::io(format!("make {}", dir.display())))?;
        }
        let lock = layout::starts_lock(&config.runtime);
        shim::end_earlier(&lock).map_err(EngineError::io("wait for starts that were under way"))?;
        let inner = Self {
            hierarchies: Hierarchies::detect_for(config.unprivileged.as_ref())
                .map_err(EngineError::io("find the control groups"))?,
            boot_id: crate::process::boot_id().map_err(EngineError::io("read the boot id"))?,
            spawner: spawn::Spawner::new(config.executable.clone(), lock),
            instances: Mutex::default(),
            changed: Notify::new(),
            config,
        };
        adopt::adopt_all(&inner)?;
        Ok(inner)
    }

    fn all(&self) -> Vec<Arc<Instance>> {
        self.lock().values().cloned().collect()
    }

    fn find(&self, id: &InstanceId) -> Result<Arc<Instance>, EngineError> {
        self.lock().get(id).cloned().ok_or_else(|| EngineError::UnknownInstance(id.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Arc<Instance>>> {
        self.instances.lock().expect("no holder of this lock can panic")
    }

    fn layout(&self, id: &InstanceId) -> Layout {
        Layout::new(&self.config.state, &self.config.runtime, id.as_str())
    }

    /// The group of an instance.
    fn group(&self, id: &InstanceId) -> Cgroup {
        self.group_named(id.as_str())
    }

    /// Where it was made: a later daemon of a user may have been given another part of the tree.
    fn group_named(&self, id: &str) -> Cgroup {
        let job = self.config.unprivileged.as_ref().and_then(|_| {
            let layout = Layout::new(&self.config.state, &self.config.runtime, id);
            durable::read_json::<Job>(&layout.job()).ok().flatten()
        });
        match job.map(|job| Hierarchies::detect_for(job.unprivileged.as_ref())) {
            Some(Ok(hierarchies)) => hierarchies.group(id),
            _ => self.hierarchies.group(id),
        }
    }

    fn netns(&self, id: &InstanceId) -> PathBuf {
        layout::netns_dir(&self.config.runtime).join(id.as_str())
    }
}

fn panicked(error: tokio::task::JoinError) -> EngineError {
    EngineError::Io { context: "background work ended".to_owned(), source: std::io::Error::other(error) }
}

#[async_trait]
impl Engine for HostEngine {
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), EngineError> {
        let network = network.clone();
        self.blocking(move |_| network::ensure(&network)).await
    }

    async fn remove_network(&self, bridge: &str) -> Result<(), EngineError> {
        let bridge = bridge.to_owned();
        self.blocking(move |_| network::remove(&bridge)).await
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), EngineError> {
        let spec = spec.clone();
        self.blocking(move |inner| inner.create(spec)).await
    }

    async fn start(&self, id: &InstanceId) -> Result<(), EngineError> {
        let instance = self.inner.find(id)?;
        // A task of its own: a caller that stops waiting must not leave a running instance unwatched.
        tokio::spawn(self.clone().start_now(instance)).await.map_err(panicked)?
    }

    async fn stop(&self, id: &InstanceId, grace: Option<DurationMs>) -> Result<(), EngineError> {
        let instance = self.inner.find(id)?;
        let _turn = instance.turn.lock().await;
        let grace = grace.unwrap_or(DurationMs(instance.spec.stop_grace_ms));
        self.before_stop(&instance).await;
        self.end(&instance, Some(grace)).await
    }

    async fn kill(&self, id: &InstanceId, signal: &str) -> Result<(), EngineError> {
        self.inner.find(id)?.signal(signal)
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        let Ok(instance) = self.inner.find(id) else { return Ok(()) };
        tokio::spawn(self.clone().remove_now(instance)).await.map_err(panicked)?
    }

    async fn observe(&self) -> Result<Vec<Observed>, EngineError> {
        self.blocking(|inner| Ok(inner.all().iter().map(|instance| instance.observe()).collect())).await
    }

    async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    async fn exec(&self, id: &InstanceId, request: ExecRequest) -> Result<ExecOutcome, EngineError> {
        let instance = self.inner.find(id)?;
        let group = self.inner.group(id);
        command::execute(&self.inner.config.executable, &instance, group, request).await
    }

    async fn logs(&self, id: &InstanceId, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, EngineError> {
        Ok(output::open(self.inner.find(id)?, query))
    }

    fn enter(&self, id: &InstanceId, request: &ExecRequest, tty: bool) -> Vec<String> {
        command::arguments(&self.inner.config.executable, &self.inner.layout(id), request, tty, None)
    }

    async fn remove_volume(&self, name: &VolumeName) -> Result<(), EngineError> {
        let path = self.inner.config.volumes.join(name.as_str());
        self.blocking(move |_| {
            durable::remove_tree(&path)
                .map_err(EngineError::io(format!("remove the volume {}", path.display())))
        })
        .await
    }

    async fn usage(&self, id: &InstanceId) -> Result<Usage, EngineError> {
        let instance = self.inner.find(id)?;
        self.blocking(move |inner| {
            instance.running()?;
            Ok(inner.group(&instance.spec.id).usage())
        })
        .await
    }

    fn stream_socket(&self, to: SocketAddr) -> std::io::Result<TcpSocket> {
        // On the loopback are those instances that share the network of this process.
        let made = match to.ip().is_loopback() {
            true => return if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() },
            false => net::stream_socket(to.is_ipv4()).map_err(std::io::Error::other)?,
        };
        Ok(TcpSocket::from_std_stream(made.into()))
    }

    fn can_limit(&self, controller: &str) -> bool {
        self.inner.hierarchies.has(controller)
    }

    async fn lacks(&self) -> Vec<Lack> {
        self.blocking(|inner| Ok(lacks::lacks(inner))).await.unwrap_or_default()
    }
}
