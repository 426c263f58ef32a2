//! The port by which a recipe runs a foreign build tool (pip) inside a container of its own.

use crate::ImagePlan;
use model::DurationMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Runs one command to its end in a fresh container made from an image plan.
pub trait Runner: Send + Sync {
    /// Assembles `request.image`, runs `request.argv` in it, removes the container. `output` gets
    /// each line of standard output and error as it comes.
    fn run(&self, request: &RunRequest, output: &mut dyn FnMut(&str)) -> Result<RunOutcome, RunnerError>;
}

/// What to run. Nothing of the host is visible inside beside `mounts`.
#[derive(Debug)]
pub struct RunRequest {
    /// The root file system, writable for this run only.
    pub image: ImagePlan,
    pub argv: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: String,
    pub mounts: Vec<RunMount>,
    /// Whether it may reach the outside.
    pub network: bool,
    pub time_limit: DurationMs,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMount {
    /// Absolute on this host; a file or a directory.
    pub source: PathBuf,
    /// Absolute inside.
    pub target: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOutcome {
    pub code: i32,
    pub timed_out: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunnerError(pub String);

/// For callers without an engine: every run fails and says so.
pub struct NoRunner;

impl Runner for NoRunner {
    fn run(&self, _: &RunRequest, _: &mut dyn FnMut(&str)) -> Result<RunOutcome, RunnerError> {
        Err(RunnerError("no engine is there to run a build container".to_owned()))
    }
}
