//! Writing OTLP: requests of one resource after the other, in protocol buffers.

use super::Signal;
use crate::protobuf::{Fields, put_bytes, put_fixed32, put_fixed64, put_message, put_number};
use serde_json::Value as Json;

/// Lists and maps within each other; what lies deeper is left out.
const DEPTH_MAX: usize = 8;
/// The time between two points of a sum is not told: it counts from its beginning.
const CUMULATIVE: u64 = 2;
/// Of a point that says that its series has ended.
const NO_VALUE: u64 = 1;

/// Spans, metrics or log records of one resource.
pub fn put_resource<'t>(
    out: &mut Vec<u8>,
    attributes: impl Iterator<Item = (&'t str, &'t str)>,
    more: impl FnOnce(&mut Vec<u8>),
    scope: &str,
    items: impl FnOnce(&mut Vec<u8>),
) {
    put_message(out, 1, |out| {
        put_message(out, 1, |out| {
            attributes.filter(|(_, value)| !value.is_empty()).for_each(|(name, value)| {
                put_text(out, 1, name, value);
            });
            more(out);
        });
        put_message(out, 2, |out| {
            put_message(out, 1, |out| put_bytes(out, 1, scope.as_bytes()));
            items(out);
        });
    });
}

/// A pair of texts.
pub fn put_text(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    put_message(out, field, |out| {
        put_bytes(out, 1, name.as_bytes());
        put_message(out, 2, |out| put_bytes(out, 1, value.as_bytes()));
    });
}

/// A pair of a name and any value.
pub fn put_pair(out: &mut Vec<u8>, field: u32, name: &str, value: &Json) {
    put_message(out, field, |out| {
        put_bytes(out, 1, name.as_bytes());
        put_message(out, 2, |out| put_any(out, value, 1));
    });
}

fn put_any(out: &mut Vec<u8>, value: &Json, depth: usize) {
    match value {
        Json::Null => {}
        Json::Bool(is) => put_number(out, 2, u64::from(*is)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => put_number(out, 3, whole.cast_unsigned()),
            (None, Some(number)) => put_fixed64(out, 4, number.to_bits()),
            (None, None) => {}
        },
        Json::String(text) => put_bytes(out, 1, text.as_bytes()),
        Json::Array(_) | Json::Object(_) if depth >= DEPTH_MAX => {}
        Json::Array(all) => put_message(out, 5, |out| {
            all.iter().for_each(|one| put_message(out, 1, |out| put_any(out, one, depth + 1)));
        }),
        Json::Object(all) => put_message(out, 6, |out| {
            for (name, value) in all {
                put_message(out, 1, |out| {
                    put_bytes(out, 1, name.as_bytes());
                    put_message(out, 2, |out| put_any(out, value, depth + 1));
                });
            }
        }),
    }
}

/// The samples of one series; `None` is its end.
pub fn put_metric<'l>(
    out: &mut Vec<u8>,
    name: &str,
    is_counter: bool,
    labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
    samples: impl Iterator<Item = (i64, Option<f64>)>,
) {
    put_message(out, 2, |out| {
        put_bytes(out, 1, name.as_bytes());
        put_message(out, if is_counter { 7 } else { 5 }, |out| {
            for (time_ms, value) in samples {
                put_message(out, 1, |out| {
                    put_fixed64(out, 3, nanoseconds(time_ms));
                    match value {
                        Some(value) => put_fixed64(out, 4, value.to_bits()),
                        None => put_number(out, 8, NO_VALUE),
                    }
                    labels.clone().for_each(|(name, value)| put_text(out, 7, name, value));
                });
            }
            if is_counter {
                put_number(out, 2, CUMULATIVE);
                put_number(out, 3, 1);
            }
        });
    });
}

fn nanoseconds(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default().saturating_mul(1_000_000)
}

/// A row as a log record.
#[derive(Debug, Clone, Copy)]
pub struct LogOut<'a> {
    pub time_ns: i64,
    /// 1 to 24; 0: it does not say.
    pub severity: u64,
    pub level: &'a str,
    pub text: &'a str,
    pub source: &'a str,
    /// Hexadecimal digits, or none.
    pub trace: &'a str,
    pub span: &'a str,
}

