//! What the gateway counted and the control plane knows, asked once a second.

use super::calls::Pairs;
use super::declared::Open;
use super::instances::Seen;
use super::sending::Sending;
use super::{labels, now_ms, pulse, stacks};
use crate::spans::passed;
use model::flow::{Counts, Latency, Status};
use observe::collect::{Recorder, Sink};
use observe::keep::{Ends, Metrics};
use observe::logs::Logs;
use observe::receive::Receiver;
use run::control::{Control, StackStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long the gateway may take to answer; the tick is left out otherwise.
const ANSWER: Duration = Duration::from_millis(700);
/// What nobody changed is asked for again after so many seconds.
const STACKS_S: i64 = 15;

/// Upper edges of the duration histograms, in seconds; 0.4 and 0.8 are the budget of a page.
const EDGES: [(u64, &str); 15] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (200_000, "0.2"),
    (400_000, "0.4"),
    (800_000, "0.8"),
    (1_500_000, "1.5"),
    (3_000_000, "3"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (u64::MAX, "+Inf"),
];

/// Goes on until the daemon ends.
pub async fn follow(
    metrics: Arc<Metrics>,
    control: Arc<dyn Control>,
    seen: Seen,
    (receiver, open, sending): (Receiver, Open, Sending),
    spans: Option<Arc<Logs>>,
) {
    let mut gateway = Recorder::new("gateway", Ends::WhenMissing, labels("gateway"));
    let mut plane = Recorder::new("stacks", Ends::WhenMissing, labels("juchu"));
    let mut changed = control.watch();
    let mut known: Vec<StackStatus> = Vec::new();
    let mut asked_at: Option<i64> = None;
    let mut last = i64::MIN;
    let mut pairs = Pairs::default();
    let mut unkept = 0;
    loop {
        let second = (now_ms() / pulse::TICK_MS + 1) * pulse::TICK_MS;
        sleep(Duration::from_millis((second - now_ms()).max(0) as u64)).await;
        if second <= last {
            continue;
        }
        last = second;
        let is_due = asked_at.is_none_or(|asked| second - asked >= STACKS_S * pulse::TICK_MS);
        let has_changed = changed.has_changed().unwrap_or(false);
        changed.mark_unchanged();
        if (has_changed || is_due)
            && let Ok(Ok(stacks)) = timeout(ANSWER, control.stacks()).await
        {
            asked_at = Some(second);
            seen.set_instances(stacks::running(&stacks));
            known = stacks;
        }
        // One that comes too late is left out, as one is that never came.
        let _ = plane.tick(&metrics, second, |sink| {
            stacks::put(&known, sink);
            receiver.collect(sink);
            sending.collect(sink);
            for (kind, address) in open.all() {
                sink.gauge("juchu_receiving", &[("address", &address.to_string()), ("kind", kind)], 1.0);
            }
        });
        let status = timeout(ANSWER, control.traffic()).await.ok().and_then(Result::ok);
        seen.set_gateway(status.as_ref().map(|status| status.pid));
        let _ = gateway.tick(&metrics, second, |sink| {
            sink.gauge("up", &[], if status.is_some() { 1.0 } else { 0.0 });
            if let Some(status) = &status {
                put(status, sink);
                pairs.put(status, sink);
                for (result, count) in
                    [("recorded", status.spans.recorded), ("lost", status.spans.lost + unkept)]
                {
                    sink.counter("juchu_gateway_spans_total", &[("result", result)], count as f64);
                }
            }
        });
        let waiting = status.map_or(0, |status| status.spans.waiting);
        if let Some(spans) = spans.as_ref().filter(|_| waiting > 0) {
            unkept += take(&control, spans, waiting).await;
        }
    }
}

/// Keeps the spans that wait in the gateway; returns how many could not be kept.
async fn take(control: &Arc<dyn Control>, store: &Arc<Logs>, mut waiting: u64) -> u64 {
    let mut lost = 0;
    while waiting > 0 {
        let taken = timeout(ANSWER, control.passed_spans()).await.ok().and_then(Result::ok);
        let Some(taken) = taken.filter(|taken| !taken.is_empty()) else { return lost };
        waiting = waiting.saturating_sub(taken.len() as u64);
        let (store, count) = (store.clone(), taken.len() as u64);
        let kept = tokio::task::spawn_blocking(move || passed::keep(&store, &taken)).await;
        lost += kept.unwrap_or(count);
    }
    lost
}

fn put(status: &Status, sink: &mut dyn Sink) {
    sink.gauge("juchu_gateway_connections", &[], status.connections as f64);
    sink.counter("juchu_gateway_log_dropped_total", &[], status.log_dropped as f64);
    let names = &status.names;
    for (result, count) in [
        ("answered", names.answered),
        ("forwarded", names.forwarded),
        ("failed", names.failed),
        ("dropped", names.dropped),
    ] {
        sink.counter("juchu_gateway_names_total", &[("result", result)], count as f64);
    }
    for listener in &status.listeners {
        let address = listener.bound.to_string();
        let public = if listener.public { "yes" } else { "no" };
        let (stack, service) = owner(&listener.backend);
        let labels = [("address", &*address), ("public", public), ("service", service), ("stack", stack)];
        counts(&LISTENER, &labels, &listener.counts, sink);
    }
    for rule in &status.rules {
        let (stack, service) = owner(&rule.rule);
        counts(&ROUTE, &[("route", &rule.rule), ("service", service), ("stack", stack)], &rule.counts, sink);
    }
    for backend in &status.backends {
        let (stack, service) = owner(&backend.backend);
        let labels = [("backend", &*backend.backend), ("service", service), ("stack", stack)];
        let without = backend.without_endpoint as f64;
        sink.counter("juchu_gateway_without_instance_total", &labels, without);
        for endpoint in &backend.endpoints {
            let labels = [labels[0], ("instance", &*endpoint.instance), labels[1], labels[2]];
            counts(&INSTANCE, &labels, &endpoint.counts, sink);
            let serving = if endpoint.standing.is_serving() && !endpoint.draining { 1.0 } else { 0.0 };
            sink.gauge("juchu_gateway_serving", &labels, serving);
        }
    }
}

/// `shop/web:8000` and `shop/web#1` are the service `web` of the stack `shop`.
pub fn owner(name: &str) -> (&str, &str) {
    let (stack, rest) = name.split_once('/').unwrap_or(("", name));
    (stack, rest.split([':', '#']).next().unwrap_or(rest))
}

/// What one kind of counts is called.
struct Names {
    requests: &'static str,
    errors: &'static str,
    connections: &'static str,
    active: &'static str,
    received: &'static str,
    sent: &'static str,
    bucket: &'static str,
    sum: &'static str,
    count: &'static str,
}

const LISTENER: Names = Names {
    requests: "juchu_gateway_listener_requests_total",
    errors: "juchu_gateway_listener_errors_total",
    connections: "juchu_gateway_listener_connections_total",
    active: "juchu_gateway_listener_active",
    received: "juchu_gateway_listener_received_bytes_total",
    sent: "juchu_gateway_listener_sent_bytes_total",
    bucket: "juchu_gateway_listener_duration_seconds_bucket",
    sum: "juchu_gateway_listener_duration_seconds_sum",
    count: "juchu_gateway_listener_duration_seconds_count",
};
const ROUTE: Names = Names {
    requests: "juchu_gateway_route_requests_total",
    errors: "juchu_gateway_route_errors_total",
    connections: "juchu_gateway_route_connections_total",
    active: "juchu_gateway_route_active",
    received: "juchu_gateway_route_received_bytes_total",
    sent: "juchu_gateway_route_sent_bytes_total",
    bucket: "juchu_gateway_route_duration_seconds_bucket",
    sum: "juchu_gateway_route_duration_seconds_sum",
    count: "juchu_gateway_route_duration_seconds_count",
};
const INSTANCE: Names = Names {
    requests: "juchu_gateway_requests_total",
    errors: "juchu_gateway_errors_total",
    connections: "juchu_gateway_connections_total",
    active: "juchu_gateway_active",
    received: "juchu_gateway_received_bytes_total",
    sent: "juchu_gateway_sent_bytes_total",
    bucket: "juchu_gateway_request_duration_seconds_bucket",
    sum: "juchu_gateway_request_duration_seconds_sum",
    count: "juchu_gateway_request_duration_seconds_count",
};

/// The most labels that counts have of their own, plus one.
const LABELS_MAX: usize = 6;

fn counts(names: &Names, labels: &[(&str, &str)], counts: &Counts, sink: &mut dyn Sink) {
    sink.counter(names.errors, labels, counts.errors as f64);
    sink.counter(names.connections, labels, counts.connections as f64);
    sink.gauge(names.active, labels, counts.active as f64);
    sink.counter(names.received, labels, counts.bytes_in as f64);
    sink.counter(names.sent, labels, counts.bytes_out as f64);
    // Of what carries no HTTP there are no requests to tell apart.
    if counts.requests == 0 {
        return;
    }
    let mut all = [("", ""); LABELS_MAX];
    let count = labels.len().min(LABELS_MAX - 1);
    all[..count].copy_from_slice(&labels[..count]);
    let all = &mut all[..=count];
    for (class, value) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(counts.classes) {
        all[count] = ("code", class);
        sink.counter(names.requests, all, value as f64);
    }
    for (edge, value) in cumulated(&counts.latency, &EDGES) {
        all[count] = ("le", edge);
        sink.counter(names.bucket, all, value as f64);
    }
    sink.counter(names.sum, labels, counts.latency.sum_us as f64 / 1e6);
    sink.counter(names.count, labels, counts.latency.count() as f64);
}

/// Of the gateway's many fine buckets a few, each with all below it. A fine one that crosses an edge
/// counts above it: at most a fifth of the edge too slow.
pub fn cumulated(
    latency: &Latency,
    edges: &'static [(u64, &'static str)],
) -> impl Iterator<Item = (&'static str, u64)> {
    let mut buckets = latency.buckets.iter().peekable();
    let mut sum = 0;
    edges.iter().map(move |(edge, text)| {
        while let Some(bucket) = buckets.next_if(|bucket| bucket.le_us <= *edge) {
            sum += bucket.count;
        }
        (*text, sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::flow::LatencyBucket;
    use observe::collect::Kept;

    #[test]
    fn histograms_are_cumulated() {
        let bucket = |le_us, count| LatencyBucket { le_us, count };
        let buckets = vec![bucket(900, 1), bucket(1_000, 2), bucket(1_200, 4), bucket(90_000_000, 8)];
        let sums: Vec<u64> =
            cumulated(&Latency { buckets, ..Latency::default() }, &EDGES).map(|(_, sum)| sum).collect();
        assert_eq!((sums[0], sums[1], sums[13], sums[14]), (3, 7, 7, 15));
    }

    #[test]
    fn what_the_gateway_counted_has_labels() {
        let mut kept = Kept::default();
        put(&console::fake::traffic::guestbook(60), &mut kept);
        let text = kept.to_string();
        for line in [
            "juchu_gateway_requests_total{backend=\"guestbook/web:8000\",instance=\"web1x7k2\",service=\"web\",stack=\"guestbook\",code=\"2xx\"} ",
            "juchu_gateway_listener_sent_bytes_total{address=\"0.0.0.0:8080\",public=\"yes\",service=\"web\",stack=\"guestbook\"} ",
            "juchu_gateway_route_requests_total{route=\"guestbook/web#1\",service=\"web\",stack=\"guestbook\",code=\"5xx\"} ",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
