//! OpenTelemetry's own SDK for Python, with its own exporter over HTTP.

use super::{Site, search};
use observe::logs::Level;
use observe::traces::search::{Wanted, trace, traces};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

const PROGRAM: &str = r#"
import logging, time
from opentelemetry import trace, metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

resource = Resource.create({"service.name": "web", "service.instance.id": "web-1", "juchu.stack": "shop",
                            "deployment.environment": "test"})
spans = TracerProvider(resource=resource)
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = spans.get_tracer("checkout")
reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=3600000)
meters = MeterProvider(resource=resource, metric_readers=[reader])
meter = meters.get_meter("checkout")
requests = meter.create_counter("http.requests", unit="{request}", description="All requests")
duration = meter.create_histogram("http.server.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1])
meter.create_observable_gauge("queue.depth", callbacks=[lambda o: [metrics.Observation(7, {"queue.name": "a\"b"})]])
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
log = logging.getLogger("shop")
log.addHandler(LoggingHandler(logger_provider=logs))

with tracer.start_as_current_span("GET /checkout", kind=trace.SpanKind.SERVER, attributes={"http.route": "/checkout", "http.response.status_code": 500, "sizes": [1, 2]}) as outer:
    with tracer.start_as_current_span("charge", kind=trace.SpanKind.CLIENT) as inner:
        time.sleep(0.02)
        try:
            raise ValueError("no money")
        except ValueError as error:
            inner.record_exception(error)
            inner.set_status(trace.Status(trace.StatusCode.ERROR, "payment failed"))
        log.error("payment of %s failed", "ada", extra={"amount": 12.5})
    requests.add(3, {"http.route": "/checkout"})
    duration.record(0.25, {"http.route": "/checkout"})
    duration.record(0.05, {"http.route": "/checkout"})
print(format(outer.get_span_context().trace_id, "032x"))
for one in (spans, meters, logs):
    one.force_flush()
    one.shutdown()
"#;

async fn run(site: &Site, packing: &str) -> Option<String> {
    let python = testkit::python_with_peers()?;
    let mut command = Command::new(python);
    command
        .args(["-c", PROGRAM])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", site.address))
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", packing)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(LIMIT, command.output()).await.expect("it ends").expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("Failed to export"), "{said}");
    Some(String::from_utf8(output.stdout).expect("a text").trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_samples_and_rows_of_the_python_sdk_are_kept() {
    for packing in ["gzip", "none"] {
        let site = Site::start().await;
        let Some(id) = run(&site, packing).await else { return };
        check_spans(&site, &id);
        check_samples(&site);
        check_rows(&site, &id);
    }
}

fn check_spans(site: &Site, id: &str) {
    let found = trace(&site.spans, id, &|| false).found;
    assert_eq!(found.len(), 2);
    let (outer, inner) = (&found[0], &found[1]);
    assert_eq!(outer.stream.parts(), ["shop", "web", "web-1", "span"]);
    assert_eq!(
        (&*outer.span.name, &*outer.span.kind, &*outer.span.scope),
        ("GET /checkout", "server", "checkout")
    );
    assert_eq!(outer.span.attributes["http.response.status_code"], 500);
    assert_eq!(outer.span.attributes["sizes"], serde_json::json!([1, 2]));
    assert_eq!(outer.span.resource["deployment.environment"], "test");
    assert_eq!((&inner.span.parent, &*inner.span.kind), (&outer.span.span, "client"));
    assert!(inner.span.is_error() && inner.span.message == "payment failed");
    assert!(inner.span.duration_ms >= 20.0 && inner.span.duration_ms <= outer.span.duration_ms);
    assert_eq!(inner.span.events[0].name, "exception");
    assert_eq!(inner.span.events[0].attributes["exception.message"], "no money");

    let list = |wanted: Wanted| {
        let wanted = Wanted { to_ns: i64::MAX, limit: 10, ..wanted };
        traces(&site.spans, &wanted, &|| false).found
    };
    let all = list(Wanted::default());
    assert_eq!((all.len(), all[0].spans, all[0].errors, &*all[0].root.span.name), (1, 2, 1, "GET /checkout"));
    assert_eq!(list(Wanted { errors: true, ..Wanted::default() }).len(), 1);
    assert_eq!(
        list(Wanted { service: Some("web".into()), min_ms: Some(20.0), ..Wanted::default() }).len(),
        1
    );
    assert_eq!(list(Wanted { name: Some("CHECK".into()), ..Wanted::default() }).len(), 1);
    assert!(list(Wanted { service: Some("db".into()), ..Wanted::default() }).is_empty());
    assert!(list(Wanted { min_ms: Some(60_000.0), ..Wanted::default() }).is_empty());
    assert!(list(Wanted { max_ms: Some(1.0), ..Wanted::default() }).is_empty());
}

fn check_samples(site: &Site) {
    let route = r#"http_route="/checkout",job="web",instance="web-1",service="web",stack="shop""#;
    assert_eq!(site.value(&format!("http_requests_total{{{route}}}")), 3.0);
    let buckets = site.ask(&format!("http_server_duration_seconds_bucket{{{route}}}"));
    let counts: Vec<f64> = buckets.iter().map(|(_, value)| *value).collect();
    assert_eq!(counts, [2.0, 1.0, 2.0], "{buckets:?}");
    assert!((site.value("http_server_duration_seconds_sum") - 0.3).abs() < 1e-9);
    assert_eq!(site.value(r#"queue_depth{queue_name="a\"b"}"#), 7.0);
    assert_eq!(site.value(r#"target_info{deployment_environment="test",job="web",instance="web-1"}"#), 1.0);
    let (_, described) = site.stores.known.describe("http_requests_total");
    assert_eq!((&*described.kind, &*described.help), ("counter", "All requests"));
}

fn check_rows(site: &Site, id: &str) {
    let found = search(&site.rows, &format!("trace_id:{id} level:error service:web amount:12.5"));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].level, &*found[0].stream.source), (Level::Error, "otlp"));
    let row: serde_json::Value = serde_json::from_str(&found[0].text).expect("JSON");
    assert_eq!(row["message"], "payment of ada failed");
    assert_eq!(row["deployment.environment"], "test");
}
