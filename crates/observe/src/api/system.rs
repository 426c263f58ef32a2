//! What the server says of itself, and of those it scrapes.

use super::Api;
use super::answer::success;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One address that is scraped.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    pub discovered_labels: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub scrape_pool: String,
    pub scrape_url: String,
    pub global_url: String,
    pub last_error: String,
    /// As RFC 3339 has it.
    pub last_scrape: String,
    /// In seconds.
    pub last_scrape_duration: f64,
    /// `up`, `down`, `unknown`.
    pub health: String,
    pub scrape_interval: String,
    pub scrape_timeout: String,
}

/// Who is scraped, by a name of its own, and how that goes; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Targets(Arc<Mutex<BTreeMap<String, TargetStatus>>>);

impl Targets {
    pub fn set(&self, name: &str, status: TargetStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), status);
    }

    pub fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn all(&self) -> Vec<TargetStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// No rules are evaluated here.
pub async fn rules(headers: HeaderMap) -> Response {
    success(&headers, "{\"groups\":[]}")
}

pub async fn alerts(headers: HeaderMap) -> Response {
    success(&headers, "{\"alerts\":[]}")
}

pub async fn targets(State(api): State<Api>, headers: HeaderMap) -> Response {
    let data = json!({ "activeTargets": api.targets.all(), "droppedTargets": [], "droppedTargetCounts": {} });
    success(&headers, &data.to_string())
}

/// Of which version of Prometheus the API is.
const SPOKEN: &str = "2.42.0";

pub async fn build(headers: HeaderMap) -> Response {
    let data = json!({
        "version": SPOKEN,
        "revision": concat!("juchu-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    success(&headers, &data.to_string())
}

pub async fn runtime(State(api): State<Api>, headers: HeaderMap) -> Response {
    let status = api.metrics.status();
    let started = jiff::Timestamp::from_millisecond(api.started_ms).unwrap_or_default();
    let data = json!({
        "startTime": started.to_string(),
        "reloadConfigSuccess": true,
        "corruptionCount": status.lost,
        "storageRetention": "7d raw, 90d by minutes, 5y by hours",
        "seriesCount": status.series,
        "segmentCount": status.segments,
        "segmentBytes": status.bytes,
        "refusedSeries": status.refused,
        "offenders": status.offenders.iter().map(|o| format!("{}: {}: {}", o.target, o.series, o.why)).collect::<Vec<_>>(),
        "trouble": status.trouble,
    });
    success(&headers, &data.to_string())
}

pub async fn healthy() -> &'static str {
    "Juchu is healthy.\n"
}

pub async fn ready() -> &'static str {
    "Juchu is ready.\n"
}
