//! The port to rows of text that are kept: what services wrote, to be searched, counted and followed.
//!
//! The forms here are version 1 of the API; fields are added, never renamed.

use async_trait::async_trait;
use model::{Report, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[async_trait]
pub trait Rows: Send + Sync {
    /// The newest rows that match, in the order of time.
    async fn search(&self, question: RowQuestion) -> Result<RowAnswer, Report>;
    /// How many rows match, by time and by fields.
    async fn count(&self, question: RowCountQuestion) -> Result<RowCounts, Report>;
    /// Rows that match as they come, until the receiver is dropped.
    async fn follow(&self, question: RowQuestion) -> Result<mpsc::Receiver<KeptRow>, Report>;
}

/// Which rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowQuestion {
    /// Every row when empty.
    #[serde(default)]
    pub query: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// All when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// 1,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCountQuestion {
    #[serde(flatten)]
    pub rows: RowQuestion,
    /// Counted for each interval of so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Counted for each combination of the values of these fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeptRow {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    pub stack: String,
    pub service: String,
    pub instance: String,
    /// `stdout`, `stderr`, …
    pub source: String,
    /// Empty where the row does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub level: String,
    pub text: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowAnswer {
    pub rows: Vec<KeptRow>,
    /// There are more, older ones.
    pub has_more: bool,
    /// The search was not finished: its time or its memory was over.
    pub is_cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCount {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// In the order of the fields that were asked for; empty where a row has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    pub rows: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    pub counts: Vec<RowCount>,
    /// Rows of more combinations than are told apart.
    pub others: u64,
    pub is_cut: bool,
}
