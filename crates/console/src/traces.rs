//! The spans of a trace in the order in which a waterfall shows them, for the command line and the pages
//! alike.

use run::traces::KeptSpan;
use std::collections::{HashMap, HashSet};

/// Callers before those they called, the earlier first, each with its depth.
pub fn in_order(spans: &[KeptSpan]) -> Vec<(usize, &KeptSpan)> {
    let known: HashSet<&str> = spans.iter().map(|span| &*span.span).collect();
    let mut called: HashMap<&str, Vec<&KeptSpan>> = HashMap::new();
    let mut roots = Vec::new();
    for span in spans {
        // Whoever called it may not be kept.
        if known.contains(&*span.parent) && span.parent != span.span {
            called.entry(&span.parent).or_default().push(span);
        } else {
            roots.push(span);
        }
    }
    let mut order = Vec::new();
    let mut waiting: Vec<(usize, &KeptSpan)> = roots.into_iter().rev().map(|span| (0, span)).collect();
    while let Some((depth, span)) = waiting.pop() {
        order.push((depth, span));
        // Taken out, so that those who call each other in a circle end.
        let called = called.remove(&*span.span).unwrap_or_default();
        waiting.extend(called.into_iter().rev().map(|span| (depth + 1, span)));
    }
    // What only calls each other in a circle has no root.
    let mut rest: Vec<&KeptSpan> = called.into_values().flatten().collect();
    rest.sort_by_key(|span| (span.start_ns, &span.span));
    order.extend(rest.into_iter().map(|span| (0, span)));
    order
}

pub fn end_ns(span: &KeptSpan) -> i64 {
    span.start_ns.saturating_add((span.duration_ms * 1e6) as i64)
}

pub fn is_error(span: &KeptSpan) -> bool {
    span.status == "error"
}

/// The first beginning and the last end.
pub fn bounds_ns(spans: &[KeptSpan]) -> (i64, i64) {
    let start = spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
    (start, spans.iter().map(end_ns).max().unwrap_or(start))
}

/// `0.42 ms`, `212 ms`, `3.10 s`, `12 min`.
pub fn took(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.2} s", ms / 1000.0),
        ms => format!("{:.1} min", ms / 60_000.0),
    }
}
