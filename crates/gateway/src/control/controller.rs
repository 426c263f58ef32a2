//! Puts tables in force: sockets bound, snapshot built and published, threads told, disk written.

use super::bind::{self, Sockets};
use super::keep::{self, Kept, KeptPort};
use super::table::{Key, check, key, zone};
use crate::counters::Counters;
use crate::names;
use crate::options::GatewayOptions;
use crate::snapshot::{Backend, Endpoint, ListenerId, Route, Snapshot};
use crate::wire::{BackendStatus, EndpointStatus, ListenerStatus, Refusal, Status};
use crate::worker::{Command, Handle, Shared};
use model::route::{ApplyReport, BindFailure, Listener, RouteTable};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the threads may take to confirm a table.
const SYNC_LIMIT: Duration = Duration::from_secs(5);
/// Time between two looks at whether an instance is drained.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

struct Bound {
    id: ListenerId,
    address: SocketAddr,
    inodes: Vec<u64>,
    counters: Arc<Counters>,
}

/// Held by the control thread.
pub struct Controller {
    options: GatewayOptions,
    shared: Arc<Shared>,
    workers: Vec<Handle>,
    names: names::Handle,
    table: RouteTable,
    bound: HashMap<Key, Bound>,
    zones: HashSet<IpAddr>,
    endpoints: HashMap<(String, String, SocketAddr), Arc<Endpoint>>,
    /// Gone from the table with work under way.
    retired: Vec<Arc<Endpoint>>,
    without_endpoint: HashMap<String, Arc<AtomicU64>>,
    failed: Vec<BindFailure>,
    /// Ports to choose again for those who asked for any.
    ports: HashMap<Key, u16>,
    next_listener: ListenerId,
    next_endpoint: u64,
}

/// Sockets bound for a table that is about to be in force.
struct Opened {
    id: ListenerId,
    key: Key,
    sockets: Sockets,
}

impl Controller {
    pub fn new(
        options: GatewayOptions,
        shared: Arc<Shared>,
        workers: Vec<Handle>,
        names: names::Handle,
    ) -> Self {
        Self {
            options,
            shared,
            workers,
            names,
            table: RouteTable::empty(),
            bound: HashMap::new(),
            zones: HashSet::new(),
            endpoints: HashMap::new(),
            retired: Vec::new(),
            without_endpoint: HashMap::new(),
            failed: Vec::new(),
            ports: HashMap::new(),
            next_listener: 0,
            next_endpoint: 0,
        }
    }

    /// Serves the table of the last run, if there is one.
    pub async fn restore(&mut self) {
        match keep::load(&self.options.table_file) {
            Ok(None) => {}
            Err(told) => self.shared.log.say(&told),
            Ok(Some(kept)) => {
                self.ports = kept
                    .ports
                    .into_iter()
                    .map(|kept| ((kept.asked, Some(kept.backend)), kept.port))
                    .collect();
                match check(&kept.table) {
                    Ok(()) => {
                        self.put_in_force(kept.table).await;
                        self.say_failed();
                    }
                    Err(refusal) => self.shared.log.say(&format!("the kept table is not served: {refusal}")),
                }
            }
        }
    }

    /// Puts a table in force and on disk.
    pub async fn apply(&mut self, table: RouteTable) -> Result<ApplyReport, Refusal> {
        check(&table)?;
        if table.revision < self.table.revision {
            return Err(Refusal::Stale { asked: table.revision, present: self.table.revision });
        }
        self.put_in_force(table).await;
        let report = self.report();
        self.save().await.map_err(|reason| Refusal::NotKept { reason })?;
        Ok(report)
    }

    async fn save(&self) -> Result<(), String> {
        let kept = Kept::new(self.table.clone(), self.kept_ports());
        let path = self.options.table_file.clone();
        let told = format!("{}", path.display());
        let saved = tokio::task::spawn_blocking(move || keep::save(&path, &kept)).await;
        match saved {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{told}: {error}")),
            Err(error) => Err(format!("{told}: {error}")),
        }
    }

    fn kept_ports(&self) -> Vec<KeptPort> {
        let mut ports: Vec<KeptPort> = self
            .bound
            .iter()
            .filter_map(|((asked, backend), bound)| {
                let backend = backend.clone()?;
                Some(KeptPort { asked: *asked, backend, port: bound.address.port() })
            })
            .collect();
        ports.sort_by(|a, b| (a.asked, &a.backend).cmp(&(b.asked, &b.backend)));
        ports
    }

    /// Tries the addresses again that could not be bound.
    pub async fn retry(&mut self) {
        if self.failed.is_empty() {
            return;
        }
        let before = self.failed.len();
        self.put_in_force(self.table.clone()).await;
        if self.failed.len() < before {
            self.shared.log.say(&format!("{} addresses could be bound at last", before - self.failed.len()));
            if let Err(reason) = self.save().await {
                self.shared.log.say(&format!("the table could not be written: {reason}"));
            }
        }
    }

