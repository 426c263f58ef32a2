//! Who calls whom as the gateway saw it: of two that fail together, the one that is called is the cause.

use super::ask::answers;
use model::{ServiceName, StackName};
use observe::Labels;
use observe::keep::Metrics;
use observe::promql::Query;
use signals::incident::Subject;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For the one question.
const LIMIT: Duration = Duration::from_secs(5);
const LOOKBACK_MS: i64 = 45_000;
/// Pairs that are told.
const PAIRS_MAX: usize = 2_000;
/// Calls of the last hour, tried in vain or not, and what is open.
const CALLED: &str = "sum by (caller_stack, caller, stack, service) (increase(juchu_calls_requests_total[1h])) > 0 \
    or sum by (caller_stack, caller, stack, service) (increase(juchu_calls_connections_total[1h])) > 0 \
    or sum by (caller_stack, caller, stack, service) (juchu_calls_active) > 0";

pub struct Observed {
    metrics: Arc<Metrics>,
    query: Query,
}

impl Observed {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, query: Query::parse(CALLED).expect("it is a constant") }
    }

    /// Caller and called. Blocks while the measurements are read.
    pub fn ask(&self, now_ms: i64) -> BTreeSet<(Subject, Subject)> {
        let found = answers(&self.metrics, &self.query, now_ms, LOOKBACK_MS, Instant::now() + LIMIT);
        found.iter().filter_map(|(labels, _)| pair(labels)).take(PAIRS_MAX).collect()
    }
}

/// None where one of both is no service.
fn pair(labels: &Labels) -> Option<(Subject, Subject)> {
    let service = |stack: &str, name: &str| {
        Some(Subject::service(
            StackName::new(labels.get(stack)).ok()?,
            ServiceName::new(labels.get(name)).ok()?,
        ))
    };
    Some((service("caller_stack", "caller")?, service("stack", "service")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::keep::{Ends, Kind, Settings};
    use testkit::TempDir;

    const NOW_MS: i64 = 10_000_000;

    #[test]
    fn services_that_called_in_the_last_hour_are_callers() {
        let directory = TempDir::new();
        let metrics = Metrics::open(directory.path(), Settings::default(), NOW_MS - 100_000).unwrap();
        let target = metrics.target("gateway", Ends::WhenMissing).unwrap();
        let series = |name: &str, stack: &str, caller: &str, service: &str| {
            let labels = Labels::new([
                ("__name__", name),
                ("caller_stack", stack),
                ("caller", caller),
                ("stack", "shop"),
                ("service", service),
            ]);
            metrics.series(target, &labels, Kind::Counter).unwrap()
        };
        let requests = series("juchu_calls_requests_total", "shop", "web", "api");
        let silent = series("juchu_calls_requests_total", "shop", "api", "mailer");
        let outside = series("juchu_calls_requests_total", "", "outside", "web");
        let sessions = series("juchu_calls_connections_total", "shop", "api", "db");
        let open = series("juchu_calls_active", "shop", "report", "db");
        for second in 0..60 {
            let at = NOW_MS - 60_000 + second * 1000;
            let value = second as f64;
            let values = [(requests, value), (silent, 7.0), (outside, value), (sessions, value), (open, 1.0)];
            metrics.tick(target, at, &values).unwrap();
        }
        let told: Vec<String> = Observed::new(Arc::new(metrics))
            .ask(NOW_MS)
            .iter()
            .map(|(caller, called)| format!("{caller} {called}"))
            .collect();
        assert_eq!(told, ["shop/api shop/db", "shop/report shop/db", "shop/web shop/api"]);
    }
}
