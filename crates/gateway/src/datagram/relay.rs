//! Moves datagrams: from clients to the instance of their flow, and its answers back.

use super::Command;
use super::flows::{Flow, FlowKey, Flows};
use super::socket::Listening;
use crate::counters::Shard;
use crate::drain::Drain;
use crate::snapshot::{ListenerId, Moment, Route, fingerprint};
use crate::worker::Shared;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};

/// The largest datagram there is.
const MAX_BYTES: usize = 65_536;
/// Datagrams taken from one socket before the others have their turn.
const BATCH: usize = 32;
/// Time between two looks at what is over.
const SWEEP: Duration = Duration::from_millis(250);
/// Pause after a socket that could not be read from for another reason than that it is empty.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

struct Relay {
    shared: Arc<Shared>,
    flows: Flows,
    /// The first flow has begun.
    begun: Notify,
    buffer: RefCell<Box<[u8]>>,
}

struct Open {
    listening: Rc<Listening>,
    reading: JoinHandle<()>,
}

/// Serves sockets as they come and go.
pub async fn run(shared: Arc<Shared>, mut commands: mpsc::Receiver<Command>) {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let flows = Flows::new(descriptors.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX));
    let buffer = RefCell::new(vec![0; MAX_BYTES].into_boxed_slice());
    let relay = Rc::new(Relay { shared, flows, begun: Notify::new(), buffer });
    let mut open: HashMap<ListenerId, Open> = HashMap::new();
    let mut tick = tokio::time::interval(SWEEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => relay.obey(command, &mut open).await,
                None => return,
            },
            // Without flows nothing ticks.
            () = relay.begun.notified(), if relay.flows.is_empty() => {}
            _ = tick.tick(), if !relay.flows.is_empty() => relay.sweep(),
        }
    }
}

impl Relay {
    async fn obey(self: &Rc<Self>, command: Command, open: &mut HashMap<ListenerId, Open>) {
        match command {
            Command::Listen { id, socket } => match Listening::new(socket) {
                Ok(listening) => {
                    let listening = Rc::new(listening);
                    let reading = spawn_local(self.clone().read(id, listening.clone()));
                    if let Some(before) = open.insert(id, Open { listening, reading }) {
                        before.reading.abort();
                    }
                }
                Err(error) => self.shared.log.say(&format!("a socket could not be used: {error}")),
            },
            Command::Close { id } => {
                if let Some(closed) = open.remove(&id) {
                    closed.reading.abort();
                    drop(closed.listening);
                }
                self.flows.remove_listener(id);
            }
            Command::Sync(done) => {
                self.sweep();
                // Nobody waits any more when the control thread has given up on us.
                let _ = done.send(());
            }
            Command::Pause(done) => {
                for (_, paused) in open.drain() {
                    paused.reading.abort();
                    // Ended, not only told to: what it has taken is on its way.
                    let _ = paused.reading.await;
                }
                let _ = done.send(());
            }
            Command::Finish { drain, done } => {
                open.drain().for_each(|(_, open)| open.reading.abort());
                spawn_local(self.clone().until_quiet(drain, done));
            }
        }
    }

    fn now(&self) -> Moment {
        self.shared.now_ms()
    }

    /// The counters' part that only this thread writes.
    fn thread(&self) -> usize {
        self.shared.threads
    }

    fn sweep(&self) {
        let (now, snapshot) = (self.now(), self.shared.snapshot.load());
        self.flows.sweep(&self.shared.limits, now, |flow| {
            let until = || snapshot.draining.get(&flow.endpoint.number).map(|drain| drain.end_ms);
            flow.endpoint.gone.load(Relaxed)
                || flow.endpoint.closed.load(Relaxed) && until().is_none_or(|end| now >= end)
        });
    }

    async fn until_quiet(self: Rc<Self>, drain: Drain, done: oneshot::Sender<()>) {
        while self.flows.is_busy(self.now()) && self.now() < drain.end_ms {
            tokio::time::sleep(SWEEP).await;
        }
        let _ = done.send(());
    }

