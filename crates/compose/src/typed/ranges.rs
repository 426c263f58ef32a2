//! `x-juchu.ranges`: what is normal, by signal.

use crate::diagnostics::Sink;
use crate::tree::Node;
use model::range::{Bounds, Declared, Level, NAME_MAX, QUERY_MAX, RANGES_MAX, Ranges, Unit};

/// The signals that every service has, with the units of their ends.
const SIGNALS: [(&str, Unit); 9] = [
    ("requests", Unit::PerSecond),
    ("errors", Unit::Share),
    ("p95", Unit::Seconds),
    ("cpu", Unit::Cores),
    ("memory", Unit::Bytes),
    ("instances", Unit::Number),
    ("restarts", Unit::Number),
    ("ports", Unit::Number),
    ("kills", Unit::Number),
];

pub(super) fn ranges(node: &Node, sink: &mut Sink) -> Ranges {
    let declared = node.get("x-juchu").and_then(|policy| policy.get("ranges"));
    let Some(entries) = declared.and_then(Node::as_map) else { return Ranges::new() };
    if entries.len() > RANGES_MAX {
        let pos = declared.map(|node| node.pos);
        sink.error(pos, format!("`ranges` can have {RANGES_MAX} signals at most"));
        return Ranges::new();
    }
    let mut ranges = Ranges::new();
    for (name, entry) in entries.iter() {
        if let Some(declared) = range(name, &entry.node, sink) {
            ranges.insert(name.to_owned(), declared);
        }
    }
    ranges
}

/// `off`, or what is declared.
fn range(name: &str, node: &Node, sink: &mut Sink) -> Option<Declared> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(['/', '\n']) {
        let message = format!("a signal's name has up to {NAME_MAX} characters and no `/`");
        sink.error(node.pos, message);
        return None;
    }
    if node.as_map().is_none() {
        // The schema lets nothing else through than `off` and `false`.
        return Some(Declared { off: true, ..Declared::default() });
    }
    let query = node.get("query").and_then(Node::scalar_text);
    let unit = SIGNALS.iter().find(|(signal, _)| *signal == name).map(|(_, unit)| *unit);
    if unit.is_none() && query.is_none() {
        let known: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
        let hint = format!("it is one of {}, or has a `query`", known.join(", "));
        sink.error_hint(node.pos, format!("`{name}` is no signal of a service"), hint);
        return None;
    }
    if query.as_ref().is_some_and(|query| query.len() > QUERY_MAX) {
        sink.error(node.get("query").map(|node| node.pos), format!("`query` has {QUERY_MAX} bytes at most"));
        return None;
    }
    let unit = if query.is_some() { Unit::Number } else { unit.unwrap_or(Unit::Number) };
    let ends = (end(node, "min", unit, sink)?, end(node, "max", unit, sink)?);
    let bounds = match ends {
        (None, None) => None,
        (low, high) => match Bounds::new(low, high) {
            Ok(bounds) => Some(bounds),
            Err(error) => {
                sink.error(node.pos, format!("`{name}`: {error}"));
                return None;
            }
        },
    };
    let learn = node.get("learn").and_then(Node::as_bool).unwrap_or(true);
    let level = node.get("level").and_then(Node::scalar_text).and_then(|text| level(&text));
    Some(Declared { bounds, learn, off: false, level, query })
}

/// The outer none: it was told what is wrong.
#[allow(clippy::option_option, reason = "an end that is not there is no mistake")]
fn end(node: &Node, key: &str, unit: Unit, sink: &mut Sink) -> Option<Option<f64>> {
    let Some(node) = node.get(key) else { return Some(None) };
    let text = node.scalar_text().unwrap_or_default();
    match unit.parse(&text).filter(|value| value.is_finite()) {
        Some(value) => Some(Some(value)),
        None => {
            let shown: String = text.chars().take(40).collect();
            let message = format!("`{}` is no value of this signal", shown.escape_debug());
            sink.error_hint(node.pos, message, hint(unit));
            None
        }
    }
}

const fn hint(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "such as 400ms or 1.5s",
        Unit::Share => "such as 1% or 0.01",
        Unit::Bytes => "such as 512mb",
        Unit::PerSecond | Unit::Cores | Unit::Number => "a number",
    }
}

fn level(text: &str) -> Option<Level> {
    [Level::Information, Level::Important, Level::Urgent].into_iter().find(|level| level.word() == text)
}
