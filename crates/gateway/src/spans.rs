//! Spans of the gateway itself, gathered for the daemon. Recorded is what asks to be, in a share of all
//! traces that follows how many there are, and what fails or is slow, up to so many in a second.
//!
//! ```text
//! more than 20 in a second ──▶ half of the traces ──▶ … ; fewer than 10 ──▶ twice as many, up to all
//! ```
//!
//! Which traces follows from their identifiers, so that all that passes here of one trace is recorded, or
//! nothing. The rest costs a comparison.

use crate::calls::Who;
use crate::http::connection::Client;
use crate::http::exchange::{CLIENT_GONE, Finished};
use crate::http::grpc;
use crate::http::request::Request;
use crate::log::now_ms;
use crate::policy::trace;
use crate::snapshot::Endpoint;
use crate::stream::ClientStream;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Spans of a second beyond which fewer traces are recorded.
const ENOUGH: u32 = 20;
/// Of those that fail or are slow beside them.
const TOLD_MAX: u32 = 10;
/// Spans that wait for the daemon; of more the oldest are lost.
const WAITING_MAX: usize = 2048;
/// Spans of one answer to the daemon.
pub const TAKEN_MAX: usize = 512;
/// All traces.
const ALL: u32 = 1 << 16;
/// A request that takes longer has used up what a page has on the server.
const SLOW_US: u64 = 400_000;
/// Bytes of a path and of a host.
const TEXT_MAX: usize = 256;

/// One request that passed.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Hexadecimal digits, as all identifiers here.
    pub trace: [u8; 32],
    pub span: [u8; 16],
    pub parent: Option<[u8; 16]>,
    pub start_ns: u64,
    pub micros: u64,
    /// Until the answer's head was on its way.
    pub first_byte_us: Option<u64>,
    pub who: Who,
    pub backend: String,
    pub rule: Option<String>,
    pub instance: Option<String>,
    pub method: String,
    pub host: String,
    pub path: String,
    pub version: &'static str,
    pub secured: bool,
    pub status: u16,
    pub grpc_status: Option<u32>,
    pub failed: bool,
    pub fault: Option<&'static str>,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Of all threads.
pub struct Spans {
    /// Of 65,536 traces so many are recorded.
    share: AtomicU32,
    /// The second since 1970 that is counted in, and what was recorded in it.
    second: AtomicU64,
    recorded: AtomicU32,
    told: AtomicU32,
    all: AtomicU64,
    lost: AtomicU64,
    waiting: Mutex<VecDeque<Passed>>,
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            share: AtomicU32::new(ALL),
            second: AtomicU64::default(),
            recorded: AtomicU32::default(),
            told: AtomicU32::default(),
            all: AtomicU64::default(),
            lost: AtomicU64::default(),
            waiting: Mutex::default(),
        }
    }
}

impl Spans {
    /// Of 65,536 traces so many are recorded at the moment.
    pub fn share(&self) -> u32 {
        self.share.load(Relaxed)
    }

    /// Looks at the time: a second in which little was recorded lets more in. Called now and then.
    pub fn tick(&self, second: u64) {
        let before = self.second.load(Relaxed);
        if second <= before || self.second.compare_exchange(before, second, Relaxed, Relaxed).is_err() {
            return;
        }
        self.told.store(0, Relaxed);
        if self.recorded.swap(0, Relaxed) < ENOUGH / 2 {
            let doublings = u32::try_from(second - before).unwrap_or(u32::MAX).min(16);
            let share = u64::from(self.share()) << doublings;
            self.share.store(share.min(u64::from(ALL)) as u32, Relaxed);
        }
    }

    /// Whether one more that fails or is slow is recorded in this second.
    fn may_tell(&self) -> bool {
        self.told.fetch_add(1, Relaxed) < TOLD_MAX
    }

    fn push(&self, passed: Passed, is_chosen: bool) {
        self.all.fetch_add(1, Relaxed);
        if is_chosen && self.recorded.fetch_add(1, Relaxed) % ENOUGH == ENOUGH - 1 {
            self.share.store((self.share() / 2).max(1), Relaxed);
        }
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
            self.lost.fetch_add(1, Relaxed);
        }
        waiting.push_back(passed);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Passed>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest that wait; they wait no longer.
    pub fn take(&self) -> Vec<Passed> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(TAKEN_MAX);
        waiting.drain(..count).collect()
    }

    /// Recorded since the start, waiting now, and lost for want of room.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.all.load(Relaxed), self.waiting().len() as u64, self.lost.load(Relaxed))
    }
}

