//! The port to whatever runs instances. The embedded default is the crate `host`; adapters to
//! other engines pass the same contract suite.
//!
//! Every operation is idempotent: asked twice, the second call finds the work done and succeeds.

use async_trait::async_trait;
use model::instance::{InstanceSpec, NetworkSpec, Observed};
use model::{DurationMs, InstanceId, Timestamp, VolumeName};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

#[async_trait]
pub trait Engine: Send + Sync {
    /// Makes the bridge with its addresses and its way out, or corrects it.
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), EngineError>;
    async fn remove_network(&self, bridge: &str) -> Result<(), EngineError>;

    /// Writes down the instance durably; nothing runs yet. The same id with another spec is an error.
    async fn create(&self, spec: &InstanceSpec) -> Result<(), EngineError>;
    /// Mounts, links and runs the instance; returns when its program runs. A second start of a
    /// running instance does nothing; a start after an exit keeps the writable layer.
    async fn start(&self, id: &InstanceId) -> Result<(), EngineError>;
    /// Sends the stop signal, waits for the grace, then kills; returns when it has ended.
    async fn stop(&self, id: &InstanceId, grace: Option<DurationMs>) -> Result<(), EngineError>;
    /// Sends one signal, by name (`SIGTERM`) or number.
    async fn kill(&self, id: &InstanceId, signal: &str) -> Result<(), EngineError>;
    /// Ends it if it runs and removes everything but its named volumes.
    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError>;

    /// All instances of this engine, whoever made them, running or not.
    async fn observe(&self) -> Result<Vec<Observed>, EngineError>;
    /// Completes when something changed since the last call (an exit, a start); may be spurious.
    async fn changed(&self);

    /// Runs a command inside a running instance with captured output.
    async fn exec(&self, id: &InstanceId, request: ExecRequest) -> Result<ExecOutcome, EngineError>;
    /// Lines of the instance's output, oldest first; with `follow` until the receiver is dropped
    /// or the instance is removed.
    async fn logs(&self, id: &InstanceId, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, EngineError>;
    /// The argument vector by which a person's terminal enters the instance: this same program,
    /// run by the caller with the caller's own standard streams.
    fn enter(&self, id: &InstanceId, request: &ExecRequest, tty: bool) -> Vec<String>;

    async fn remove_volume(&self, name: &VolumeName) -> Result<(), EngineError>;
    async fn usage(&self, id: &InstanceId) -> Result<Usage, EngineError>;
    /// An unconnected socket from which instances can be reached.
    fn stream_socket(&self, to: SocketAddr) -> std::io::Result<TcpSocket> {
        match to.is_ipv4() {
            true => TcpSocket::new_v4(),
            false => TcpSocket::new_v6(),
        }
    }
    /// Whether limits can be had that this controller keeps (`memory`, `cpu`, `pids`, …).
    fn can_limit(&self, _controller: &str) -> bool {
        true
    }
    /// What this machine lacks for running instances, and the command that gives it.
    async fn lacks(&self) -> Vec<Lack>;
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("no instance {0}")]
    UnknownInstance(InstanceId),
    #[error("instance {0} does not run")]
    NotRunning(InstanceId),
    #[error("instance {0} exists with another specification")]
    Conflict(InstanceId),
    /// The program could not be started: not found, not executable, wrong architecture, …
    #[error("{id} could not start: {reason}")]
    Start { id: InstanceId, reason: String },
    /// A bind source is missing or a volume is a file.
    #[error("{path}: {reason}")]
    Mount { path: PathBuf, reason: String },
    #[error("the layer {0} is not in the image store")]
    MissingLayer(model::Digest),
    #[error("network {name}: {reason}")]
    Network { name: String, reason: String },
    #[error("no answer within {0}")]
    Timeout(DurationMs),
    /// A limit that was asked for is not in force.
    #[error("the limit {0} could not be put in force: {1}")]
    Limit(String, String),
    #[error("{context}")]
    Io {
        context: String,
        #[source]
        source: std::io::Error,
    },
}

impl EngineError {
    /// For `map_err`: `fs::read(&p).map_err(EngineError::io(format!("read {}", p.display())))`.
    pub fn io(context: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    pub argv: Vec<String>,
    /// Added to the instance's environment.
    pub environment: Vec<(String, String)>,
    /// The instance's own when absent.
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// With every right that this host's root has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    pub timeout: Option<DurationMs>,
    /// At most this many bytes of output are kept, from the start.
    pub output_limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutcome {
    pub code: i32,
    /// Standard output and error in the order they came, lossy UTF-8, cut at the limit.
    pub output: String,
    pub timed_out: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    pub follow: bool,
    /// Only the last so many lines; all when absent.
    pub tail: Option<usize>,
    pub since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: Timestamp,
    pub stream: LogStream,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// What an instance uses now; absent where the kernel does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Working set: what cannot be reclaimed.
    pub memory_bytes: Option<u64>,
    pub memory_limit_bytes: Option<u64>,
    /// Since it started.
    pub cpu_us: Option<u64>,
    pub tasks: Option<u64>,
}

/// Something this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    pub what: String,
    /// What does not work without it.
    pub effect: String,
    /// The command or action that gives it.
    pub hint: String,
    /// Nothing runs without it.
    pub fatal: bool,
}
