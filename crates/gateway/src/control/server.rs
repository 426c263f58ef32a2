//! The control socket: requests in, one after the other on each connection, replies out.

use super::controller::Controller;
use crate::handover::give::{self, Conversation, Gate, GiveError};
use crate::handover::predecessors::Predecessors;
use crate::options::{Limits, MAX_CONTROL_CONNECTIONS, MAX_CONTROL_LINE};
use crate::wire::{CONTROL_VERSION, Refusal, Reply, ReplyLine, Request, RequestLine};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

/// Longest wait of one drain request.
const MAX_DRAIN: Duration = Duration::from_secs(3600);
/// Longest time a peer may take to accept a reply.
const REPLY_LIMIT: Duration = Duration::from_secs(10);
/// Time between two looks at whether an instance is drained.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// Pause after an accept that failed for want of something (descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// What is done with new control connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// They wait in the socket.
    Closed,
    /// They are another process's.
    Gone,
}

/// What the main task is told by the conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Shutdown { grace: Duration },
    HandedOver,
}

/// What every control connection shares.
pub struct Server {
    controller: Rc<Mutex<Controller>>,
    predecessors: Rc<Predecessors>,
    limits: Limits,
    told: mpsc::Sender<Told>,
    door: watch::Sender<Door>,
    /// The lock and the control socket, until a successor has them: it may end before this
    /// process, and then somebody else must be able to start.
    own: RefCell<Option<[OwnedFd; 2]>>,
    connections: Cell<usize>,
    user: u32,
}

impl Server {
    pub fn new(
        controller: Rc<Mutex<Controller>>,
        predecessors: Rc<Predecessors>,
        limits: Limits,
        own: [OwnedFd; 2],
        told: mpsc::Sender<Told>,
    ) -> Self {
        let user = rustix::process::getuid().as_raw();
        let (door, own) = (watch::Sender::new(Door::Open), RefCell::new(Some(own)));
        Self { controller, predecessors, limits, told, door, own, connections: Cell::new(0), user }
    }

