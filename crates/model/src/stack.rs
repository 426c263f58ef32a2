//! What one Compose file declares, after interpolation, merging and defaults.

use crate::{NetworkName, Service, ServiceName, StackName, VolumeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// A stack as declared: everything relative is resolved, every short form expanded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    pub name: StackName,
    /// Absolute directory against which relative paths were resolved.
    pub directory: PathBuf,
    /// The Compose files it was read from, absolute, in merge order.
    pub files: Vec<PathBuf>,
    /// Only services whose profile is active.
    pub services: BTreeMap<ServiceName, Service>,
    /// Only networks that a service uses. `default` exists when a service uses it.
    pub networks: BTreeMap<NetworkName, Network>,
    /// By the key used in the file.
    pub volumes: BTreeMap<String, Volume>,
    pub configs: BTreeMap<String, FileSource>,
    pub secrets: BTreeMap<String, FileSource>,
    /// Top-level `x-juchu`, kept as it was for functions that read their own part of it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub policy: serde_json::Value,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The name on this host, unique over all stacks (`stack_key` unless declared).
    pub name: String,
    /// Made and removed by somebody else; it must exist.
    #[serde(default)]
    pub external: bool,
    /// No way out of this network.
    #[serde(default)]
    pub internal: bool,
    /// Declared subnet in CIDR form, else one is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Declared address of the bridge, else the first of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Instances get their addresses from this part of the subnet only, in CIDR form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
    /// `aux_addresses`: never given to anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Ipv4Addr>,
    /// Largest packet; that of the way out unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: VolumeName,
    #[serde(default)]
    pub external: bool,
    /// `driver_opts` of the local driver (`type`, `device`, `o`), else empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Where the content of a config or secret comes from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSource {
    /// An absolute path, read when a release is made.
    File(PathBuf),
    /// Given in the file (`content`) or by an environment variable, already resolved.
    Inline(String),
    /// Made by somebody else under this name; not available on this host.
    External(String),
}

/// Content is never printed: it may be a secret.
impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileSource::File(path) => write!(f, "File({})", path.display()),
            FileSource::Inline(text) => write!(f, "Inline({} bytes)", text.len()),
            FileSource::External(name) => write!(f, "External({name})"),
        }
    }
}
