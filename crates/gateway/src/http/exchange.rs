//! One request: choose an instance, send, answer; another instance where that is safe.

use super::admission::{self, KeptOut};
use super::answer;
use super::connection::Client;
use super::field;
use super::grpc;
use super::line::{self, NoSeat};
use super::mirror;
use super::negotiate::Offer;
use super::pool::Upstream;
use super::request::{Refusal, Request};
use super::response::Response;
use super::transfer::{Ends, Fault, Rules, Transfer};
use super::websocket;
use crate::buffer::{Buf, Head, Scratch};
use crate::counters::Sample;
use crate::files;
use crate::hold::{self, NoPlace, Woken};
use crate::http2::upstream::Http2Upstream;
use crate::log::Access;
use crate::options::{Limits, MAX_ATTEMPTS};
use crate::policy::Policy;
use crate::policy::breaker::Standing;
use crate::proxy::{self, Peer};
use crate::rules::{Action, Rule};
use crate::seat::{self, Seat};
use crate::snapshot::{Backend, Endpoint, Work};
use crate::spans;
use crate::stream::{self, UpstreamStream};
use crate::tcp;
use crate::watch::Side;
use crate::worker::Worker;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
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
        /// Without another instance at hand it may wait for one.
        may_wait: bool,
        body_unread: bool,
        bytes_in: u64,
    },
}

/// So many requests without an answer are not just slow ones.
const SILENT_REQUESTS: u64 = 3;
/// Nobody's fault.
pub const CLIENT_GONE: &str = "the client went away";
/// Seconds after which a client may try again when no instance was ready.
const RETRY_AFTER_S: u64 = 1;
const NO_INSTANCE: Refusal = Refusal { status: 503, reason: "no instance is ready" };
const NOT_CONNECTED: Refusal = Refusal { status: 503, reason: "no instance could be connected to" };
const HELD_TOO_LONG: Refusal = Refusal { status: 503, reason: "no instance became ready in time" };
const TOO_MANY_HELD: Refusal = Refusal { status: 503, reason: "too many requests wait for an instance" };
const TOO_LARGE_TO_HOLD: Refusal =
    Refusal { status: 503, reason: "no instance is ready, and the request is too large to wait" };

/// Serves one request whose rewritten head is `head`.
pub async fn serve(client: &mut Client, request: Request, head: Head) -> Next {
    let started = Instant::now();
    if let Some(rule) = &request.rule
        && let Action::Files(root) = &rule.action
    {
        // Boxed so that an exchange does not carry the room this needs.
        return Box::pin(files::serve(client, (&request, &head), (rule, root), started)).await;
    }
    if let Some(rule) = &request.rule
        && let Some(own) = own_answer(client, rule, &request, &head)
    {
        return Box::pin(answered(client, &request, &head, &own, started)).await;
    }
    if !admission::is_open(client)
        && let Err(kept_out) = Box::pin(admission::admit(client, &head)).await
    {
        return Box::pin(turned_away(client, &request, &head, kept_out, started)).await;
    }
    let counters = client.route.counters.clone();
    let listener = counters.shard(client.worker.index);
    listener.begin();
    let mut place = None;
    let mut round = 1;
    let (outcome, instance) = loop {
        let (outcome, instance) = match line::enter(client, &request, &head).await {
            Ok(seat) => try_instances(client, &request, &head, round == 1, seat).await,
            Err(no_seat) => (not_seated(&request, no_seat), None),
        };
        if !matches!(outcome, Attempt::Failed { may_wait: true, .. }) {
            break (outcome, instance);
        }
        let bytes = head.len() + client.buf.footprint();
        // Boxed so that an exchange does not carry the room a wait needs.
        let waited = Box::pin(hold::until_ready(client, &mut place, bytes)).await;
        match not_served(client, outcome, waited) {
            Some(outcome) => break (outcome, instance),
            None => round += 1,
        }
    };
    drop(place);
    let next = finish(client, &request, &head, outcome, instance.as_deref(), started).await;
    listener.end();
    next
}

