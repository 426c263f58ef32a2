//! Version 1 of the journal's events.
//!
//! Values that may be secret (environment, configs, the resolved stack) are not in the journal:
//! it refers by digest to content in the protected blob table.

use model::image::BuiltImage;
use model::range::Level;
use model::{Digest, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};

/// Something that happened to one stack, or to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "an event lives for one append; a box would only be in the way")]
pub enum Event {
    /// Somebody asked for a change and was told it is accepted; it will be carried out even when
    /// the daemon dies now.
    ChangeAccepted {
        intent: Intent,
        /// The resolved stack (a blob), for intents that declare one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stack: Option<Digest>,
        /// The services concerned; all when empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        services: Vec<ServiceName>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
        /// The stack whose release is promoted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<StackName>,
        /// Even if it is a release again that was rolled back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// `inputs` is what the image was a function of, so that an unchanged service is not rebuilt.
    ImageBuilt {
        service: ServiceName,
        inputs: Digest,
        image: BuiltImage,
    },
    /// `change` is the number of the `ChangeAccepted` entry that led to it.
    ReleaseMade {
        release: ReleaseId,
        change: u64,
        /// The release itself (a blob).
        bundle: Digest,
        differences: Vec<Difference>,
        /// Equal for releases that are made of the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made_of: Option<Digest>,
    },
    /// From now on this release is what the stack is steered to; `None` before the first.
    ReleaseActivated {
        release: Option<ReleaseId>,
        change: u64,
        reason: String,
    },
    /// The change failed: from now on the stack is steered back to this release (`None`: to nothing
    /// that was kept), and the change ends when it is there.
    GoingBack {
        release: Option<ReleaseId>,
        change: u64,
        cause: String,
        /// The instance whose last lines tell why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<InstanceId>,
    },
    /// These can no longer be gone back to; their bundles and images may be removed.
    ReleasesCollected {
        releases: Vec<ReleaseId>,
        reason: String,
    },
    /// A plan whose parent was the present one; its steps are carried out or found done.
    PlanAccepted {
        plan: u64,
        parent: u64,
        steps: Vec<String>,
    },
    StepDone {
        plan: u64,
        step: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The end of a change.
    Concluded {
        change: u64,
        outcome: Outcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<ReleaseId>,
        reason: String,
        took_ms: u64,
        /// What was measured of the services that were touched.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        figures: Vec<ServiceFigures>,
    },
    /// Seen on an instance: started, exited, healthy, unhealthy, removed.
    InstanceSeen {
        service: ServiceName,
        instance: InstanceId,
        what: Seen,
        detail: String,
    },
    /// A service of a release was compared with that of the release before while both served.
    Judged {
        release: ReleaseId,
        change: u64,
        service: ServiceName,
        verdict: Verdict,
        text: String,
        /// The test that found most, beside what it needs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
        /// By which noise it was judged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        basis: Option<String>,
        /// Settings and every look, from which the verdict follows (a blob).
        judgement: Digest,
    },
    DaemonStarted {
        version: String,
        pid: u32,
    },
    /// Something was outside its normal range, or somebody took note of it; of this machine when
    /// there is no service.
    Incident {
        incident: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        what: IncidentStep,
        level: Level,
        text: String,
    },
    /// Somebody said what is normal.
    RangeChanged {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        signal: String,
        /// One sentence.
        text: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
}

/// What became of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStep {
    Opened,
    Worse,
    Again,
    Over,
    Acknowledged,
    Silenced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "snake_case")]
pub enum Intent {
    /// Make it as declared; build only what changed.
    Up,
    /// Build anew and roll out.
    Deploy,
    Stop,
    Start,
    /// Everything that started before `at` is started again.
    Restart {
        at: Timestamp,
    },
    /// Remove the stack, with its volumes when asked.
    Down {
        volumes: bool,
    },
    /// Go back to a kept release; without a number, to the last one in which something of the
    /// services concerned differs.
    Rollback {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ReleaseId>,
    },
    /// The images of another stack's release with this stack's own values; without a number, of the
    /// release that is in force there.
    Promote {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<ReleaseId>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In force and ready.
    Kept,
    /// Nothing was different.
    Unchanged,
    /// Not in force; what ran before goes on.
    Failed,
    RolledBack,
    Undecided,
    /// Another change took its place before it ended.
    Superseded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    Started,
    Exited,
    CrashLoop,
    Healthy,
    Unhealthy,
    Lost,
    Removed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not much worse, or not found to be worse.
    Kept,
    Worse,
    /// Too little traffic.
    Undecided,
}

/// What was measured of one service while a change was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFigures {
    pub service: ServiceName,
    /// Replicas that were started or replaced.
    pub instances: u32,
    /// From its first step to the moment its last replica was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// From there to the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_ms: Option<u64>,
    /// How long none of its replicas could take traffic although it was wanted.
    #[serde(default)]
    pub gap_ms: u64,
    /// Longest time the gateway took to put its new routes in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_us: Option<u64>,
    /// What came of comparing it with the release before, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<String>,
}

/// One thing that differs between two releases; secret values appear as short fingerprints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Such as `image`, `environment.DEBUG`, `replicas`, or `service` when it came or went.
    pub field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl IncidentStep {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worse => "worse",
            Self::Again => "again",
            Self::Over => "over",
            Self::Acknowledged => "acknowledged",
            Self::Silenced => "silenced",
        }
    }
}

impl Intent {
    /// The word people know it by.
    pub const fn word(self) -> &'static str {
        match self {
            Intent::Up => "up",
            Intent::Deploy => "deploy",
            Intent::Stop => "stop",
            Intent::Start => "start",
            Intent::Restart { .. } => "restart",
            Intent::Down { .. } => "down",
            Intent::Rollback { .. } => "rollback",
            Intent::Promote { .. } => "promote",
        }
    }
}

impl Outcome {
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Kept => "kept",
            Outcome::Unchanged => "unchanged",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled back",
            Outcome::Undecided => "undecided",
            Outcome::Superseded => "superseded",
        }
    }
}
