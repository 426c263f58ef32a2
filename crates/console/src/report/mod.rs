//! All that is known of one incident, gathered from the journal, measurements, rows and traces; and
//! what is not known, said plainly.

pub mod frames;
mod gather;

pub use gather::gather;

use crate::story::{Change, Incident as Happened};
use async_trait::async_trait;
use frames::Place;
use model::{Digest, ReleaseId, Timestamp};
use run::ranges::IncidentStatus;
use run::traces::TraceSummary;
use serde::{Deserialize, Serialize};

/// Where images come from, beyond what a release says.
#[async_trait]
pub trait Origins: Send + Sync {
    /// The commit that was checked out where the image of this manifest was built.
    async fn commit(&self, manifest: &Digest) -> Option<String>;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentReport {
    pub incident: IncidentStatus,
    /// The time that was looked at.
    pub from: Timestamp,
    pub to: Timestamp,
    /// One sentence.
    pub cause: String,
    /// The change before it, with what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseOrigin>,
    /// Those that failed most or took longest, the worst first.
    pub routes: Vec<RouteTrouble>,
    /// What happened to instances.
    pub events: Vec<Happened>,
    /// Rows at warning level and above, alike ones together, the most frequent first.
    pub rows: Vec<RowGroup>,
    /// The line of code that stack traces name most often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeLine>,
    /// Failed ones, the newest first.
    pub traces: Vec<TraceSummary>,
    /// What is not known, a sentence for each.
    pub unknown: Vec<String>,
}

/// Who made what ran, of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseOrigin {
    pub release: ReleaseId,
    pub made: Timestamp,
    pub actor: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// `origin (short digest)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTrouble {
    /// `shop/web#1`, or the address.
    pub route: String,
    pub failed: f64,
    /// The time within which 95 of 100 were answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroup {
    pub rows: u64,
    pub first: Timestamp,
    pub service: String,
    pub instance: String,
    pub level: String,
    /// Of the first of them.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeLine {
    #[serde(flatten)]
    pub place: Place,
    pub rows: u64,
    /// The row's own words: what went wrong there.
    pub text: String,
}
