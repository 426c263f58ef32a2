//! A span as a row of JSON, version 1. Names of fields are what queries ask by: they never change.

use formats::otlp::{Attributes, Resource, Span as Sent, Status, hex, put_json_text};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Bytes of a row up to which attributes and events are added: it must never be cut.
const ROW_BYTES_MAX: usize = 40 << 10;

/// A span as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub span: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent: String,
    pub name: String,
    /// `server`, `client`, `internal`, `producer`, `consumer`.
    pub kind: String,
    pub start_ns: i64,
    pub duration_ms: f64,
    /// `ok`, `error` or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub resource: Map<String, Value>,
    /// Attributes, events and links that were left out, for there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// Something that happened within a span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Since the span began.
    pub at_ms: f64,
    pub name: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
}

/// Another span it has to do with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    pub trace: String,
    pub span: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for a reference
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Span {
    pub fn read(row: &str) -> Option<Self> {
        serde_json::from_str(row).ok()
    }

    pub fn is_error(&self) -> bool {
        self.status == "error"
    }

    pub fn end_ns(&self) -> i64 {
        self.start_ns.saturating_add((self.duration_ms * 1e6) as i64)
    }
}

/// Writes what was sent; what does not fit is left out and counted.
pub fn span_row(span: &Sent<'_>, resource: &Resource<'_>, scope: &str) -> String {
    let mut row = String::with_capacity(512);
    let _ = write!(row, r#"{{"trace":"{}","span":"{}""#, hex(span.trace), hex(span.id));
    if span.parent.len() == 8 && span.parent.iter().any(|byte| *byte != 0) {
        let _ = write!(row, r#","parent":"{}""#, hex(span.parent));
    }
    row.push_str(r#","name":"#);
    put_json_text(&mut row, span.name);
    let (kind, start, duration) =
        (span.kind.name(), span.start_ns.cast_signed(), span.duration_ns() as f64 / 1e6);
    let _ = write!(row, r#","kind":"{kind}","start_ns":{start},"duration_ms":{duration}"#);
    let status = match span.status {
        Status::Unset => "",
        Status::Ok => "ok",
        Status::Error => "error",
    };
    for (name, value) in [("status", status), ("message", span.message), ("scope", scope)] {
        if !value.is_empty() {
            let _ = write!(row, ",\"{name}\":");
            put_json_text(&mut row, value);
        }
    }
    let mut left_out = span.surplus + span.attributes.surplus + resource.attributes.surplus;
    left_out += put_object(&mut row, ",\"attributes\":", &span.attributes, |_| true);
    left_out += put_events(&mut row, span);
    left_out += put_links(&mut row, span);
    let is_told = |name: &str| name != "service.name" && name != "service.instance.id";
    left_out += put_object(&mut row, ",\"resource\":", &resource.attributes, is_told);
    if left_out > 0 {
        let _ = write!(row, ",\"left_out\":{left_out}");
    }
    row.push('}');
    row
}

/// Returns how many did not fit.
fn put_object(
    row: &mut String,
    name: &str,
    attributes: &Attributes<'_>,
    wants: impl Fn(&str) -> bool,
) -> usize {
    if !attributes.all.iter().any(|(name, _)| wants(name)) {
        return 0;
    }
    let mut left_out = 0;
    row.push_str(name);
    row.push('{');
    let start = row.len();
    for (name, value) in attributes.all.iter().filter(|(name, _)| wants(name)) {
        let before = row.len();
        row.push_str(if before > start { "," } else { "" });
        put_json_text(row, name);
        row.push(':');
        value.put_json(row);
        if row.len() > ROW_BYTES_MAX {
            row.truncate(before);
            left_out += 1;
        }
    }
    row.push('}');
    left_out
}

fn put_events(row: &mut String, span: &Sent<'_>) -> usize {
    put_list(row, "events", span.events.iter(), |row, event| {
        let at_ms = event.time_ns.saturating_sub(span.start_ns) as f64 / 1e6;
        let _ = write!(row, "{{\"at_ms\":{at_ms},\"name\":");
        put_json_text(row, event.name);
        let left_out = put_object(row, ",\"attributes\":", &event.attributes, |_| true);
        row.push('}');
        event.attributes.surplus + left_out
    })
}

fn put_links(row: &mut String, span: &Sent<'_>) -> usize {
    put_list(
        row,
        "links",
        span.links.iter().filter(|link| link.trace.len() == 16 && link.id.len() == 8),
        |row, link| {
            let _ = write!(row, r#"{{"trace":"{}","span":"{}"}}"#, hex(link.trace), hex(link.id));
            0
        },
    )
}

fn put_list<T>(
    row: &mut String,
    name: &str,
    all: impl Iterator<Item = T>,
    put: impl Fn(&mut String, T) -> usize,
) -> usize {
    let mut left_out = 0;
    let begin = row.len();
    let _ = write!(row, ",\"{name}\":[");
    let start = row.len();
    for one in all {
        let before = row.len();
        row.push_str(if before > start { "," } else { "" });
        let within = put(row, one);
        if row.len() > ROW_BYTES_MAX {
            row.truncate(before);
            left_out += 1;
        } else {
            left_out += within;
        }
    }
    if row.len() == start {
        row.truncate(begin);
    } else {
        row.push(']');
    }
    left_out
}
