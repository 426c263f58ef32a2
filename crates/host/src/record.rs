//! What is written to disk and sent between engine and shim: version 1 of each record.

use crate::layout::Layout;
use model::instance::{Exit, InstanceSpec};
use model::{InstanceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One start of an instance: written by the shim before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub version: u32,
    /// Number of this start, counted from 1.
    pub run: u32,
    /// Starts in a row before this one that ended within ten seconds.
    pub quick_failures: u32,
    pub boot_id: String,
    pub shim: ProcessId,
    /// The instance's first process; absent until it runs.
    #[serde(default)]
    pub init: Option<ProcessId>,
    pub started: Timestamp,
}

/// How a run ended: written by the shim as its last act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub version: u32,
    pub run: u32,
    /// This one included.
    pub quick_failures: u32,
    pub exit: Exit,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks after boot.
    pub start_time: u64,
}

/// What the shim is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub version: u32,
    pub layout: Layout,
    pub spec: InstanceSpec,
    pub run: u32,
    pub quick_failures: u32,
    /// Layer directories, topmost first.
    pub layers: Vec<PathBuf>,
    pub volumes: PathBuf,
    pub network: JobNetwork,
    /// First processes of the instances whose memory and processes it shares.
    #[serde(default)]
    pub ipc_of: Option<i32>,
    #[serde(default)]
    pub pid_of: Option<i32>,
    /// Who runs it, where that is not root of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprivileged: Option<Unprivileged>,
    /// Root of all instances' state, for the budget over all output.
    pub instances: PathBuf,
    pub log_budget_bytes: u64,
}

/// Root of a user name space only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unprivileged {
    /// The control group below which instances have theirs, or why there is none.
    pub groups: Result<String, String>,
    /// There are other users than root inside.
    pub has_ranges: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobNetwork {
    Host,
    None,
    /// A name space that is already there.
    Path(PathBuf),
}

/// What the shim says on its standard output, once, when the program runs or cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartReport {
    Running { run: Run },
    Failed(StartFailure),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StartFailure {
    /// The program: not found, not executable, wrong architecture.
    Program {
        reason: String,
        code: i32,
    },
    Mount {
        path: PathBuf,
        reason: String,
    },
    Limit {
        limit: String,
        reason: String,
    },
    Other {
        reason: String,
    },
}

impl StartFailure {
    /// The exit code a shell would give.
    pub fn code(&self) -> i32 {
        match self {
            Self::Program { code, .. } => *code,
            _ => 125,
        }
    }
    pub fn reason(&self) -> String {
        match self {
            Self::Program { reason, .. } | Self::Other { reason } => reason.clone(),
            Self::Mount { path, reason } => format!("{}: {reason}", path.display()),
            Self::Limit { limit, reason } => format!("the limit {limit} could not be put in force: {reason}"),
        }
    }
    pub fn into_engine_error(self, id: &InstanceId) -> run::engine::EngineError {
        use run::engine::EngineError;
        match self {
            Self::Mount { path, reason } => EngineError::Mount { path, reason },
            Self::Limit { limit, reason } => EngineError::Limit(limit, reason),
            Self::Program { reason, .. } | Self::Other { reason } => {
                EngineError::Start { id: id.clone(), reason }
            }
        }
    }
}

/// Runs shorter than this count as quick failures.
pub const QUICK_FAILURE_MS: u64 = 10_000;

/// The number of quick failures in a row after a run.
pub fn quick_failures(before: u32, exit: &Exit) -> u32 {
    let quick = exit.finished.since(exit.started).0 < QUICK_FAILURE_MS;
    if quick && !exit.requested { before.saturating_add(1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(ran_ms: i64, requested: bool) -> Exit {
        Exit {
            code: 1,
            signal: None,
            oom: false,
            requested,
            start_error: None,
            started: Timestamp(1_000),
            finished: Timestamp(1_000 + ran_ms),
        }
    }

    #[test]
    fn only_short_runs_that_nobody_asked_to_end_count() {
        assert_eq!(quick_failures(2, &exit(9_999, false)), 3);
        assert_eq!(quick_failures(2, &exit(10_000, false)), 0);
        assert_eq!(quick_failures(2, &exit(5, true)), 0);
        assert_eq!(quick_failures(u32::MAX, &exit(5, false)), u32::MAX);
    }

    #[test]
    fn the_exit_record_of_version_1_reads_for_ever() {
        let text = include_str!("../data/exit-v1.json");
        let ended: Ended = serde_json::from_str(text).expect("the golden file reads");
        assert_eq!((ended.run, ended.exit.code, ended.exit.signal), (3, 137, Some(9)));
        assert_eq!(
            serde_json::to_value(&ended).unwrap(),
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
    }
}
