//! What a service sees in its file tree beside its image.

use crate::{Bytes, VolumeName};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: MountSource,
    /// Absolute path inside the instance.
    pub target: String,
    #[serde(default)]
    pub read_only: bool,
    /// What else is said of it, as mount(8) says it: `rslave`, `noexec`, `uid=1000`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MountSource {
    /// A host path, absolute. With `create` a missing directory is made (Compose's short form).
    Bind {
        path: PathBuf,
        create: bool,
        #[serde(default)]
        recursive: bool,
    },
    /// A named volume. Its first use copies what the image has at the target unless `no_copy`.
    Volume {
        name: VolumeName,
        #[serde(default)]
        no_copy: bool,
        #[serde(default)]
        subpath: Option<String>,
    },
    /// A volume of this instance alone, removed with it (`- /path` short form).
    Anonymous,
    Tmpfs {
        #[serde(default)]
        size: Option<Bytes>,
        #[serde(default)]
        mode: Option<u32>,
    },
}

/// A config or secret placed as a read-only file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileGrant {
    /// Key in the stack's `configs` or `secrets`.
    pub source: String,
    /// Absolute path inside the instance (`/NAME` for configs, `/run/secrets/NAME` for secrets).
    pub target: String,
    #[serde(default)]
    pub uid: Option<u32>,
    #[serde(default)]
    pub gid: Option<u32>,
    /// Permission bits, 0o444 unless declared.
    #[serde(default)]
    pub mode: Option<u32>,
}
