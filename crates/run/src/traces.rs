//! The port to spans that are kept: traces to be listed and shown.
//!
//! The forms here are version 1 of the API; fields are added, never renamed.

use async_trait::async_trait;
use model::{Report, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[async_trait]
pub trait Traces: Send + Sync {
    /// The newest traces that are wanted, the newest first.
    async fn search(&self, question: TraceQuestion) -> Result<TraceAnswer, Report>;
    /// All spans of one trace; an error where there is none.
    async fn trace(&self, id: &str) -> Result<Trace, Report>;
}

/// Which traces: those with a span of which all of this is true.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceQuestion {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Part of the span's name, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
    /// It failed.
    #[serde(default)]
    pub errors: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// 20 when absent, at most 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceAnswer {
    pub traces: Vec<TraceSummary>,
    /// There are more, older ones.
    pub has_more: bool,
    /// The search was not finished: its time or its memory was over.
    pub is_cut: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// 32 hexadecimal digits.
    pub trace: String,
    /// Of the span at its root.
    pub name: String,
    pub stack: String,
    pub service: String,
    pub start_ns: i64,
    /// From the first beginning to the last end.
    pub duration_ms: f64,
    pub spans: usize,
    pub errors: usize,
    pub services: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    pub trace: String,
    /// By when they began.
    pub spans: Vec<KeptSpan>,
    /// There are more, later ones.
    pub has_more: bool,
    pub is_cut: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptSpan {
    /// 16 hexadecimal digits.
    pub span: String,
    /// Empty for one that nobody called.
    pub parent: String,
    pub name: String,
    /// `server`, `client`, `internal`, `producer`, `consumer`.
    pub kind: String,
    pub stack: String,
    pub service: String,
    pub instance: String,
    pub start_ns: i64,
    pub duration_ms: f64,
    /// `ok`, `error` or empty.
    pub status: String,
    pub message: String,
    pub scope: String,
    pub attributes: Map<String, Value>,
    pub events: Vec<SpanEvent>,
    pub links: Vec<SpanLink>,
    pub resource: Map<String, Value>,
    /// Attributes, events and links that were not kept, for there were too many.
    pub left_out: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpanEvent {
    /// Since the span began.
    pub at_ms: f64,
    pub name: String,
    pub attributes: Map<String, Value>,
}

/// Another span it has to do with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpanLink {
    pub trace: String,
    pub span: String,
}
