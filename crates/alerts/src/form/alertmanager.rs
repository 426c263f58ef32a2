//! Alerts as Alertmanager's API version 2 takes them.
//!
//! The labels of an incident stay the same from its beginning to its end, so that the end resolves
//! it. An alert that is not said again would end by itself after five minutes; this one has an end of
//! its own, a week ahead, until the end is known.

use crate::message::{Message, What};
use serde_json::{Value, json};

const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How long a test is shown.
const TEST_MS: i64 = 60_000;

pub fn body(message: &Message) -> Value {
    let ends_ms = match message.what {
        What::Over => message.at_ms,
        What::Test => message.at_ms + TEST_MS,
        _ => message.at_ms + WEEK_MS,
    };
    // Its beginning must lie before its end, even when the clock was set back.
    let starts_ms = message.opened_ms.min(ends_ms - 1);
    let mut labels = json!({
        "alertname": if message.what == What::Test { "JuchuTest" } else { "JuchuIncident" },
        "machine": message.machine,
        "subject": message.subject,
        "incident": message.incident.to_string(),
    });
    for (name, value) in [("stack", &message.stack), ("service", &message.service)] {
        if let Some(value) = value {
            labels[name] = json!(value);
        }
    }
    let annotations = json!({
        "summary": message.text,
        "description": message.lines().join("\n"),
        "level": message.level.word(),
        "signal": message.signal,
        "value": message.value,
        "range": message.range,
    });
    json!([{
        "labels": labels,
        "annotations": annotations,
        "startsAt": Message::rfc3339(starts_ms),
        "endsAt": Message::rfc3339(ends_ms),
    }])
}
