//! One request: choose an instance, send, answer; another instance where that is safe.

use super::answer;
use super::connection::Client;
use super::pool::Upstream;
use super::request::{Refusal, Request};
use super::response::Response;
use super::transfer::{Ends, Fault, Transfer};
use crate::buffer::{Buf, Scratch};
use crate::log::Access;
use crate::options::MAX_ATTEMPTS;
use crate::snapshot::{Endpoint, Route, Work};
use crate::stream;
use crate::tcp;
use crate::watch::Side;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use tokio::net::TcpStream;

/// What happens to the client connection afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Keep,
    /// The answer is complete, but the client may still be sending.
    Linger,
    /// The answer is not complete, and the client must notice.
    Abort,
}

/// How one attempt ended.
enum Attempt {
    Done {
        next: Next,
        status: u16,
        bytes_in: u64,
        bytes_out: u64,
        fault: Option<&'static str>,
    },
    /// Nothing reached the client; another attempt would do no harm if `again`.
    Failed {
        refusal: Refusal,
        again: bool,
        body_unread: bool,
        bytes_in: u64,
    },
}

const NO_INSTANCE: Refusal = Refusal { status: 503, reason: "no instance is ready" };
const NOT_CONNECTED: Refusal = Refusal { status: 503, reason: "no instance could be connected to" };

/// Serves one request whose rewritten head is `head`.
pub async fn serve(client: &mut Client, request: Request, head: Vec<u8>) -> Next {
    let started = Instant::now();
    let counters = client.route.counters.clone();
    let listener = counters.shard(client.worker.index);
    listener.begin();
    let mut tried = None;
    let mut outcome = None;
    let mut instance: Option<Arc<Endpoint>> = None;
    for attempt in 1..=MAX_ATTEMPTS {
        client.refresh();
        let Some(endpoint) = choose(client, tried) else { break };
        instance = Some(endpoint.clone());
        let result = self::attempt(client, &request, &head, endpoint.clone(), attempt == 1).await;
        let again = matches!(result, Attempt::Failed { again: true, .. });
        outcome = Some(result);
        if !again {
            break;
        }
        tried = Some(endpoint.number);
    }
    let outcome = outcome.unwrap_or_else(|| nobody(client, &request));
    let next = finish(client, &request, &head, outcome, instance.as_deref(), started).await;
    listener.end();
    next
}

fn choose(client: &Client, not: Option<u64>) -> Option<Arc<Endpoint>> {
    let worker = &client.worker;
    client.route.backend.choose(not, worker.registry.clock().now_ms(), &worker.random)
}

fn nobody(client: &Client, request: &Request) -> Attempt {
    let backend = &client.route.backend;
    backend.without_endpoint.fetch_add(1, Relaxed);
    client.worker.say(&format!("no instance of {} is ready; answered 503", backend.id));
    Attempt::Failed { refusal: NO_INSTANCE, again: false, body_unread: has_body(request), bytes_in: 0 }
}

fn has_body(request: &Request) -> bool {
    !matches!(request.body, super::Body::None | super::Body::Length(0))
}

async fn attempt(
    client: &mut Client,
    request: &Request,
    head: &[u8],
    endpoint: Arc<Endpoint>,
    first: bool,
) -> Attempt {
    let worker = client.worker.clone();
    let work = Work::begin(endpoint, worker.index);
    let pooled = if first { pooled(client, request, &work) } else { None };
    let reused = pooled.is_some();
    let mut upstream = match pooled {
        Some(upstream) => upstream,
        None => match connect(client, &work).await {
            Ok(upstream) => upstream,
            Err(_) => return not_connected(client, request, &work),
        },
    };
    let route = client.route.clone();
    let limits = &worker.shared.limits;
    let listener = route.counters.shard(worker.index);
    let transfer = Transfer::new(&client.watch, limits, request, route.public, listener, work.shard());
    let (mut client_read, mut client_write) = client.stream.split();
    let (mut upstream_read, mut upstream_write) = upstream.stream.split();
    let ends = Ends {
        client: (&mut client_read, &mut client.buf, &mut client_write),
        upstream: (&mut upstream_read, &mut upstream.buf, &mut upstream_write),
    };
    let result = transfer.run(head, ends).await;
    let summary = Summary::of(&transfer, request, first, reused);
    match result {
        Ok(response) if response.status == 101 => relay(client, upstream, work, summary).await,
        Ok(response) => complete(client, upstream, &work, response, summary),
        Err(fault) => failed(client, &work, fault, summary),
    }
}

