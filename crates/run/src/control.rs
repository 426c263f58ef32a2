//! What people can ask of the control plane, and what they are told: the one interface behind the
//! API, the console and the command line.
//!
//! The forms here are version 1 of the API; fields are added, never renamed.

use crate::engine::{ExecRequest, Lack, LogLine, LogQuery};
pub use crate::scraped::{Probed, Scraped};
pub use crate::watched::{Wanting, Watched, WatchedInstance};
use async_trait::async_trait;
use model::certificate::CertificateStatus;
use model::flow;
use model::instance::Health;
use model::{DurationMs, InstanceId, ReleaseId, Report, ServiceName, Stack, StackName, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::record::v1::{Difference, Intent, Outcome, ServiceFigures};
use store::{Entry, HistoryQuery, VerifyReport};
use tokio::sync::{mpsc, watch};

#[async_trait]
pub trait Control: Send + Sync {
    /// Accepts a change durably. Refused with `ErrorKind::Conflict` while another is carried out.
    async fn submit(&self, request: ChangeRequest) -> Result<Accepted, Report>;
    /// What happens to a change, from its beginning, until `Progress::Concluded`.
    async fn follow(&self, change: u64) -> Result<mpsc::Receiver<Progress>, Report>;
    /// What `up` or `deploy` would do, doing nothing.
    async fn preview(&self, request: ChangeRequest) -> Result<Preview, Report>;
    async fn stacks(&self) -> Result<Vec<StackStatus>, Report>;
    async fn stack(&self, name: &StackName) -> Result<StackStatus, Report>;
    /// Grows whenever something a person could see has changed.
    fn watch(&self) -> watch::Receiver<u64>;
    async fn history(&self, query: HistoryQuery) -> Result<Vec<Entry>, Report>;
    /// Lines of the instances of these services (all when empty), merged by time.
    async fn logs(
        &self,
        stack: &StackName,
        services: &[ServiceName],
        query: LogQuery,
    ) -> Result<mpsc::Receiver<ServiceLine>, Report>;
    /// The argument vector by which the caller's terminal enters an instance.
    async fn enter(
        &self,
        stack: &StackName,
        service: &ServiceName,
        slot: Option<u32>,
        request: ExecRequest,
        tty: bool,
    ) -> Result<Vec<String>, Report>;
    /// What services wrote, to be searched, where it is kept.
    fn rows(&self) -> Option<Arc<dyn crate::rows::Rows>> {
        None
    }
    /// Spans that services sent, where they are kept.
    fn traces(&self) -> Option<Arc<dyn crate::traces::Traces>> {
        None
    }
    /// What shows metrics of its own, now.
    async fn scraped(&self) -> Result<Vec<Scraped>, Report> {
        Ok(Vec::new())
    }
    /// Which addresses are to be probed, now.
    async fn probed(&self) -> Result<Vec<Probed>, Report> {
        Ok(Vec::new())
    }
    /// What is declared and seen of each service in force, now.
    async fn watched(&self) -> Result<Vec<Watched>, Report> {
        Ok(Vec::new())
    }
    /// Whom files want to be told about incidents of their stacks.
    async fn wanting(&self) -> Result<Vec<Wanting>, Report> {
        Ok(Vec::new())
    }
    /// What watches signals, where it does.
    fn ranges(&self) -> Option<Arc<dyn crate::ranges::Ranges>> {
        None
    }
    /// Writes down what changes nothing of a stack: an incident, a range.
    async fn note(
        &self,
        _stack: Option<StackName>,
        _actor: &str,
        _event: store::Event,
    ) -> Result<(), Report> {
        Err(Report::environment("there is no journal"))
    }
    async fn verify(&self) -> Result<VerifyReport, Report>;
    async fn lacks(&self) -> Result<Vec<Lack>, Report>;
    async fn daemon(&self) -> Result<DaemonStatus, Report>;
    /// The releases that are remembered, oldest first.
    async fn releases(&self, stack: &StackName) -> Result<Vec<ReleaseStatus>, Report>;
    /// What differs from one release to another.
    async fn compare(
        &self,
        stack: &StackName,
        from: ReleaseId,
        to: ReleaseId,
    ) -> Result<Vec<Difference>, Report>;
    /// Puts a gateway of this daemon's program in the place of the one that runs, without cutting a
    /// connection.
    async fn upgrade_gateway(&self) -> Result<GatewayUpgrade, Report>;
    /// What passes through the gateway, as counted since it started.
    async fn traffic(&self) -> Result<flow::Status, Report>;
    /// The oldest spans of requests that wait in the gateway; they wait no longer.
    async fn passed_spans(&self) -> Result<Vec<flow::PassedSpan>, Report> {
        Ok(Vec::new())
    }
    /// Where a request would go, and why; none is sent.
    async fn explain(&self, question: flow::Question) -> Result<flow::Explanation, Report>;
}

/// Somebody wants something changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeRequest {
    pub stack: StackName,
    pub intent: Intent,
    /// The resolved Compose file, for `up` and `deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Stack>,
    /// All when empty.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// Who asks: filled in by the API from what it knows of the peer.
    #[serde(default)]
    pub actor: String,
    #[serde(default)]
    pub why: String,
    /// The stack whose images are promoted, for `Intent::Promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StackName>,
    /// Even if it comes to a release that was rolled back before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub change: u64,
}