/// Records the request if it is one to be recorded.
pub fn record(
    client: &Client,
    request: &Request,
    head: &[u8],
    finished: &Finished,
    endpoint: Option<&Endpoint>,
    (started, micros): (Instant, u64),
) {
    let Finished { status, bytes_in, bytes_out, fault } = *finished;
    let is_failed = status >= 500
        || fault.is_some_and(|fault| fault != CLIENT_GONE)
        || client.grpc_status.get().is_some_and(grpc::is_failure);
    // Streams take as long as they like.
    let is_slow = micros >= SLOW_US && status != 101 && !request.call.is_one;
    let is_chosen = request.recording.is_some();
    if !is_chosen && !is_failed && !is_slow {
        return;
    }
    let spans = &client.worker.shared.spans;
    let is_copy = matches!(client.stream, ClientStream::Nobody(_));
    if request.trace.is_empty() || is_copy || (!is_chosen && !spans.may_tell()) {
        return;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]).into_owned();
    let (span, parent) = identifiers(client, request, head);
    let mut id = [0; 32];
    id.copy_from_slice(&head[request.trace.clone()]);
    let path = request.target(head).split(|&byte| byte == b'?').next().unwrap_or_default();
    let end_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let first_byte = client.head_at.get().map(|at| at.saturating_duration_since(started));
    let passed = Passed {
        trace: id,
        span,
        parent,
        start_ns: end_ns.saturating_sub(micros * 1000),
        micros,
        first_byte_us: first_byte.map(|time| time.as_micros() as u64),
        who: client.who(),
        backend: client.backend.id.clone(),
        rule: request.rule.as_ref().map(|rule| rule.id.clone()),
        instance: endpoint.map(|endpoint| endpoint.instance.clone()),
        method: text(&head[request.method.clone()]),
        host: text(request.host(head)),
        path: text(path),
        version: client.stream.http_version(),
        secured: client.stream.is_secured(),
        status,
        grpc_status: client.grpc_status.get(),
        failed: is_failed,
        fault,
        bytes_in,
        bytes_out,
    };
    spans.tick(now_ms() / 1000);
    spans.push(passed, is_chosen);
}

/// Its own, and that of the span it is part of. What is recorded only because of how it ended stands
/// beside what the service recorded: the context had been handed on by then.
fn identifiers(client: &Client, request: &Request, head: &[u8]) -> ([u8; 16], Option<[u8; 16]>) {
    let after = request.trace.start - trace::ID.start;
    let mut sent = [0; 16];
    sent.copy_from_slice(&head[after + trace::PARENT.start..after + trace::PARENT.end]);
    match request.recording {
        Some(recording) => (sent, recording.parent),
        None if request.is_root => (sent, None),
        None => {
            let mut own = [0; 16];
            trace::put_hex(&mut own, client.worker.random.next().max(1));
            (own, Some(sent))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed() -> Passed {
        Passed {
            trace: [b'a'; 32],
            span: [b'b'; 16],
            parent: None,
            start_ns: 0,
            micros: 1,
            first_byte_us: None,
            who: Who::Host,
            backend: "s/web:80".into(),
            rule: None,
            instance: None,
            method: "GET".into(),
            host: "a".into(),
            path: "/".into(),
            version: "1.1",
            secured: false,
            status: 200,
            grpc_status: None,
            failed: false,
            fault: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    #[test]
    fn the_share_falls_under_load_and_comes_back() {
        let spans = Spans::default();
        spans.tick(100);
        // A request in each of 65,536 traces, in turn.
        let mut recorded = 0;
        for id in 0..60_000u32 {
            if (id.wrapping_mul(40_503) & 0xffff) < spans.share() {
                spans.push(passed(), true);
                recorded += 1;
            }
        }
        assert!((ENOUGH..16 * ENOUGH).contains(&recorded), "{recorded}");
        let low = spans.share();
        assert!(low < ALL / 256, "{low}");
        spans.tick(101);
        assert_eq!(spans.share(), low, "that second had more than enough");
        spans.tick(102);
        assert_eq!(spans.share(), low * 2);
        spans.tick(200);
        assert_eq!(spans.share(), ALL);
    }

    #[test]
    fn what_nobody_takes_is_lost_oldest_first_and_counted() {
        let spans = Spans::default();
        for number in 0..WAITING_MAX as u64 + 3 {
            spans.push(Passed { micros: number, ..passed() }, false);
        }
        assert_eq!(spans.counts(), (WAITING_MAX as u64 + 3, WAITING_MAX as u64, 3));
        let taken = spans.take();
        assert_eq!((taken.len(), taken[0].micros), (TAKEN_MAX, 3));
        assert_eq!(spans.counts().1, (WAITING_MAX - TAKEN_MAX) as u64);
    }

    #[test]
    fn of_a_second_so_many_failures_are_told() {
        let spans = Spans::default();
        spans.tick(1);
        assert_eq!((0..100).filter(|_| spans.may_tell()).count(), TOLD_MAX as usize);
        spans.tick(2);
        assert!(spans.may_tell());
    }
}