/// What of a transfer outlives it.
struct Summary {
    request_done: bool,
    head_sent: bool,
    http10: bool,
    /// Nothing was answered, and sending the request anew does no harm.
    repeatable: bool,
    reused: bool,
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
}

impl Summary {
    fn of(transfer: &Transfer<'_>, request: &Request, first: bool, reused: bool) -> Self {
        let harmless = request.idempotent && !transfer.answered.get() && !transfer.consumed.get();
        Self {
            request_done: transfer.request_done.get(),
            head_sent: transfer.head_sent.get(),
            http10: request.http10,
            // Only once: a request that kills its instance must not get to kill them all.
            repeatable: first && harmless,
            reused,
            status: transfer.status.get(),
            bytes_in: transfer.bytes_in.get(),
            bytes_out: transfer.bytes_out.get(),
        }
    }
    fn done(&self, next: Next, fault: Option<&'static str>) -> Attempt {
        let Self { status, bytes_in, bytes_out, .. } = *self;
        Attempt::Done { next, status, bytes_in, bytes_out, fault }
    }
}

fn pooled(client: &Client, request: &Request, work: &Work) -> Option<Upstream> {
    let worker = &client.worker;
    let limits = &worker.shared.limits;
    let repeatable = request.idempotent && !has_body(request);
    let max_idle = if repeatable { limits.upstream_idle } else { limits.upstream_idle_unsafe };
    worker.pool.take(&work.endpoint, worker.registry.clock().now_ms(), max_idle)
}

/// Opens a connection to the instance within the limit.
pub async fn connect(client: &Client, work: &Work) -> io::Result<Upstream> {
    let watch = &client.watch;
    watch.arm(Side::Output, client.worker.shared.limits.connect);
    let mut connecting = pin!(TcpStream::connect(work.endpoint.address));
    let outcome = watch.guard(Side::Output, |cx| connecting.as_mut().poll(cx)).await;
    watch.disarm(Side::Output);
    match outcome {
        Ok(stream) => {
            stream::tune_upstream(&stream);
            work.shard().connection();
            work.endpoint.trusted();
            Ok(Upstream { stream, buf: Buf::default() })
        }
        Err(error) => {
            let worker = &client.worker;
            let limit = worker.shared.limits.suspect.as_millis() as u64;
            work.endpoint.suspect(worker.registry.clock().now_ms() + limit);
            work.shard().error();
            let Endpoint { instance, address, .. } = &*work.endpoint;
            worker.say(&format!("instance {instance} at {address} could not be connected to: {error}"));
            Err(error)
        }
    }
}

fn not_connected(client: &Client, request: &Request, work: &Work) -> Attempt {
    let others = client.route.backend.endpoints.iter().any(|e| e.number != work.endpoint.number);
    Attempt::Failed { refusal: NOT_CONNECTED, again: others, body_unread: has_body(request), bytes_in: 0 }
}

fn complete(
    client: &Client,
    upstream: Upstream,
    work: &Work,
    response: Response,
    summary: Summary,
) -> Attempt {
    let worker = &client.worker;
    if response.reusable && summary.request_done {
        worker.pool.give(&work.endpoint, upstream, worker.registry.clock().now_ms());
    }
    let keep = response.keep_client && summary.request_done;
    summary.done(if keep { Next::Keep } else { Next::Linger }, None)
}

