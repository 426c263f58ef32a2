//! The application under load: HTTP with WebSockets on one port, an echo of lines on another.
//!
//! Asked to stop, it takes no more connections, finishes what it has and says goodbye in the words
//! of each protocol. That is for whoever stops it right after taking it out of a proxy's list;
//! where the proxy ends the connections in time, there is nothing left to finish.

mod lines;
mod requests;
mod websocket;

use crate::http::Wire;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long what is under way may take to finish once it was asked to stop.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Most connections at one time; others wait to be accepted.
const CONNECTIONS_LIMIT: usize = 10_000;
/// How long the other side may take to close a connection after us.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

pub struct App {
    http: TcpListener,
    lines: TcpListener,
    shared: Rc<Shared>,
}

struct Shared {
    release: String,
    small: Vec<u8>,
    faults: Faults,
    asked: std::cell::Cell<u64>,
}

/// What is wrong with this release, on purpose: for `GET /small`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Every so many requests one fails; 0: none does.
    pub fails_every: u64,
    pub delay: Duration,
}

/// Turns true when the program was asked to stop.
type Stopping = watch::Receiver<bool>;

async fn stopped(stopping: &mut Stopping) {
    // The sender lives as long as the program serves.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

impl App {
    /// `release` is what `GET /version` and the field `X-Release` of each answer say.
    pub async fn bind(http: SocketAddr, lines: SocketAddr, release: String) -> io::Result<Self> {
        Ok(Self {
            http: TcpListener::bind(http).await?,
            lines: TcpListener::bind(lines).await?,
            shared: Rc::new(Shared {
                release,
                small: crate::content::small(),
                faults: Faults::default(),
                asked: Default::default(),
            }),
        })
    }

    /// As a release that is not as it should be.
    pub fn with(mut self, faults: Faults) -> Self {
        if let Some(shared) = Rc::get_mut(&mut self.shared) {
            shared.faults = faults;
        }
        self
    }

    /// Addresses of HTTP and of the echo.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.http.local_addr()?, self.lines.local_addr()?))
    }

    /// Serves until `stop` comes, then finishes what it has. Must run on a local runtime.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (asked, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let room = connections.len() < CONNECTIONS_LIMIT;
            tokio::select! {
                () = &mut stop => break,
                accepted = self.http.accept(), if room => {
                    if let Some(wire) = ready(accepted).await {
                        connections.spawn_local(requests::serve(wire, self.shared.clone(), stopping.clone()));
                    }
                }
                accepted = self.lines.accept(), if room => {
                    if let Some(wire) = ready(accepted).await {
                        connections.spawn_local(lines::serve(wire, stopping.clone()));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
        for wire in waiting(self.http) {
            connections.spawn_local(requests::serve(wire, self.shared.clone(), stopping.clone()));
        }
        for wire in waiting(self.lines) {
            connections.spawn_local(lines::serve(wire, stopping.clone()));
        }
        asked.send_replace(true);
        let finished = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, finished).await.is_err() {
            eprintln!("{} connections are cut after {} s", connections.len(), STOP_LIMIT.as_secs());
        }
    }
}

/// Connections that were made and not yet accepted: closing the listener would reset them.
fn waiting(listener: TcpListener) -> Vec<Wire> {
    let accept = |listener: &std::net::TcpListener| {
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).ok()?;
        TcpStream::from_std(stream).ok().map(Wire::new)
    };
    // It does not block: nothing more is there when it says so.
    listener.into_std().map(|listener| std::iter::from_fn(|| accept(&listener)).collect()).unwrap_or_default()
}

/// An accepted connection; without file descriptors it waits instead of trying in circles.
async fn ready(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<Wire> {
    const PAUSE: Duration = Duration::from_millis(10);
    match accepted {
        Ok((stream, _)) => stream.set_nodelay(true).ok().map(|()| Wire::new(stream)),
        Err(error) => {
            eprintln!("accept: {error}");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}
