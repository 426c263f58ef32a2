//! One instance in memory, and what is done to it: create, start, signal, end, remove.

use super::hooks::read_end;
use super::{HostEngine, Inner, network};
use crate::layout::Layout;
use crate::record::{Job, JobNetwork, ProcessId, Run, StartReport};
use crate::{durable, process};
use model::instance::{InstanceNetwork, InstanceSpec, InstanceState, Observed};
use model::{DurationMs, InstanceId};
use run::engine::EngineError;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a shim may take to say that the program runs or cannot; the first use of a volume
/// copies the image's content meanwhile.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long the kernel may take to end what was killed.
const KILL_LIMIT: Duration = Duration::from_secs(20);

pub struct Instance {
    pub spec: InstanceSpec,
    pub layout: Layout,
    /// Held by whoever starts, stops or removes.
    pub turn: tokio::sync::Mutex<()>,
    /// Held by whoever runs the commands after a start.
    pub preparing: tokio::sync::Mutex<()>,
    pub now: Mutex<Now>,
    /// Counts ends; followers and waiters look at it.
    ends: watch::Sender<u64>,
    removed: watch::Sender<bool>,
    /// Of the run whose first process this is; asks for ports while it runs.
    listening: Mutex<Option<(ProcessId, net::Listening)>>,
}

/// What is known of an instance.
#[derive(Debug, Clone)]
pub struct Now {
    pub state: InstanceState,
    /// The supervisor of a running instance.
    pub shim: Option<ProcessId>,
    pub init: Option<ProcessId>,
    pub starts: u32,
    pub quick_failures: u32,
    /// The run for which the commands after the start have ended well.
    pub prepared: u32,
}

impl Instance {
    pub fn new(spec: InstanceSpec, layout: Layout, now: Now) -> Self {
        Self {
            spec,
            layout,
            turn: tokio::sync::Mutex::new(()),
            preparing: tokio::sync::Mutex::new(()),
            now: Mutex::new(now),
            ends: watch::Sender::new(0),
            removed: watch::Sender::new(false),
            listening: Mutex::new(None),
        }
    }

    pub fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().expect("no holder of this lock can panic")
    }

    pub fn shim(&self) -> Option<ProcessId> {
        self.now().shim
    }

    /// The first process, if the instance runs.
    pub fn running(&self) -> Result<ProcessId, EngineError> {
        let now = self.now();
        now.init.filter(|_| now.shim.is_some()).ok_or_else(|| EngineError::NotRunning(self.spec.id.clone()))
    }

    /// It runs, and commands after its start are still to be run or to end.
    pub fn is_preparing(&self) -> bool {
        let now = self.now();
        now.shim.is_some() && !self.spec.hooks.post_start.is_empty() && now.prepared != now.starts
    }

    pub fn announce(&self) {
        self.ends.send_modify(|ends| *ends += 1);
    }

    pub fn close_logs(&self) {
        self.removed.send_replace(true);
    }

    pub fn is_removed(&self) -> bool {
        *self.removed.borrow()
    }

    pub fn observe(&self) -> Observed {
        let now = self.now().clone();
        let init = now.init.filter(|_| matches!(now.state, InstanceState::Running { .. }));
        let (listening, listening_udp) = self.ports(init);
        let is_preparing = self.is_preparing();
        Observed {
            is_preparing,
            spec: self.spec.clone(),
            state: now.state,
            starts: now.starts,
            quick_failures: now.quick_failures,
            listening,
            listening_udp,
        }
    }

    /// What it listens on, over TCP and over UDP.
    fn ports(&self, init: Option<ProcessId>) -> (Vec<u16>, Vec<u16>) {
        let mut held = self.listening.lock().expect("no holder of this lock can panic");
        let Some(init) = init else {
            *held = None;
            return (Vec::new(), Vec::new());
        };
        if held.as_ref().is_none_or(|(of, _)| *of != init) {
            *held = Some((init, net::Listening::of(init.pid)));
        }
        held.as_mut().map(|(_, listening)| (listening.tcp(), listening.udp())).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) -> Result<(), EngineError> {
        let number = process::signal_number(name).ok_or_else(|| EngineError::Io {
            context: format!("`{name}` is not a signal"),
            source: std::io::ErrorKind::InvalidInput.into(),
        })?;
        let init = self.running()?;
        send(init, number).map_err(EngineError::io(format!("signal {}", self.spec.id)))
    }
}

/// Through a handle on the process, so that no other with its number can be hit.
fn send(to: ProcessId, signal: i32) -> std::io::Result<()> {
    let Some(handle) = process::open_pidfd(to) else { return Ok(()) };
    match crate::sys::signal_by_handle(&handle, signal) {
        // It has just ended.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        answer => answer,
    }
}

