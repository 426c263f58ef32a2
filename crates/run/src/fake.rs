//! The ports as plain data, for tests: an engine whose programs run, end and fail as told, images
//! that cost nothing, a gateway that remembers the last table.

use crate::control::GatewayUpgrade;
use crate::engine::{
    Engine, EngineError, ExecOutcome, ExecRequest, Lack, LogLine, LogQuery, LogStream, Usage,
};
use crate::ports::{Images, Machine, Router, Say};
use async_trait::async_trait;
use model::certificate::CertificateStatus;
use model::flow::{self, BackendStatus, Counts, EndpointStatus, LatencyBucket};
use model::image::{BuiltImage, ImageConfig, ImageSource};
use model::instance::{Exit, InstanceSpec, InstanceState, NetworkSpec, Observed};
use model::route::{ApplyReport, Backend, BindFailure, Endpoint, RouteTable};
use model::service::Transport;
use model::subnet::Cidr;
use model::{Digest, DurationMs, ErrorKind, InstanceId, Report, Service, Stack, Timestamp, VolumeName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};

/// What the machine holds: shared by an engine and its successors, as a real one is.
#[derive(Default)]
pub struct State {
    pub instances: BTreeMap<InstanceId, Observed>,
    pub networks: BTreeMap<String, NetworkSpec>,
    /// Programs of these services end at once with this code.
    pub ends_at_once: BTreeMap<String, i32>,
    /// Health probes of these services fail.
    pub sick: BTreeSet<String>,
    /// Starting instances of these services fails with this text.
    pub refuses: BTreeMap<String, String>,
    /// Starting instances of these images waits for the word, and then fails.
    pub stuck: BTreeMap<Digest, Arc<Notify>>,
    /// These host ports are held by somebody else.
    pub taken_ports: BTreeSet<u16>,
    /// Images of these services cannot be made.
    pub broken_builds: BTreeSet<String>,
    /// Images that somebody deleted by hand.
    pub lost_images: BTreeSet<Digest>,
    pub builds: u64,
    pub table: Option<RouteTable>,
    /// How certificates are said to stand.
    pub certificates: Vec<CertificateStatus>,
    /// What is said of the ways out of the host.
    pub uplinks: u64,
    /// Requests that each look at the gateway finds more of, by the weights of the table.
    pub requests: u64,
    /// Of those that instances of this release or a later one get, every so many fail.
    pub fails_every: Option<(model::ReleaseId, u64)>,
    counted: BTreeMap<String, Counts>,
    /// Two running instances at one time on one named volume: never to happen.
    pub two_writers: bool,
}

impl State {
    /// Counts what one more look finds of an endpoint.
    fn serve(&mut self, endpoint: &Endpoint, backend: &Backend) -> EndpointStatus {
        let all: u64 = backend.endpoints.iter().filter(|e| !e.draining).map(|e| u64::from(e.weight)).sum();
        let part = if endpoint.draining { 0 } else { u64::from(endpoint.weight) };
        let more = self.requests * part / all.max(1);
        let release = self.instances.values().find(|o| o.spec.id.as_str() == endpoint.instance);
        let release = release.map(|o| o.spec.release);
        let fails_every = self.fails_every.filter(|(from, _)| release >= Some(*from)).map(|(_, every)| every);
        let counts = self.counted.entry(endpoint.instance.clone()).or_default();
        counts.requests += more;
        counts.classes[4] += fails_every.map_or(0, |every| more / every);
        // All take a millisecond or two.
        let ln = 1772;
        counts.latency.ln += more * ln;
        counts.latency.ln_squares += more * (ln * ln + 4000);
        counts.latency.buckets = vec![LatencyBucket { le_us: 1024, count: counts.requests }];
        EndpointStatus {
            instance: endpoint.instance.clone(),
            address: endpoint.address,
            draining: endpoint.draining,
            limit: None,
            standing: Default::default(),
            counts: counts.clone(),
        }
    }
}

#[derive(Clone, Default)]
pub struct FakeMachine {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    /// Counted down by every operation of the engine; at zero, operations hang for ever, as those
    /// of a daemon that is being killed.
    pub operations_left: Arc<AtomicU64>,
}

