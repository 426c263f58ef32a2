//! What is kept of a container between two calls: its origin, and who its process is.
//!
//! The library's own record cannot be trusted: it says "stopped" after any signal.

use super::arguments::Global;
use crate::cgroup::{Cgroup, Hierarchies};
use crate::durable;
use crate::process;
use crate::record::ProcessId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stored {
    pub version: u32,
    pub id: String,
    pub bundle: PathBuf,
    pub created: String,
    pub process: ProcessId,
    pub started: bool,
    pub cgroup: String,
    /// `config.json` as it was written.
    pub config: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// The directory with what the library gets and what is stored here.
pub fn dir(global: &Global, id: &str) -> PathBuf {
    global.root.join(format!("{id}.juchu"))
}

impl Stored {
    pub fn load(global: &Global, id: &str) -> Result<Self, String> {
        Self::read(&dir(global, id))?.ok_or_else(|| format!("container {id} does not exist"))
    }

    pub fn read(dir: &Path) -> Result<Option<Self>, String> {
        let path = dir.join("stored.json");
        durable::read_json(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn save(&self, global: &Global) -> Result<(), String> {
        let path = dir(global, &self.id).join("stored.json");
        let text = serde_json::to_vec(self).expect("records of plain fields");
        durable::write_volatile(&path, &text).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn status(&self) -> Status {
        match (process::is_alive(self.process), self.started) {
            (false, _) => Status::Stopped,
            (true, false) => Status::Created,
            (true, true) if self.group().is_ok_and(|group| group.is_frozen()) => Status::Paused,
            (true, true) => Status::Running,
        }
    }

    pub fn group(&self) -> Result<Cgroup, String> {
        let hierarchies =
            Hierarchies::detect().map_err(|error| format!("find the control groups: {error}"))?;
        Ok(hierarchies.at(&self.cgroup))
    }

    pub fn process_section(&self) -> &Value {
        &self.config["process"]
    }
}
