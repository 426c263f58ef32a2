//! How the gateway asks the instances of a service: how long it waits, what it tries again, whom it
//! leaves alone for a while, and how much it lets through. What is not given has a default there.

use crate::route::BackendId;
use crate::{Bytes, DurationMs, Percent};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    #[serde(skip_serializing_if = "is_default")]
    pub retries: Retries,
    #[serde(skip_serializing_if = "is_default")]
    pub breaker: Breaker,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Requests that one instance works on at a time; none: as many as come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Where requests wait while all instances are at their limit.
    #[serde(skip_serializing_if = "is_default")]
    pub queue: Queue,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<PriorityFrom>,
    /// Every connection to an instance begins with a head that says for whom it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyVersion>,
    /// Instances are spoken to in HTTP/2 from the first byte on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub http2: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub trace: Trace,
    /// Answers are compressed for clients that accept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// A share of the requests is sent to another service, too, whose answers nobody gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

impl Traffic {
    pub fn is_default(&self) -> bool {
        is_default(self)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// To a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<DurationMs>,
    /// From the request's end to the response's header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<DurationMs>,
    /// Silence inside the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<DurationMs>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retries {
    /// Beyond the first attempt; 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Statuses for which a request that may be repeated is sent to another instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<u16>>,
    /// Share of the requests under way that may be such repetitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Percent>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breaker {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    /// Failures in a row after which an instance is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// For how long, the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<DurationMs>,
    /// No answer for this long, while others answer, is a failure, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall: Option<DurationMs>,
}

/// What becomes of W3C trace contexts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// They pass as any other field does, and none is made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    /// Share of those made here that ask to be recorded; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Percent>,
}

/// Copies of requests for another service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    pub backend: BackendId,
    pub share: Percent,
}

/// Which answers are compressed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compression {
    /// Types of content, or all below `text/*`; empty: those that are usually worth it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Shorter ones stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Bytes>,
}

/// At most so many requests of one kind in a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub key: RateKey,
    pub requests: u32,
    pub per: DurationMs,
    /// How many may come at once.
    pub burst: u32,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateKey {
    All,
    /// The client's address; of IPv6 its /64.
    Client,
    /// A header field's value, by its lower-case name; requests without it are together.
    Header(String),
}

/// A disturbance on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub share: Percent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<DurationMs>,
    /// Answered instead of asking an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// How many requests one instance has at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    Fixed(u32),
    /// As many as it answers without becoming slower, within these bounds.
    Adaptive {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Requests that may wait for one service at a time; 0: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// For how long one waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationMs>,
}

/// Who is refused first where not all can be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Priority {
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    pub fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| word.eq_ignore_ascii_case(priority.word().as_bytes()))
    }
}

/// Where the priority of a request is from, unless its route has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorityFrom {
    Fixed(Priority),
    /// A header field's value, by its lower-case name; believed of other services alone.
    Header(String),
}

/// Form of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    V2,
}
