//! A gateway in this process, instances to stand behind it, and clients that speak in raw bytes.
#![allow(dead_code)]

pub mod datagrams;
pub mod http2;
pub mod process;
pub mod tls;

use gateway::{GatewayClient, GatewayOptions, Limits};
use model::route::{ApplyReport, Backend, Endpoint, Listener, ROUTE_TABLE_VERSION, RouteTable};
use model::service::Protocol;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything in a test; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Default limits with times short enough to wait for.
pub fn short_limits() -> Limits {
    Limits {
        handshake: Duration::from_millis(400),
        header: Duration::from_millis(400),
        keep_alive: Duration::from_millis(600),
        body_progress: Duration::from_millis(400),
        write_stall: Duration::from_millis(800),
        connect: Duration::from_millis(500),
        response_header: Duration::from_millis(500),
        linger: Duration::from_millis(300),
        bind_retry: Duration::from_millis(100),
        grace: Duration::from_secs(2),
        name_forward: Duration::from_millis(300),
        ..Limits::default()
    }
}

pub struct Gateway {
    pub dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    pub client: GatewayClient,
    thread: Option<JoinHandle<()>>,
    revision: u64,
}

impl Gateway {
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut GatewayOptions)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::in_dir(dir, change)
    }

    pub fn in_dir(dir: tempfile::TempDir, change: impl FnOnce(&mut GatewayOptions)) -> Self {
        let mut options = GatewayOptions::new(dir.path().join("gateway.sock"), dir.path().join("table.json"));
        options.threads = Some(2);
        options.limits = short_limits();
        options.log = Some(dir.path().join("gateway.log"));
        options.resolv_conf = dir.path().join("resolv.conf");
        change(&mut options);
        let socket = options.control_socket.clone();
        let thread = std::thread::spawn(move || {
            gateway::main(options);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(connect(socket));
        Self { dir, runtime, client, thread: Some(thread), revision: 0 }
    }

    /// Applies listeners on free ports of loopback, one for each (protocol, public, instances).
    pub fn serve(&mut self, services: &[(Protocol, bool, &[SocketAddr])]) -> Vec<SocketAddr> {
        let table = table(self.next_revision(), services);
        let report = self.apply(&table);
        assert_eq!(report.failed, []);
        report.bound.iter().map(|(_, bound)| *bound).collect()
    }

    pub fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    pub fn apply(&mut self, table: &RouteTable) -> ApplyReport {
        self.revision = table.revision;
        self.runtime.block_on(self.client.apply(table)).expect("the table is valid")
    }

    pub fn wait<T>(&mut self, act: impl AsyncFnOnce(&mut GatewayClient) -> T) -> T {
        self.runtime.block_on(act(&mut self.client))
    }

    pub fn status(&mut self) -> gateway::wire::Status {
        self.runtime.block_on(self.client.status()).expect("the gateway answers")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("gateway.log")).unwrap_or_default()
    }

    /// Where the datagrams of each backend are taken, in the order of the table.
    pub fn datagrams(&mut self) -> Vec<SocketAddr> {
        let status = self.status();
        let udp = status.listeners.iter().filter(|l| l.transport == model::service::Transport::Udp);
        udp.map(|listener| listener.bound).collect()
    }

    /// Ends it and gives the directory back.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.end();
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a temporary directory"))
    }

    /// Waits until it has ended, which it was told to before.
    pub fn gone(mut self) {
        let thread = self.thread.take().expect("it ends once");
        thread.join().expect("the gateway ends without a panic");
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            let asked = self.runtime.block_on(self.client.shutdown(Duration::from_millis(200)));
            if !std::thread::panicking() {
                asked.expect("the gateway answers");
                thread.join().expect("the gateway ends without a panic");
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.end();
    }
}

pub async fn connect(socket: PathBuf) -> GatewayClient {
    let start = Instant::now();
    loop {
        match GatewayClient::connect(&socket).await {
            Ok(client) => return client,
            Err(error) if start.elapsed() > PATIENCE => panic!("no gateway: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

/// Backends `t/0:1`, `t/1:1`, … with a listener on any port of loopback each.
pub fn table(revision: u64, services: &[(Protocol, bool, &[SocketAddr])]) -> RouteTable {
    let mut table = RouteTable { version: ROUTE_TABLE_VERSION, revision, ..RouteTable::empty() };
    for (index, (protocol, public, instances)) in services.iter().enumerate() {
        let backend = format!("t/{index}:1");
        let endpoints = instances.iter().map(|address| endpoint(*address)).collect();
        table
            .backends
            .insert(backend.clone(), Backend { endpoints, hold_ms: 0, traffic: Default::default() });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        table.listeners.push(Listener {
            address,
            protocol: *protocol,
            backend,
            public: *public,
            last_port: 0,
            rules: Vec::new(),
            tls: None,
            https_port: None,
            proxied: None,
        });
    }
    table
}

/// An endpoint whose instance is named after its port.
pub fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        instance: format!("i{}", address.port()),
        address,
        draining: false,
        drain_ms: model::route::DEFAULT_DRAIN_MS,
        weight: model::route::DEFAULT_WEIGHT,
    }
}

/// A server that runs `talk` for each connection and ends with the test.
pub struct Instance {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    /// Everything received, over all connections.
    pub received: Arc<Mutex<Vec<u8>>>,
    pub connections: Arc<Mutex<usize>>,
}

impl Instance {
    pub fn start(talk: impl Fn(Talk) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let instance = Self {
            address: listener.local_addr().expect("it is bound"),
            stop: Arc::default(),
            open: Arc::default(),
            received: Arc::default(),
            connections: Arc::default(),
        };
        let (stop, open) = (instance.stop.clone(), instance.open.clone());
        let (received, connections) = (instance.received.clone(), instance.connections.clone());
        let talk = Arc::new(talk);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_read_timeout(Some(PATIENCE)).expect("an option");
                stream.set_nodelay(true).expect("an option");
                open.lock().expect("no panic").push(stream.try_clone().expect("a descriptor"));
                *connections.lock().expect("no panic") += 1;
                let (talk, received) = (talk.clone(), received.clone());
                std::thread::spawn(move || talk(Talk { stream, received, rest: Vec::new() }));
            }
        });
        instance
    }

    /// Answers every request with 200 and the text, on kept-alive connections.
    pub fn saying(text: &'static str) -> Self {
        Self::start(move |mut talk| {
            while talk.request().is_some() {
                talk.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
            }
        })
    }

    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().expect("no panic")).into_owned()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees that it is to end.
        let _ = TcpStream::connect(self.address);
        for stream in self.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// One connection as an instance sees it.