    pub async fn run(self: Rc<Self>, listener: UnixListener) {
        let mut door = self.door.subscribe();
        loop {
            match door.wait_for(|door| *door != Door::Closed).await {
                Ok(door) if *door == Door::Open => {}
                _ => return,
            }
            tokio::select! {
                // Whatever it is now is looked at above.
                _ = door.changed() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.clone().accepted(stream),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        }
    }

    fn accepted(self: Rc<Self>, stream: UnixStream) {
        if !self.may_speak(&stream) {
            return;
        }
        self.connections.set(self.connections.get() + 1);
        tokio::task::spawn_local(async move {
            // A connection that broke ends; the daemon connects anew.
            let _ = self.converse(stream).await;
            self.connections.set(self.connections.get() - 1);
        });
    }

    /// The same user, and not too many at once.
    fn may_speak(&self, stream: &UnixStream) -> bool {
        self.connections.get() < MAX_CONTROL_CONNECTIONS
            && stream.peer_cred().is_ok_and(|peer| peer.uid() == self.user || peer.uid() == 0)
    }

    async fn converse(&self, mut stream: UnixStream) -> io::Result<()> {
        let (read, write) = stream.split();
        let mut talk = Talk { read: BufReader::new(read), write };
        let mut door = self.door.subscribe();
        let mut is_heir = false;
        loop {
            let line = tokio::select! {
                biased;
                // Who has something to ask connects anew, to the successor.
                _ = door.wait_for(|door| *door == Door::Gone), if !is_heir => return Ok(()),
                line = talk.line() => line?,
            };
            if line.is_empty() {
                return Ok(());
            }
            let whole = line.last() == Some(&b'\n');
            let reply = match if whole { read_request(&line) } else { Err(unfinished(line.len())) } {
                Ok(Request::HandOver { form, datagrams }) => {
                    match self.hand_over((form, datagrams), &mut talk).await {
                        Ok(()) => {
                            is_heir = true;
                            continue;
                        }
                        Err(refusal) => Reply::Error(refusal),
                    }
                }
                Ok(request) => self.answer(request, is_heir).await?.unwrap_or_else(Reply::Error),
                Err(refusal) => Reply::Error(refusal),
            };
            talk.say(reply).await?;
            if !whole {
                return Ok(());
            }
        }
    }

    async fn hand_over(&self, asked: (u32, bool), talk: &mut Talk<'_>) -> Result<(), Refusal> {
        let mut controller = self.controller.lock().await;
        let own = self.own.take().ok_or(GiveError::AlreadyGiven).map_err(|error| error.refusal())?;
        let descriptors = [own[0].as_fd(), own[1].as_fd()];
        let given = give::give(&mut controller, &self.limits, asked, descriptors, self, talk).await;
        if let Err(error) = given {
            self.own.replace(Some(own));
            controller.say(&format!("nothing was handed over: {error}"));
            return Err(error.refusal());
        }
        self.door.send_replace(Door::Gone);
        // The main task ends only after it was told to.
        let _ = self.told.send(Told::HandedOver).await;
        Ok(())
    }

    /// The outer error ends the conversation without an answer: it is asked again, elsewhere.
    async fn answer(&self, request: Request, is_heir: bool) -> io::Result<Result<Reply, Refusal>> {
        let refused = |reason: &str| Err(Refusal::BadRequest { reason: reason.to_owned() });
        Ok(match request {
            Request::Apply { table } => {
                let mut controller = self.controller.lock().await;
                if controller.has_handed_over() && !is_heir {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                let applied = controller.apply(table.clone()).await;
                self.predecessors.follow(&table).await;
                applied.map(Reply::Applied)
            }
            Request::Status => {
                let mut status = self.controller.lock().await.status();
                status.predecessors = self.predecessors.status().await;
                Ok(Reply::Status(Box::new(status)))
            }
            Request::Spans => Ok(Reply::Spans(self.controller.lock().await.take_spans())),
            Request::Explain { question } => {
                let explained = self.controller.lock().await.explain(&question);
                explained.map(|explanation| Reply::Explained(Box::new(explanation)))
            }
            Request::Certificates => {
                let report = self.controller.lock().await.certify();
                self.predecessors.certify().await;
                Ok(Reply::Certificates(report))
            }
            Request::Drain { instance, deadline_ms } => {
                let limit = Duration::from_millis(deadline_ms).min(MAX_DRAIN);
                Ok(Reply::Drained { remaining: self.drain(&instance, limit).await })
            }
            Request::Shutdown { grace_ms } => {
                let grace = Duration::from_millis(grace_ms);
                let asked = self.told.send(Told::Shutdown { grace }).await;
                asked.map(|()| Reply::ShuttingDown).map_err(|_| Refusal::Ending)
            }
            Request::HandOver { .. } | Request::Descriptors | Request::Ready | Request::Serving => {
                refused("it is part of a handover that was not begun")
            }
        })
    }

    /// Waits until nothing goes to the instance or the time is over; returns what is left.
    async fn drain(&self, instance: &str, limit: Duration) -> u64 {
        let end = Instant::now() + limit;
        loop {
            let own = self.controller.lock().await.active(instance);
            let active = own + self.predecessors.active(instance).await;
            if active == 0 || Instant::now() >= end {
                return active;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
}

impl Gate for Server {
    fn close(&self) {
        self.door.send_replace(Door::Closed);
    }
    fn open(&self) {
        self.door.send_replace(Door::Open);
    }
}

/// One control connection.
struct Talk<'a> {
    read: BufReader<ReadHalf<'a>>,
    write: WriteHalf<'a>,
}

impl Talk<'_> {
    /// One line with its end; without it the peer ended, or said too much.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.read).take(MAX_CONTROL_LINE as u64).read_until(b'\n', &mut line).await?;
        Ok(line)
    }
}

impl Conversation for Talk<'_> {
    async fn hear(&mut self) -> io::Result<Request> {
        let line = self.line().await?;
        match line.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => {
                read_request(&line).map_err(|refusal| io::Error::new(io::ErrorKind::InvalidData, refusal))
            }
        }
    }
    async fn say(&mut self, reply: Reply) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(&ReplyLine { version: CONTROL_VERSION, reply })?;
        bytes.push(b'\n');
        tokio::time::timeout(REPLY_LIMIT, self.write.write_all(&bytes)).await??;
        Ok(())
    }
    fn stream(&self) -> &UnixStream {
        self.write.as_ref()
    }
}

fn read_request(line: &[u8]) -> Result<Request, Refusal> {
    let RequestLine { version, request } =
        serde_json::from_slice(line).map_err(|error| unreadable(line, &error))?;
    match version {
        CONTROL_VERSION => Ok(request),
        asked => Err(Refusal::Version { asked, spoken: CONTROL_VERSION }),
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
