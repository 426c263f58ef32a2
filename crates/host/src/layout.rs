//! Where the files of one instance lie.
//!
//! `<state>/instances/<id>` is durable: specification, history, writable layer, output.
//! `<runtime>/instances/<id>` lives as long as the boot: bundle, sockets, copies of secrets.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub state: PathBuf,
    pub runtime: PathBuf,
}

impl Layout {
    pub fn new(state: &Path, runtime: &Path, id: &str) -> Self {
        Self { state: instances(state).join(id), runtime: instances(runtime).join(id) }
    }

    pub fn spec(&self) -> PathBuf {
        self.state.join("spec.json")
    }
    /// The last start: who supervises it.
    pub fn run(&self) -> PathBuf {
        self.state.join("run.json")
    }
    /// How the last run ended; written last of all.
    pub fn exit(&self) -> PathBuf {
        self.state.join("exit.json")
    }
    /// Holds the number of the run that was stopped on purpose.
    pub fn stop(&self) -> PathBuf {
        self.state.join("stop")
    }
    pub fn upper(&self) -> PathBuf {
        self.state.join("upper")
    }
    pub fn work(&self) -> PathBuf {
        self.state.join("work")
    }
    pub fn anonymous(&self, number: usize) -> PathBuf {
        self.state.join("anonymous").join(number.to_string())
    }
    pub fn logs(&self) -> PathBuf {
        self.state.join("log")
    }

    /// What the shim is told; it finds everything else by this.
    pub fn job(&self) -> PathBuf {
        self.runtime.join("job.json")
    }
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("lock")
    }
    pub fn bundle(&self) -> PathBuf {
        self.runtime.join("bundle")
    }
    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }
    /// Root of the container library's own state.
    pub fn container_root(&self) -> PathBuf {
        self.runtime.join("container")
    }
    /// Where the `/dev/shm` of another instance is mounted that is shared.
    pub fn shared_memory(&self) -> PathBuf {
        self.runtime.join("shm")
    }
    /// Holds the number of the run whose commands after the start have ended well.
    pub fn prepared(&self) -> PathBuf {
        self.state.join("prepared")
    }
    /// Files placed into the instance: hosts, resolv.conf, configs and secrets.
    pub fn placed(&self) -> PathBuf {
        self.runtime.join("placed")
    }
}

pub fn instances(root: &Path) -> PathBuf {
    root.join("instances")
}

/// Held by the shims' common parent and by each shim until its start is on record.
pub fn starts_lock(runtime: &Path) -> PathBuf {
    runtime.join("starts.lock")
}

/// The network name spaces of all instances.
pub fn netns_dir(runtime: &Path) -> PathBuf {
    runtime.join("netns")
}
