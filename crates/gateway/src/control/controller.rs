//! Puts tables in force: sockets bound, snapshot built and published, threads told, disk written.

use super::bind;
use super::callers::Callers;
use super::datagrams::BoundDatagrams;
use super::endpoints::Endpoints;
use super::keep::{self, Kept, KeptPort};
use super::table::{Key, askers, check, edits, key, zone};
use crate::counters::{Counters, Lazy};
use crate::datagram;
use crate::drain::Drain;
use crate::names;
use crate::options::GatewayOptions;
use crate::rules;
use crate::snapshot::{Backend, ListenerId, Route, Snapshot};
use crate::watch::Retiring;
use crate::wire::{CertificatesReport, Refusal};
use crate::worker::{Command, Handle, Shared};
use model::route::{ApplyReport, BindFailure, BoundPort, Listener, RouteTable};
use model::service::Transport;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the threads may take to confirm a table.
const SYNC_LIMIT: Duration = Duration::from_secs(5);

/// An address that is listened on.
pub struct Bound {
    pub id: ListenerId,
    pub address: SocketAddr,
    pub(super) inodes: Vec<u64>,
    pub counters: Arc<Counters>,
    /// Copies of the threads' sockets, for a successor.
    pub sockets: Vec<TcpListener>,
}

/// Held by the control thread.
pub struct Controller {
    pub(super) options: GatewayOptions,
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Vec<Handle>,
    pub(super) names: names::Handle,
    pub(super) relay: datagram::Handle,
    pub(super) table: RouteTable,
    pub(super) bound: HashMap<Key, Bound>,
    pub(super) datagrams: HashMap<Key, BoundDatagrams>,
    /// With copies of their sockets.
    pub(super) zones: HashMap<IpAddr, (UdpSocket, TcpListener)>,
    pub(super) endpoints: Endpoints,
    pub(super) callers: Callers,
    /// Counts of the rules in force, by their ids.
    pub(super) rules: HashMap<String, Arc<Lazy>>,
    pub(super) failed: Vec<BindFailure>,
    /// Ports to choose again for those who asked for any.
    pub(super) ports: HashMap<Key, u16>,
    next_listener: ListenerId,
    /// Another process listens: tables are followed, and nothing is bound or written.
    pub(super) handed_over: bool,
}