pub struct Talk {
    pub stream: TcpStream,
    received: Arc<Mutex<Vec<u8>>>,
    rest: Vec<u8>,
}

impl Talk {
    pub fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }
    /// Reads more; false at the end.
    pub fn more(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(count @ 1..) => {
                self.rest.extend_from_slice(&buffer[..count]);
                self.received.lock().expect("no panic").extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }
    /// A request head, its body consumed by its Content-Length or its chunks.
    pub fn request(&mut self) -> Option<String> {
        let end = self.until("\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.rest.drain(..end).collect::<Vec<u8>>()).into_owned();
        let lower = head.to_ascii_lowercase();
        if let Some(at) = lower.find("content-length: ") {
            let length: usize = lower[at + 16..].split("\r\n").next()?.parse().ok()?;
            while self.rest.len() < length {
                self.more().then_some(())?;
            }
            self.rest.drain(..length);
        } else if lower.contains("transfer-encoding: chunked") {
            // The last chunk, then its trailers to the empty line.
            let last = self.until("0\r\n")?;
            self.rest.drain(..last - 2);
            let end = self.until("\r\n\r\n")?;
            self.rest.drain(..end);
        }
        Some(head)
    }
    /// Reads a head only.
    pub fn head(&mut self) -> Option<String> {
        let end = self.until("\r\n\r\n")?;
        Some(String::from_utf8_lossy(&self.rest.drain(..end).collect::<Vec<u8>>()).into_owned())
    }
    /// Reads exactly this body.
    pub fn body(&mut self, expect: &str) -> Option<()> {
        let end = self.until(expect)?;
        let body: Vec<u8> = self.rest.drain(..end).collect();
        (body == expect.as_bytes()).then_some(())
    }
    /// Reads to and with `mark`; returns where it ends.
    pub fn until(&mut self, mark: &str) -> Option<usize> {
        loop {
            if let Some(at) = self.rest.windows(mark.len()).position(|w| w == mark.as_bytes()) {
                return Some(at + mark.len());
            }
            self.more().then_some(())?;
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // The instance holds another descriptor of the same connection.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// A client that speaks in raw bytes.
pub struct Raw {
    pub stream: TcpStream,
    rest: Vec<u8>,
}

impl Raw {
    pub fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("someone listens"))
    }
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        Self { stream, rest: Vec::new() }
    }
    pub fn send(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        // The other side may already have closed; what it said is still read.
        let _ = self.stream.write_all(text.as_ref());
        self
    }
    pub fn end(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }
    /// Everything until the connection ends.
    pub fn all(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.rest);
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = self.stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
    /// Exactly `count` bytes, or fewer at the end.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.rest.len() < count && self.fill() {}
        let count = count.min(self.rest.len());
        self.rest.drain(..count).collect()
    }
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(count @ 1..) => {
                self.rest.extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }
    /// One response framed by Content-Length or chunks: head and body as they came.
    pub fn response(&mut self) -> (String, String) {
        let head = self.until("\r\n\r\n");
        let lower = head.to_ascii_lowercase();
        let body = if let Some(at) = lower.find("content-length: ") {
            let length =
                lower[at + 16..].split("\r\n").next().and_then(|n| n.parse().ok()).expect("a number");
            String::from_utf8_lossy(&self.exactly(length)).into_owned()
        } else if lower.contains("transfer-encoding: chunked") {
            self.until("0\r\n\r\n")
        } else {
            String::new()
        };
        (head, body)
    }
    pub fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.rest.windows(mark.len()).position(|w| w == mark.as_bytes()) {
                return String::from_utf8_lossy(&self.rest.drain(..at + mark.len()).collect::<Vec<u8>>())
                    .into_owned();
            }
            if !self.fill() {
                panic!("the connection ended before {mark:?}: {:?}", String::from_utf8_lossy(&self.rest));
            }
        }
    }
    /// True if the connection ends without another byte.
    pub fn ends(&mut self) -> bool {
        self.rest.is_empty() && !self.fill()
    }
}

pub fn status_of(response: &str) -> u16 {
    response.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Waits until `what` is so; for effects that have no event of their own.
pub fn eventually(mut what: impl FnMut() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE, "it never came about");
        std::thread::sleep(Duration::from_millis(2));
    }
}
