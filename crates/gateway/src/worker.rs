//! One thread of the data plane: its own runtime, its own listening sockets, its own upstream
//! connections. It shares with the others one pointer to the table and nothing it writes.

use crate::buffer::{self, Buf};
use crate::calls::{Calling, Calls, OfThread};
use crate::detect;
use crate::drain::{self, Drain};
use crate::hold::Held;
use crate::http;
use crate::http::connection::Client;
use crate::http::pool::Pool;
use crate::http2::pool::Http2Pool;
use crate::log::{self, Log, ThreadLog};
use crate::options::Limits;
use crate::outside::Outside;
use crate::proxy::{self, Peer};
use crate::snapshot::{ListenerId, Random, Route, Snapshot};
use crate::spans::Spans;
use crate::stream::{self, ClientStream};
use crate::tcp;
use crate::tls::{self, Terminator};
use crate::watch::{Registry, Retiring};
use arc_swap::ArcSwap;
use model::service::Protocol;
use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};

/// Stack of a worker thread; futures live on the heap.
const STACK_BYTES: usize = 512 * 1024;
/// Pause after an accept that failed for want of something (descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Disks that are waited for at a time, beside the thread; others wait their turn.
const MAX_DISK_READS: usize = 8;
/// Commands a thread may be behind.
const COMMANDS: usize = 64;

/// What all threads share.
pub struct Shared {
    pub snapshot: ArcSwap<Snapshot>,
    generation: AtomicU64,
    pub limits: Limits,
    pub started: Instant,
    pub log: Log,
    pub tls: Terminator,
    pub threads: usize,
    pub outside: Outside,
    pub calls: Calls,
    pub spans: Spans,
    /// Connections of each thread.
    open: Vec<Arc<AtomicU64>>,
}

