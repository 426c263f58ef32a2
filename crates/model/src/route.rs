//! Where connections go: the whole of what the gateway knows, replaced at once.

use crate::service::Protocol;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Version of the form of [`RouteTable`] on the wire and on disk.
pub const ROUTE_TABLE_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub version: u32,
    /// Grows with each change; an older one than the present is refused.
    pub revision: u64,
    pub listeners: Vec<Listener>,
    /// By [`BackendId`].
    pub backends: BTreeMap<BackendId, Backend>,
    /// One zone for each network: who asks decides what a name means.
    pub zones: Vec<NameZone>,
}

/// `stack/service:port`.
pub type BackendId = String;

/// One address the gateway listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub address: SocketAddr,
    pub protocol: Protocol,
    pub backend: BackendId,
    /// For people outside (a published port) rather than between services.
    pub public: bool,
}

/// The instances behind one port of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Identity over table changes, so that counters and pools survive.
    pub instance: String,
    pub address: SocketAddr,
    /// Finishes what it has, gets nothing new.
    #[serde(default)]
    pub draining: bool,
}

/// What names mean on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameZone {
    /// Port 53 of this address answers (UDP and TCP): the bridge's own address.
    pub listen: IpAddr,
    /// Lower-case name → addresses.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Names not in it are asked of the host's resolvers; false on internal networks.
    pub forward: bool,
}

impl RouteTable {
    /// A table that routes nothing.
    pub fn empty() -> Self {
        Self {
            version: ROUTE_TABLE_VERSION,
            revision: 0,
            listeners: Vec::new(),
            backends: BTreeMap::new(),
            zones: Vec::new(),
        }
    }
}

/// What the gateway answers to a new table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyReport {
    pub revision: u64,
    /// Addresses that could not be bound, with the reason; everything else is in force.
    pub failed: Vec<BindFailure>,
    /// The address actually bound, for each listener that asked for port 0 of a host address.
    pub bound: Vec<(SocketAddr, SocketAddr)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindFailure {
    pub address: SocketAddr,
    pub error: String,
}