/// Answers what is not let through to an instance.
async fn turned_away(
    client: &mut Client,
    request: &Request,
    head: &[u8],
    kept_out: KeptOut,
    started: Instant,
) -> Next {
    let KeptOut { refusal, retry_after_s } = kept_out;
    let keep = keeps(client, request);
    let mut out = Vec::new();
    refusal_of(request, head, refusal, (!keep, retry_after_s), &mut out);
    let sent = send(client, &out).await;
    let finished =
        Finished { status: refusal.status, bytes_in: 0, bytes_out: sent, fault: Some(refusal.reason) };
    note(client, request, head, &finished, None, started);
    if keep { Next::Keep } else { Next::Linger }
}

/// The answer of a rule that leads to no service.
fn own_answer(client: &Client, rule: &Rule, request: &Request, head: &[u8]) -> Option<Vec<u8>> {
    let close = !keeps(client, request);
    // Nobody is sent from a secured address to one that is not.
    let scheme = if client.stream.is_secured() { "https" } else { "http" };
    let id = &head[request.id.clone()];
    let mut out = Vec::new();
    match &rule.action {
        Action::Forward { .. } | Action::Files(_) => return None,
        Action::Answer { status, body } => {
            answer::text(*status, body, &rule.edits.response, id, request.head, close, &mut out);
        }
        Action::Redirect(redirect) => {
            let asked = answer::Asked { scheme, host: request.host(head), target: request.target(head) };
            answer::redirect(redirect, &asked, &rule.edits.response, id, close, &mut out);
        }
    }
    Some(out)
}

/// Whether the connection can carry another request after an answer that no instance gave.
pub fn keeps(client: &Client, request: &Request) -> bool {
    request.keep_alive && !has_body(request) && !client.watch.retires()
}

/// Writes an answer of the gateway's own that is what the rule asks for.
async fn answered(client: &mut Client, request: &Request, head: &[u8], own: &[u8], started: Instant) -> Next {
    let sent = send(client, own).await;
    let status = own.get(9..12).and_then(field::decimal).unwrap_or_default() as u16;
    let next = if keeps(client, request) { Next::Keep } else { Next::Linger };
    note(
        client,
        request,
        head,
        &Finished { status, bytes_in: 0, bytes_out: sent, fault: None },
        None,
        started,
    );
    next
}

/// Tries instances until one has answered or another attempt could do harm.
async fn try_instances(
    client: &mut Client,
    request: &Request,
    head: &[u8],
    fresh: bool,
    mut seat: Option<Seat>,
) -> (Attempt, Option<Arc<Endpoint>>) {
    let mut tried = None;
    let mut outcome = None;
    let mut instance = None;
    let first_choice = client.backend.clone();
    let (policy, budget) = (&first_choice.policy, &first_choice.budget);
    let repetition = RefCell::new(None);
    let attempts = 1 + policy.retries.attempts.min(MAX_ATTEMPTS - 1);
    for attempt in 1..=attempts {
        client.refresh();
        let Some((endpoint, seat)) = choose(client, seat.take(), tried, is_repeatable(request)) else {
            break;
        };
        tried = Some(endpoint.number);
        instance = Some(endpoint.clone());
        let backend = client.backend.clone();
        let may_follow = attempt < attempts && backend.has_others(endpoint.number);
        // Once for all repetitions of one request.
        let may_repeat = || {
            let mut place = repetition.borrow_mut();
            if place.is_none() {
                *place = budget.take(&policy.retries, backend.active());
            }
            place.is_some()
        };
        let declines = |status| {
            may_follow && is_repeatable(request) && policy.retries.statuses.contains(&status) && may_repeat()
        };
        let first = fresh && attempt == 1;
        let turn = Turn { first, declines: &declines, seat: Cell::new(seat), backend: &backend };
        client.watch.join(endpoint.number);
        let result = self::attempt(client, request, head, endpoint, turn).await;
        client.watch.leave();
        let (again, was_sent) = match &result {
            Attempt::Failed { again, refusal, .. } => (*again, *refusal != NOT_CONNECTED),
            Attempt::Done { .. } => (false, false),
        };
        outcome = Some(result);
        if !again || (was_sent && !may_repeat()) {
            break;
        }
    }
    (outcome.unwrap_or_else(|| nobody(request)), instance)
}

