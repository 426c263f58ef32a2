//! Log records of OTLP into the store of rows: a text as it is, JSON where there is more to say.

use super::Taken;
use super::traces::{append, stream};
use crate::logs::parse::level;
use crate::logs::{Level, Logs, Stream};
use formats::Malformed;
use formats::otlp::{Any, Log, Resource, each_item, hex, put_json_text};
use std::collections::HashMap;

const SOURCE: &str = "otlp";
/// Bytes of the attributes of a row; more are left out, so that it stays JSON.
const ATTRIBUTES_BYTES_MAX: usize = 40 << 10;
/// What is said by the stream of a row already.
const OF_STREAM: [&str; 3] = ["service.name", "service.instance.id", "juchu.stack"];

pub fn keep(store: &Logs, request: &[u8], now_ns: i64) -> Result<Taken, Malformed> {
    let mut streams: HashMap<Stream, Vec<(i64, Level, String)>> = HashMap::new();
    each_item(request, &mut |resource, scope, message| {
        let log = Log::read(message)?;
        let time = [log.time_ns, log.observed_ns].into_iter().find(|time| *time > 0);
        let time = time.map_or(now_ns, u64::cast_signed);
        let text = text_of(&log, resource, scope);
        let level = level_of(&log).unwrap_or_else(|| level(&text));
        streams.entry(stream(resource, SOURCE)).or_default().push((time, level, text));
        Ok(())
    })?;
    let mut taken = Taken::default();
    append(store, streams, &mut taken);
    Ok(taken)
}

fn level_of(log: &Log<'_>) -> Option<Level> {
    const OF_NUMBERS: [Level; 6] =
        [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];
    let at = usize::try_from(log.severity.checked_sub(1)? / 4).ok()?;
    OF_NUMBERS.get(at).copied().or_else(|| Level::parse(log.severity_text))
}

fn text_of(log: &Log<'_>, resource: &Resource<'_>, scope: &str) -> String {
    let others = || resource.attributes.all.iter().filter(|(name, _)| is_worth_it(name));
    let is_plain = matches!(log.body, Any::Text(_))
        && log.attributes.all.is_empty()
        && log.trace.is_empty()
        && log.event.is_empty()
        && others().next().is_none();
    let mut text = String::new();
    if is_plain {
        log.body.put_text(&mut text);
        return text;
    }
    text.push_str("{\"message\":");
    log.body.put_json(&mut text);
    for (name, id) in [("trace_id", log.trace), ("span_id", log.span)] {
        if !id.is_empty() {
            text.push_str(&format!(",\"{name}\":\"{}\"", hex(&id[..id.len().min(16)])));
        }
    }
    for (name, value) in [("event", log.event), ("logger", scope)] {
        if !value.is_empty() {
            text.push_str(&format!(",\"{name}\":"));
            put_json_text(&mut text, value);
        }
    }
    for (name, value) in log.attributes.all.iter().chain(others()) {
        let before = text.len();
        text.push(',');
        put_json_text(&mut text, name);
        text.push(':');
        value.put_json(&mut text);
        if text.len() > ATTRIBUTES_BYTES_MAX {
            text.truncate(before);
        }
    }
    text.push('}');
    text
}

/// The library that sends is the same in every row.
fn is_worth_it(name: &str) -> bool {
    !OF_STREAM.contains(&name) && !name.starts_with("telemetry.sdk.")
}