pub fn put_log(out: &mut Vec<u8>, log: &LogOut<'_>) {
    put_message(out, 2, |out| {
        let time = u64::try_from(log.time_ns).unwrap_or_default();
        put_fixed64(out, 1, time);
        put_fixed64(out, 11, time);
        if log.severity > 0 {
            put_number(out, 2, log.severity);
            put_bytes(out, 3, log.level.as_bytes());
        }
        put_message(out, 5, |out| put_bytes(out, 1, log.text.as_bytes()));
        put_text(out, 6, "log.iostream", log.source);
        put_id(out, 9, log.trace, 16);
        put_id(out, 10, log.span, 8);
    });
}

/// A span as it is kept; identifiers are hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct SpanOut<'a> {
    pub trace: &'a str,
    pub span: &'a str,
    pub parent: &'a str,
    pub name: &'a str,
    /// As [`super::Kind::name`] has it.
    pub kind: &'a str,
    pub start_ns: i64,
    pub end_ns: i64,
    /// `ok`, `error` or empty.
    pub status: &'a str,
    pub message: &'a str,
    pub left_out: usize,
}

/// `more` appends attributes, events and links.
pub fn put_span(out: &mut Vec<u8>, span: &SpanOut<'_>, more: impl FnOnce(&mut Vec<u8>)) {
    put_message(out, 2, |out| {
        put_id(out, 1, span.trace, 16);
        put_id(out, 2, span.span, 8);
        put_id(out, 4, span.parent, 8);
        put_bytes(out, 5, span.name.as_bytes());
        let kind = ["internal", "server", "client", "producer", "consumer"];
        put_number(out, 6, kind.iter().position(|known| *known == span.kind).unwrap_or_default() as u64 + 1);
        put_fixed64(out, 7, u64::try_from(span.start_ns).unwrap_or_default());
        put_fixed64(out, 8, u64::try_from(span.end_ns).unwrap_or_default());
        more(out);
        if span.left_out > 0 {
            put_number(out, 10, span.left_out as u64);
        }
        put_message(out, 15, |out| {
            if !span.message.is_empty() {
                put_bytes(out, 2, span.message.as_bytes());
            }
            let code = match span.status {
                "ok" => 1,
                "error" => 2,
                _ => 0,
            };
            put_number(out, 3, code);
        });
        // It was recorded.
        put_fixed32(out, 16, 1);
    });
}

/// Something that happened within a span.
pub fn put_event<'j>(
    out: &mut Vec<u8>,
    time_ns: i64,
    name: &str,
    attributes: impl Iterator<Item = (&'j String, &'j Json)>,
) {
    put_message(out, 11, |out| {
        put_fixed64(out, 1, u64::try_from(time_ns).unwrap_or_default());
        put_bytes(out, 2, name.as_bytes());
        attributes.for_each(|(name, value)| put_pair(out, 3, name, value));
    });
}

/// An attribute of a span.
pub fn put_attribute(out: &mut Vec<u8>, name: &str, value: &Json) {
    put_pair(out, 9, name, value);
}

/// Another span that a span has to do with.
pub fn put_link(out: &mut Vec<u8>, trace: &str, span: &str) {
    put_message(out, 13, |out| {
        put_id(out, 1, trace, 16);
        put_id(out, 2, span, 8);
    });
}

/// What is none of so many bytes is left out.
fn put_id(out: &mut Vec<u8>, field: u32, digits: &str, length: usize) {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    if let Some(bytes) = bytes.filter(|bytes| bytes.len() == length) {
        put_bytes(out, field, &bytes);
    }
}

/// Where requests of a signal are sent to, below the address of the receiver.
pub fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Metrics => "/v1/metrics",
        Signal::Logs => "/v1/logs",
    }
}

