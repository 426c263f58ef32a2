//! Asking for traces: one by its identifier, or those with a span that is slow, of a service, in error.

use super::Span;
use crate::logs::query::{Comparison, Filter, Query, Test};
use crate::logs::{FoundRow, Level, Logs, Order, Search, Stream};
use std::collections::HashMap;

/// Spans of one trace that are shown; of more the oldest.
pub const SPANS_MAX: usize = 2000;
/// Traces of an answer.
pub const TRACES_MAX: usize = 200;
/// Spans that are looked at for the traces they belong to.
const LOOKED_MAX: usize = 10_000;
/// Spans that are read to say how large the traces of an answer are.
const COUNTED_MAX: usize = 50_000;

/// Which traces.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub stack: Option<String>,
    pub service: Option<String>,
    /// Part of the name of a span, in any case.
    pub name: Option<String>,
    /// A span takes at least, at most so long.
    pub min_ms: Option<f64>,
    pub max_ms: Option<f64>,
    /// With a span that failed.
    pub errors: bool,
    /// Both ends count.
    pub from_ns: i64,
    pub to_ns: i64,
    pub limit: usize,
}

/// A span and who recorded it.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    pub stream: Stream,
    pub span: Span,
}

/// What is said of a trace in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub trace: String,
    /// Of the span that has no parent here, or the first.
    pub root: Placed,
    pub start_ns: i64,
    /// From the first beginning to the last end.
    pub duration_ms: f64,
    pub spans: usize,
    pub errors: usize,
    pub services: usize,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer<T> {
    pub found: Vec<T>,
    pub has_more: bool,
    /// The search was not finished: its time or its memory was over.
    pub is_cut: bool,
}

/// All spans of a trace, by when they began. The identifier is in lower case.
pub fn trace(store: &Logs, id: &str, stop: &dyn Fn() -> bool) -> Answer<Placed> {
    let filter = Filter::new(&of_traces([id].into_iter()));
    let search = Search { filter: &filter, from_ns: 0, to_ns: i64::MAX, stop };
    let found = store.search(&search, Order::Oldest, SPANS_MAX);
    let mut spans: Vec<Placed> = found.rows.iter().filter_map(placed).collect();
    spans.sort_by_key(|placed| placed.span.start_ns);
    // A sender that was not sure comes again with the same.
    let mut seen = std::collections::HashSet::new();
    spans.retain(|placed| seen.insert(placed.span.span.clone()));
    Answer { found: spans, has_more: found.has_more, is_cut: found.is_cut }
}

/// The newest traces that are wanted.
pub fn traces(store: &Logs, wanted: &Wanted, stop: &dyn Fn() -> bool) -> Answer<Summary> {
    let filter = Filter::new(&wanted.query());
    let search = Search { filter: &filter, from_ns: wanted.from_ns, to_ns: wanted.to_ns, stop };
    let found = store.search(&search, Order::Newest, LOOKED_MAX);
    let limit = wanted.limit.min(TRACES_MAX);
    let mut ids: Vec<String> = Vec::new();
    for span in found.rows.iter().rev().filter_map(placed) {
        if !ids.contains(&span.span.trace) {
            ids.push(span.span.trace);
        }
        if ids.len() > limit {
            break;
        }
    }
    let has_more = ids.len() > limit || found.has_more;
    ids.truncate(limit);
    if ids.is_empty() {
        return Answer { found: Vec::new(), has_more: false, is_cut: found.is_cut };
    }
    let filter = Filter::new(&of_traces(ids.iter().map(String::as_str)));
    let all = Search { filter: &filter, from_ns: 0, to_ns: i64::MAX, stop };
    let spans = store.search(&all, Order::Newest, COUNTED_MAX);
    let mut by_trace: HashMap<String, Vec<Placed>> = HashMap::new();
    for placed in spans.rows.iter().filter_map(placed) {
        by_trace.entry(placed.span.trace.clone()).or_default().push(placed);
    }
    let summaries = ids.iter().filter_map(|id| summary(by_trace.remove(id)?)).collect();
    Answer { found: summaries, has_more, is_cut: found.is_cut || spans.is_cut || spans.has_more }
}

impl Wanted {
    fn query(&self) -> Query {
        let is = |name: &str, value: &str| Query::Field { name: name.into(), test: Test::Is(value.into()) };
        let compares = |comparison, number: f64| Query::Field {
            name: "duration_ms".into(),
            test: Test::Compares(comparison, number),
        };
        let mut all = Vec::new();
        all.extend(self.stack.iter().map(|stack| is("stack", stack)));
        all.extend(self.service.iter().map(|service| is("service", service)));
        if self.errors {
            let test = Test::Level(Comparison::GreaterOrEqual, Level::Error);
            all.push(Query::Field { name: "level".into(), test });
        }
        all.extend(self.name.iter().map(|name| Query::Field { name: "name".into(), test: contains(name) }));
        all.extend(self.min_ms.map(|min| compares(Comparison::GreaterOrEqual, min)));
        all.extend(self.max_ms.map(|max| compares(Comparison::LessOrEqual, max)));
        Query::And(all)
    }
}

fn contains(text: &str) -> Test {
    let expression = format!("(?i-u){}", regex::escape(text));
    match regex::bytes::RegexBuilder::new(&expression).size_limit(1 << 20).build() {
        Ok(regex) => Test::Matches(regex),
        // Too long to be in any name.
        Err(_) => Test::Is(text.into()),
    }
}

fn of_traces<'a>(ids: impl Iterator<Item = &'a str>) -> Query {
    let of = |id: &str| Query::Field { name: "trace".into(), test: Test::Is(id.into()) };
    Query::Or(ids.map(of).collect())
}

fn placed(row: &FoundRow) -> Option<Placed> {
    Some(Placed { stream: (*row.stream).clone(), span: Span::read(&row.text)? })
}

fn summary(spans: Vec<Placed>) -> Option<Summary> {
    let start_ns = spans.iter().map(|placed| placed.span.start_ns).min()?;
    let end_ns = spans.iter().map(|placed| placed.span.end_ns()).max()?;
    let is_root = |placed: &&Placed| spans.iter().all(|other| other.span.span != placed.span.parent);
    let root = spans.iter().filter(is_root).min_by_key(|placed| placed.span.start_ns);
    let root = root.or(spans.first())?.clone();
    let services: std::collections::BTreeSet<&str> =
        spans.iter().map(|placed| &*placed.stream.service).collect();
    Some(Summary {
        trace: root.span.trace.clone(),
        start_ns,
        duration_ms: (end_ns - start_ns) as f64 / 1e6,
        spans: spans.len(),
        errors: spans.iter().filter(|placed| placed.span.is_error()).count(),
        services: services.len(),
        root,
    })
}
