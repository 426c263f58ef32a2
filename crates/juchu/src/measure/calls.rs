//! Who calls whom, as series: for each pair fewer of them than for an instance, since there are many pairs.

use super::traffic::{cumulated, owner};
use model::flow::{CallStatus, Caller, Status};
use observe::collect::Sink;
use std::collections::BTreeSet;

/// Upper edges of the durations, in seconds.
const EDGES: [(u64, &str); 8] = [
    (5_000, "0.005"),
    (25_000, "0.025"),
    (100_000, "0.1"),
    (400_000, "0.4"),
    (800_000, "0.8"),
    (3_000_000, "3"),
    (10_000_000, "10"),
    (u64::MAX, "+Inf"),
];

/// The pairs that were there at the last look.
#[derive(Default)]
pub struct Pairs {
    gateway: Option<u32>,
    known: BTreeSet<(Caller, String)>,
}

impl Pairs {
    /// A pair begins with nothing, so that what happened before anybody looked is an increase, too.
    pub fn put(&mut self, status: &Status, sink: &mut dyn Sink) {
        let is_same = self.gateway.replace(status.pid) == Some(status.pid);
        let mut present = BTreeSet::new();
        for call in &status.calls {
            let key = (call.caller.clone(), call.backend.clone());
            let is_new = is_same && !self.known.contains(&key);
            put(call, if is_new { 0.0 } else { 1.0 }, sink);
            present.insert(key);
        }
        self.known = present;
    }
}

fn put(call: &CallStatus, factor: f64, sink: &mut dyn Sink) {
    let (caller_stack, caller) = match &call.caller {
        Caller::Service(name) => name.split_once('/').unwrap_or(("", name)),
        Caller::Outside => ("", "outside"),
        Caller::Host => ("", "host"),
        Caller::Unknown => ("", "unknown"),
        Caller::Others => ("", "others"),
    };
    let (stack, service) = owner(&call.backend);
    let port = call.backend.split_once(':').map_or("", |(_, port)| port);
    let mut labels = [
        ("caller", caller),
        ("caller_stack", caller_stack),
        ("port", port),
        ("service", service),
        ("stack", stack),
        ("", ""),
    ];
    let (all, count) = (&mut labels, 5);
    let counts = &call.counts;
    let mut counter = |name: &str, labels: &[(&str, &str)], value: f64| {
        sink.counter(name, labels, value * factor);
    };
    counter("juchu_calls_errors_total", &all[..count], counts.errors as f64);
    counter("juchu_calls_received_bytes_total", &all[..count], counts.bytes_in as f64);
    counter("juchu_calls_sent_bytes_total", &all[..count], counts.bytes_out as f64);
    if counts.connections > 0 {
        counter("juchu_calls_connections_total", &all[..count], counts.connections as f64);
    }
    if counts.requests > 0 {
        counter("juchu_calls_requests_total", &all[..count], counts.requests as f64);
        counter("juchu_calls_duration_seconds_sum", &all[..count], counts.latency.sum_us as f64 / 1e6);
        counter("juchu_calls_duration_seconds_count", &all[..count], counts.latency.count() as f64);
        for (edge, value) in cumulated(&counts.latency, &EDGES) {
            all[count] = ("le", edge);
            counter("juchu_calls_duration_seconds_bucket", &all[..=count], value as f64);
        }
    }
    if counts.connections > 0 {
        sink.gauge("juchu_calls_active", &all[..count], counts.active as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::collect::Kept;

    #[test]
    fn pairs_have_labels_and_begin_with_nothing() {
        let mut pairs = Pairs::default();
        let (none, some) = (Status { calls: Vec::new(), ..guestbook() }, guestbook());
        let text = |pairs: &mut Pairs, status: &Status| {
            let mut kept = Kept::default();
            pairs.put(status, &mut kept);
            kept.to_string()
        };
        assert_eq!(text(&mut pairs, &none), "");
        let pair =
            "{caller=\"web\",caller_stack=\"guestbook\",port=\"5432\",service=\"db\",stack=\"guestbook\"}";
        let first = text(&mut pairs, &some);
        assert!(first.contains(&format!("juchu_calls_connections_total{pair} 0\n")), "{first}");
        let second = text(&mut pairs, &some);
        assert!(second.contains(&format!("juchu_calls_connections_total{pair} 60\n")), "{second}");
        assert!(!second.contains(&format!("juchu_calls_requests_total{pair}")), "it carries no HTTP");
        let outside =
            "{caller=\"outside\",caller_stack=\"\",port=\"8000\",service=\"web\",stack=\"guestbook\"";
        for line in [
            format!("juchu_calls_requests_total{outside}}} 9000\n"),
            format!("juchu_calls_duration_seconds_bucket{outside},le=\"0.025\"}} 8820\n"),
            format!("juchu_calls_duration_seconds_bucket{outside},le=\"+Inf\"}} 9000\n"),
        ] {
            assert!(second.contains(&line), "{line} is not in {second}");
        }
        let other = Status { pid: 1, ..some };
        assert!(text(&mut pairs, &other).contains(&format!("juchu_calls_connections_total{pair} 60\n")));
    }

    fn guestbook() -> Status {
        console::fake::traffic::guestbook(60)
    }
}