/// What of a request was refused although it was answered with 200, and why.
pub fn refused(answer: &[u8]) -> (u64, String) {
    let mut told = (0, String::new());
    for field in Fields::of(answer).map_while(Result::ok) {
        let (1, value) = field else { continue };
        for field in value.bytes().map(Fields::of).into_iter().flatten().map_while(Result::ok) {
            match field {
                (1, count) => told.0 = count.number().unwrap_or_default(),
                (2, why) => told.1 = why.text().unwrap_or_default().to_owned(),
                _ => {}
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::{Data, Log, Metric, Span, Status, each_item, hex};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        let resource = [("service.name", "web"), ("juchu.stack", "shop"), ("service.instance.id", "")];
        let span = SpanOut {
            trace: "4bf92f3577b34da6a3ce929d0e0e4736",
            span: "00f067aa0ba902b7",
            parent: "",
            name: "GET /",
            kind: "server",
            start_ns: 5,
            end_ns: 9,
            status: "error",
            message: "no",
            left_out: 1,
        };
        put_resource(
            &mut out,
            resource.into_iter(),
            |_| {},
            "juchu",
            |out| {
                put_span(out, &span, |out| {
                    put_attribute(out, "a", &json!({"b": [1, 2.5, true, null, "x"]}));
                    put_event(out, 7, "first byte", std::iter::empty());
                    put_link(out, span.trace, "not one");
                });
            },
        );
        let mut seen = 0;
        each_item(&out, &mut |resource, scope, message| {
            seen += 1;
            assert_eq!((resource.service().as_ref(), scope), ("web", "juchu"));
            assert_eq!(resource.attributes.all.len(), 2, "what is empty is left out");
            let read = Span::read(message)?;
            assert!(read.is_valid() && hex(read.trace) == span.trace && read.parent.is_empty());
            assert_eq!((read.name, read.kind.name(), read.start_ns, read.end_ns), ("GET /", "server", 5, 9));
            assert_eq!((read.status, read.message), (Status::Error, "no"));
            let mut text = String::new();
            read.attributes.all[0].1.put_json(&mut text);
            assert_eq!(text, r#"{"b":[1,2.5,true,null,"x"]}"#);
            assert_eq!(
                (read.events[0].name, read.events[0].time_ns, read.links[0].id),
                ("first byte", 7, &[][..])
            );
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn samples_and_rows_are_read_back() {
        let mut out = Vec::new();
        let labels = [("code", "2xx")];
        put_resource(
            &mut out,
            std::iter::empty(),
            |_| {},
            "juchu",
            |out| {
                put_metric(out, "x_total", true, labels.into_iter(), [(1, Some(2.0)), (2, None)].into_iter());
                put_metric(out, "y", false, labels.into_iter(), [(1, Some(0.5))].into_iter());
            },
        );
        let mut names = Vec::new();
        each_item(&out, &mut |_, _, message| {
            let metric = Metric::read(message)?;
            names.push((metric.name.to_owned(), matches!(metric.data, Data::Sum { .. })));
            Ok(())
        })
        .unwrap();
        assert_eq!(names, [("x_total".to_owned(), true), ("y".to_owned(), false)]);
        let mut out = Vec::new();
        let log = LogOut {
            time_ns: 7,
            severity: 17,
            level: "error",
            text: "no",
            source: "stderr",
            trace: "4bf92f3577b34da6a3ce929d0e0e4736",
            span: "",
        };
        put_resource(&mut out, std::iter::empty(), |_| {}, "juchu", |out| put_log(out, &log));
        each_item(&out, &mut |_, _, message| {
            let read = Log::read(message)?;
            assert_eq!((read.time_ns, read.severity, read.severity_text), (7, 17, "error"));
            assert_eq!((hex(read.trace).as_str(), read.span), (log.trace, &[][..]));
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn what_was_refused_is_told() {
        let mut answer = Vec::new();
        put_message(&mut answer, 1, |out| {
            put_number(out, 1, 3);
            put_bytes(out, 2, b"too old");
        });
        assert_eq!(refused(&answer), (3, "too old".to_owned()));
        assert_eq!((refused(b""), refused(b"\xff\xff")), ((0, String::new()), (0, String::new())));
    }
}
