//! `develop.watch`: what is done in the instances of a service when a file of its author changes.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// One rule of a service. Patterns follow `.dockerignore` and are relative to `path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRule {
    /// A file or a directory of this machine; absolute.
    pub path: PathBuf,
    pub action: WatchAction,
    /// Where `path` is inside the instance; empty only where nothing is synced.
    pub target: String,
    pub ignore: Vec<String>,
    /// Only these, where there are any.
    pub include: Vec<String>,
    /// Everything below `path` is synced when the watch begins.
    pub initial_sync: bool,
    pub exec: Option<WatchExec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchAction {
    Rebuild,
    Sync,
    Restart,
    SyncRestart,
    SyncExec,
}

impl WatchAction {
    pub const ALL: [Self; 5] = [Self::Rebuild, Self::Sync, Self::Restart, Self::SyncRestart, Self::SyncExec];

    /// As the Compose file writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Sync => "sync",
            Self::Restart => "restart",
            Self::SyncRestart => "sync+restart",
            Self::SyncExec => "sync+exec",
        }
    }

    /// Whether files are copied into the instances.
    pub const fn syncs(self) -> bool {
        matches!(self, Self::Sync | Self::SyncRestart | Self::SyncExec)
    }
}

/// The command of `sync+exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchExec {
    pub command: Vec<String>,
    /// The instance's own when absent.
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub environment: BTreeMap<String, String>,
    pub privileged: bool,
}
