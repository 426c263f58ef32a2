//! A client connection: heads in, one exchange after the other, until one side has had enough.

use super::exchange::{self, Next};
use super::field;
use super::lead;
use super::request::{self, Context, Refusal};
use crate::buffer::{Buf, Scratch};
use crate::http2;
use crate::log::Access;
use crate::options::{MAX_HEAD_BYTES, MAX_LINGER_BYTES};
use crate::proxy::Peer;
use crate::snapshot::{Backend, ListenerId, Route};
use crate::stream::{self, ClientStream};
use crate::watch::{Registered, Retiring, Side};
use crate::worker::Worker;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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
    /// The client speaks HTTP/2; all that it has sent is in the buffer.
    Http2,
    Refused(Refusal),
}

/// Serves HTTP until the connection ends; `client.buf` may hold its first bytes.
pub async fn serve(mut client: Client) {
    let mut first = true;
    loop {
        match next_head(&mut client, first).await {
            Ok(length) => match one(&mut client, length).await {
                Next::Keep => {}
                Next::Linger => return linger(client).await,
                Next::Abort => return,
            },
            Err(NoRequest::Quiet) => return,
            Err(NoRequest::Http2) => return http2::connection::serve(client).await,
            Err(NoRequest::Refused(refusal)) => {
                refused(&mut client, refusal).await;
                return linger(client).await;
            }
        }
        first = false;
    }
}

async fn linger(mut client: Client) {
    let limit = client.worker.shared.limits.linger;
    stream::linger(&mut client.stream, &client.watch, limit, MAX_LINGER_BYTES).await;
}

/// Waits for a whole head at the start of the buffer; returns its length.
async fn next_head(client: &mut Client, first: bool) -> Result<usize, NoRequest> {
    let worker = client.worker.clone();
    let limits = &worker.shared.limits;
    wait_for_bytes(client, if first { limits.header } else { limits.keep_alive }).await?;
    client.watch.arm(Side::Input, limits.header);
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
            if first && client.buf.filled().starts_with(http2::PREFACE_LINE) {
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
    if matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
        // A request may lie in the socket, its arrival not yet noticed by the runtime.
        tokio::task::yield_now().await;
        watch.expire(Side::Input);
        outcome = stream::fill(watch, Side::Input, &mut read, buf, MAX_HEAD_BYTES).await;
    }
    match outcome {
        Ok(1..) => Ok(()),
        _ => Err(NoRequest::Quiet),
    }
}

/// Rewrites the head of `length` bytes and serves the request.
async fn one(client: &mut Client, length: usize) -> Next {
    client.refresh();
    let mut scratch = Scratch::take();
    let rewritten = rewrite(client, length, &mut scratch);
    client.buf.consume(length);
    // An exchange may last for hours; it keeps what it needs and not a whole buffer.
    let head = scratch.to_vec();
    drop(scratch);
    match rewritten {
        // Boxed so that an idle connection does not carry the room an exchange needs.
        Ok(request) => match lead::find(client, &request, &head) {
            Some(lead) => Box::pin(lead::give(client, &lead, &request, &head)).await,
            None => {
                client.backend = backend(client, &request);
                Box::pin(exchange::serve(client, request, head)).await
            }
        },
        Err(refusal) => {
            refused(client, refusal).await;
            Next::Linger
        }
    }
}

/// Where the request goes by its rule, or else by its listener.
fn backend(client: &Client, request: &request::Request) -> Arc<Backend> {
    let rule = request.rule.as_ref();
    let chosen = rule.and_then(|rule| rule.backend(request.key, &client.worker.random));
    chosen.unwrap_or(&client.route.backend).clone()
}

fn rewrite(client: &Client, length: usize, head: &mut Scratch) -> Result<request::Request, Refusal> {
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
    };
    request::rewrite(&client.buf.filled()[..length], &context, head)
}

/// Answers a request that is not one.
pub async fn refused(client: &mut Client, refusal: Refusal) {
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
