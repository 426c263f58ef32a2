//! OTLP as JSON, as browsers and `curl` send it.

use super::{Site, now_ns, search};
use observe::traces::search::trace;

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

#[tokio::test]
async fn a_span_in_json_is_kept() {
    let site = Site::start().await;
    let (start, end) = (now_ns() - 250_000_000, now_ns());
    let body = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"page"}}}}]}},
        "scopeSpans":[{{"scope":{{"name":"s"}},"spans":[{{"traceId":"4BF92F3577B34DA6A3CE929D0E0E4736","spanId":"00f067aa0ba902b7",
        "parentSpanId":"","name":"load","kind":3,"startTimeUnixNano":"{start}","endTimeUnixNano":{end},
        "attributes":[{{"key":"n","value":{{"intValue":"7"}}}}],"status":{{"code":2}},"new":{{"x":1}}}}]}}]}}]}}"#
    );
    let (status, head, answer) = site.post("/v1/traces", JSON, body.as_bytes()).await;
    assert_eq!((status, &*answer), (200, &b"{}"[..]));
    assert!(head.contains("content-type: application/json"), "{head}");
    let found = trace(&site.spans, "4bf92f3577b34da6a3ce929d0e0e4736", &|| false).found;
    let span = &found[0].span;
    assert!(span.is_error() && span.kind == "client" && span.parent.is_empty() && span.attributes["n"] == 7);
    assert!((span.duration_ms - (end - start) as f64 / 1e6).abs() < 1e-6);
}

#[tokio::test]
async fn a_row_without_more_to_say_is_its_text() {
    let site = Site::start().await;
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
        {"severityNumber":13,"body":{"stringValue":"all is well"}},
        {"severityText":"Error","body":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}}}]}]}]}"#;
    assert_eq!(site.post("/v1/logs", JSON, body.as_bytes()).await.0, 200);
    let found = search(&site.rows, "service:unknown_service");
    let shown: Vec<(&str, &str)> = found.iter().map(|row| (row.level.name(), &*row.text)).collect();
    assert_eq!(shown, [("warn", "all is well"), ("", r#"{"message":{"a":1}}"#)]);
}

#[tokio::test]
async fn what_is_not_taken_is_told_and_the_rest_is_kept() {
    let site = Site::start().await;
    let now = now_ns();
    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[
        {{"name":"good","gauge":{{"dataPoints":[{{"timeUnixNano":"{now}","asInt":"-3"}}]}}}},
        {{"name":"delta","sum":{{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{{"timeUnixNano":"{now}","asDouble":1}}]}}}},
        {{"name":"exp","exponentialHistogram":{{"dataPoints":[{{}},{{}}]}}}},
        {{"name":"size","unit":"By","summary":{{"dataPoints":[{{"timeUnixNano":"{now}","count":"2","sum":9,"quantileValues":[{{"quantile":0.5,"value":4}}]}}]}}}}
        ]}}]}}]}}"#
    );
    let (status, _, answer) = site.post("/v1/metrics", JSON, body.as_bytes()).await;
    let told: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((status, &told["partialSuccess"]["rejectedDataPoints"]), (200, &"3".into()));
    assert!(told["partialSuccess"]["errorMessage"].as_str().unwrap().starts_with("delta: "), "{told}");
    assert_eq!(site.value("good"), -3.0);
    assert_eq!((site.value(r#"size_bytes{quantile="0.5"}"#), site.value("size_bytes_count")), (4.0, 2.0));
    assert_eq!(site.ask("{__name__=~'delta.*'}"), []);
}
