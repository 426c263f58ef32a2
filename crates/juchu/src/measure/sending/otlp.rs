//! What is kept here as messages of OTLP: samples, rows and spans, each resource a service or a job.

use engines::otlp::{BYTES_MAX, ITEMS_MAX, payload};
use formats::otlp::Signal;
use formats::otlp::put::{
    LogOut, SpanOut, put_attribute, put_event, put_link, put_log, put_metric, put_pair, put_resource,
    put_span,
};
use observe::keep::Metrics;
use observe::logs::{Level, Recent, Stream};
use observe::traces::Span;
use observe::{Matcher, NAME, Points, Samples, Want, is_stale};
use std::collections::BTreeMap;

/// By whom rows and samples were taken up.
const SCOPE: &str = "juchu";

/// Requests of at most so many items and bytes, from groups of one resource each.
struct Messages {
    signal: Signal,
    open: Vec<u8>,
    items: u64,
    done: Vec<(Vec<u8>, u64)>,
}

impl Messages {
    fn new(signal: Signal) -> Self {
        Self { signal, open: Vec::new(), items: 0, done: Vec::new() }
    }

    fn group(&mut self, stream: &Stream, put: impl FnOnce(&mut Vec<u8>), items: u64) {
        let attributes = [
            ("service.name", stream.service.as_str()),
            ("service.instance.id", stream.instance.as_str()),
            ("juchu.stack", stream.stack.as_str()),
        ];
        put_resource(&mut self.open, attributes.into_iter(), |_| {}, SCOPE, put);
        self.count(items);
    }