fn failed(client: &Client, work: &Work, fault: Fault, summary: Summary) -> Attempt {
    let (status, reason) = match fault {
        Fault::ClientGone => return summary.done(Next::Abort, Some("the client went away")),
        Fault::ClientSlow => (408, "the request body came too slowly"),
        Fault::ClientBad(reason) => (400, reason),
        Fault::UpstreamGone => (502, "the instance closed the connection without an answer"),
        Fault::UpstreamSlow => (504, "the instance did not answer in time"),
        Fault::UpstreamBad(reason) => (502, reason),
    };
    if !matches!(fault, Fault::ClientSlow | Fault::ClientBad(_)) {
        work.shard().error();
        client.worker.say(&format!("instance {}: {reason}", work.endpoint.instance));
    }
    if summary.head_sent {
        if summary.http10 {
            stream::reset_on_close(&client.stream);
        }
        return summary.done(Next::Abort, Some(reason));
    }
    let again =
        fault == Fault::UpstreamGone && summary.repeatable && (summary.reused || others(client, work));
    let body_unread = !summary.request_done;
    Attempt::Failed { refusal: Refusal { status, reason }, again, body_unread, bytes_in: summary.bytes_in }
}

fn others(client: &Client, work: &Work) -> bool {
    client.route.backend.endpoints.iter().any(|endpoint| endpoint.number != work.endpoint.number)
}

/// Both sides have changed the protocol: bytes pass until one side ends.
async fn relay(client: &mut Client, mut upstream: Upstream, work: Work, summary: Summary) -> Attempt {
    let route = client.route.clone();
    let listener = route.counters.shard(client.worker.index);
    let mut done = summary.done(Next::Abort, None);
    let (sent, received) =
        tcp::relay(&client.watch, &mut client.stream, &mut client.buf, &mut upstream, listener, work.shard())
            .await;
    if let Attempt::Done { bytes_in, bytes_out, .. } = &mut done {
        *bytes_in += received;
        *bytes_out += sent;
    }
    done
}

/// Answers what could not be served, counts and logs.
async fn finish(
    client: &mut Client,
    request: &Request,
    head: &[u8],
    outcome: Attempt,
    endpoint: Option<&Endpoint>,
    started: Instant,
) -> Next {
    let (next, status, bytes_in, bytes_out, fault) = match outcome {
        Attempt::Done { next, status, bytes_in, bytes_out, fault } => {
            (next, status, bytes_in, bytes_out, fault)
        }
        Attempt::Failed { refusal, body_unread, bytes_in, .. } => {
            let close = body_unread || !request.keep_alive || client.watch.draining();
            let sent = refuse(client, refusal, Some(&head[request.id.clone()]), request.head, close).await;
            let next = if close { Next::Linger } else { Next::Keep };
            (next, refusal.status, bytes_in, sent, Some(refusal.reason))
        }
    };
    let micros = started.elapsed().as_micros() as u64;
    count(client, &client.route, endpoint, status, micros, fault.is_some());
    client.worker.log.access(&Access {
        revision: client.route.revision,
        listener: client.route.address,
        backend: &client.route.backend.id,
        instance: endpoint.map(|endpoint| endpoint.instance.as_str()),
        client: &client.peer,
        method: &head[request.method.clone()],
        host: &head[request.host.clone()],
        target: &head[request.target.clone()],
        id: &head[request.id.clone()],
        status,
        bytes_in,
        bytes_out,
        micros,
        fault,
    });
    next
}

fn count(client: &Client, route: &Route, endpoint: Option<&Endpoint>, status: u16, micros: u64, fault: bool) {
    let thread = client.worker.index;
    let listener = route.counters.shard(thread);
    listener.request(status, micros);
    if fault {
        listener.error();
    }
    if let Some(endpoint) = endpoint {
        endpoint.counters.shard(thread).request(status, micros);
    }
}

/// Writes an answer of the gateway's own; returns its length.
pub async fn refuse(
    client: &mut Client,
    refusal: Refusal,
    id: Option<&[u8]>,
    head_only: bool,
    close: bool,
) -> u64 {
    let mut out = Scratch::take();
    answer::write(refusal, id, head_only, close, &mut out);
    let stall = client.worker.shared.limits.write_stall;
    let (_, mut write) = client.stream.split();
    // A client that does not take the answer loses it; the connection ends either way.
    let _ = stream::write_all(&client.watch, Side::Output, &mut write, &out, stall).await;
    let sent = out.len() as u64;
    client.route.counters.shard(client.worker.index).sent(sent);
    sent
}
