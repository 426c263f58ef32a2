//! One running copy of a service: what the engine is told, and what it sees.

use crate::image::ImageConfig;
use crate::service::{Hooks, ProcessSettings, Resources};
use crate::{Digest, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Everything an engine needs to create one instance; nothing in it is left to choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpec {
    pub id: InstanceId,
    pub stack: StackName,
    pub service: ServiceName,
    /// 1-based number among the replicas of its service.
    pub slot: u32,
    pub release: ReleaseId,
    /// Hash of everything that makes two instances interchangeable.
    pub spec_hash: Digest,
    /// Manifest digest of the image, for people and for keeping it from being collected.
    pub image: Digest,
    /// Uncompressed layer digests, lowest first.
    pub layers: Vec<Digest>,
    pub image_config: ImageConfig,
    /// Entry point and command together, resolved.
    pub argv: Vec<String>,
    /// Image, service and platform values together.
    pub environment: BTreeMap<String, String>,
    pub process: ProcessSettings,
    pub resources: Resources,
    pub mounts: Vec<ResolvedMount>,
    /// Content placed as read-only files (configs and secrets).
    pub files: Vec<PlacedFile>,
    pub network: InstanceNetwork,
    /// The instance whose memory and semaphores it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc_of: Option<InstanceId>,
    /// The instance whose processes it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_of: Option<InstanceId>,
    pub hostname: String,
    pub stop_signal: String,
    pub stop_grace_ms: u64,
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    pub log_max_bytes: u64,
    /// Nothing is kept with 0.
    pub log_max_files: u32,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedMount {
    pub source: crate::mount::MountSource,
    pub target: String,
    pub read_only: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// `driver_opts` of its named volume: `type`, `device`, `o`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volume_options: BTreeMap<String, String>,
}

/// A file whose content lies in the engine's protected store, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFile {
    /// Absolute host path of the content.
    pub source: PathBuf,
    pub target: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InstanceNetwork {
    Host,
    None,
    /// Joins the network of another instance.
    Instance {
        id: InstanceId,
    },
    /// Own network namespace with one link per network, the first carrying the default route.
    Links {
        links: Vec<Link>,
        dns: Vec<IpAddr>,
    },
}

impl InstanceNetwork {
    /// Where this host reaches what listens in it; `of` is asked for the network of another instance.
    pub fn address<'a>(&self, of: impl FnOnce(&InstanceId) -> Option<&'a Self>) -> Option<IpAddr> {
        match self {
            Self::Instance { id } => of(id)?.own_address(),
            _ => self.own_address(),
        }
    }

    /// Whose network others join has one of its own, or none.
    fn own_address(&self) -> Option<IpAddr> {
        match self {
            Self::Links { links, .. } => links.first().map(|link| link.address),
            Self::Host => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Self::None | Self::Instance { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub network: NetworkSpec,
    pub address: IpAddr,
    /// Hardware address, in hexadecimal with colons; one that follows from `address` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Name of the interface inside; `eth` and its number among the links when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Addresses beside its own that are valid on this link only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
}

impl Link {
    pub fn new(network: NetworkSpec, address: IpAddr) -> Self {
        Self { network, address, mac: None, interface: None, link_local: Vec::new() }
    }
}

/// A network of this host: one bridge, one subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Interface name of the bridge, at most 15 characters.
    pub bridge: String,
    /// Address of the bridge itself, which is also default route and name server.
    pub gateway: IpAddr,
    pub prefix_len: u8,
    /// No way out.
    pub internal: bool,
    /// Virtual addresses of the services on this network, held by the bridge.
    pub virtual_addresses: Vec<IpAddr>,
    /// Largest packet; that of the way out when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// What an engine sees of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub spec: InstanceSpec,
    pub state: InstanceState,
    /// How often it was started, the first time included.
    pub starts: u32,
    /// Starts in a row that ended within ten seconds.
    pub quick_failures: u32,
    /// It runs, and commands that are to be run right after its start have not all ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_preparing: bool,
    /// TCP ports on which something inside listens on all addresses or its own.
    pub listening: Vec<u16>,
    /// The same for UDP, as far as a port can be told from that of a client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listening_udp: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InstanceState {
    /// Prepared, never started.
    Created,
    Running {
        pid: i32,
        since: Timestamp,
    },
    Exited(Exit),
    /// Its supervisor vanished without a record (power cut, reboot).
    Lost,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal when ended by one, as shells say it.
    pub code: i32,
    #[serde(default)]
    pub signal: Option<i32>,
    /// The kernel ended it for lack of memory.
    #[serde(default)]
    pub oom: bool,
    /// It was stopped on purpose.
    #[serde(default)]
    pub requested: bool,
    /// It never ran: why.
    #[serde(default)]
    pub start_error: Option<String>,
    pub started: Timestamp,
    pub finished: Timestamp,
}

/// What health checks say of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No check is declared.
    #[default]
    Unchecked,
    Starting,
    Healthy,
    Unhealthy,
}

impl Exit {
    /// One phrase for people: `exited with code 3`, `killed by signal 9 (out of memory)`.
    pub fn describe(&self) -> String {
        match (self.signal, &self.start_error) {
            (_, Some(error)) => format!("could not start: {error}"),
            (Some(signal), _) if self.oom => format!("killed by signal {signal} (out of memory)"),
            (Some(signal), _) => format!("killed by signal {signal}"),
            (None, _) if self.oom => format!("exited with code {} after running out of memory", self.code),
            (None, _) => format!("exited with code {}", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_network_is_reached_where_its_owner_is() {
        let id = InstanceId::new("1".repeat(12)).expect("an id");
        let joined = InstanceNetwork::Instance { id: id.clone() };
        let local = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(joined.address(|_| Some(&InstanceNetwork::Host)), local);
        assert_eq!(joined.address(|asked| (*asked != id).then_some(&InstanceNetwork::Host)), None);
        // Nobody joins one who joined.
        assert_eq!(joined.address(|_| Some(&joined)), None);
        assert_eq!(InstanceNetwork::None.address(|_| Some(&joined)), None);
    }
}