impl FakeMachine {
    pub fn new() -> Self {
        let machine = Self::default();
        machine.operations_left.store(u64::MAX, Ordering::SeqCst);
        machine
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The program of each running instance of a service ends.
    pub fn exit(&self, service: &str, code: i32) {
        let now = now();
        for observed in self.state().instances.values_mut() {
            if observed.spec.service.as_str() == service {
                end(observed, code, false, now);
            }
        }
        self.changed.notify_one();
    }

    /// The program of each running instance of an image ends.
    pub fn exit_image(&self, image: &Digest, code: i32) {
        let now = now();
        for observed in self.state().instances.values_mut().filter(|o| o.spec.image == *image) {
            end(observed, code, false, now);
        }
        self.changed.notify_one();
    }

    fn stuck_on(&self, id: &InstanceId) -> Option<Arc<Notify>> {
        let state = self.state();
        state.instances.get(id).and_then(|observed| state.stuck.get(&observed.spec.image)).cloned()
    }

    async fn operation(&self) {
        let left = self.operations_left.load(Ordering::SeqCst);
        if left == 0 {
            std::future::pending::<()>().await;
        }
        if left != u64::MAX {
            self.operations_left.store(left - 1, Ordering::SeqCst);
        }
        tokio::task::yield_now().await;
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| d.as_millis() as i64))
}

fn end(observed: &mut Observed, code: i32, requested: bool, now: Timestamp) {
    if let InstanceState::Running { since, .. } = observed.state {
        observed.quick_failures = if requested { 0 } else { observed.quick_failures + 1 };
        observed.listening.clear();
        let (signal, oom, start_error) = (None, false, None);
        observed.state = InstanceState::Exited(Exit {
            code,
            signal,
            oom,
            requested,
            start_error,
            started: since,
            finished: now,
        });
    }
}

#[async_trait]
impl Engine for FakeMachine {
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), EngineError> {
        self.operation().await;
        self.state().networks.insert(network.bridge.clone(), network.clone());
        Ok(())
    }

    async fn remove_network(&self, bridge: &str) -> Result<(), EngineError> {
        self.operation().await;
        self.state().networks.remove(bridge);
        Ok(())
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), EngineError> {
        self.operation().await;
        let observed = Observed {
            spec: spec.clone(),
            state: InstanceState::Created,
            starts: 0,
            quick_failures: 0,
            is_preparing: false,
            listening_udp: Vec::new(),
            listening: Vec::new(),
        };
        self.state().instances.entry(spec.id.clone()).or_insert(observed);
        Ok(())
    }

    async fn start(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.operation().await;
        if let Some(word) = self.stuck_on(id) {
            word.notified().await;
            return Err(EngineError::Start { id: id.clone(), reason: "it was stuck".to_owned() });
        }
        let mut state = self.state();
        let service = state.instances.get(id).ok_or_else(|| EngineError::UnknownInstance(id.clone()))?;
        let service = service.spec.service.to_string();
        if let Some(reason) = state.refuses.get(&service).cloned() {
            return Err(EngineError::Start { id: id.clone(), reason });
        }
        let code = state.ends_at_once.get(&service).copied();
        let observed = state.instances.get_mut(id).expect("looked up above");
        if !matches!(observed.state, InstanceState::Running { .. }) {
            observed.starts += 1;
            observed.state = InstanceState::Running { pid: 1, since: now() };
            observed.listening = (1..100).chain(8000..8100).collect();
            if let Some(code) = code {
                end(observed, code, false, now());
            }
        }
        note_writers(&mut state);
        self.changed.notify_one();
        Ok(())
    }

    async fn stop(&self, id: &InstanceId, _grace: Option<DurationMs>) -> Result<(), EngineError> {
        self.operation().await;
        let mut state = self.state();
        let observed = state.instances.get_mut(id).ok_or_else(|| EngineError::UnknownInstance(id.clone()))?;
        end(observed, 143, true, now());
        Ok(())
    }

    async fn kill(&self, id: &InstanceId, _signal: &str) -> Result<(), EngineError> {
        self.stop(id, None).await
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.operation().await;
        self.state().instances.remove(id);
        Ok(())
    }

    async fn observe(&self) -> Result<Vec<Observed>, EngineError> {
        Ok(self.state().instances.values().cloned().collect())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn exec(&self, id: &InstanceId, _request: ExecRequest) -> Result<ExecOutcome, EngineError> {
        let state = self.state();
        let observed = state.instances.get(id).ok_or_else(|| EngineError::UnknownInstance(id.clone()))?;
        let code = i32::from(state.sick.contains(observed.spec.service.as_str()));
        Ok(ExecOutcome { code, output: String::new(), timed_out: false })
    }

    async fn logs(&self, id: &InstanceId, _query: LogQuery) -> Result<mpsc::Receiver<LogLine>, EngineError> {
        let (sender, receiver) = mpsc::channel(1);
        let line = LogLine { at: now(), stream: LogStream::Stdout, text: format!("a line of {id}") };
        sender.try_send(line).expect("one place is free");
        Ok(receiver)
    }

    fn enter(&self, id: &InstanceId, request: &ExecRequest, _tty: bool) -> Vec<String> {
        [vec!["enter".to_owned(), id.to_string()], request.argv.clone()].concat()
    }

    async fn remove_volume(&self, _name: &VolumeName) -> Result<(), EngineError> {
        Ok(())
    }

    async fn usage(&self, _id: &InstanceId) -> Result<Usage, EngineError> {
        Ok(Usage::default())
    }

    async fn lacks(&self) -> Vec<Lack> {
        Vec::new()
    }
}

