//! What passes through the gateway, as counted there, and where a request would go.

use crate::route::BindFailure;
use crate::service::{Protocol, Transport};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the table in force.
    pub revision: u64,
    pub pid: u32,
    pub uptime_ms: u64,
    /// Of the program.
    pub program: String,
    pub threads: usize,
    /// Client connections now.
    #[serde(default)]
    pub connections: u64,
    pub listeners: Vec<ListenerStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleStatus>,
    pub backends: Vec<BackendStatus>,
    /// Who calls whom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallStatus>,
    /// Addresses that could not be bound and are tried again.
    pub failed: Vec<BindFailure>,
    pub names: NameCounts,
    /// Spans of requests, recorded for whoever takes them.
    #[serde(default)]
    pub spans: SpanCounts,
    /// Lines of the access log that found its queue full.
    pub log_dropped: u64,
    /// Gateways that handed over and still finish what they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predecessors: Vec<PredecessorStatus>,
}

/// Since the gateway started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanCounts {
    pub recorded: u64,
    /// Not taken yet.
    pub waiting: u64,
    /// Nobody took them in time.
    pub lost: u64,
}

/// One request that passed the gateway, as a span. Identifiers are hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedSpan {
    pub trace: String,
    pub span: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    pub start_ns: u64,
    pub duration_us: u64,
    /// Until the answer's head was on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
    pub caller: Caller,
    pub backend: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub method: String,
    pub host: String,
    /// Without the query, which may hold secrets.
    pub path: String,
    /// Of HTTP.
    pub version: String,
    pub secured: bool,
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
    pub failed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What one caller had of one backend. Of HTTP `connections` and `active` stay 0; an error is also an
/// answer of 500 and above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStatus {
    pub caller: Caller,
    /// Empty where there were too many pairs to tell them apart.
    pub backend: String,
    pub counts: Counts,
}

/// Where a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// `stack/service`
    Service(String),
    /// Another machine, by a published port.
    Outside,
    /// A program of this machine that is no service.
    Host,
    /// An address on a stack's network that no instance has.
    Unknown,
    /// More callers than are told apart.
    Others,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service(name) => name,
            Self::Outside => "outside",
            Self::Host => "this host",
            Self::Unknown => "unknown",
            Self::Others => "others",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredecessorStatus {
    pub pid: u32,
    pub connections: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub asked: SocketAddr,
    pub bound: SocketAddr,
    pub backend: String,
    /// For people outside rather than between services.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    #[serde(default, skip_serializing_if = "is_tcp")]
    pub transport: Transport,
    pub counts: Counts,
}

fn is_tcp(transport: &Transport) -> bool {
    *transport == Transport::Tcp
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    pub rule: String,
    pub counts: Counts,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStatus {
    pub backend: String,
    /// Requests and connections for which no endpoint was there.
    pub without_endpoint: u64,
    pub endpoints: Vec<EndpointStatus>,
    /// Where the requests that an instance has at a time are limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// Where copies of its requests are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorStatus>,
}

/// Copies of requests, and how the service that gets them answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorStatus {
    pub to: String,
    /// Drawn and not copied: too large, or too many were under way.
    pub left_out: u64,
    pub counts: Counts,
}

/// Requests that found every instance at its limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    pub waiting: u64,
    /// That waited since the gateway started, and those of them that did so in vain.
    pub waited: u64,
    pub late: u64,
    /// Refused at once because the queue was full.
    pub full: u64,
    /// Refused for the sake of others: of low, normal and high priority.
    pub shed: [u64; 3],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    pub instance: String,
    pub address: SocketAddr,
    pub draining: bool,
    /// Requests that it may have at a time; none: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Standing::is_serving")]
    pub standing: Standing,
    pub counts: Counts,
}

/// Since the gateway started. `connections` are those accepted (listener) or opened (endpoint).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub connections: u64,
    /// Connections (TCP) and requests (HTTP) under way.
    pub active: u64,
    /// Finished HTTP requests.
    pub requests: u64,
    /// What could not be served: no endpoint, no connection, cut short.
    pub errors: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Responses by class, 1xx to 5xx.
    pub classes: [u64; 5],
    pub latency: Latency,
}

