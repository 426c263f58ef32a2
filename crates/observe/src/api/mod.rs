//! Prometheus' HTTP API over the store: what Grafana, promtool and other clients of it ask.
//!
//! Mounted by whoever knows who may ask; nothing here looks at that.

mod answer;
mod ask;
mod expose;
mod known;
mod number;
mod parameters;
mod system;

use crate::keep::Metrics;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

pub use known::{Described, Known};
pub use system::{TargetStatus, Targets};

/// Queries that are evaluated at the same time; others wait.
const RUNNING_MAX: usize = 4;
/// The longest a query may take, waiting included; clients may ask for less.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest form.
const FORM_MAX: usize = 1 << 20;

/// What the API answers from; clones share it.
#[derive(Clone)]
pub struct Api {
    metrics: Arc<Metrics>,
    running: Arc<Semaphore>,
    known: Known,
    targets: Targets,
    started_ms: i64,
    now_ms: fn() -> i64,
}

impl Api {
    pub fn new(metrics: Arc<Metrics>, known: Known, now_ms: fn() -> i64) -> Self {
        Self {
            metrics,
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            known,
            targets: Targets::default(),
            started_ms: now_ms(),
            now_ms,
        }
    }

    /// Who is scraped, and how that goes.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub fn router(&self) -> Router {
        Router::new()
            .route("/api/v1/query", get(ask::instant).post(ask::instant))
            .route("/api/v1/query_range", get(ask::range).post(ask::range))
            .route("/api/v1/query_exemplars", get(ask::exemplars).post(ask::exemplars))
            .route("/api/v1/series", get(ask::series).post(ask::series))
            .route("/api/v1/labels", get(ask::labels).post(ask::labels))
            .route("/api/v1/label/{name}/values", get(ask::values))
            .route("/api/v1/metadata", get(ask::metadata))
            .route("/api/v1/rules", get(system::rules))
            .route("/api/v1/alerts", get(system::alerts))
            .route("/api/v1/targets", get(system::targets).post(system::targets))
            .route("/api/v1/status/buildinfo", get(system::build))
            .route("/api/v1/status/runtimeinfo", get(system::runtime))
            .route("/-/healthy", get(system::healthy))
            .route("/-/ready", get(system::ready))
            .route("/metrics", get(expose::own))
            .route("/federate", get(expose::federate))
            .layer(DefaultBodyLimit::max(FORM_MAX))
            .with_state(self.clone())
    }
}