    fn count(&mut self, items: u64) {
        self.items += items;
        if self.items >= ITEMS_MAX as u64 || self.open.len() >= BYTES_MAX {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.items > 0 {
            self.done.push((payload(self.signal, &self.open), self.items));
        }
        self.open.clear();
        self.items = 0;
    }

    fn finish(mut self) -> Vec<(Vec<u8>, u64)> {
        self.close();
        self.done
    }
}

/// All samples of a time, both ends counting.
pub fn samples(metrics: &Metrics, from: i64, to: i64) -> Vec<(Vec<u8>, u64)> {
    let mut messages = Messages::new(Signal::Metrics);
    // More series than a selector may find are too many for this, too.
    let Ok(all) = metrics.select(&[Matcher::differs(NAME, "")], from, to) else { return Vec::new() };
    let mut points = Points::default();
    for series in all {
        points.clear();
        if series.read(from, to, Want::Last, &mut points).is_err() || points.is_empty() {
            continue;
        }
        let labels = series.labels();
        let name = labels.get(NAME);
        let is_counter = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
        let others = labels.iter().filter(|(name, _)| *name != NAME && *name != "job" && *name != "instance");
        let stream = Stream::new("", labels.get("job"), labels.get("instance"), "");
        let values = points.times_ms.iter().zip(&points.values);
        let values = values.map(|(at, value)| (*at, (!is_stale(*value)).then_some(*value)));
        messages.group(&stream, |out| put_metric(out, name, is_counter, others, values), points.len() as u64);
    }
    messages.finish()
}

/// Rows of text.
pub fn rows(rows: &[Recent]) -> Vec<(Vec<u8>, u64)> {
    let mut messages = Messages::new(Signal::Logs);
    let mut streams: BTreeMap<&Stream, Vec<&Recent>> = BTreeMap::new();
    rows.iter().for_each(|row| streams.entry(&row.stream).or_default().push(row));
    for (stream, rows) in streams {
        for some in rows.chunks(ITEMS_MAX / 10) {
            let put = |out: &mut Vec<u8>| some.iter().for_each(|row| put_row(out, row));
            messages.group(stream, put, some.len() as u64);
        }
    }
    messages.finish()
}

fn put_row(out: &mut Vec<u8>, row: &Recent) {
    let severity = match row.level {
        Level::Unknown => 0,
        level => (level as u64 - 1) * 4 + 1,
    };
    let trace = console::text::trace_of(&row.text).unwrap_or_default();
    let log = LogOut {
        time_ns: row.time_ns,
        severity,
        level: row.level.name(),
        text: &row.text,
        source: &row.stream.source,
        trace: &trace,
        span: "",
    };
    put_log(out, &log);
}

/// Spans as they are kept.
pub fn spans(rows: &[Recent]) -> Vec<(Vec<u8>, u64)> {
    let mut messages = Messages::new(Signal::Traces);
    for row in rows {
        let Some(span) = Span::read(&row.text) else { continue };
        let stream = &row.stream;
        let attributes = [
            ("service.name", stream.service.as_str()),
            ("service.instance.id", stream.instance.as_str()),
            ("juchu.stack", stream.stack.as_str()),
        ];
        let more = |out: &mut Vec<u8>| {
            let others = span.resource.iter().filter(|(name, _)| *name != "juchu.stack");
            others.for_each(|(name, value)| put_pair(out, 1, name, value));
        };
        put_resource(&mut messages.open, attributes.into_iter(), more, &span.scope, |out| put(out, &span));
        messages.count(1);
    }
    messages.finish()
}

fn put(out: &mut Vec<u8>, span: &Span) {
    let sent = SpanOut {
        trace: &span.trace,
        span: &span.span,
        parent: &span.parent,
        name: &span.name,
        kind: &span.kind,
        start_ns: span.start_ns,
        end_ns: span.end_ns(),
        status: &span.status,
        message: &span.message,
        left_out: span.left_out,
    };
    put_span(out, &sent, |out| {
        span.attributes.iter().for_each(|(name, value)| put_attribute(out, name, value));
        for event in &span.events {
            let at = span.start_ns.saturating_add((event.at_ms * 1e6) as i64);
            put_event(out, at, &event.name, event.attributes.iter());
        }
        span.links.iter().for_each(|link| put_link(out, &link.trace, &link.span));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::otlp::{Log, Metric, each_item};
    use formats::packed::gunzip;
    use observe::collect::Recorder;
    use observe::keep::{Ends, Settings};
    use observe::logs::{Logs, Row};
    use testkit::TempDir;

    /// What waits, taken apart again: the service of each item beside the item.
    fn items(payloads: &[(Vec<u8>, u64)], mut each: impl FnMut(&str, &[u8])) -> u64 {
        for (payload, _) in payloads {
            let request = gunzip(&payload[1..], 1 << 20).expect("packed");
            let taken = each_item(&request, &mut |resource, _, message| {
                each(&resource.service(), message);
                Ok(())
            });
            taken.expect("whole");
        }
        payloads.iter().map(|(_, count)| count).sum()
    }

    #[test]
    fn rows_spans_and_samples_become_messages() {
        let directory = TempDir::new();
        let logs = Logs::open(&directory.path().join("l"), Default::default(), 0).expect("a store");
        let mut following = logs.follow();
        let stream = Stream::new("shop", "web", "web-1", "stderr");
        let row = |text| Row { time_ns: 7, level: Level::Error, text };
        logs.append(&stream, &[row("no"), row("again")], None).expect("taken");
        let (recent, _) = following.more();
        let mut seen = Vec::new();
        let count = items(&rows(&recent), |service, message| {
            let log = Log::read(message).expect("whole");
            seen.push(format!("{service} {} {}", log.severity, log.time_ns));
        });
        assert_eq!((count, seen), (2, vec!["web 17 7".to_owned(); 2]));
        // What is no span is left out.
        assert!(spans(&recent).is_empty());

        let start = 1_790_000_000_000;
        let metrics =
            Metrics::open(&directory.path().join("m"), Settings::default(), start).expect("a store");
        let labels = vec![("job".to_owned(), "node".to_owned())];
        let mut recorder = Recorder::new("a", Ends::WhenMissing, labels);
        for second in 0..3 {
            let tick = |sink: &mut dyn observe::collect::Sink| {
                sink.gauge("x", &[], second as f64);
                sink.counter("y_total", &[], second as f64);
            };
            recorder.tick(&metrics, start + second * 1000, tick).expect("taken");
        }
        let mut names = Vec::new();
        let count = items(&samples(&metrics, start, start + 9000), |service, message| {
            names.push(format!("{service} {}", Metric::read(message).expect("whole").name));
        });
        names.sort();
        assert_eq!((count, names), (6, vec!["node x".to_owned(), "node y_total".to_owned()]));
    }
}