/// What a wait for an instance leads to; `None` is another round.
fn not_served(client: &Client, outcome: Attempt, waited: Result<Woken, NoPlace>) -> Option<Attempt> {
    let Attempt::Failed { refusal, body_unread, bytes_in, .. } = outcome else { return Some(outcome) };
    let refusal = match waited {
        Ok(Woken::TryAgain) => return None,
        Ok(Woken::ClientGone) => {
            let fault = Some(CLIENT_GONE);
            return Some(Attempt::Done { next: Next::Abort, status: 0, bytes_in, bytes_out: 0, fault });
        }
        Ok(Woken::TimeOver) => HELD_TOO_LONG,
        Err(NoPlace::Full) => TOO_MANY_HELD,
        Err(NoPlace::TooLarge) => TOO_LARGE_TO_HOLD,
        Err(NoPlace::NotWanted) => refusal,
    };
    let backend = &client.backend;
    if refusal.status == 503 && refusal != NOT_CONNECTED {
        backend.without_endpoint.fetch_add(1, Relaxed);
        client.worker.say(&format!("{}: {}; answered 503", backend.id, refusal.reason));
    }
    Some(Attempt::Failed { refusal, again: false, may_wait: false, body_unread, bytes_in })
}

/// The instance at which there is a place already, or another one, with its place where it has only
/// so many.
fn choose(
    client: &Client,
    seat: Option<Seat>,
    not: Option<u64>,
    may_try: bool,
) -> Option<(Arc<Endpoint>, Option<Seat>)> {
    let (worker, backend) = (&client.worker, &client.backend);
    let now = worker.registry.clock().now_ms();
    if seat.is_none() && backend.policy.limit.is_none() {
        return Some((backend.choose(not, may_try, now, &worker.random)?, None));
    }
    let seat = seat.or_else(|| backend.seat(not, may_try, now, &worker.random))?;
    Some((seat.endpoint.clone(), Some(seat)))
}

/// What becomes of a request for which no instance has room.
fn not_seated(request: &Request, no_seat: NoSeat) -> Attempt {
    match no_seat {
        NoSeat::Refused(refusal) => {
            let body_unread = has_body(request);
            Attempt::Failed { refusal, again: false, may_wait: false, body_unread, bytes_in: 0 }
        }
        NoSeat::ClientGone => {
            let fault = Some(CLIENT_GONE);
            Attempt::Done { next: Next::Abort, status: 0, bytes_in: 0, bytes_out: 0, fault }
        }
    }
}

fn nobody(request: &Request) -> Attempt {
    let body_unread = has_body(request);
    Attempt::Failed { refusal: NO_INSTANCE, again: false, may_wait: true, body_unread, bytes_in: 0 }
}

/// Sending it twice does no harm, and is possible.
pub fn is_repeatable(request: &Request) -> bool {
    request.idempotent && !has_body(request)
}

/// What an attempt has to know of those before and after it.
struct Turn<'t> {
    first: bool,
    /// Whether an answer with this status is given up for another attempt.
    declines: &'t dyn Fn(u16) -> bool,
    /// Where the instance has only so many places, the one that is taken.
    seat: Cell<Option<Seat>>,
    backend: &'t Backend,
}

fn has_body(request: &Request) -> bool {
    !matches!(request.body, super::Body::None | super::Body::Length(0))
}

