//! A client connection: heads in, one exchange after the other, until one side has had enough.

use super::exchange::{self, Next};
use super::field;
use super::lead;
use super::request::{self, Context, Refusal};
use crate::buffer::{Buf, Head};
use crate::calls::Calling;
use crate::http2;
use crate::log::Access;
use crate::options::{Limits, MAX_HEAD_BYTES, MAX_LINGER_BYTES};
use crate::proxy::Peer;
use crate::snapshot::{Backend, ListenerId, Route};
use crate::stream::{self, ClientStream};
use crate::watch::{Registered, Retiring, Side};
use crate::worker::Worker;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that was accepted, whatever is spoken on it.
pub struct Client {
    pub worker: Rc<Worker>,
    pub stream: ClientStream,
    pub buf: Buf,
    pub watch: Registered,
    pub listener: ListenerId,
    /// The last route known; kept when the listener goes, so that what is under way can end.
    pub route: Arc<Route>,
    /// Where what is asked at the moment goes.
    pub backend: Arc<Backend>,
    pub generation: u64,
    pub peer: Peer,
    /// How the call that is answered at the moment ended, if it is one by gRPC.
    pub grpc_status: Cell<Option<u32>>,
    pub calling: Calling,
    /// When the head of the answer that is given at the moment was sent, of what is recorded.
    pub head_at: Cell<Option<Instant>>,
}

impl Client {
    /// Takes the route from the table now in force.
    pub fn refresh(&mut self) {
        let generation = self.worker.shared.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let snapshot = self.worker.shared.snapshot.load();
        if let Some(route) = snapshot.routes.get(&self.listener) {
            self.route = route.clone();
        }
        if let Some(backend) = snapshot.backends.get(&self.backend.id) {
            self.backend = backend.clone();
        }
    }
}

/// Why no request came.
enum NoRequest {
    /// Nothing is to be said: the client left, or had been idle.
    Quiet,
    /// It has not come yet, and may still.
    NotYet,
    /// The client speaks HTTP/2; all that it has sent is in the buffer.
    Http2,
    Refused(Refusal),
}

/// How long after an answer the next request has come soon.
const SOON: Duration = Duration::from_millis(200);

/// Serves HTTP until the connection ends; `client.buf` may hold its first bytes.
pub async fn serve(mut client: Client) {
    let mut place = Place::First;
    let mut last_ms = None;
    loop {
        let length = match next_head(&mut client, place).await {
            Ok(length) => length,
            Err(NoRequest::Refused(refusal)) => {
                refused(&mut client, refusal).await;
                return linger(client).await;
            }
            Err(NoRequest::Http2) => return http2::connection::serve(client).await,
            Err(NoRequest::Quiet | NoRequest::NotYet) => return,
        };
        let now_ms = client.watch.now_ms();
        let is_brisk = last_ms.is_some_and(|last| now_ms - last <= SOON.as_millis() as u64);
        last_ms = Some(now_ms);
        // Boxed so that an idle connection does not carry the room an exchange needs.
        match Box::pin(talk(&mut client, length, is_brisk)).await {
            Next::Keep => place = Place::Later,
            Next::Linger => return linger(client).await,
            Next::Abort => return,
        }
    }
}

/// Serves the one request of a stream, which was judged before.
pub async fn serve_stream(mut client: Client, judged: Result<(), Refusal>) {
    let outcome = match judged {
        Ok(()) => next_head(&mut client, Place::Later).await,
        Err(refusal) => return refused(&mut client, refusal).await,
    };
    match outcome {
        Ok(length) => match Box::pin(talk(&mut client, length, false)).await {
            Next::Linger => linger(client).await,
            Next::Keep | Next::Abort => {}
        },
        Err(NoRequest::Refused(refusal)) => {
            refused(&mut client, refusal).await;
            linger(client).await;
        }
        Err(NoRequest::Quiet | NoRequest::NotYet | NoRequest::Http2) => {}
    }
}

/// Serves a request and, if the connection is brisk, those that come soon after: the room that
/// exchanges need is then got once for all of them. `Keep` where none came.
async fn talk(client: &mut Client, mut length: usize, is_brisk: bool) -> Next {
    loop {
        let next = one(client, length).await;
        if next != Next::Keep || !is_brisk {
            return next;
        }
        length = match next_head(client, Place::Soon).await {
            Ok(length) => length,
            Err(NoRequest::NotYet) => return Next::Keep,
            Err(NoRequest::Refused(refusal)) => {
                refused(client, refusal).await;
                return Next::Linger;
            }
            Err(NoRequest::Quiet | NoRequest::Http2) => return Next::Abort,
        };
    }
}

/// Which request of its connection is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    /// Any after that, for a moment only.
    Soon,
    Later,
}

impl Place {
    fn patience(self, limits: &Limits) -> Duration {
        match self {
            Self::First => limits.header,
            Self::Soon => SOON.min(limits.keep_alive),
            Self::Later => limits.keep_alive,
        }
    }
}

async fn linger(mut client: Client) {
    let limit = client.worker.shared.limits.linger;
    stream::linger(&mut client.stream, &client.watch, limit, MAX_LINGER_BYTES).await;
}