impl Inner {
    pub fn create(&self, spec: InstanceSpec) -> Result<(), EngineError> {
        if let Ok(known) = self.find(&spec.id) {
            return if known.spec == spec { Ok(()) } else { Err(EngineError::Conflict(spec.id)) };
        }
        let layout = self.layout(&spec.id);
        let made = durable::make_private_dir(&layout.state)
            .and_then(|()| durable::write_json(&layout.spec(), &spec))
            .and_then(|()| durable::sync_dir(&crate::layout::instances(&self.config.state)));
        made.map_err(EngineError::io(format!("record the instance {}", spec.id)))?;
        let now = Now {
            state: InstanceState::Created,
            shim: None,
            init: None,
            starts: 0,
            quick_failures: 0,
            prepared: 0,
        };
        self.lock().entry(spec.id.clone()).or_insert_with(|| Arc::new(Instance::new(spec, layout, now)));
        self.changed.notify_one();
        Ok(())
    }

    /// Answers whether it was started by this call.
    pub fn start(&self, instance: &Instance) -> Result<bool, EngineError> {
        if instance.shim().is_some() {
            return Ok(false);
        }
        let spec = &instance.spec;
        let layers = self.layers(spec)?;
        let network = self.ensure_network_of(spec)?;
        let (run, quick_failures) = {
            let now = instance.now();
            (now.starts + 1, now.quick_failures)
        };
        let job = Job {
            version: 1,
            layout: instance.layout.clone(),
            spec: spec.clone(),
            run,
            quick_failures,
            layers,
            volumes: self.config.volumes.clone(),
            network,
            ipc_of: self.first_process(spec.ipc_of.as_ref())?,
            pid_of: self.first_process(spec.pid_of.as_ref())?,
            instances: crate::layout::instances(&self.config.state),
            log_budget_bytes: self.config.log_budget_bytes,
            unprivileged: self.config.unprivileged.clone(),
        };
        let bundle = instance.layout.bundle();
        durable::make_private_dir(&bundle)
            .and_then(|()| durable::write_volatile(&instance.layout.job(), &serde_json::to_vec(&job)?))
            .map_err(EngineError::io(format!("prepare the start of {}", spec.id)))?;
        instance.now().starts = run;
        let report = self.run_shim(instance)?;
        match report {
            StartReport::Running { run } => {
                instance.now().set_running(&run);
                Ok(true)
            }
            StartReport::Failed(failure) => {
                // The shim recorded the failure as the end of this run.
                self.load_end(instance, run);
                Err(failure.into_engine_error(&spec.id))
            }
        }
    }

    /// The first process of an instance that something is shared with.
    fn first_process(&self, id: Option<&InstanceId>) -> Result<Option<i32>, EngineError> {
        id.map(|id| Ok(self.find(id)?.running()?.pid)).transpose()
    }

    fn layers(&self, spec: &InstanceSpec) -> Result<Vec<PathBuf>, EngineError> {
        let dir = |digest| {
            self.config.layers.layer_dir(digest).ok_or_else(|| EngineError::MissingLayer(digest.clone()))
        };
        spec.layers.iter().rev().map(dir).collect()
    }

    fn ensure_network_of(&self, spec: &InstanceSpec) -> Result<JobNetwork, EngineError> {
        Ok(match &spec.network {
            InstanceNetwork::Host => JobNetwork::Host,
            InstanceNetwork::None => JobNetwork::None,
            InstanceNetwork::Instance { id } => {
                let other = self.find(id)?;
                let init = other.running()?;
                JobNetwork::Path(match &other.spec.network {
                    // It is still the same one after a restart, when that process is gone.
                    InstanceNetwork::Links { .. } => self.netns(id),
                    _ => format!("/proc/{}/ns/net", init.pid).into(),
                })
            }
            InstanceNetwork::Links { links, .. } => {
                let path = self.netns(&spec.id);
                network::ensure_instance(&path, &spec.id, links)?;
                JobNetwork::Path(path)
            }
        })
    }

    /// Starts the shim and waits for its one report.
    fn run_shim(&self, instance: &Instance) -> Result<StartReport, EngineError> {
        let mut text = self.ask_for_shim(instance)?;
        if text.is_empty() && !instance.layout.run().exists() {
            // The shims' parent was killed with the request still unread.
            text = self.ask_for_shim(instance)?;
        }
        serde_json::from_slice(&text).map_err(|error| {
            self.abandon(instance);
            EngineError::Start {
                id: instance.spec.id.clone(),
                reason: format!("the shim ended without a report ({error})"),
            }
        })
    }

    /// What it reports; nothing when it ends before.
    fn ask_for_shim(&self, instance: &Instance) -> Result<Vec<u8>, EngineError> {
        let context = || format!("run the shim of {}", instance.spec.id);
        let pipe = self.spawner.spawn(&instance.layout.runtime).map_err(EngineError::io(context()))?;
        let text =
            read_within(&mut std::fs::File::from(pipe), START_LIMIT).map_err(EngineError::io(context()))?;
        text.ok_or_else(|| {
            self.abandon(instance);
            EngineError::Timeout(DurationMs(START_LIMIT.as_millis() as u64))
        })
    }