impl Shared {
    pub fn new(limits: Limits, log: Log, tls: Terminator, threads: usize, outside: Outside) -> Self {
        Self {
            tls,
            snapshot: ArcSwap::default(),
            generation: AtomicU64::new(0),
            limits,
            started: Instant::now(),
            log,
            threads,
            outside,
            calls: Calls::default(),
            spans: Spans::default(),
            open: (0..threads).map(|_| Arc::default()).collect(),
        }
    }
    /// Parts of each counter: one for each worker, and one for the thread of datagrams.
    pub fn shards(&self) -> usize {
        self.threads + 1
    }
    /// Client connections of all threads.
    pub fn connections(&self) -> u64 {
        self.open.iter().map(|open| open.load(Ordering::Relaxed)).sum()
    }
    /// Milliseconds since the process started.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
    /// Changes with each snapshot; comparing it is cheaper than looking a route up.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// What the control thread tells a worker; done in order.
pub enum Command {
    Listen {
        id: ListenerId,
        socket: std::net::TcpListener,
        route: Arc<Route>,
    },
    /// Accepts what is waiting, then no more; connections end as soon as they are idle.
    Close {
        id: ListenerId,
    },
    /// Confirms that everything before is done and the newest table is used from here on.
    Sync(oneshot::Sender<()>),
    /// Accepts nothing more; connections wait in the sockets, which stay.
    Pause(oneshot::Sender<()>),
    /// Accepts again on the sockets of the pause.
    Resume,
    /// Lets the sockets of the pause go: another process has them.
    Release,
    /// Closes all listeners, ends connections within the time of `drain`, and completes when none
    /// is left.
    Finish {
        how: Retiring,
        drain: Drain,
        done: oneshot::Sender<()>,
    },
}

/// The control thread's end of a worker.
pub struct Handle {
    pub commands: mpsc::Sender<Command>,
}

/// One thread's state, reached by all its connections.
pub struct Worker {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub registry: Rc<Registry>,
    pub pool: Pool,
    pub http2: Http2Pool,
    pub held: Rc<Held>,
    pub random: Random,
    pub log: ThreadLog,
    pub calls: OfThread,
    /// TLS handshakes under way.
    pub handshakes: Cell<usize>,
    /// The time the whole gateway has to finish.
    retiring: Cell<Option<Drain>>,
    /// Ends of connections were planned at the last look.
    planned: Cell<bool>,
}

impl Worker {
    /// Ends what is to end by now.
    fn drain(&self) {
        let snapshot = self.shared.snapshot.load();
        let retiring = self.retiring.get();
        if snapshot.draining.is_empty() && retiring.is_none() && !self.planned.get() {
            return;
        }
        let now_ms = self.registry.clock().now_ms();
        self.planned.set(drain::look(&self.registry, &snapshot.draining, retiring, now_ms, &self.random));
    }
    /// Lets idle connections to instances go.
    fn sweep_upstreams(&self) {
        let now_ms = self.registry.clock().last_ms();
        self.pool.sweep(now_ms, &self.shared.limits);
        self.http2.sweep(now_ms, &self.shared.limits);
    }
    /// A message; too many in one second are left out.
    pub fn say(&self, message: &str) {
        self.log.say(message);
    }
}

/// Starts worker number `index`.
pub fn start(index: usize, shared: Arc<Shared>) -> io::Result<Handle> {
    let (commands, received) = mpsc::channel(COMMANDS);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.max_blocking_threads(MAX_DISK_READS);
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .stack_size(STACK_BYTES)
        .spawn(move || run(index, shared, runtime, received))?;
    Ok(Handle { commands })
}

fn run(
    index: usize,
    shared: Arc<Shared>,
    mut runtime: tokio::runtime::Builder,
    received: mpsc::Receiver<Command>,
) {
    let runtime = match runtime.enable_io().enable_time().build_local(Default::default()) {
        Ok(runtime) => runtime,
        Err(error) => return shared.log.say(&format!("worker {index} could not start: {error}")),
    };
    let worker = Rc::new(Worker {
        index,
        registry: Rc::new(Registry::new(shared.started, shared.open[index].clone())),
        pool: Pool::default(),
        http2: Http2Pool::default(),
        held: Rc::default(),
        random: Random::new(),
        log: shared.log.of_thread(),
        calls: OfThread::default(),
        handshakes: Cell::new(0),
        retiring: Cell::new(None),
        planned: Cell::new(false),
        shared,
    });
    runtime.block_on(async {
        let sweep = spawn_local(sweep(worker.clone()));
        obey(&worker, received).await;
        sweep.abort();
    });
}

async fn obey(worker: &Rc<Worker>, mut received: mpsc::Receiver<Command>) {
    let mut listeners = Listeners::default();
    while let Some(command) = received.recv().await {
        match command {
            Command::Listen { id, socket, route } => match TcpListener::from_std(socket) {
                Ok(listener) => listeners.start(Acceptor { worker: worker.clone(), id, route }, listener),
                Err(error) => worker.say(&format!("a listener could not be used: {error}")),
            },
            Command::Close { id } => {
                listeners.close(id).await;
                worker.registry.retire(Some(id), Retiring::WhenIdle);
            }
            Command::Sync(done) => {
                worker.registry.clock().refresh();
                worker.sweep_upstreams();
                worker.drain();
                worker.held.table_arrived();
                worker.calls.follow(&worker.shared.calls);
                // Nobody waits any more when the control thread has given up on us.
                let _ = done.send(());
            }
            Command::Pause(done) => {
                listeners.pause().await;
                let _ = done.send(());
            }
            Command::Resume => listeners.resume(),
            Command::Release => listeners.paused.clear(),
            Command::Finish { how, drain, done } => {
                listeners.close_all().await;
                worker.registry.retire(None, how);
                worker.retiring.set(Some(drain));
                worker.drain();
                spawn_local(until_empty(worker.clone(), done));
            }
        }
    }
}

/// Completes when no connection is left. Commands are obeyed meanwhile: tables still arrive.
async fn until_empty(worker: Rc<Worker>, done: oneshot::Sender<()>) {
    while worker.registry.count() > 0 {
        worker.registry.changed().await;
    }
    worker.log.flush();
    let _ = done.send(());
}

/// Ten times a second while anything happens: deadlines, old upstream connections, log lines.
async fn sweep(worker: Rc<Worker>) {
    loop {
        if worker.registry.count() == 0 && worker.pool.is_empty() && worker.http2.is_empty() {
            worker.log.flush();
            buffer::trim();
            worker.registry.changed().await;
        }
        // Neither while something is planned for a moment of its own.
        let may_rest = !worker.planned.get() && worker.retiring.get().is_none();
        worker.registry.pause(may_rest).await;
        worker.registry.sweep();
        worker.drain();
        worker.sweep_upstreams();
        worker.shared.spans.tick(log::now_ms() / 1000);
        worker.log.flush();
    }
}

/// The sockets of one thread; of one listener it may have several.
#[derive(Default)]
struct Listeners {
    accepting: HashMap<ListenerId, Vec<Listening>>,
    paused: Vec<(Acceptor, TcpListener)>,
}

impl Listeners {
    fn start(&mut self, acceptor: Acceptor, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel();
        let id = acceptor.id;
        let task = spawn_local(acceptor.run(listener, stopped));
        self.accepting.entry(id).or_default().push(Listening { stop, task });
    }
    async fn close(&mut self, id: ListenerId) {
        for listening in self.accepting.remove(&id).unwrap_or_default() {
            if let Some((mut acceptor, listener)) = listening.stop().await {
                acceptor.drain(listener);
            }
        }
    }
    async fn close_all(&mut self) {
        let ids: Vec<ListenerId> = self.accepting.keys().copied().collect();
        for id in ids {
            self.close(id).await;
        }
    }
    async fn pause(&mut self) {
        for listening in self.accepting.drain().flat_map(|(_, listening)| listening) {
            self.paused.extend(listening.stop().await);
        }
    }
    fn resume(&mut self) {
        for (acceptor, listener) in std::mem::take(&mut self.paused) {
            self.start(acceptor, listener);
        }
    }
}

/// The task that accepts from one socket.
struct Listening {
    stop: oneshot::Sender<()>,
    task: JoinHandle<(Acceptor, TcpListener)>,
}

impl Listening {
    async fn stop(self) -> Option<(Acceptor, TcpListener)> {
        // It may have ended already, which is what is wanted.
        let _ = self.stop.send(());
        self.task.await.ok()
    }
}

struct Acceptor {
    worker: Rc<Worker>,
    id: ListenerId,
    route: Arc<Route>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener, mut stopped: oneshot::Receiver<()>) -> (Self, TcpListener) {
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => return (self, listener),
                accepted = self.accept(&listener) => match accepted {
                    Ok((stream, peer)) => self.connected(stream, peer),
                    Err(error) => self.pause(&error).await,
                }
            }
        }
    }
    /// Accepts only while there is room; until then connections wait in the backlog.
    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        while self.worker.registry.connections() >= self.worker.shared.limits.connections_per_thread {
            self.worker.registry.changed().await;
        }
        listener.accept().await
    }
    async fn pause(&self, error: &io::Error) {
        // A client that left before it was accepted is no reason to wait.
        if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            self.worker.say(&format!("a connection could not be accepted: {error}"));
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
    /// Takes what the kernel has already promised to clients before the socket is closed.
    fn drain(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.connected(stream, peer);
            }
        }
    }
    fn connected(&mut self, stream: TcpStream, peer: SocketAddr) {
        stream::tune_client(&stream);
        let worker = self.worker.clone();
        let generation = worker.shared.generation();
        if let Some(route) = worker.shared.snapshot.load().routes.get(&self.id) {
            self.route = route.clone();
        }
        self.route.counters.shard(worker.index).connection();
        let client = Client {
            watch: worker.registry.register(self.id),
            listener: self.id,
            route: self.route.clone(),
            backend: self.route.backend.clone(),
            generation,
            peer: Peer::new(peer),
            buf: Buf::default(),
            grpc_status: Cell::default(),
            calling: Calling::default(),
            head_at: Cell::default(),
            stream: ClientStream::Plain(stream),
            worker,
        };
        if self.route.proxied.is_some() {
            spawn_local(async {
                if let Some(client) = Box::pin(proxy::read(client)).await {
                    serve(client);
                }
            });
        } else {
            serve(client);
        }
    }
}

/// Begins what the port is for.
fn serve(client: Client) {
    match client.route.protocol {
        _ if client.route.tls.is_some() => spawn_local(tls::accept::serve(client)),
        Protocol::Http => spawn_local(http::connection::serve(client)),
        Protocol::Tcp => spawn_local(tcp::serve(client)),
        Protocol::Auto => spawn_local(detect::serve(client)),
    };
}
