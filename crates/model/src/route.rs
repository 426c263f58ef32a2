//! Where connections go: the whole of what the gateway knows, replaced at once.

use crate::rule::Rule;
use crate::service::{Protocol, Transport};
use crate::subnet::Cidr;
use crate::traffic::Traffic;
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
    /// As `listeners`, for UDP; what their `protocol` says has no meaning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datagrams: Vec<Listener>,
    /// Those whose names mean more than their network's zone says, by the address they ask from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub askers: BTreeMap<IpAddr, Asker>,
    /// Whose addresses they are that connections come from: `stack/service`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub callers: BTreeMap<IpAddr, String>,
}

/// `stack/service:port`, with `/udp` behind it for datagrams.
pub type BackendId = String;

/// One address the gateway listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub address: SocketAddr,
    pub protocol: Protocol,
    /// Empty: requests that no rule takes are not found here.
    pub backend: BackendId,
    /// For people outside (a published port) rather than between services.
    pub public: bool,
    /// When not 0: the first port that is free from that of `address` to this one.
    #[serde(default, skip_serializing_if = "is_no_port")]
    pub last_port: u16,
    /// For requests over HTTP; what none of them takes goes to `backend`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// TLS is spoken here, and what is served lies within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Requests are led to https at this port instead of being served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_port: Option<u16>,
    /// Each connection begins with a head of the PROXY protocol, from these; empty: from anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxied: Option<Vec<Cidr>>,
}

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerTls {
    /// Name of the certificate shown unless another is valid for the host the client asks for.
    pub certificate: String,
    /// What answers of its backend say under `Strict-Transport-Security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<String>,
}

/// The instances behind one port of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub endpoints: Vec<Endpoint>,
    /// How long new requests and connections wait while no endpoint takes them; 0: not at all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold_ms: u64,
    #[serde(default, skip_serializing_if = "Traffic::is_default")]
    pub traffic: Traffic,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Identity over table changes, so that counters and pools survive.
    pub instance: String,
    pub address: SocketAddr,
    /// Finishes what it has, gets nothing new. May be taken back: it serves again.
    #[serde(default)]
    pub draining: bool,
    /// How long it may take to finish, from the first table that has it draining. HTTP ends between
    /// requests, long streams are ended politely spread over this time, the rest is cut at its end.
    #[serde(default = "default_drain_ms", skip_serializing_if = "is_default_drain")]
    pub drain_ms: u64,
    /// Its part of what is new, against the other endpoints of its backend.
    #[serde(default = "default_weight", skip_serializing_if = "is_default_weight")]
    pub weight: u32,
}

/// Time to finish unless the table says otherwise.
pub const DEFAULT_DRAIN_MS: u64 = 30_000;
/// The weight of an endpoint unless the table says otherwise.
pub const DEFAULT_WEIGHT: u32 = 100;

fn default_drain_ms() -> u64 {
    DEFAULT_DRAIN_MS
}

fn default_weight() -> u32 {
    DEFAULT_WEIGHT
}

// What is as usual is not written, so that tables of the first version read and write as ever.
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

fn is_no_port(port: &u16) -> bool {
    *port == 0
}

fn is_default_drain(ms: &u64) -> bool {
    *ms == DEFAULT_DRAIN_MS
}

fn is_default_weight(weight: &u32) -> bool {
    *weight == DEFAULT_WEIGHT
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
    /// The network's own name: `web.shop_default` means what `web` means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// What an address is called; of those not in it the shortest of `names`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reverse: BTreeMap<IpAddr, String>,
}

/// An instance whose names mean more than the zone it asks says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asker {
    /// Its other zones, by where they listen, in the order in which they are looked through.
    pub zones: Vec<IpAddr>,
    /// Names that only it knows: lower-case name → the name that is meant.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
    /// Asked instead of the host's resolvers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
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
            datagrams: Vec::new(),
            askers: BTreeMap::new(),
            callers: BTreeMap::new(),
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
    /// The same with whose they are, for ranges and for UDP too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<BoundPort>,
}

/// A port that was chosen when it was bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPort {
    pub asked: SocketAddr,
    pub backend: BackendId,
    pub bound: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindFailure {
    pub address: SocketAddr,
    pub error: String,
    #[serde(default, skip_serializing_if = "is_tcp")]
    pub transport: Transport,
}

fn is_tcp(transport: &Transport) -> bool {
    *transport == Transport::Tcp
}
