//! What the gateway recorded of requests, as spans in the store.

use model::flow::PassedSpan;
use observe::logs::{Level, Logs, Row, Stream};
use observe::receive::SPAN_SOURCE;
use observe::traces::{Event, Span};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// By whom they were recorded.
const SCOPE: &str = "juchu.gateway";

/// Keeps them; returns how many could not be kept.
pub fn keep(store: &Logs, passed: &[PassedSpan]) -> u64 {
    let mut streams: BTreeMap<Stream, Vec<(i64, Level, String)>> = BTreeMap::new();
    for one in passed {
        let span = span(one);
        let level = if one.failed { Level::Error } else { Level::Info };
        let text = serde_json::to_string(&span).expect("it can be written");
        streams.entry(stream(one)).or_default().push((span.start_ns, level, text));
    }
    let mut lost = 0;
    for (stream, rows) in streams {
        let rows: Vec<Row<'_>> = rows
            .iter()
            .map(|(time_ns, level, text)| Row { time_ns: *time_ns, level: *level, text })
            .collect();
        if store.append(&stream, &rows, None).is_err() {
            lost += rows.len() as u64;
        }
    }
    lost
}

/// `shop/web:8000` is the service `web` of the stack `shop`.
fn stream(one: &PassedSpan) -> Stream {
    let (stack, rest) = one.backend.split_once('/').unwrap_or(("", &one.backend));
    let service = rest.split(':').next().unwrap_or(rest);
    Stream::new(stack, service, one.instance.as_deref().unwrap_or_default(), SPAN_SOURCE)
}

fn span(one: &PassedSpan) -> Span {
    let mut attributes = Map::new();
    let mut put = |name: &str, value: Value| _ = attributes.insert(name.to_owned(), value);
    put("http.request.method", json!(one.method));
    put("http.response.status_code", json!(one.status));
    put("url.scheme", json!(if one.secured { "https" } else { "http" }));
    put("server.address", json!(one.host));
    put("url.path", json!(one.path));
    put("network.protocol.version", json!(one.version));
    put("http.request.body.size", json!(one.bytes_in));
    put("http.response.body.size", json!(one.bytes_out));
    put("juchu.caller", json!(one.caller.to_string()));
    put("juchu.backend", json!(one.backend));
    if let Some(rule) = &one.rule {
        put("juchu.route", json!(rule));
    }
    if let Some(status) = one.grpc_status {
        put("rpc.grpc.status_code", json!(status));
    }
    let first_byte = one.first_byte_us.map(|us| Event {
        at_ms: us as f64 / 1e3,
        name: "first byte".to_owned(),
        attributes: Map::new(),
    });
    let message = match &one.fault {
        Some(fault) => fault.clone(),
        None if one.failed => format!("answered {}", one.status),
        None => String::new(),
    };
    Span {
        trace: one.trace.clone(),
        span: one.span.clone(),
        parent: one.parent.clone().unwrap_or_default(),
        name: format!("{} {}", one.method, one.path),
        kind: "server".to_owned(),
        start_ns: i64::try_from(one.start_ns).unwrap_or(i64::MAX),
        duration_ms: one.duration_us as f64 / 1e3,
        status: if one.failed { "error".to_owned() } else { String::new() },
        message,
        scope: SCOPE.to_owned(),
        attributes,
        events: first_byte.into_iter().collect(),
        ..Span::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::flow::Caller;
    use observe::traces::search::trace;
    use testkit::TempDir;

    #[test]
    fn what_passed_is_found_as_a_trace() {
        let directory = TempDir::new();
        let store = Logs::open(directory.path(), Default::default(), 0).expect("a store");
        let root = PassedSpan {
            trace: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
            span: "00f067aa0ba902b7".into(),
            parent: None,
            start_ns: 1_790_000_000_000_000_000,
            duration_us: 2500,
            first_byte_us: Some(1250),
            caller: Caller::Outside,
            backend: "shop/web:8000".into(),
            rule: Some("shop/web#1".into()),
            instance: Some("web1".into()),
            method: "GET".into(),
            host: "shop.example".into(),
            path: "/cart".into(),
            version: "1.1".into(),
            secured: true,
            status: 200,
            grpc_status: None,
            failed: false,
            fault: None,
            bytes_in: 0,
            bytes_out: 10,
        };
        let failed = PassedSpan {
            span: "00f067aa0ba902b8".into(),
            parent: Some(root.span.clone()),
            backend: "shop/api:80".into(),
            failed: true,
            status: 503,
            start_ns: root.start_ns + 1,
            ..root.clone()
        };
        assert_eq!(keep(&store, &[root, failed]), 0);
        let found = trace(&store, "4bf92f3577b34da6a3ce929d0e0e4736", &|| false).found;
        let told: Vec<String> = found
            .iter()
            .map(|one| {
                let (stream, span) = (&one.stream, &one.span);
                format!(
                    "{}/{} {} {} {}",
                    stream.stack, stream.service, span.name, span.duration_ms, span.message
                )
            })
            .collect();
        assert_eq!(told, ["shop/web GET /cart 2.5 ", "shop/api GET /cart 2.5 answered 503"]);
        assert_eq!(found[0].span.attributes["juchu.caller"], "outside");
        assert!(found[1].span.is_error() && found[1].span.parent == found[0].span.span);
    }
}
