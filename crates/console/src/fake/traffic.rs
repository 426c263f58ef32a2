//! What passes through the gateway of the pretended machine.

use model::flow::*;
use model::service::{Protocol, Transport};
use std::net::SocketAddr;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("a fixture")
}

/// So many seconds' worth of requests of 12 ms, one in fifty of them failed.
fn counts(seconds: u64, per_second: u64) -> Counts {
    let requests = seconds * per_second;
    let failed = requests / 50;
    Counts {
        connections: seconds,
        active: 2,
        requests,
        errors: failed,
        bytes_in: requests * 400,
        bytes_out: requests * 2_100,
        classes: [0, requests - failed, 0, 0, failed],
        latency: Latency {
            sum_us: requests * 12_000,
            buckets: vec![
                LatencyBucket { le_us: 12_288, count: requests - failed },
                LatencyBucket { le_us: 98_304, count: failed },
            ],
            ..Latency::default()
        },
    }
}

/// The guestbook is asked from outside and keeps what it is told in its database and its cache.
fn calls(seconds: u64) -> Vec<CallStatus> {
    let call = |caller: Caller, backend: &str, counts: Counts| CallStatus {
        caller,
        backend: backend.to_owned(),
        counts: Counts { connections: 0, active: 0, ..counts },
    };
    let web = || Caller::Service("guestbook/web".to_owned());
    let sessions = Counts { connections: seconds, active: 4, ..Counts::default() };
    vec![
        CallStatus { counts: sessions, ..call(web(), "guestbook/db:5432", Counts::default()) },
        call(Caller::Outside, "guestbook/web:8000", counts(seconds, 150)),
    ]
}

/// Counted so many seconds after the gateway started.
pub fn guestbook(seconds: u64) -> Status {
    let endpoint = |instance: &str, at: &str, standing, per_second| EndpointStatus {
        instance: instance.to_owned(),
        address: address(at),
        draining: false,
        limit: None,
        standing,
        counts: counts(seconds, per_second),
    };
    let listener = |at: &str, backend: &str, public, per_second| ListenerStatus {
        asked: address(at),
        bound: address(at),
        backend: backend.to_owned(),
        public,
        transport: Transport::Tcp,
        counts: counts(seconds, per_second),
    };
    Status {
        revision: 7,
        pid: 4711,
        uptime_ms: seconds * 1_000,
        program: "0.1.0".to_owned(),
        threads: 2,
        connections: 5,
        listeners: vec![
            listener("0.0.0.0:8080", "guestbook/web:8000", true, 150),
            listener("10.89.0.2:5432", "guestbook/db:5432", false, 0),
        ],
        rules: vec![RuleStatus { rule: "guestbook/web#1".to_owned(), counts: counts(seconds, 50) }],
        backends: vec![
            BackendStatus {
                backend: "guestbook/db:5432".to_owned(),
                without_endpoint: 0,
                queue: None,
                mirror: None,
                endpoints: vec![endpoint("db1x7k2", "10.89.0.4:5432", Standing::Serving, 0)],
            },
            BackendStatus {
                backend: "guestbook/web:8000".to_owned(),
                without_endpoint: 0,
                queue: None,
                mirror: Some(MirrorStatus {
                    to: "guestbook/next:8000".to_owned(),
                    left_out: seconds,
                    counts: counts(seconds, 10),
                }),
                endpoints: vec![
                    endpoint("web1x7k2", "10.89.0.5:8000", Standing::Serving, 150),
                    endpoint("web2x7k2", "10.89.0.6:8000", Standing::Paused, 0),
                ],
            },
        ],
        calls: calls(seconds),
        failed: Vec::new(),
        names: NameCounts::default(),
        spans: SpanCounts::default(),
        log_dropped: 0,
        predecessors: Vec::new(),
    }
}

/// The way of any request on port 8080.
pub fn explanation(question: &Question) -> Explanation {
    if question.port != 8080 {
        let outcome = Outcome::NobodyListens { ports: vec![8080] };
        return Explanation { listener: None, considered: Vec::new(), outcome };
    }
    let candidate = |instance: &str, at: &str, standing| Candidate {
        instance: instance.to_owned(),
        address: address(at),
        standing,
        share: 5_000,
    };
    Explanation {
        listener: Some(Arrival {
            address: address("0.0.0.0:8080"),
            protocol: Protocol::Auto,
            tls: false,
            rules: 2,
        }),
        considered: vec![
            Considered {
                rule: "guestbook/web#1".to_owned(),
                takes: "*/api".to_owned(),
                verdict: Verdict::Takes,
            },
            Considered {
                rule: "guestbook/web#2".to_owned(),
                takes: "POST */".to_owned(),
                verdict: Verdict::OtherMethod,
            },
        ],
        outcome: Outcome::Forwarded {
            line: Some(format!("{} {}", question.method, question.target)),
            host: Some(format!("{}:8080", question.host)),
            to: vec![Destination {
                backend: "guestbook/web:8000".to_owned(),
                share: 10_000,
                hold_ms: 0,
                instances: vec![
                    candidate("guestbook.web.1.r3", "10.89.0.5:8000", Standing::Serving),
                    candidate("guestbook.web.2.r3", "10.89.0.6:8000", Standing::Paused),
                ],
            }],
        },
    }
}