impl Controller {
    pub fn new(
        options: GatewayOptions,
        shared: Arc<Shared>,
        workers: Vec<Handle>,
        names: names::Handle,
        relay: datagram::Handle,
    ) -> Self {
        Self {
            options,
            endpoints: Endpoints::new(shared.shards()),
            shared,
            workers,
            names,
            relay,
            table: RouteTable::empty(),
            callers: Callers::default(),
            rules: HashMap::new(),
            bound: HashMap::new(),
            datagrams: HashMap::new(),
            zones: HashMap::new(),
            failed: Vec::new(),
            ports: HashMap::new(),
            next_listener: 0,
            handed_over: false,
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
        if self.handed_over {
            self.follow(table).await;
            return Ok(self.report());
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
        let streams = self.bound.iter().map(|(key, bound)| (key, bound.address.port()));
        let datagrams = self.datagrams.iter().map(|(key, bound)| (key, bound.address.port()));
        let mut ports: Vec<KeptPort> = streams
            .chain(datagrams)
            .filter_map(|((asked, backend), port)| {
                Some(KeptPort { asked: *asked, backend: backend.clone()?, port })
            })
            .collect();
        ports.sort_by(|a, b| (a.asked, &a.backend).cmp(&(b.asked, &b.backend)));
        ports
    }

    /// Tries the addresses again that could not be bound.
    pub async fn retry(&mut self) {
        if self.failed.is_empty() || self.handed_over {
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
            ports: self.chosen_ports(),
        }
    }

    /// What was bound for those who asked for one of several ports.
    fn chosen_ports(&self) -> Vec<BoundPort> {
        let streams = self.bound.iter().map(|(key, bound)| (key, bound.address));
        let datagrams = self.datagrams.iter().map(|(key, bound)| (key, bound.address));
        streams
            .chain(datagrams)
            .filter_map(|((asked, backend), bound)| {
                Some(BoundPort { asked: *asked, backend: backend.clone()?, bound })
            })
            .collect()
    }

    pub(super) async fn put_in_force(&mut self, table: RouteTable) {
        self.failed.clear();
        // The old ones are still known while the new ones are bound: they may share a port.
        let opened = self.open_listeners(&table);
        let opened_datagrams = self.open_datagrams(&table);
        let closed = self.forget_listeners(&table);
        let closed_datagrams = self.forget_datagrams(&table);
        let routes = self.publish(table);
        self.update_zones().await;
        for (id, socket) in opened_datagrams {
            self.relay.listen(id, socket).await;
        }
        for id in closed_datagrams {
            self.relay.close(id).await;
        }
        for super::listeners::Opened { id, sockets } in opened {
            let Some(route) = routes.get(&id) else { continue };
            self.listen(id, sockets, route).await;
        }
        for id in closed {
            for worker in &self.workers {
                self.tell(worker, Command::Close { id }).await;
            }
        }
        self.synchronise().await;
    }

    /// Uses the table for what is under way and for what comes on open connections.
    async fn follow(&mut self, table: RouteTable) {
        self.publish(table);
        self.synchronise().await;
    }

    /// Makes the table the one that all threads read.
    pub(super) fn publish(&mut self, table: RouteTable) -> HashMap<ListenerId, Arc<Route>> {
        self.endpoints.update(&table, self.shared.now_ms());
        let snapshot = self.snapshot(&table);
        self.table = table;
        let routes = snapshot.routes.clone();
        self.shared.publish(snapshot);
        routes
    }

    /// Spreads the sockets of a listener over the threads.
    pub(super) async fn listen(&self, id: ListenerId, sockets: Vec<TcpListener>, route: &Arc<Route>) {
        for (socket, worker) in sockets.into_iter().zip(self.workers.iter().cycle()) {
            self.tell(worker, Command::Listen { id, socket, route: route.clone() }).await;
        }
    }

    pub(super) async fn tell(&self, worker: &Handle, command: Command) {
        let told = tokio::time::timeout(SYNC_LIMIT, worker.commands.send(command)).await;
        if !matches!(told, Ok(Ok(()))) {
            self.shared.log.say("a worker thread does not answer and is missed");
        }
    }

    /// Waits until no thread uses an older table for new work.
    pub(super) async fn synchronise(&self) {
        self.confirmed(Command::Sync).await;
        self.relay.synchronise().await;
    }

    /// Tells all threads, and waits until each has done it.
    pub(super) async fn confirmed(&self, command: impl Fn(oneshot::Sender<()>) -> Command) {
        let mut waiting = Vec::new();
        for worker in &self.workers {
            let (done, confirmed) = oneshot::channel();
            self.tell(worker, command(done)).await;
            waiting.push(confirmed);
        }
        for confirmed in waiting {
            if tokio::time::timeout(SYNC_LIMIT, confirmed).await.is_err() {
                self.shared.log.say("a worker thread did not confirm in time");
            }
        }
    }

    pub(super) fn number(&mut self) -> ListenerId {
        self.next_listener += 1;
        self.next_listener
    }

    fn snapshot(&mut self, table: &RouteTable) -> Snapshot {
        let backends = self.endpoints.backends(table);
        self.count_rules(table);
        let nowhere = Arc::new(Backend::new(String::new(), Vec::new(), Duration::ZERO, Arc::default()));
        let route = |listener: &Listener, id: ListenerId, address: SocketAddr, counters: &Arc<Counters>| {
            let backend = match listener.backend.is_empty() {
                true => nowhere.clone(),
                false => backends.get(listener.backend.as_str())?.clone(),
            };
            let route = Route {
                tls: self.secured(listener),
                https_port: listener.https_port,
                edits: edits(listener),
                proxied: listener.proxied.as_ref().map(|from| from.clone().into()),
                revision: table.revision,
                protocol: listener.protocol,
                public: listener.public,
                address,
                counters: counters.clone(),
                rules: rules::build(&listener.rules, &backends, &self.rules),
                backend,
            };
            Some((id, Arc::new(route)))
        };
        let streams = table.listeners.iter().filter_map(|listener| {
            let bound = self.bound.get(&key(listener))?;
            route(listener, bound.id, bound.address, &bound.counters)
        });
        let datagrams = table.datagrams.iter().filter_map(|listener| {
            let bound = self.datagrams.get(&key(listener))?;
            route(listener, bound.id, bound.address, &bound.counters)
        });
        let routes = streams.chain(datagrams).collect();
        let zones = table.zones.iter().map(|named| (named.listen, Arc::new(zone(named)))).collect();
        let backends = backends.iter().map(|(id, backend)| ((*id).to_owned(), backend.clone())).collect();
        let callers = self.callers.update(table, self.endpoints.numbers(), &self.shared.calls);
        let draining = self.endpoints.draining();
        Snapshot { routes, backends, zones, askers: askers(table), callers, draining }
    }

    /// A rule that stays goes on being counted where it was.
    fn count_rules(&mut self, table: &RouteTable) {
        let mut before = std::mem::take(&mut self.rules);
        let threads = self.shared.shards();
        let rules = table.listeners.iter().flat_map(|listener| &listener.rules);
        let counted = rules.map(|rule| match before.remove_entry(&rule.id) {
            Some(known) => known,
            None => (rule.id.clone(), Arc::new(Lazy::new(threads))),
        });
        self.rules = counted.collect();
    }

    /// What the listener's handshakes need.
    fn secured(&self, listener: &Listener) -> Option<Arc<rustls::ServerConfig>> {
        let tls = listener.tls.as_ref()?;
        let made = self.shared.tls.listener(&tls.certificate);
        made.inspect_err(|error| self.say(&format!("{}: {error}", listener.address))).ok()
    }

    /// Reads the certificates anew.
    pub fn certify(&self) -> CertificatesReport {
        let faults = self.shared.tls.load(&self.options.certificates);
        faults.iter().for_each(|fault| self.say(fault));
        CertificatesReport { served: self.shared.tls.names(), faults }
    }

    async fn update_zones(&mut self) {
        let wanted: HashSet<IpAddr> = self.table.zones.iter().map(|zone| zone.listen).collect();
        let gone: Vec<IpAddr> = self.zones.keys().filter(|zone| !wanted.contains(*zone)).copied().collect();
        for zone in gone {
            self.zones.remove(&zone);
            self.names.close(zone).await;
        }
        for listen in wanted {
            if self.zones.contains_key(&listen) {
                continue;
            }
            let address = SocketAddr::new(listen, self.options.name_port);
            let (udp, tcp) = (self.own_datagrams(), self.own_streams());
            match bind::names(address, &udp, &tcp)
                .and_then(|sockets| copies(&sockets).map(|copies| (sockets, copies)))
            {
                Ok(((udp, tcp), copies)) => {
                    self.names.listen(listen, udp, tcp).await;
                    self.zones.insert(listen, copies);
                }
                Err(error) => self.failed.push(BindFailure { address, error, transport: Transport::Tcp }),
            }
        }
    }

    pub(super) fn say_failed(&self) {
        for BindFailure { address, error, .. } in &self.failed {
            self.shared.log.say(&format!("{address} could not be bound: {error}; it is tried again"));
        }
    }

    /// Connections and requests going to the instance now.
    pub fn active(&self, instance: &str) -> u64 {
        self.endpoints.active(instance)
    }

    /// A message for whoever runs the gateway.
    pub fn say(&self, message: &str) {
        self.shared.log.say(message);
    }

    /// Stops accepting and ends what is under way by the end of the grace; completes when no
    /// connection is left.
    pub async fn finish(&mut self, how: Retiring, grace: Duration) -> Vec<oneshot::Receiver<()>> {
        // The threads close the sockets; as long as a copy is left they would still be connected to.
        self.bound.values_mut().for_each(|bound| bound.sockets.clear());
        self.datagrams.clear();
        let drain = Drain::new(self.shared.now_ms(), grace);
        let mut finished = vec![self.relay.finish(drain).await];
        for worker in &self.workers {
            let (done, receiver) = oneshot::channel();
            self.tell(worker, Command::Finish { how, drain, done }).await;
            finished.push(receiver);
        }
        finished
    }
}

/// A second descriptor of each socket.
pub(super) fn copies((udp, tcp): &(UdpSocket, TcpListener)) -> Result<(UdpSocket, TcpListener), String> {
    let copies = udp.try_clone().and_then(|udp| Ok((udp, tcp.try_clone()?)));
    copies.map_err(|error| error.to_string())
}
