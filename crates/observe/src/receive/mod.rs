//! What programs of others send, taken into the stores: OTLP and Prometheus remote write.
//!
//! Mounted by whoever knows who may send; nothing here looks at that. Each answer has the status by which
//! senders know whether to come again: 429 and 503 yes, 400 and 413 never.

mod body;
mod logs;
mod metrics;
mod otlp;
mod push;
mod remote_write;
mod syslog;
mod traces;

use crate::api::Known;
use crate::keep::Metrics;
use crate::logs::Logs;
use axum::Router;
use axum::routing::post;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use body::{BODY_MAX, UNPACKED_MAX};
pub use syslog::Listening;
pub use traces::SOURCE as SPAN_SOURCE;

/// Requests that are read into the stores at the same time; others wait.
const WORKING_MAX: usize = 2;

/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Where what was sent goes; clones share it.
#[derive(Clone)]
pub struct Receiver(Arc<Inner>);

struct Inner {
    stores: Stores,
    pusher: push::Pusher,
    room: body::Room,
    working: Arc<Semaphore>,
    received: Received,
    now_ns: fn() -> i64,
}

#[derive(Clone)]
pub struct Stores {
    pub metrics: Arc<Metrics>,
    pub known: Known,
    /// None where they cannot be kept.
    pub rows: Option<Arc<Logs>>,
    pub spans: Option<Arc<Logs>>,
}

/// What came in since the start.
#[derive(Debug, Default)]
struct Received {
    samples: Count,
    rows: Count,
    spans: Count,
}

#[derive(Debug, Default)]
struct Count {
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Count {
    fn add(&self, taken: u64, refused: u64) {
        self.taken.fetch_add(taken, Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
    }
}

/// What became of one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Taken {
    pub taken: u64,
    pub refused: u64,
    /// Why the first of them was refused.
    pub why: String,
}

impl Taken {
    fn refuse(&mut self, count: u64, why: impl ToString) {
        if self.refused == 0 {
            self.why = why.to_string();
        }
        self.refused += count;
    }
}

impl Receiver {
    pub fn new(stores: Stores, now_ns: fn() -> i64) -> Self {
        Self(Arc::new(Inner {
            stores,
            pusher: push::Pusher::default(),
            room: body::Room::default(),
            working: Arc::new(Semaphore::new(WORKING_MAX)),
            received: Received::default(),
            now_ns,
        }))
    }

    /// Waits until it is this request's turn.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, body::BodyError> {
        let turn = timeout(TURN_WAIT, self.0.working.clone().acquire_owned()).await;
        Ok(turn.map_err(|_| body::BodyError::busy())?.expect("the semaphore is never closed"))
    }

    /// The addresses of OTLP, as its clients add them to what they are told, and of Prometheus.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/traces", post(otlp::traces))
            .route("/v1/metrics", post(otlp::metrics))
            .route("/v1/logs", post(otlp::logs))
            // As Prometheus names them.
            .route("/prometheus/api/v1/write", post(remote_write::write))
            .route("/prometheus/api/v1/otlp/v1/metrics", post(otlp::metrics))
            .with_state(self.clone())
    }

    /// Puts how much came in, and how much of it was not taken.
    pub fn collect(&self, sink: &mut dyn crate::collect::Sink) {
        let Received { samples, rows, spans } = &self.0.received;
        for (kind, count) in [("samples", samples), ("rows", rows), ("spans", spans)] {
            for (result, number) in [("taken", &count.taken), ("refused", &count.refused)] {
                let labels = [("kind", kind), ("result", result)];
                sink.counter("juchu_received_total", &labels, number.load(Ordering::Relaxed) as f64);
            }
        }
    }
}