    async fn read(self: Rc<Self>, id: ListenerId, listening: Rc<Listening>) {
        loop {
            if listening.readable().await.is_err() {
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
            for _ in 0..BATCH {
                match self.take_one(id, &listening) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        tokio::time::sleep(ERROR_PAUSE).await;
                        break;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// One datagram of a client.
    fn take_one(self: &Rc<Self>, id: ListenerId, listening: &Rc<Listening>) -> io::Result<()> {
        let mut buffer = self.buffer.borrow_mut();
        let arrived = listening.receive(&mut buffer)?;
        let bytes = &buffer[..arrived.length];
        let Some(route) = self.shared.snapshot.load().routes.get(&id).cloned() else { return Ok(()) };
        let counts = route.counters.shard(self.thread());
        counts.received(bytes.len() as u64);
        let key = FlowKey { listener: id, client: arrived.client, local: arrived.local };
        if !self.pass_on(key, bytes, &route, listening) {
            counts.error();
        }
        Ok(())
    }

    /// To the instance of the flow, or of a new one; to another instance if the first refuses.
    fn pass_on(
        self: &Rc<Self>,
        key: FlowKey,
        bytes: &[u8],
        route: &Arc<Route>,
        listening: &Rc<Listening>,
    ) -> bool {
        for _ in 0..2 {
            let known = self.flows.get(&key).filter(|flow| !flow.endpoint.gone.load(Relaxed));
            let Some(flow) = known.or_else(|| self.begin(key, route, listening)) else { return false };
            flow.heard(self.now());
            match flow.send(bytes) {
                Ok(()) => {
                    flow.endpoint.counters.shard(self.thread()).received(bytes.len() as u64);
                    return true;
                }
                // Nobody listens at the instance: the answer to something sent before.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.refused(&key, &flow),
                Err(_) => return false,
            }
        }
        false
    }

    fn begin(
        self: &Rc<Self>,
        key: FlowKey,
        route: &Arc<Route>,
        listening: &Rc<Listening>,
    ) -> Option<Rc<Flow>> {
        let now = self.now();
        if !self.flows.has_room(key.client.ip(), now) {
            return None;
        }
        let Some(endpoint) = route.backend.choose_for(spread(&key.client), now) else {
            route.backend.without_endpoint.fetch_add(1, Relaxed);
            return None;
        };
        let upstream = match connect(endpoint.address) {
            Ok(upstream) => upstream,
            Err(error) => {
                self.shared.log.say(&format!("{} cannot be sent to: {error}", endpoint.address));
                return None;
            }
        };
        route.counters.shard(self.thread()).connection();
        let flow = Rc::new(Flow::new(upstream, endpoint, self.thread(), now));
        let answers = self.clone().answer(key, flow.clone(), route.clone(), listening.clone());
        flow.answers.set(Some(spawn_local(answers).abort_handle()));
        if self.flows.is_empty() {
            self.begun.notify_one();
        }
        self.flows.insert(key, flow.clone());
        Some(flow)
    }

    fn refused(&self, key: &FlowKey, flow: &Rc<Flow>) {
        flow.endpoint.counters.shard(self.thread()).error();
        flow.endpoint.suspect(self.now() + self.shared.limits.suspect.as_millis() as u64);
        self.flows.remove(key, flow);
    }

    /// Hands on what the instance says, until the flow is forgotten.
    async fn answer(
        self: Rc<Self>,
        key: FlowKey,
        flow: Rc<Flow>,
        route: Arc<Route>,
        listening: Rc<Listening>,
    ) {
        loop {
            if flow.upstream.readable().await.is_err() {
                return;
            }
            for _ in 0..BATCH {
                match self.answer_one(&key, &flow, &route, &listening) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        return self.refused(&key, &flow);
                    }
                    Err(_) => return,
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn answer_one(&self, key: &FlowKey, flow: &Flow, route: &Route, listening: &Listening) -> io::Result<()> {
        let mut buffer = self.buffer.borrow_mut();
        let length = flow.upstream.try_recv(&mut buffer)?;
        let counts: &Shard = route.counters.shard(self.thread());
        flow.heard(self.now());
        flow.endpoint.trusted();
        flow.endpoint.counters.shard(self.thread()).sent(length as u64);
        match listening.send(&buffer[..length], key.client, key.local) {
            Ok(()) => counts.sent(length as u64),
            // A client that is gone, or a full socket: datagrams may be lost.
            Err(_) => counts.error(),
        }
        Ok(())
    }
}

/// A socket that hears nobody but the instance.
fn connect(instance: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match instance {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(instance)?;
    UdpSocket::from_std(socket)
}

/// The same number for a client in every gateway process, so that its successor chooses as it did.
fn spread(client: &SocketAddr) -> u64 {
    let port = client.port().to_be_bytes();
    match client.ip() {
        IpAddr::V4(ip) => fingerprint(ip.octets().into_iter().chain(port)),
        IpAddr::V6(ip) => fingerprint(ip.octets().into_iter().chain(port)),
    }
}