async fn attempt(
    client: &mut Client,
    request: &Request,
    head: &[u8],
    endpoint: Arc<Endpoint>,
    turn: Turn<'_>,
) -> Attempt {
    let first = turn.first;
    let worker = client.worker.clone();
    let work = Work::begin(endpoint, worker.index);
    let pooled = if first { pooled(client, request, &work) } else { None };
    let reused = pooled.is_some();
    let mut upstream = match pooled {
        Some(upstream) => upstream,
        None => match connect_for_http(client, request, &work).await {
            Ok(upstream) => upstream,
            Err(_) => return not_connected(client, request, &work),
        },
    };
    let limits = &worker.shared.limits;
    let listener = client.route.counters.shard(worker.index);
    let policy = &turn.backend.policy;
    let is_trial = work.endpoint.breaker.is_tried();
    let is_stalled = |sent| is_trial || look_around(&worker, turn.backend, &work.endpoint, sent);
    let answered = |waited: Duration, response: &Response| {
        let is_sample = response.status < 500 && !waited.is_zero();
        let is_stream = response.events || response.status == 101;
        seat::answered(&turn.seat, waited, is_sample, is_stream, worker.registry.clock().now_ms());
    };
    let copy = policy.mirror.as_ref().filter(|_| first).and_then(|_| mirror::draw(client, request, head));
    let rules = Rules {
        answered: policy.limit.is_some().then_some(&answered),
        response: patience(request, policy, limits),
        idle: policy.idle.unwrap_or(limits.response_idle),
        stall: policy.breaker.as_ref().map(|breaker| Duration::from_millis(breaker.stall_ms)),
        is_stalled: &is_stalled,
        declines: turn.declines,
        edits: client.route.edits.as_ref(),
        copy: copy.as_ref(),
        offer: policy.compression.as_ref().map(|settings| Offer::of(settings, head)),
    };
    let transfer =
        Transfer::new(&client.watch, limits, request, client.route.public, rules, listener, work.shard());
    let (mut client_read, mut client_write) = client.stream.split();
    let (mut upstream_read, mut upstream_write) = upstream.stream.split();
    let ends = Ends {
        client: (&mut client_read, &mut client.buf, &mut client_write),
        upstream: (&mut upstream_read, &mut upstream.buf, &mut upstream_write),
    };
    let result = transfer.run(head, ends).await;
    let summary = Summary::of(&transfer, request, first, reused);
    let limit = patience(request, policy, limits);
    let is_late = matches!(result, Err(Fault::UpstreamSlow));
    // Who gives a call hardly any time learns nothing about the instance.
    let is_hasty = is_late && request.call.timeout == Some(limit);
    if is_late && !is_hasty {
        seat::answered(&turn.seat, limit, true, false, worker.registry.clock().now_ms());
    }
    client.grpc_status.set(transfer.grpc_status.get());
    client.head_at.set(transfer.head_at.get());
    if !is_hasty {
        judge(client, &work, result.as_ref().map(|response| response.status));
    }
    match result {
        // Boxed so that an exchange does not carry the room another protocol needs.
        Ok(response) if response.status == 101 => {
            Box::pin(relay(client, upstream, work, response, summary)).await
        }
        Ok(response) => complete(client, upstream, &work, response, summary),
        Err(_) if client.watch.is_cut() => failed(client, &work, Fault::Cut, summary),
        Err(fault) => failed(client, &work, fault, summary),
    }
}

/// How long an answer's head is waited for. That of a call comes with its first message, whenever
/// that is, but not after the call's own time.
fn patience(request: &Request, policy: &Policy, limits: &Limits) -> Duration {
    match request.call.is_one {
        true => {
            let most = policy.response.unwrap_or(limits.response_idle);
            request.call.timeout.map_or(most, |timeout| most.min(timeout))
        }
        false => policy.response.unwrap_or(limits.response_header),
    }
}

/// What the attempt says about the instance.
fn judge(client: &Client, work: &Work, result: Result<u16, &Fault>) {
    let now = client.worker.registry.clock().now_ms();
    let endpoint = &work.endpoint;
    let failed = match result {
        Ok(status) => {
            endpoint.answers(now);
            status >= 500 || client.grpc_status.get().is_some_and(grpc::is_failure)
        }
        Err(
            Fault::ClientGone | Fault::ClientSlow | Fault::ClientBad(_) | Fault::Cut | Fault::NoWebSocket,
        ) => return,
        Err(Fault::Declined(_)) => {
            endpoint.answers(now);
            true
        }
        Err(
            Fault::UpstreamGone
            | Fault::UpstreamRefused
            | Fault::UpstreamSlow
            | Fault::UpstreamBad(_)
            | Fault::Stalled,
        ) => true,
    };
    let Some(settings) = &client.backend.policy.breaker else { return };
    let instance = &endpoint.instance;
    if !failed {
        if endpoint.breaker.succeeded(now) {
            client.worker.say(&format!("instance {instance} answers again and gets its share back"));
        }
        return;
    }
    let may_pause = client.backend.may_pause(now);
    if endpoint.breaker.failed(settings, may_pause, now) {
        client
            .worker
            .say(&format!("instance {instance} fails again and again and is left alone for a while"));
    }
}