/// Waits for a whole head at the start of the buffer; returns its length.
async fn next_head(client: &mut Client, place: Place) -> Result<usize, NoRequest> {
    let limits = &client.worker.shared.limits;
    let (header, patience) = (limits.header, place.patience(limits));
    match wait_for_bytes(client, patience).await {
        Err(NoRequest::NotYet) if place != Place::Soon => return Err(NoRequest::Quiet),
        outcome => outcome?,
    }
    client.watch.arm(Side::Input, header);
    let mut from = 0;
    let mut skipped = false;
    loop {
        // Some old clients send one empty line after a body.
        if !skipped && client.buf.filled().starts_with(b"\r\n") {
            client.buf.consume(2);
            (skipped, from) = (true, 0);
        }
        if let Some(length) = field::head_end(client.buf.filled(), &mut from) {
            client.watch.disarm(Side::Input);
            if place == Place::First && client.buf.filled().starts_with(http2::PREFACE_LINE) {
                return Err(NoRequest::Http2);
            }
            return if length > MAX_HEAD_BYTES { Err(too_long(client)) } else { Ok(length) };
        }
        if request::is_too_long(client.buf.filled()) {
            return Err(too_long(client));
        }
        let (mut read, _) = client.stream.split();
        match stream::fill(&client.watch, Side::Input, &mut read, &mut client.buf, MAX_HEAD_BYTES).await {
            Ok(0) if client.buf.is_empty() => return Err(NoRequest::Quiet),
            Ok(0) => return Err(refused_with(400, "the request head is not complete")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut && !client.buf.is_empty() => {
                return Err(refused_with(408, "the request header came too slowly"));
            }
            Err(_) => return Err(NoRequest::Quiet),
        }
    }
}

fn refused_with(status: u16, reason: &'static str) -> NoRequest {
    NoRequest::Refused(Refusal { status, reason })
}

fn too_long(client: &Client) -> NoRequest {
    NoRequest::Refused(request::too_long(client.buf.filled()))
}

/// Waits for the first byte of a request. Until then the connection may be ended at any time.
async fn wait_for_bytes(client: &mut Client, limit: Duration) -> Result<(), NoRequest> {
    if !client.buf.is_empty() {
        return Ok(());
    }
    let Client { watch, stream, buf, worker, .. } = client;
    let (mut read, _) = stream.split();
    // Accepted while its listener closed: it was promised a hearing, but not for long.
    let late = watch.retiring() == Retiring::WhenIdle;
    watch.set_idle(!late);
    watch.arm(Side::Input, if late { limit.min(worker.shared.limits.linger) } else { limit });
    let mut outcome = stream::fill(watch, Side::Input, &mut read, buf, MAX_HEAD_BYTES).await;
    watch.set_idle(false);
    let is_unwanted = matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::Interrupted);
    if is_unwanted {
        // A request may lie in the socket, its arrival not yet noticed by the runtime.
        tokio::task::yield_now().await;
        watch.expire(Side::Input);
        outcome = stream::fill(watch, Side::Input, &mut read, buf, MAX_HEAD_BYTES).await;
    }
    match outcome {
        Ok(1..) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut && !late && !is_unwanted => {
            Err(NoRequest::NotYet)
        }
        _ => Err(NoRequest::Quiet),
    }
}

/// Rewrites the head of `length` bytes and serves the request.
async fn one(client: &mut Client, length: usize) -> Next {
    client.refresh();
    let mut head = Head::take();
    let rewritten = rewrite(client, length, &mut head);
    client.buf.consume(length);
    match rewritten {
        Ok(request) => match lead::find(client, &request, &head) {
            Some(lead) => Box::pin(lead::give(client, &lead, &request, &head)).await,
            None => {
                go_by(client, &request);
                exchange::serve(client, request, head).await
            }
        },
        Err(refusal) => {
            refused(client, refusal).await;
            Next::Linger
        }
    }
}

/// Sends the request where its rule leads, or else its listener.
fn go_by(client: &mut Client, request: &request::Request) {
    let rule = request.rule.as_ref();
    let chosen = rule.and_then(|rule| rule.backend(request.key, &client.worker.random));
    let backend = chosen.unwrap_or(&client.route.backend);
    if !Arc::ptr_eq(backend, &client.backend) {
        client.backend = backend.clone();
    }
}

fn rewrite(client: &Client, length: usize, head: &mut Vec<u8>) -> Result<request::Request, Refusal> {
    let local = || client.stream.local_addr().unwrap_or(client.route.address);
    let context = Context {
        client: &client.peer,
        local: &local,
        public: client.route.public,
        secured: client.stream.is_secured(),
        random: &client.worker.random,
        rules: &client.route.rules,
        has_default: !client.route.backend.id.is_empty() || lead::may_find(client),
        trace: client.route.backend.policy.trace,
        share: client.worker.shared.spans.share(),
    };
    request::rewrite(&client.buf.filled()[..length], &context, head)
}

/// Answers a request that is not one.
async fn refused(client: &mut Client, refusal: Refusal) {
    let sent = exchange::refuse(client, refusal, None, false, true).await;
    let listener = client.route.counters.shard(client.worker.index);
    listener.request(refusal.status, 0);
    client.worker.log.access(&Access {
        revision: client.route.revision,
        listener: client.route.address,
        backend: &client.route.backend.id,
        rule: None,
        instance: None,
        client: &client.peer,
        agent: None,
        method: b"",
        host: b"",
        target: b"",
        id: b"",
        trace: b"",
        status: refusal.status,
        bytes_in: 0,
        bytes_out: sent,
        micros: 0,
        fault: Some(refusal.reason),
        version: client.stream.http_version(),
        grpc_status: None,
    });
}