/// One step of a change's story, as NDJSON on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    Accepted {
        change: u64,
        at: Timestamp,
    },
    /// The differences against what is in force.
    Planned {
        differences: Vec<Difference>,
        steps: Vec<String>,
    },
    /// A service moved on. Repeated with new text while it lasts.
    Service {
        service: ServiceName,
        phase: Phase,
        text: String,
        at: Timestamp,
    },
    /// The change failed and the stack is steered back; the conclusion follows when it is there.
    GoingBack {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<ReleaseId>,
        cause: String,
    },
    Warning {
        text: String,
    },
    Concluded(Conclusion),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Waiting,
    Building,
    Starting,
    Checking,
    Ready,
    Stopping,
    Stopped,
    Done,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    pub change: u64,
    pub outcome: Outcome,
    /// One sentence.
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    pub took: DurationMs,
    /// Where people reach it.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// Set when the outcome is a failure: what to print and the exit code's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// The last log lines of what failed.
    #[serde(default)]
    pub last_lines: Vec<ServiceLine>,
    /// The release that was in force before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ReleaseId>,
    /// Until when the release before is kept warm: a rollback to it is a swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_until: Option<Timestamp>,
    /// What was measured of the services that were touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<ServiceFigures>,
}

/// One release of a stack as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseStatus {
    pub id: ReleaseId,
    pub made: Timestamp,
    /// The change it was made for, and the change's word, author and reason.
    pub change: u64,
    pub intent: Intent,
    pub actor: String,
    #[serde(default)]
    pub why: String,
    /// How it was judged; absent while that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// One sentence to the outcome.
    #[serde(default)]
    pub reason: String,
    pub standing: ReleaseStanding,
    /// The image of each service: `origin (short digest)`; empty when collected.
    #[serde(default)]
    pub images: std::collections::BTreeMap<ServiceName, String>,
    /// The same by the whole digest of each manifest.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub manifests: std::collections::BTreeMap<ServiceName, model::Digest>,
    /// Services that differ from the release before it.
    #[serde(default)]
    pub changed: Vec<ServiceName>,
}

/// What can be done with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum ReleaseStanding {
    /// In force.
    Active,
    /// Its instances run without traffic: going back is a swap.
    Warm { until: Timestamp },
    /// Its bundle and images are kept: going back starts it without a build.
    Kept,
    /// It was never in force, or was judged bad; it is kept to be looked at.
    Refused,
    /// Bundle and images are gone.
    Collected,
}

/// The gateway before and after it was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayUpgrade {
    pub before: Option<u32>,
    pub after: u32,
    /// Connections that the one before still has and finishes.
    pub draining: u64,
}

/// A published address of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub service: ServiceName,
    /// `http://127.0.0.1:8080` or `tcp://127.0.0.1:5432`.
    pub url: String,
    /// Measured on this host when the change ended; absent when nothing answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    pub differences: Vec<Difference>,
    /// What would be done, in order, as sentences.
    pub steps: Vec<String>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackStatus {
    pub name: StackName,
    pub state: State,
    pub directory: String,
    pub release: Option<ReleaseId>,
    /// The newest release, if it was rolled back: it is not tried again without a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<ReleaseId>,
    pub services: Vec<ServiceStatus>,
    pub addresses: Vec<Address>,
    /// What is going on, such as `deploy by root since 12:00:01`.
    pub pending: Option<String>,
    pub last_outcome: Option<(Outcome, String)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: ServiceName,
    pub state: State,
    /// One phrase: `2 of 2 ready`, `restarts in 3 s: exited with code 1`.
    pub text: String,
    pub replicas: u32,
    pub ready: u32,
    pub image: String,
    pub instances: Vec<InstanceStatus>,
    /// Host addresses, `0.0.0.0:8080->8000`.
    pub ports: Vec<String>,
    /// Of a service whose ports speak TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub id: InstanceId,
    pub slot: u32,
    pub release: ReleaseId,
    pub state: State,
    pub health: Health,
    pub text: String,
    pub pid: Option<i32>,
    pub since: Option<Timestamp>,
    pub starts: u32,
    pub memory_bytes: Option<u64>,
    pub cpu_us: Option<u64>,
    /// Of a release that is no longer in force; it is kept warm, or about to go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
}

/// The state of a stack, service or instance, in the order of how much it wants attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ready,
    /// Ran to its end with success (a job).
    Done,
    Stopped,
    Starting,
    Stopping,
    Unhealthy,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLine {
    pub service: ServiceName,
    pub slot: u32,
    #[serde(flatten)]
    pub line: LogLine,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub version: String,
    pub pid: u32,
    pub started: Timestamp,
    /// The gateway's process; absent when it does not answer.
    pub gateway_pid: Option<u32>,
    pub home: String,
}