    fn report(&self) -> ApplyReport {
        let bound = self.table.listeners.iter().filter(|listener| listener.address.port() == 0);
        ApplyReport {
            revision: self.table.revision,
            failed: self.failed.clone(),
            bound: bound
                .filter_map(|listener| Some((listener.address, self.bound.get(&key(listener))?.address)))
                .collect(),
        }
    }

    async fn put_in_force(&mut self, table: RouteTable) {
        self.failed.clear();
        // The old ones are still known while the new ones are bound: they may share a port.
        let opened = self.open_listeners(&table);
        let closed = self.forget_listeners(&table);
        self.update_endpoints(&table);
        let snapshot = self.snapshot(&table);
        self.table = table;
        let routes = snapshot.routes.clone();
        self.shared.publish(snapshot);
        self.update_zones();
        for Opened { id, sockets, .. } in opened {
            let Some(route) = routes.get(&id) else { continue };
            for (worker, socket) in self.workers.iter().zip(sockets.listeners) {
                self.tell(worker, Command::Listen { id, socket, route: route.clone() });
            }
        }
        for id in closed {
            for worker in &self.workers {
                self.tell(worker, Command::Close { id });
            }
        }
        self.synchronise().await;
    }

    fn tell(&self, worker: &Handle, command: Command) {
        if worker.commands.send(command).is_err() {
            self.shared.log.say("a worker thread has ended and is missed");
        }
    }

    /// Waits until no thread uses an older table for new work.
    async fn synchronise(&self) {
        let mut waiting = Vec::new();
        for worker in &self.workers {
            let (done, confirmed) = oneshot::channel();
            self.tell(worker, Command::Sync(done));
            waiting.push(confirmed);
        }
        for confirmed in waiting {
            if tokio::time::timeout(SYNC_LIMIT, confirmed).await.is_err() {
                self.shared.log.say("a worker thread did not confirm the table in time");
            }
        }
    }

    /// Drops the listeners the table has no more; returns their numbers.
    fn forget_listeners(&mut self, table: &RouteTable) -> Vec<ListenerId> {
        let wanted: HashSet<Key> = table.listeners.iter().map(key).collect();
        let gone: Vec<Key> = self.bound.keys().filter(|key| !wanted.contains(*key)).cloned().collect();
        gone.iter().filter_map(|key| self.bound.remove(key)).map(|bound| bound.id).collect()
    }

    fn open_listeners(&mut self, table: &RouteTable) -> Vec<Opened> {
        let mut opened = Vec::new();
        for listener in &table.listeners {
            let key = key(listener);
            if self.bound.contains_key(&key) {
                continue;
            }
            match self.bind(listener, &key) {
                Ok(sockets) => {
                    let id = self.next_listener;
                    self.next_listener += 1;
                    let counters = Arc::new(Counters::new(self.shared.threads));
                    let inodes = sockets.inodes.clone();
                    let bound = Bound { id, address: sockets.address, inodes, counters };
                    self.bound.insert(key.clone(), bound);
                    opened.push(Opened { id, key, sockets });
                }
                Err(error) => self.failed.push(BindFailure { address: listener.address, error }),
            }
        }
        for Opened { key, sockets, .. } in &opened {
            if key.1.is_some() {
                self.ports.insert(key.clone(), sockets.address.port());
            }
        }
        opened
    }

    fn bind(&self, listener: &Listener, key: &Key) -> Result<Sockets, String> {
        let own: Vec<(SocketAddr, Vec<u64>)> =
            self.bound.values().map(|bound| (bound.address, bound.inodes.clone())).collect();
        let threads = self.workers.len();
        if let Some(port) = self.ports.get(key).filter(|_| key.1.is_some()) {
            let again = SocketAddr::new(listener.address.ip(), *port);
            if let Ok(sockets) = bind::listen(again, threads, &own) {
                return Ok(sockets);
            }
        }
        bind::listen(listener.address, threads, &own)
    }

    fn update_endpoints(&mut self, table: &RouteTable) {
        let mut wanted = HashMap::new();
        for (backend, endpoint) in
            table.backends.iter().flat_map(|(id, b)| b.endpoints.iter().map(move |e| (id, e)))
        {
            let key = (backend.clone(), endpoint.instance.clone(), endpoint.address);
            let present = self.endpoints.remove(&key).unwrap_or_else(|| {
                self.next_endpoint += 1;
                let (instance, address) = (endpoint.instance.clone(), endpoint.address);
                Arc::new(Endpoint::new(self.next_endpoint, instance, address, self.shared.threads))
            });
            present.closed.store(endpoint.draining, Relaxed);
            wanted.insert(key, present);
        }
        let gone = std::mem::replace(&mut self.endpoints, wanted);
        self.retired.extend(gone.into_values().inspect(|endpoint| endpoint.closed.store(true, Relaxed)));
        self.retired.retain(|endpoint| endpoint.counters.active() > 0);
        self.without_endpoint.retain(|backend, _| table.backends.contains_key(backend));
    }

