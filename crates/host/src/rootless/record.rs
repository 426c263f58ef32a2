//! What is written down of the name spaces: who keeps them. Version 1 of the record.

use super::RootlessError;
use crate::record::ProcessId;
use crate::{durable, process};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub version: u32,
    pub boot_id: String,
    pub keeper: ProcessId,
    /// The program that carries what goes out.
    #[serde(default)]
    pub outbound: Option<ProcessId>,
    pub has_ranges: bool,
}

pub fn lock(runtime: &Path) -> PathBuf {
    runtime.join("keeper.lock")
}

fn file(runtime: &Path) -> PathBuf {
    runtime.join("keeper.json")
}

pub fn boot_id() -> Result<String, RootlessError> {
    process::boot_id().map_err(RootlessError::io("read the boot id"))
}

impl Kept {
    /// The record of this boot, whoever lives of those it names.
    pub fn read(runtime: &Path) -> Option<Self> {
        let kept: Self = durable::read_json(&file(runtime)).ok()??;
        (kept.version == 1 && kept.boot_id == process::boot_id().ok()?).then_some(kept)
    }

    /// The record, if its keeper lives.
    pub fn alive(runtime: &Path) -> Option<Self> {
        Self::read(runtime).filter(|kept| process::is_alive(kept.keeper))
    }

    pub fn write(&self, runtime: &Path) -> Result<(), RootlessError> {
        let text = serde_json::to_vec(self).expect("a record of plain fields");
        let path = file(runtime);
        durable::write_volatile(&path, &text).map_err(RootlessError::io(format!("write {}", path.display())))
    }

    /// What carries the way out ends: of a keeper that has gone it is of no use.
    pub fn end_outbound(&self) {
        let alive = self.outbound.filter(|carrier| process::is_alive(*carrier));
        if let Some(pid) = alive.and_then(|carrier| Pid::from_raw(carrier.pid)) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    pub fn remove(runtime: &Path) {
        // Without its keeper the record counts for nothing anyway.
        let _ = std::fs::remove_file(file(runtime));
    }
}
