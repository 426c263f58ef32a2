//! The embedded engine: Linux containers on this host, without any daemon of others.
//!
//! ```text
//!  daemon: HostEngine ── runs ──▶ juchu shim (one per instance) ── creates ──▶ the program
//!     │  ▲                            │ output, exit.json                        ▲
//!     │  └── pidfd, records ──────────┘                                          │
//!     └── runs ──▶ juchu enter (exec) ── joins ──────────────────────────────────┘
//! ```
//! Reading order: [`config`], [`engine`], then what runs in other processes: [`shim`], [`enter`],
//! [`oci`]. Those entry points must be called before any thread exists.

mod apart;
mod capabilities;
mod cgroup;
mod clock;
mod console;
mod container;
mod durable;
mod executor;
mod init;
mod layout;
mod log;
mod process;
mod program;
mod record;
mod rootfs;
mod seccomp;
mod spec;
mod sys;
mod users;

pub mod config;
pub mod engine;
pub mod enter;
pub mod memory;
pub mod oci;
pub mod rootless;
pub mod shim;
pub mod sync;
pub mod work;

pub use config::{HostConfig, LayerSource, Unprivileged};
pub use engine::HostEngine;
pub use log::{OutputChanges, OutputLine, OutputReader};
pub use work::{Pressure, WorkGroup};

/// Where the instance of an engine over `state` has what it writes.
pub fn instance_directory(state: &std::path::Path, id: &model::InstanceId) -> std::path::PathBuf {
    layout::instances(state).join(id.as_str())
}

/// The instances of an engine over `state`, running or not, by the names of their directories.
pub fn instance_ids(state: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(layout::instances(state)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What an instance was made from; `None` while it is not written down yet.
pub fn instance_spec(state: &std::path::Path, id: &str) -> Option<model::instance::InstanceSpec> {
    durable::read_json(&layout::instances(state).join(id).join("spec.json")).ok()?
}

/// Whether a process or thread was refused to the container while it was there.
pub fn refused_tasks(id: &model::InstanceId) -> bool {
    cgroup::Hierarchies::detect().is_ok_and(|all| all.group(id.as_str()).refused_tasks() > 0)
}

/// Where the kernel counts what instances use.
#[derive(Debug, Clone)]
pub struct Groups(cgroup::Hierarchies);

impl Groups {
    pub fn detect(user: Option<&Unprivileged>) -> std::io::Result<Self> {
        cgroup::Hierarchies::detect_for(user).map(Self)
    }

    /// The one directory of an instance, where one holds everything.
    pub fn unified(&self, id: &model::InstanceId) -> Option<std::path::PathBuf> {
        self.0.is_pure_v2().then(|| self.0.group(id.as_str()).unified_dir())?
    }

    /// The directory of an instance for one controller of version 1.
    pub fn controller(&self, id: &model::InstanceId, name: &str) -> Option<std::path::PathBuf> {
        self.0.group(id.as_str()).dir(name)
    }
}

/// Mounts that this process makes from here on are its own and end with it. For processes with one
/// thread.
pub fn own_mounts() -> std::io::Result<()> {
    sys::new_mount_namespace()
}