fn note_writers(state: &mut State) {
    let mut writers: BTreeMap<String, u32> = BTreeMap::new();
    let running = state.instances.values().filter(|o| matches!(o.state, InstanceState::Running { .. }));
    for mount in running.flat_map(|o| &o.spec.mounts).filter(|m| !m.read_only) {
        if let model::mount::MountSource::Volume { name, .. } = &mount.source {
            *writers.entry(name.to_string()).or_default() += 1;
        }
    }
    state.two_writers |= writers.values().any(|n| *n > 1);
}

#[async_trait]
impl Images for FakeMachine {
    fn complete(&self, _stack: &mut Stack) -> Result<(), Report> {
        Ok(())
    }

    async fn inputs(&self, service: &Service) -> Result<Digest, Report> {
        Ok(Digest::of(format!("{:?}", service.image).as_bytes()))
    }

    async fn obtain(
        &self,
        service: &Service,
        say: Say,
        _cancel: Arc<AtomicBool>,
    ) -> Result<BuiltImage, Report> {
        self.operation().await;
        say("assembling".to_owned());
        let mut state = self.state();
        if state.broken_builds.contains(service.name.as_str()) {
            return Err(Report::new(ErrorKind::Build, "the image cannot be made").hint("mend it"));
        }
        state.builds += 1;
        let reference = match &service.image {
            ImageSource::Pull { reference, .. } => reference.clone(),
            other => format!("{other:?}"),
        };
        let config = ImageConfig { command: vec!["run".to_owned()], ..ImageConfig::default() };
        let manifest = Digest::of(reference.as_bytes());
        Ok(BuiltImage { layers: vec![manifest.clone()], manifest, config, origin: reference })
    }

    async fn holds(&self, image: &BuiltImage) -> bool {
        !self.state().lost_images.contains(&image.manifest)
    }

    async fn keep_only(&self, _used: Vec<BuiltImage>) {}
}

#[async_trait]
impl Router for FakeMachine {
    async fn apply(&self, table: &RouteTable) -> Result<ApplyReport, Report> {
        let mut state = self.state();
        let taken = &state.taken_ports;
        let failed = table.listeners.iter().filter(|l| l.public && taken.contains(&l.address.port()));
        let failed = failed
            .map(|l| BindFailure {
                address: l.address,
                error: "address already in use".to_owned(),
                transport: Transport::Tcp,
            })
            .collect();
        state.table = Some(table.clone());
        Ok(ApplyReport { revision: table.revision, failed, bound: Vec::new(), ports: Vec::new() })
    }

    fn certificates(&self) -> Vec<CertificateStatus> {
        self.state().certificates.clone()
    }

    async fn drained(&self, _instance: &InstanceId, _limit: DurationMs) {}

    async fn pid(&self) -> Option<u32> {
        Some(1)
    }

    async fn traffic(&self) -> Result<flow::Status, Report> {
        let mut state = self.state();
        let table = state.table.clone().unwrap_or_else(RouteTable::empty);
        let served = |(id, backend): (&String, &Backend)| BackendStatus {
            backend: id.clone(),
            without_endpoint: 0,
            endpoints: backend.endpoints.iter().map(|e| state.serve(e, backend)).collect(),
            queue: None,
            mirror: None,
        };
        let backends = table.backends.iter().map(served).collect();
        Ok(flow::Status {
            revision: table.revision,
            pid: 1,
            uptime_ms: 0,
            program: String::new(),
            threads: 1,
            connections: 0,
            listeners: Vec::new(),
            rules: Vec::new(),
            backends,
            failed: Vec::new(),
            names: Default::default(),
            calls: Vec::new(),
            spans: Default::default(),
            log_dropped: 0,
            predecessors: Vec::new(),
        })
    }

    async fn upgrade(&self) -> Result<GatewayUpgrade, Report> {
        Ok(GatewayUpgrade { before: Some(1), after: 2, draining: 0 })
    }
}

impl Machine for FakeMachine {
    fn now(&self) -> Timestamp {
        now()
    }

    fn subnets(&self) -> Vec<Cidr> {
        Vec::new()
    }

    fn disk_free(&self, _directory: &std::path::Path) -> Option<model::Bytes> {
        None
    }

    fn uplinks(&self) -> Option<u64> {
        Some(self.state().uplinks)
    }

    fn port_in_use(&self, address: SocketAddr, _: Transport) -> Option<String> {
        self.state().taken_ports.contains(&address.port()).then(|| "address already in use".to_owned())
    }
}
