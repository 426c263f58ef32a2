//! Version 1 of what is said on the control socket: one JSON object on one line each way.

use model::route::{ApplyReport, RouteTable};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

pub use model::flow::{
    BackendStatus, CallStatus, Caller, Counts, EndpointStatus, Explanation, Latency, LatencyBucket,
    ListenerStatus, MirrorStatus, NameCounts, PassedSpan, PredecessorStatus, Question, QueueStatus,
    RuleStatus, SpanCounts, Status,
};

/// Version of the form of requests and replies.
pub const CONTROL_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLine {
    pub version: u32,
    pub request: Request,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Puts a whole table in force.
    Apply {
        table: RouteTable,
    },
    Status,
    /// Takes the oldest spans that wait; asked again until there are none.
    Spans,
    /// Where a request would go, and why.
    Explain {
        question: Question,
    },
    /// Reads the directory of certificates anew.
    Certificates,
    /// Waits until nothing goes to the instance any more, at most `deadline_ms`.
    Drain {
        instance: String,
        deadline_ms: u64,
    },
    /// Ends the gateway after at most `grace_ms` for what is under way.
    Shutdown {
        grace_ms: u64,
    },
    /// A new process wants everything this one listens on. The rest of the conversation is fixed:
    /// see [`Handing`].
    HandOver {
        /// [`HANDING_FORM`]
        form: u32,
        /// The successor takes sockets for datagrams too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        datagrams: bool,
    },
    Descriptors,
    Ready,
    Serving,
}

/// Version of the form of [`Handing`] and of the order of its descriptors.
pub const HANDING_FORM: u32 = 1;

/// What a gateway gives to its successor, on the control socket:
///
/// ```text
/// successor                             gateway
/// hand_over ──────────────────────────▶
///           ◀────────────────────────── handing
/// descriptors ────────────────────────▶
///           ◀───────── bytes of no meaning, each with descriptors
/// ready ──────────────────────────────▶ accepts nothing more; connections wait in the sockets
///           ◀────────────────────────── go
/// serving (accepts) ──────────────────▶
///           ◀────────────────────────── yours; ends once what it has is finished
/// ```
///
/// At every point before `yours` the gateway can take everything back: it says so, or the
/// successor is gone. Afterwards the conversation goes on as any other, and tables that are sent
/// in it are followed without binding anything.
///
/// Descriptors come in this order: the lock, the control socket, the sockets of each listener, and
/// of each zone that for UDP and that for TCP, and, if they were asked for, those for datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handing {
    pub form: u32,
    pub pid: u32,
    pub table: RouteTable,
    /// Ports to choose again for those who asked for any.
    pub ports: Vec<HandedPort>,
    pub listeners: Vec<HandedListener>,
    pub zones: Vec<IpAddr>,
    /// One socket each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datagrams: Vec<HandedListener>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedPort {
    pub asked: SocketAddr,
    pub backend: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedListener {
    pub asked: SocketAddr,
    /// Of the backend, if any port was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    pub bound: SocketAddr,
    /// How many of the descriptors are its own.
    pub sockets: usize,
}

impl Handing {
    /// How many descriptors come with it.
    pub fn descriptors(&self) -> usize {
        let listeners: usize = self.listeners.iter().map(|listener| listener.sockets).sum();
        2 + listeners + 2 * self.zones.len() + self.datagrams.len()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyLine {
    pub version: u32,
    pub reply: Reply,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Applied(ApplyReport),
    Status(Box<Status>),
    Spans(Vec<PassedSpan>),
    Explained(Box<Explanation>),
    Certificates(CertificatesReport),
    Drained {
        /// Connections and requests still going to the instance.
        remaining: u64,
    },
    ShuttingDown,
    Handing(Box<Handing>),
    Go,
    Yours,
    Error(Refusal),
}

/// What was found in the directory of certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatesReport {
    /// Names of those that can be shown.
    pub served: Vec<String>,
    /// One sentence for each file that cannot.
    pub faults: Vec<String>,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Refusal {
    #[error("the table has revision {asked}, the gateway already serves {present}")]
    Stale { asked: u64, present: u64 },
    #[error("the table is not valid: {reason}")]
    InvalidTable { reason: String },
    /// In force, but a restart of the gateway would not know it.
    #[error("the table is in force but could not be written: {reason}")]
    NotKept { reason: String },
    #[error("the request could not be read: {reason}")]
    BadRequest { reason: String },
    #[error("the gateway speaks version {spoken}, the request has {asked}")]
    Version { asked: u32, spoken: u32 },
    #[error("the gateway is shutting down")]
    Ending,
    #[error("the gateway does not hand over: {reason}")]
    NotHanded { reason: String },
    #[error("the gateway goes on itself: {reason}")]
    TakenBack { reason: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept for ever: a later version takes over from this one.
    const HANDING: &str = r#"{"version":1,"reply":{"handing":{"form":1,"pid":7,"table":{"version":1,"revision":3,"listeners":[{"address":"127.0.0.1:0","protocol":"auto","backend":"shop/web:80","public":true}],"backends":{"shop/web:80":{"endpoints":[{"instance":"web1","address":"10.89.0.3:80","draining":false}]}},"zones":[{"listen":"10.89.0.1","names":{},"forward":true}]},"ports":[{"asked":"127.0.0.1:0","backend":"shop/web:80","port":41000}],"listeners":[{"asked":"127.0.0.1:0","backend":"shop/web:80","bound":"127.0.0.1:41000","sockets":2},{"asked":"10.89.0.2:80","bound":"10.89.0.2:80","sockets":2}],"zones":["10.89.0.1"]}}}"#;

    #[test]
    fn the_first_form_of_handing_over_reads_and_writes_as_ever() {
        let line: ReplyLine = serde_json::from_str(HANDING).expect("it is valid");
        let Reply::Handing(handing) = &line.reply else { panic!("{line:?}") };
        assert_eq!((handing.form, handing.descriptors()), (HANDING_FORM, 2 + 4 + 2));
        assert_eq!(serde_json::to_string(&line).expect("it can be written"), HANDING);
        for (request, expect) in [
            (Request::HandOver { form: 1, datagrams: false }, r#"{"hand_over":{"form":1}}"#),
            (Request::Descriptors, r#""descriptors""#),
            (Request::Ready, r#""ready""#),
            (Request::Serving, r#""serving""#),
        ] {
            assert_eq!(serde_json::to_string(&request).expect("it can be written"), expect);
        }
    }
}
