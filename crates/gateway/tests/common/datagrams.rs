//! Clients and instances that speak in datagrams.

use super::{PATIENCE, endpoint};
use model::route::{Backend, Listener, RouteTable};
use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers each datagram with its own port and what it said.
pub struct Echo {
    pub address: SocketAddr,
    /// From where it was spoken to.
    pub peers: Arc<Mutex<HashSet<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("an option");
        let address = socket.local_addr().expect("bound");
        let (peers, stop) = (Arc::<Mutex<HashSet<SocketAddr>>>::default(), Arc::new(AtomicBool::new(false)));
        let (seen, ends) = (peers.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !ends.load(Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                seen.lock().expect("no panic").insert(peer);
                let head = format!("{} ", address.port());
                let room = 65_507 - head.len();
                let answer = [head.as_bytes(), &buffer[..length.min(room)]].concat();
                socket.send_to(&answer, peer).expect("it can be sent");
            }
        });
        Self { address, peers, stop, thread: Some(thread) }
    }

    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// Its port is closed when this returns.
    pub fn end(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.finish();
    }
}

pub struct Client(pub UdpSocket);

impl Client {
    /// Hears nobody but that address.
    pub fn of(address: SocketAddr) -> Self {
        let local = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(local).expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket.connect(address).expect("it can be sent to");
        Self(socket)
    }

    pub fn ask(&self, text: &str) -> String {
        self.0.send(text.as_bytes()).expect("it is sent");
        let mut answer = vec![0; 65_536];
        let length = self.0.recv(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// The port of whoever answers.
    pub fn instance(&self) -> String {
        self.ask("who").split_once(' ').expect("a port first").0.to_owned()
    }

    /// Says something again until somebody answers; the port of whoever does.
    pub fn insist(&self) -> String {
        self.0.set_read_timeout(Some(Duration::from_millis(50))).expect("an option");
        let begun = std::time::Instant::now();
        let mut answer = [0; 64];
        loop {
            self.0.send(b"who").expect("it is sent");
            if let Ok(length) = self.0.recv(&mut answer) {
                let text = String::from_utf8_lossy(&answer[..length]).into_owned();
                return text.split_once(' ').expect("a port first").0.to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "nobody answers");
        }
    }
}

/// Takes datagrams for the instances on any port of loopback.
pub fn serve(table: &mut RouteTable, backend: &str, instances: &[&Echo]) {
    let endpoints = instances.iter().map(|instance| endpoint(instance.address)).collect();
    table.backends.insert(backend.to_owned(), Backend { endpoints, hold_ms: 0, traffic: Default::default() });
    if table.datagrams.iter().all(|listener| listener.backend != backend) {
        table.datagrams.push(Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            protocol: Default::default(),
            backend: backend.to_owned(),
            public: true,
            last_port: 0,
            rules: Vec::new(),
            tls: None,
            https_port: None,
            proxied: None,
        });
    }
}