/// A request waits for its answer: an instance that alone is silent gets nothing more for a while.
/// What it has stays, for it may be slow work that nobody else would do faster.
fn look_around(worker: &Worker, backend: &Backend, endpoint: &Endpoint, sent: u64) -> bool {
    let now = worker.registry.clock().now_ms();
    let is_silent = endpoint.counters.active() >= SILENT_REQUESTS && backend.is_alone_silent(endpoint, sent);
    if let Some(settings) = &backend.policy.breaker
        && is_silent
        && endpoint.breaker.standing(now) == Standing::Serving
        && backend.may_pause(now)
    {
        endpoint.breaker.stalled(settings, now);
        let instance = &endpoint.instance;
        worker.say(&format!("instance {instance} alone does not answer and is left alone for a while"));
    }
    false
}

/// What of a transfer outlives it.
struct Summary {
    request_done: bool,
    head_sent: bool,
    http10: bool,
    /// It is a call by gRPC.
    call: bool,
    /// Nothing was answered, and sending the request anew does no harm.
    harmless: bool,
    /// The same, and it was not done before.
    repeatable: bool,
    /// Nothing of the request's body was read.
    unread: bool,
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
            call: request.call.is_one,
            // Only once: a request that kills its instance must not get to kill them all.
            harmless,
            repeatable: first && harmless,
            unread: !transfer.consumed.get(),
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
    // Where it is told for whom a connection is, it is for nobody else.
    if client.backend.policy.proxy.is_some() {
        return None;
    }
    if client.backend.policy.http2 {
        // A WebSocket has a connection of its own.
        if request.upgrade {
            return None;
        }
        return worker.http2.take(&work.endpoint).map(over_http2);
    }
    let limits = &worker.shared.limits;
    let repeatable = request.idempotent && !has_body(request);
    let max_idle = if repeatable { limits.upstream_idle } else { limits.upstream_idle_unsafe };
    worker.pool.take(&work.endpoint, worker.registry.clock().now_ms(), max_idle)
}

fn over_http2(stream: Http2Upstream) -> Upstream {
    Upstream { stream: UpstreamStream::Http2(Box::new(stream)), buf: Buf::default() }
}

/// Opens a connection for a request.
async fn connect_for_http(client: &Client, request: &Request, work: &Work) -> io::Result<Upstream> {
    let upstream = connect(client, work).await?;
    match upstream.stream {
        UpstreamStream::Plain(socket) if client.backend.policy.http2 => {
            // Where it is told for whom a connection is, it is for nobody else.
            let shared = client.backend.policy.proxy.is_none() && !request.upgrade;
            let (watch, limits) = (&client.watch, &client.worker.shared.limits);
            watch.arm(Side::Output, limits.connect);
            let mut opening = pin!(client.worker.http2.open(&work.endpoint, socket, shared, request.upgrade));
            let opened = watch.guard(Side::Output, |cx| opening.as_mut().poll(cx)).await;
            watch.disarm(Side::Output);
            opened.map(over_http2)
        }
        _ => Ok(upstream),
    }
}