    /// Ends a shim that does not answer, and what it has made.
    fn abandon(&self, instance: &Instance) {
        if let Ok(Some(run)) = durable::read_json::<Run>(&instance.layout.run()) {
            // A failure shows as an instance that still runs.
            let _ = send(run.shim, libc::SIGKILL);
        }
        let group = self.group(&instance.spec.id);
        let _ = group.kill();
        let _ = group.remove();
        instance.now().state = InstanceState::Lost;
    }

    /// After the end of a shim: what its records say.
    pub fn settle(&self, instance: &Instance) {
        let starts = {
            let mut now = instance.now();
            now.shim = None;
            now.init = None;
            now.starts
        };
        if !self.load_end(instance, starts) {
            let group = self.group(&instance.spec.id);
            // What cannot be ended now is ended by the next start or by removal.
            let _ = group.kill();
            let _ = group.remove();
            instance.now().state = InstanceState::Lost;
        }
    }

    /// Takes over the record of the end of this run, if there is one.
    pub fn load_end(&self, instance: &Instance, run: u32) -> bool {
        let ended = read_end(&instance.layout).ok().flatten();
        let Some(ended) = ended.filter(|ended| ended.run == run) else { return false };
        let mut now = instance.now();
        now.state = InstanceState::Exited(ended.exit);
        now.quick_failures = ended.quick_failures;
        now.shim = None;
        now.init = None;
        true
    }

    pub fn remove(&self, instance: &Instance) -> Result<(), EngineError> {
        let id = &instance.spec.id;
        let group = self.group(id);
        let context = format!("remove the instance {id}");
        group.kill().and_then(|()| group.remove()).map_err(EngineError::io(context.clone()))?;
        network::remove_instance(&self.netns(id), id)?;
        // The specification goes first: without it the rest is rubbish that the next opening clears.
        let spec = instance.layout.spec();
        match std::fs::remove_file(&spec) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EngineError::io(context)(error));
            }
            _ => {}
        }
        durable::remove_tree(&instance.layout.runtime)
            .and_then(|()| durable::remove_tree(&instance.layout.state))
            .map_err(EngineError::io(context))?;
        self.lock().remove(id);
        Ok(())
    }
}

impl Now {
    pub fn set_running(&mut self, run: &Run) {
        let Some(init) = run.init else { return };
        self.state = InstanceState::Running { pid: init.pid, since: run.started };
        self.shim = Some(run.shim);
        self.init = Some(init);
        self.starts = run.run;
        self.quick_failures = run.quick_failures;
    }
}

impl HostEngine {
    /// With a grace, the stop signal first; returns when the end is recorded.
    pub(super) async fn end(
        &self,
        instance: &Instance,
        grace: Option<DurationMs>,
    ) -> Result<(), EngineError> {
        if instance.shim().is_none() {
            return Ok(());
        }
        let mark = instance.now().starts.to_string();
        durable::write_volatile(&instance.layout.stop(), mark.as_bytes())
            .map_err(EngineError::io(format!("record the stop of {}", instance.spec.id)))?;
        self.end_now(instance, grace).await
    }

    /// The same where nobody asked for it.
    pub(super) async fn end_now(
        &self,
        instance: &Instance,
        grace: Option<DurationMs>,
    ) -> Result<(), EngineError> {
        let mut ends = instance.ends.subscribe();
        ends.mark_unchanged();
        if instance.shim().is_none() {
            return Ok(());
        }
        if let Some(grace) = grace {
            let named = process::signal_number(&instance.spec.stop_signal).unwrap_or(libc::SIGTERM);
            instance.signal(&named.to_string())?;
            if self.ended_within(instance, &mut ends, grace.as_std()).await {
                return Ok(());
            }
        }
        // By handle as well as by group: a group that was never made must not keep it alive.
        let _ = instance.signal("SIGKILL");
        let group = self.inner.group(&instance.spec.id);
        self.blocking(move |_| group.kill().map_err(EngineError::io("kill the instance"))).await?;
        if self.ended_within(instance, &mut ends, KILL_LIMIT).await {
            return Ok(());
        }
        Err(EngineError::Timeout(DurationMs(KILL_LIMIT.as_millis() as u64)))
    }

    async fn ended_within(
        &self,
        instance: &Instance,
        ends: &mut watch::Receiver<u64>,
        limit: Duration,
    ) -> bool {
        let ended = async {
            while instance.shim().is_some() {
                if ends.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, ended).await.is_ok()
    }
}

/// Everything until the other side closes; `None` when that takes too long.
fn read_within(
    pipe: &mut (impl Read + std::os::fd::AsFd),
    limit: Duration,
) -> std::io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + limit;
    let mut text = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [rustix::event::PollFd::new(&*pipe, rustix::event::PollFlags::IN)];
        let left = rustix::event::Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match pipe.read(&mut buffer)? {
            0 => return Ok(Some(text)),
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
}

/// The instance for a directory found on disk.
pub fn id_of(dir: &std::fs::DirEntry) -> Option<InstanceId> {
    InstanceId::new(dir.file_name().to_str()?).ok()
}
