//! The side of the gateway that comes: asks the one that runs for everything it listens on, and
//! accepts only once it has been let.

use super::descriptors;
use crate::client::{ClientError, GatewayClient};
use crate::options::{Limits, MAX_CONTROL_LINE};
use crate::wire::{CONTROL_VERSION, HANDING_FORM, Handing, Refusal, Reply, ReplyLine, Request, RequestLine};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the running gateway may take for each answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a process that ended may still be seen.
const GONE: Duration = Duration::from_secs(1);
const GONE_LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error("{}: {source}", .path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the gateway that runs belongs to another user")]
    Stranger,
    #[error("the gateway that runs did not hand over")]
    Conversation(#[source] io::Error),
    #[error("the gateway that runs does not hand over")]
    Refused(#[source] Refusal),
    #[error("the gateway that runs hands over in form {0}, known is {HANDING_FORM}")]
    Form(u32),
    #[error("the gateway that runs gave {given} descriptors and not {promised}")]
    Count { given: usize, promised: usize },
    #[error("the gateway that runs went on itself")]
    TakenBack(#[source] ClientError),
}

/// The table and its sockets.
pub struct Given {
    pub handing: Handing,
    /// Of the listeners, then of the zones.
    pub sockets: Vec<OwnedFd>,
}

/// Everything a gateway needs to go on in another's place.
pub struct Inheritance {
    pub lock: File,
    pub control: UnixListener,
    pub given: Given,
    pub conversation: UnixStream,
}

/// Asks the gateway at the socket; `None` if there is none.
pub fn inherit(socket: &Path) -> Result<Option<Inheritance>, TakeError> {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(source) => return Err(TakeError::Connect { path: socket.to_owned(), source }),
    };
    if !is_ours(&stream).map_err(TakeError::Conversation)? {
        return Err(TakeError::Stranger);
    }
    stream.set_read_timeout(Some(ANSWER)).map_err(TakeError::Conversation)?;
    stream.set_write_timeout(Some(ANSWER)).map_err(TakeError::Conversation)?;
    let handing = ask(&stream)?;
    let mut descriptors = receive_all(&stream, &handing)?.into_iter();
    let (Some(lock), Some(control)) = (descriptors.next(), descriptors.next()) else {
        return Err(TakeError::Count { given: 0, promised: handing.descriptors() });
    };
    let given = Given { handing, sockets: descriptors.collect() };
    let (lock, control) = (File::from(lock), UnixListener::from(control));
    Ok(Some(Inheritance { lock, control, given, conversation: stream }))
}

/// The process at the other end runs as this user, or as root.
fn is_ours(stream: &UnixStream) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(peer.uid == rustix::process::getuid() || peer.uid.is_root())
}

fn ask(stream: &UnixStream) -> Result<Handing, TakeError> {
    say(stream, Request::HandOver { form: HANDING_FORM, datagrams: true })
        .map_err(TakeError::Conversation)?;
    let mut line = Vec::new();
    // Nothing follows the line until it is asked for, so that nothing is read too far.
    let mut read = BufReader::new(stream).take(MAX_CONTROL_LINE as u64);
    read.read_until(b'\n', &mut line).map_err(TakeError::Conversation)?;
    if line.is_empty() {
        return Err(TakeError::Conversation(io::ErrorKind::UnexpectedEof.into()));
    }
    let invalid = |error: serde_json::Error| TakeError::Conversation(error.into());
    match serde_json::from_slice::<ReplyLine>(&line).map_err(invalid)?.reply {
        Reply::Handing(handing) if handing.form == HANDING_FORM => Ok(*handing),
        Reply::Handing(handing) => Err(TakeError::Form(handing.form)),
        Reply::Error(refusal) => Err(TakeError::Refused(refusal)),
        _ => Err(TakeError::Conversation(io::ErrorKind::InvalidData.into())),
    }
}

fn say(mut stream: &UnixStream, request: Request) -> io::Result<()> {
    let mut line = serde_json::to_vec(&RequestLine { version: CONTROL_VERSION, request })?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn receive_all(stream: &UnixStream, handing: &Handing) -> Result<Vec<OwnedFd>, TakeError> {
    let promised = handing.descriptors();
    say(stream, Request::Descriptors).map_err(TakeError::Conversation)?;
    let mut all: Vec<OwnedFd> = Vec::new();
    while all.len() < promised {
        let batch = descriptors::receive(stream).map_err(TakeError::Conversation)?;
        if batch.is_empty() || all.len() + batch.len() > promised {
            // Fewer than were sent arrive when this process may not open as many.
            return Err(TakeError::Count { given: all.len() + batch.len(), promised });
        }
        all.extend(batch);
    }
    Ok(all)
}

/// The conversation once everything has arrived.
pub struct Heir {
    client: GatewayClient,
    predecessor: u32,
    limits: Limits,
}

impl Heir {
    /// Must be called within a runtime.
    pub fn new(conversation: UnixStream, predecessor: u32, limits: Limits) -> io::Result<Self> {
        conversation.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(conversation)?;
        Ok(Self { client: GatewayClient::over(stream), predecessor, limits })
    }

    /// Everything is prepared: returns when this process may accept.
    pub async fn ready(&mut self) -> Result<(), TakeError> {
        self.say(Request::Ready, Reply::Go).await
    }

    /// This process accepts: returns the predecessor, which finishes what it has. `None` if it is
    /// gone.
    pub async fn serving(mut self) -> Result<Option<GatewayClient>, TakeError> {
        self.say(Request::Serving, Reply::Yours).await?;
        Ok(is_alive(self.predecessor).then_some(self.client))
    }

    async fn say(&mut self, request: Request, expect: Reply) -> Result<(), TakeError> {
        let limit = ANSWER.max(self.limits.successor_serves);
        match self.client.ask(request, limit).await {
            Ok(reply) if reply == expect => Ok(()),
            Ok(_) => Err(TakeError::TakenBack(ClientError::Unexpected)),
            // A predecessor that has died leaves everything to its heir.
            Err(ClientError::Broken(_)) if is_gone(self.predecessor).await => Ok(()),
            Err(error) => Err(TakeError::TakenBack(error)),
        }
    }
}

/// The process runs; one that only waits to be reaped does not.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

async fn is_gone(pid: u32) -> bool {
    let begun = Instant::now();
    while is_alive(pid) {
        if begun.elapsed() > GONE {
            return false;
        }
        tokio::time::sleep(GONE_LOOK).await;
    }
    true
}