    fn snapshot(&mut self, table: &RouteTable) -> Snapshot {
        let mut backends: BTreeMap<&str, Arc<Backend>> = BTreeMap::new();
        for (id, backend) in &table.backends {
            let open = backend.endpoints.iter().filter(|endpoint| !endpoint.draining);
            let endpoints = open
                .filter_map(|e| self.endpoints.get(&(id.clone(), e.instance.clone(), e.address)).cloned())
                .collect();
            let without_endpoint = self.without_endpoint.entry(id.clone()).or_default().clone();
            backends.insert(id, Arc::new(Backend { id: id.clone(), endpoints, without_endpoint }));
        }
        let routes = table.listeners.iter().filter_map(|listener| {
            let bound = self.bound.get(&key(listener))?;
            let backend = backends.get(listener.backend.as_str())?.clone();
            let route = Route {
                revision: table.revision,
                protocol: listener.protocol,
                public: listener.public,
                address: bound.address,
                counters: bound.counters.clone(),
                backend,
            };
            Some((bound.id, Arc::new(route)))
        });
        let routes = routes.collect();
        let zones = table.zones.iter().map(|named| (named.listen, Arc::new(zone(named)))).collect();
        Snapshot { routes, zones }
    }

    fn update_zones(&mut self) {
        let wanted: HashSet<IpAddr> = self.table.zones.iter().map(|zone| zone.listen).collect();
        for gone in self.zones.difference(&wanted) {
            self.names.close(*gone);
        }
        self.zones.retain(|address| wanted.contains(address));
        for listen in wanted {
            if self.zones.contains(&listen) {
                continue;
            }
            let address = SocketAddr::new(listen, self.options.name_port);
            match bind::names(address) {
                Ok((udp, tcp)) => {
                    self.names.listen(listen, udp, tcp);
                    self.zones.insert(listen);
                }
                Err(error) => self.failed.push(BindFailure { address, error }),
            }
        }
    }

    fn say_failed(&self) {
        for BindFailure { address, error } in &self.failed {
            self.shared.log.say(&format!("{address} could not be bound: {error}; it is tried again"));
        }
    }

    /// Connections and requests going to the instance now.
    pub fn active(&self, instance: &str) -> u64 {
        let all = self.endpoints.values().chain(&self.retired);
        all.filter(|endpoint| endpoint.instance == instance).map(|endpoint| endpoint.counters.active()).sum()
    }

    pub fn status(&self) -> Status {
        Status {
            revision: self.table.revision,
            pid: std::process::id(),
            uptime_ms: self.shared.started.elapsed().as_millis() as u64,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            threads: self.shared.threads,
            listeners: self.table.listeners.iter().filter_map(|l| self.listener_status(l)).collect(),
            backends: self.table.backends.keys().map(|id| self.backend_status(id)).collect(),
            failed: self.failed.clone(),
            names: self.names.counts(),
            log_dropped: self.shared.log.dropped(),
        }
    }

    fn listener_status(&self, listener: &Listener) -> Option<ListenerStatus> {
        let bound = self.bound.get(&key(listener))?;
        Some(ListenerStatus {
            asked: listener.address,
            bound: bound.address,
            backend: listener.backend.clone(),
            counts: bound.counters.read(),
        })
    }

    fn backend_status(&self, id: &str) -> BackendStatus {
        let declared =
            self.table.backends.get(id).map(|backend| backend.endpoints.as_slice()).unwrap_or_default();
        let endpoint = |e: &model::route::Endpoint| {
            let key = (id.to_owned(), e.instance.clone(), e.address);
            let counts = self.endpoints.get(&key).map(|known| known.counters.read()).unwrap_or_default();
            EndpointStatus { instance: e.instance.clone(), address: e.address, draining: e.draining, counts }
        };
        BackendStatus {
            backend: id.to_owned(),
            without_endpoint: self.without_endpoint.get(id).map_or(0, |count| count.load(Relaxed)),
            endpoints: declared.iter().map(endpoint).collect(),
        }
    }

    /// Stops accepting; completes when all connections have ended.
    pub fn finish(&self) -> Vec<oneshot::Receiver<()>> {
        self.workers
            .iter()
            .map(|worker| {
                let (done, finished) = oneshot::channel();
                self.tell(worker, Command::Finish(done));
                finished
            })
            .collect()
    }
}

/// Time between two looks at a draining instance.
pub async fn drain_pause() {
    tokio::time::sleep(DRAIN_LOOK).await;
}
