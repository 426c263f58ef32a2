//! Version 1 of the API: addresses, parameters and bodies. Fields are added, never renamed.
//!
//! Answers are those of [`run::control`], as JSON; streams are NDJSON, status snapshots are
//! server-sent events. `docs/reference/api.md` describes each address.

pub use crate::calls::{Call, CallMap};
pub use crate::tokens::{May, NewToken, TokenStatus};
pub use crate::visits::{VisitDay, VisitReport, VisitedPage};
pub use run::control::{
    Accepted, Address, ChangeRequest, Conclusion, DaemonStatus, GatewayUpgrade, InstanceStatus, Phase,
    Preview, Progress, ReleaseStanding, ReleaseStatus, ServiceLine, ServiceStatus, StackStatus, State,
};
pub use run::engine::{ExecRequest, Lack, LogQuery};
pub use run::ranges::{
    BurnWindow, IncidentStatus, ObjectiveStatus, RangeChange, RangeStatus, ReceiverRequest, ReceiverStatus,
    SignalNote, Silence, SilenceRequest, Words,
};
pub use run::rows::{KeptRow, RowAnswer, RowCount, RowCountQuestion, RowCounts, RowQuestion};
pub use run::traces::{KeptSpan, Trace, TraceAnswer, TraceQuestion, TraceSummary};
pub use store::record::v1::Difference;
pub use store::{Entry, HistoryQuery, VerifyReport};

use model::{ReleaseId, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};

/// Every address of this version starts with it.
pub const ROOT: &str = "/api/v1";

/// The login behind `sudo`, said by a client whose own user is root.
pub const SUDO_USER_HEADER: &str = "juchu-sudo-user";
/// What a browser's session must send along with a change.
pub const FORM_TOKEN_HEADER: &str = "juchu-form-token";

/// Parameters of `GET history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only what people want to read.
    #[serde(default)]
    pub changes_only: bool,
    /// Entries, at most [`HISTORY_LIMIT_MAX`]; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Parameters of `GET visits`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitParams {
    /// Today and so many days before but one; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// Parameters of `GET map`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapParams {
    /// How long it looks back; 5 when absent, at most 360.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u32>,
}

pub const HISTORY_LIMIT_MAX: usize = 10_000;
const HISTORY_LIMIT: usize = 100;

/// Parameters of `GET stacks/{name}/logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogParams {
    /// Names separated by commas; all when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub services: String,
    #[serde(default)]
    pub follow: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Parameters of `GET stacks/{name}/releases/compare`: numbers of releases, `3` for `r3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareParams {
    pub from: ReleaseId,
    pub to: ReleaseId,
}

/// Body of `POST stacks/{name}/services/{service}/enter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnterRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    pub request: ExecRequest,
    #[serde(default)]
    pub tty: bool,
}

/// What the caller's terminal runs to be inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    pub argv: Vec<String>,
}

/// Body of `POST tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    pub name: String,
    /// Reading when empty.
    #[serde(default)]
    pub may: Vec<May>,
}

/// A one-time link to the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleLink {
    pub url: String,
    pub expires: Timestamp,
}

impl From<HistoryQuery> for HistoryParams {
    fn from(query: HistoryQuery) -> Self {
        let HistoryQuery { stack, service, after, changes_only, limit } = query;
        Self { stack, service, after, changes_only, limit: Some(limit) }
    }
}

impl From<HistoryParams> for HistoryQuery {
    fn from(params: HistoryParams) -> Self {
        let HistoryParams { stack, service, after, changes_only, limit } = params;
        let limit = limit.unwrap_or(HISTORY_LIMIT).min(HISTORY_LIMIT_MAX);
        Self { stack, service, after, changes_only, limit }
    }
}

impl LogParams {
    pub fn new(services: &[ServiceName], query: &LogQuery) -> Self {
        let names: Vec<&str> = services.iter().map(|s| s.as_str()).collect();
        Self { services: names.join(","), follow: query.follow, tail: query.tail, since: query.since }
    }

    /// The services named, or why one of them is no name.
    pub fn services(&self) -> Result<Vec<ServiceName>, model::IdError> {
        self.services.split(',').filter(|s| !s.is_empty()).map(ServiceName::new).collect()
    }

    pub fn query(&self) -> LogQuery {
        LogQuery { follow: self.follow, tail: self.tail, since: self.since }
    }
}
