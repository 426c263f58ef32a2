//! Requests that keep or break a promise, from the counts of the gateway.

use super::ask::subject;
use super::promised::{Counted, Promise};
use observe::Labels;
use run::control::Watched;
use signals::incident::Subject;
use std::collections::{BTreeMap, HashMap};

/// Every request counts, also one that no instance took.
const ALL: &str = "sum by (stack, service) (increase(juchu_gateway_requests_total$over))";
const FAILED: &str = "sum by (stack, service) (increase(juchu_gateway_requests_total{code=\"5xx\"}$over))";
const LOST: &str = "sum by (stack, service) (increase(juchu_gateway_errors_total$over))";
const ANSWERED: &str =
    "sum by (stack, service, le) (increase(juchu_gateway_request_duration_seconds_bucket$over))";

/// What of these services was asked, and what failed or came late.
pub fn count(
    promising: &HashMap<Subject, &Watched>,
    ask: impl Fn(&str) -> Vec<(Labels, f64)>,
) -> Vec<Counted> {
    let mut counted = Vec::new();
    if promising.values().any(|one| one.objectives.availability.is_some()) {
        let mut sums: BTreeMap<Subject, (f64, f64)> = BTreeMap::new();
        for (text, is_bad) in [(ALL, false), (LOST, false), (FAILED, true), (LOST, true)] {
            for (labels, value) in ask(text) {
                let Some(subject) = subject(&labels).filter(|subject| promising.contains_key(subject)) else {
                    continue;
                };
                let sum = sums.entry(subject).or_default();
                if is_bad { sum.1 += value } else { sum.0 += value }
            }
        }
        let one = |(subject, (all, bad))| Counted { subject, promise: Promise::Availability, all, bad };
        counted.extend(sums.into_iter().map(one));
    }
    if promising.values().any(|one| one.objectives.latency.is_some()) {
        let mut edges: BTreeMap<Subject, Vec<(f64, f64)>> = BTreeMap::new();
        for (labels, value) in ask(ANSWERED) {
            let edge = labels.get("le").parse::<f64>();
            let (Some(subject), Ok(edge)) = (subject(&labels), edge) else { continue };
            edges.entry(subject).or_default().push((edge, value));
        }
        for (subject, edges) in edges {
            let latency = promising.get(&subject).and_then(|one| one.objectives.latency);
            let Some(latency) = latency else { continue };
            let (all, good) = within(edges, latency.within.0 as f64 / 1e3);
            counted.push(Counted { subject, promise: Promise::Latency, all, bad: (all - good).max(0.0) });
        }
    }
    counted
}

/// All, and how many took no longer than this; between two edges they are shared out evenly.
fn within(mut edges: Vec<(f64, f64)>, limit_s: f64) -> (f64, f64) {
    edges.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = edges.last().map_or(0.0, |(_, count)| *count);
    let (mut low, mut below) = (0.0, 0.0);
    for (edge, count) in edges {
        if edge >= limit_s {
            let part = if edge.is_finite() { (limit_s - low) / (edge - low) } else { 0.0 };
            return (all, below + (count - below).max(0.0) * part);
        }
        (low, below) = (edge, count);
    }
    (all, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::promql::Query;

    #[test]
    fn all_expressions_are_promql() {
        for text in [ALL, FAILED, LOST, ANSWERED] {
            assert!(Query::parse(&text.replace("$over", "[61234ms]")).is_ok(), "{text}");
        }
    }

    #[test]
    fn answers_between_two_edges_are_shared_out() {
        let edges = || vec![(0.4, 90.0), (0.2, 50.0), (f64::INFINITY, 100.0)];
        assert_eq!(within(edges(), 0.2), (100.0, 50.0));
        assert_eq!(within(edges(), 0.3).1.round(), 70.0);
        assert_eq!(within(edges(), 0.05).1, 12.5);
        assert_eq!(within(edges(), 5.0), (100.0, 90.0), "beyond the last edge nothing is known");
        assert_eq!(within(Vec::new(), 1.0), (0.0, 0.0));
    }
}
