//! What the engine is told when it is opened.

pub use crate::record::Unprivileged;
use model::Digest;
use std::path::PathBuf;
use std::sync::Arc;

/// Where unpacked image layers lie.
pub trait LayerSource: Send + Sync {
    /// The directory of an unpacked layer by its uncompressed digest; `None` when it is not there.
    fn layer_dir(&self, digest: &Digest) -> Option<PathBuf>;
}

/// Directories are made by [`HostEngine::open`](crate::HostEngine::open) with mode 0700.
#[derive(Clone)]
pub struct HostConfig {
    /// `<state>/instances/<id>/`: what must survive a reboot.
    pub state: PathBuf,
    /// Name spaces, sockets, mount points, copies of secrets; on a tmpfs, gone after a reboot.
    pub runtime: PathBuf,
    pub layers: Arc<dyn LayerSource>,
    /// Named volumes lie at `<volumes>/<name>/data`.
    pub volumes: PathBuf,
    /// This program, which is run again as shim, helper and OCI runtime.
    pub executable: PathBuf,
    /// Output of all instances together takes at most this much disk (plus one line).
    pub log_budget_bytes: u64,
    /// Absent where this is root of the machine.
    pub unprivileged: Option<Unprivileged>,
}