/// Durations of HTTP requests; buckets without a count are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub sum_us: u64,
    /// Sums of ln of microseconds and of its square, counted in parts of [`LN_UNIT`] each.
    #[serde(default, skip_serializing_if = "is_none_counted")]
    pub ln: u64,
    #[serde(default, skip_serializing_if = "is_none_counted")]
    pub ln_squares: u64,
    pub buckets: Vec<LatencyBucket>,
}

/// Logarithms are counted in whole parts of this size.
pub const LN_UNIT: u64 = 256;

fn is_none_counted(count: &u64) -> bool {
    *count == 0
}

/// Everything quicker than this is in the first bucket; from there on each doubling has four.
pub const QUICKEST_US: u64 = 16;

/// The least upper edge of a bucket that is not below `micros`.
pub fn bucket_edge_us(micros: u64) -> u64 {
    if micros <= QUICKEST_US {
        return QUICKEST_US;
    }
    let quarter = 1u64 << ((micros - 1).ilog2() - 2);
    micros.div_ceil(quarter).saturating_mul(quarter)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyBucket {
    /// Upper edge in microseconds.
    pub le_us: u64,
    pub count: u64,
}

impl Latency {
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }
    /// Upper edge of the bucket in which the quantile lies; at most a fifth too high.
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let rank = (self.count() as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets
            .iter()
            .find(|bucket| {
                seen += bucket.count;
                seen >= rank
            })
            .map(|bucket| bucket.le_us)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameCounts {
    /// Answered from a zone, "no such name" included.
    pub answered: u64,
    pub forwarded: u64,
    /// Forwarded without an answer in time.
    pub failed: u64,
    /// Malformed or from outside, thrown away.
    pub dropped: u64,
}

/// How far an instance is used at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    #[default]
    Serving,
    /// It failed lately: others first.
    Suspect,
    /// Left alone by the breaker.
    Paused,
    /// One request may try it.
    OnTrial,
    /// It has this share of what it will have, of 100.
    Returning(u8),
}

impl Standing {
    pub fn is_serving(&self) -> bool {
        *self == Self::Serving
    }
}

/// A request that is not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// It would come over TLS.
    #[serde(default)]
    pub tls: bool,
    /// As it stands in a URL; brackets belong to an IPv6 address.
    pub host: String,
    pub port: u16,
    /// The address it would be sent to, instead of that which the host means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// Where a request would go, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Where it would arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Arrival>,
    /// The rules that were looked at, that which takes it first; at most a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<Considered>,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub address: SocketAddr,
    pub protocol: Protocol,
    pub tls: bool,
    /// How many rules this address has.
    pub rules: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    pub rule: String,
    /// By which marks it takes requests, in words.
    pub takes: String,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// This one takes it.
    Takes,
    /// It would, but another is more specific.
    LessSpecific,
    OtherHost,
    OtherPath,
    OtherMethod,
    OtherHeaders,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing listens there; these ports are listened on.
    NobodyListens {
        ports: Vec<u16>,
    },
    /// TLS is spoken there and was not asked for, or the other way round.
    OtherSecurity {
        tls: bool,
    },
    /// Refused by the gateway.
    Refused {
        status: u16,
        reason: String,
    },
    Redirected {
        status: u16,
        location: String,
    },
    /// Answered by the gateway.
    Answered {
        status: u16,
    },
    /// From the files of a directory.
    Files {
        directory: String,
    },
    Forwarded {
        /// The request line as the instance gets it; absent where bytes are passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        to: Vec<Destination>,
    },
}

/// One service a request may go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub backend: String,
    /// Of ten thousand such requests.
    pub share: u32,
    /// How long it would wait for an instance.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold_ms: u64,
    pub instances: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub instance: String,
    pub address: SocketAddr,
    #[serde(default, skip_serializing_if = "Standing::is_serving")]
    pub standing: Standing,
    /// Its share of what the service gets, of ten thousand.
    pub share: u32,
}

fn is_zero(ms: &u64) -> bool {
    *ms == 0
}