/// Opens a connection to the instance within the limit.
pub async fn connect(client: &Client, work: &Work) -> io::Result<Upstream> {
    let watch = &client.watch;
    let limit = client.backend.policy.connect.unwrap_or(client.worker.shared.limits.connect);
    watch.arm(Side::Output, limit);
    let mut connecting = pin!(TcpStream::connect(work.endpoint.address));
    let outcome = watch.guard(Side::Output, |cx| connecting.as_mut().poll(cx)).await;
    watch.disarm(Side::Output);
    match outcome.and_then(|stream| introduce(client, stream)) {
        Ok(stream) => {
            stream::tune_upstream(&stream);
            work.shard().connection();
            work.endpoint.trusted();
            Ok(Upstream { stream: UpstreamStream::Plain(stream), buf: Buf::default() })
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

/// Says for whom the connection is, where the instance wants to know.
fn introduce(client: &Client, stream: TcpStream) -> io::Result<TcpStream> {
    if let Some(version) = client.backend.policy.proxy {
        let Peer { address, destination, .. } = &client.peer;
        let to = (*destination).or_else(|| client.stream.local_addr().ok()).unwrap_or(client.route.address);
        let head = proxy::head(version, *address, to);
        // It is the first that is written, and there is always room for it.
        if stream.try_write(&head)? != head.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(stream)
}

fn not_connected(client: &Client, request: &Request, work: &Work) -> Attempt {
    let again = client.backend.has_others(work.endpoint.number);
    let body_unread = has_body(request);
    Attempt::Failed { refusal: NOT_CONNECTED, again, may_wait: true, body_unread, bytes_in: 0 }
}

fn complete(
    client: &Client,
    upstream: Upstream,
    work: &Work,
    response: Response,
    summary: Summary,
) -> Attempt {
    let worker = &client.worker;
    if response.reusable && summary.request_done && client.backend.policy.proxy.is_none() {
        worker.pool.give(&work.endpoint, upstream, worker.registry.clock().now_ms());
    }
    let keep = response.keep_client && summary.request_done;
    summary.done(if keep { Next::Keep } else { Next::Linger }, None)
}

fn failed(client: &Client, work: &Work, fault: Fault, summary: Summary) -> Attempt {
    let (status, reason) = match fault {
        Fault::ClientGone => return summary.done(Next::Abort, Some(CLIENT_GONE)),
        Fault::ClientSlow => (408, "the request body came too slowly"),
        Fault::ClientBad(reason) => (400, reason),
        Fault::UpstreamGone => (502, "the instance closed the connection without an answer"),
        Fault::UpstreamRefused => (503, "the instance refused the request"),
        Fault::UpstreamSlow => (504, "the instance did not answer in time"),
        Fault::UpstreamBad(reason) => (502, reason),
        Fault::NoWebSocket => (501, "the instance takes no WebSocket over HTTP/2"),
        Fault::Stalled => (504, "the instance was tried again and did not answer"),
        Fault::Declined(status) => (status, "the instance said that it cannot serve"),
        Fault::Cut => (504, "its time to finish was over before the instance had answered"),
    };
    if !matches!(fault, Fault::ClientSlow | Fault::ClientBad(_)) {
        work.shard().error();
        client.worker.say(&format!("instance {}: {reason}", work.endpoint.instance));
    }
    if summary.head_sent {
        if summary.http10 {
            client.stream.reset_on_close();
        }
        let is_the_clients = matches!(fault, Fault::ClientSlow | Fault::ClientBad(_));
        if summary.call && !is_the_clients && client.stream.break_off(|| grpc::trailers(reason)) {
            client.grpc_status.set(Some(grpc::BROKEN_OFF));
        }
        return summary.done(Next::Abort, Some(reason));
    }
    let unanswered = matches!(fault, Fault::UpstreamGone | Fault::Cut) && summary.repeatable;
    let others = client.backend.has_others(work.endpoint.number);
    let again = (unanswered && (others || (summary.reused && fault == Fault::UpstreamGone)))
        // Both were given up for the sake of another attempt.
        || matches!(fault, Fault::Declined(_))
        || (fault == Fault::UpstreamRefused && summary.unread)
        || (fault == Fault::Stalled && summary.harmless && others);
    let (body_unread, bytes_in) = (!summary.request_done, summary.bytes_in);
    Attempt::Failed {
        refusal: Refusal { status, reason },
        again,
        may_wait: unanswered,
        body_unread,
        bytes_in,
    }
}

/// Both sides have changed the protocol: bytes, or frames, pass until one side ends.
async fn relay(
    client: &mut Client,
    mut upstream: Upstream,
    work: Work,
    response: Response,
    summary: Summary,
) -> Attempt {
    let route = client.route.clone();
    // Calls are counted when they have ended.
    let meter = tcp::Meter::new(route.counters.shard(client.worker.index), work.shard(), None);
    let stall = client.worker.shared.limits.write_stall;
    let mask = (client.worker.random.next() as u32).to_be_bytes();
    let Client { stream, buf, watch, .. } = &mut *client;
    let ends = tcp::Ends { client: stream, client_buf: buf, upstream: &mut upstream };
    match response.websocket {
        true => websocket::relay(watch, ends, &meter, stall, mask).await,
        false => tcp::relay(watch, ends, &meter).await,
    }
    let fault = client.watch.is_cut().then_some("it was cut when its time to finish was over");
    let mut done = summary.done(Next::Abort, fault);
    if let Attempt::Done { bytes_in, bytes_out, .. } = &mut done {
        *bytes_in += meter.back.get();
        *bytes_out += meter.out.get();
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
            let close = body_unread || !request.keep_alive || client.watch.retires();
            let mut out = Scratch::take();
            let retry_after_s = (refusal.status == 503).then_some(RETRY_AFTER_S);
            refusal_of(request, head, refusal, (close, retry_after_s), &mut out);
            let sent = send(client, &out).await;
            let next = if close { Next::Linger } else { Next::Keep };
            (next, refusal.status, bytes_in, sent, Some(refusal.reason))
        }
    };
    note(client, request, head, &Finished { status, bytes_in, bytes_out, fault }, endpoint, started);
    next
}

/// What came of a request.
pub struct Finished {
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub fault: Option<&'static str>,
}

/// Counts a request and writes it down.
pub fn note(
    client: &Client,
    request: &Request,
    head: &[u8],
    finished: &Finished,
    endpoint: Option<&Endpoint>,
    started: Instant,
) {
    let Finished { status, bytes_in, bytes_out, fault } = *finished;
    let micros = started.elapsed().as_micros() as u64;
    let thread = client.worker.index;
    let rule = request.rule.as_deref();
    let ours = rule.map(|rule| rule.counters.shard(thread));
    let sample = Sample::new(status, micros);
    for shard in [Some(client.route.counters.shard(thread)), ours].into_iter().flatten() {
        shard.take(&sample);
        if fault.is_some() {
            shard.error();
        }
    }
    if let Some(shard) = ours {
        shard.received(bytes_in);
        shard.sent(bytes_out);
    }
    if let Some(endpoint) = endpoint {
        endpoint.counters.shard(thread).take(&sample);
    }
    if rule.is_none_or(|rule| matches!(rule.action, Action::Forward { .. })) {
        client.count(&client.backend, |shard| {
            shard.take(&sample);
            shard.received(bytes_in);
            shard.sent(bytes_out);
            let is_fault = fault.is_some_and(|fault| fault != CLIENT_GONE);
            if is_fault || status >= 500 || client.grpc_status.get().is_some_and(grpc::is_failure) {
                shard.error();
            }
        });
    }
    spans::record(client, request, head, finished, endpoint, (started, micros));
    client.head_at.set(None);
    client.worker.log.access(&Access {
        revision: client.route.revision,
        listener: client.route.address,
        backend: &client.backend.id,
        rule: rule.map(|rule| rule.id.as_str()),
        instance: endpoint.map(|endpoint| endpoint.instance.as_str()),
        client: &client.peer,
        agent: client.route.public.then(|| field::agent(head)),
        method: &head[request.method.clone()],
        host: request.host(head),
        target: request.target(head),
        id: &head[request.id.clone()],
        trace: &head[request.trace.clone()],
        status,
        bytes_in,
        bytes_out,
        micros,
        fault,
        version: client.stream.http_version(),
        grpc_status: client.grpc_status.take(),
    });
}

/// Appends the answer to a request that is refused, as its protocol has it.
fn refusal_of(
    request: &Request,
    head: &[u8],
    refusal: Refusal,
    (close, retry_after_s): (bool, Option<u64>),
    out: &mut Vec<u8>,
) {
    let id = Some(&head[request.id.clone()]);
    match request.call.is_one {
        true => grpc::refuse(refusal, request.call, id, close, out),
        false => answer::write(refusal, id, request.head, close, retry_after_s, out),
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
    let retry_after = (refusal.status == 503).then_some(RETRY_AFTER_S);
    answer::write(refusal, id, head_only, close, retry_after, &mut out);
    send(client, &out).await
}

async fn send(client: &mut Client, out: &[u8]) -> u64 {
    let stall = client.worker.shared.limits.write_stall;
    let (_, mut write) = client.stream.split();
    // A client that does not take the answer loses it; the connection ends either way.
    let _ = stream::write_all(&client.watch, Side::Output, &mut write, out, stall).await;
    let sent = out.len() as u64;
    client.route.counters.shard(client.worker.index).sent(sent);
    sent
}
