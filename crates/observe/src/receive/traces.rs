//! Spans of OTLP into the store of spans.

use super::Taken;
use crate::logs::{Level, Logs, Row, Stream};
use crate::traces::span_row;
use formats::Malformed;
use formats::otlp::{Resource, Span, Status, each_item};
use std::collections::HashMap;

/// Where the spans of a service are kept.
pub const SOURCE: &str = "span";

pub fn keep(store: &Logs, request: &[u8]) -> Result<Taken, Malformed> {
    let mut streams: HashMap<Stream, Vec<(i64, Level, String)>> = HashMap::new();
    let mut taken = Taken::default();
    each_item(request, &mut |resource, scope, message| {
        let span = Span::read(message)?;
        if !span.is_valid() {
            taken.refuse(1, "a span has no valid identifiers");
            return Ok(());
        }
        let level = if span.status == Status::Error { Level::Error } else { Level::Info };
        let row = (span.start_ns.cast_signed(), level, span_row(&span, resource, scope));
        streams.entry(stream(resource, SOURCE)).or_default().push(row);
        Ok(())
    })?;
    append(store, streams, &mut taken);
    Ok(taken)
}

/// Instances of ours say their stack in `juchu.stack`.
pub fn stream(resource: &Resource<'_>, source: &str) -> Stream {
    let text = |name: &str| resource.attributes.text(name);
    Stream::new(&text("juchu.stack"), &resource.service(), &text("service.instance.id"), source)
}

pub fn append(store: &Logs, streams: HashMap<Stream, Vec<(i64, Level, String)>>, taken: &mut Taken) {
    for (stream, rows) in streams {
        let rows: Vec<Row<'_>> = rows
            .iter()
            .map(|(time_ns, level, text)| Row { time_ns: *time_ns, level: *level, text })
            .collect();
        match store.append(&stream, &rows, None) {
            Ok(()) => taken.taken += rows.len() as u64,
            Err(why) => {
                taken.refuse(rows.len() as u64, format!("{} {}: {why}", stream.service, stream.instance))
            }
        }
    }
}
