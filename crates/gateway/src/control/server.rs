//! The control socket: requests in, one after the other on each connection, replies out.

use super::controller::{Controller, drain_pause};
use crate::options::{MAX_CONTROL_CONNECTIONS, MAX_CONTROL_LINE};
use crate::wire::{CONTROL_VERSION, Refusal, Reply, ReplyLine, Request, RequestLine};
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

/// Longest wait of one drain request.
const MAX_DRAIN: Duration = Duration::from_secs(3600);
/// Longest time a peer may take to accept a reply.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// Binds the socket so that nobody else can ever connect, and an old file is no obstacle. The
/// caller holds the lock that makes it the only gateway here.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    match std::fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(fresh)?;
    std::fs::set_permissions(fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(fresh, path)?;
    Ok(listener)
}

/// What every control connection shares.
pub struct Server {
    controller: Rc<Mutex<Controller>>,
    /// Graces of shutdown requests.
    shutdown: mpsc::Sender<Duration>,
    connections: Cell<usize>,
    user: u32,
}

impl Server {
    pub fn new(controller: Rc<Mutex<Controller>>, shutdown: mpsc::Sender<Duration>) -> Self {
        let user = rustix::process::getuid().as_raw();
        Self { controller, shutdown, connections: Cell::new(0), user }
    }

    pub async fn run(self: Rc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if self.may_speak(&stream) => {
                    let server = self.clone();
                    self.connections.set(self.connections.get() + 1);
                    tokio::task::spawn_local(async move {
                        // A connection that broke ends; the daemon connects anew.
                        let _ = server.converse(stream).await;
                        server.connections.set(server.connections.get() - 1);
                    });
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The same user, and not too many at once.
    fn may_speak(&self, stream: &UnixStream) -> bool {
        self.connections.get() < MAX_CONTROL_CONNECTIONS
            && stream.peer_cred().is_ok_and(|peer| peer.uid() == self.user || peer.uid() == 0)
    }

    async fn converse(&self, mut stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.split();
        let mut read = BufReader::new(read);
        loop {
            let mut line = Vec::new();
            let count = (&mut read).take(MAX_CONTROL_LINE as u64).read_until(b'\n', &mut line).await?;
            if count == 0 {
                return Ok(());
            }
            let whole = line.last() == Some(&b'\n');
            let reply = if whole { self.answer(&line).await } else { Err(unfinished(line.len())) };
            drop(line);
            let reply = ReplyLine { version: CONTROL_VERSION, reply: reply.unwrap_or_else(Reply::Error) };
            let mut bytes = serde_json::to_vec(&reply)?;
            bytes.push(b'\n');
            tokio::time::timeout(REPLY_LIMIT, write.write_all(&bytes)).await??;
            if !whole {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &[u8]) -> Result<Reply, Refusal> {
        let RequestLine { version, request } =
            serde_json::from_slice(line).map_err(|error| unreadable(line, &error))?;
        if version != CONTROL_VERSION {
            return Err(Refusal::Version { asked: version, spoken: CONTROL_VERSION });
        }
        match request {
            Request::Apply { table } => self.controller.lock().await.apply(table).await.map(Reply::Applied),
            Request::Status => Ok(Reply::Status(Box::new(self.controller.lock().await.status()))),
            Request::Drain { instance, deadline_ms } => {
                let limit = Duration::from_millis(deadline_ms).min(MAX_DRAIN);
                Ok(Reply::Drained { remaining: self.drain(&instance, limit).await })
            }
            Request::Shutdown { grace_ms } => {
                let asked = self.shutdown.send(Duration::from_millis(grace_ms)).await;
                asked.map(|()| Reply::ShuttingDown).map_err(|_| Refusal::Ending)
            }
        }
    }

    /// Waits until nothing goes to the instance or the time is over; returns what is left.
    async fn drain(&self, instance: &str, limit: Duration) -> u64 {
        let end = Instant::now() + limit;
        loop {
            let active = self.controller.lock().await.active(instance);
            if active == 0 || Instant::now() >= end {
                return active;
            }
            drain_pause().await;
        }
    }
}

fn unfinished(length: usize) -> Refusal {
    let reason = match length {
        MAX_CONTROL_LINE => format!("it is longer than {MAX_CONTROL_LINE} bytes"),
        _ => "it ends before its line does".to_owned(),
    };
    Refusal::BadRequest { reason }
}

/// A request of another version may have another form; then its version is what is wrong.
fn unreadable(line: &[u8], error: &serde_json::Error) -> Refusal {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    match serde_json::from_slice::<Versioned>(line) {
        Ok(Versioned { version }) if version != CONTROL_VERSION => {
            Refusal::Version { asked: version, spoken: CONTROL_VERSION }
        }
        _ => Refusal::BadRequest { reason: error.to_string() },
    }
}
