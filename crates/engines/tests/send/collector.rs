//! A collector that reads with OpenTelemetry's own definitions of the messages.

use super::{LIMIT, start, until};
use engines::otlp::{Otlp, payload};
use engines::send::{Client, Place};
use formats::otlp::Signal;
use formats::otlp::put::{
    LogOut, SpanOut, put_attribute, put_event, put_log, put_metric, put_resource, put_span,
};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use testkit::{ProcessGuard, TempDir, wait_for};

/// Writes its port, then each request as a line of JSON, into a file.
const COLLECTOR: &str = r#"
import gzip, http.server, json, sys
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
KINDS = {"/v1/logs": ExportLogsServiceRequest, "/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}
out = open(sys.argv[1], "w", buffering=1)
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *rest): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip": body = gzip.decompress(body)
        read = KINDS[self.path].FromString(body)
        out.write(json.dumps({self.path: MessageToDict(read)}) + "\n")
        said = ExportTraceServiceResponse()
        if self.path == "/v1/traces":
            said.partial_success.rejected_spans = 1
            said.partial_success.error_message = "one is too old"
        said = said.SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
out.write(str(server.server_port) + "\n")
server.serve_forever()
"#;

fn requests() -> [(Signal, Vec<u8>, u64); 3] {
    let resource = || [("service.name", "web"), ("juchu.stack", "shop")].into_iter();
    let [mut metrics, mut logs, mut traces] = [Vec::new(), Vec::new(), Vec::new()];
    put_resource(
        &mut metrics,
        resource(),
        |_| {},
        "juchu",
        |out| {
            let samples = [(1_790_000_000_000, Some(2.0)), (1_790_000_001_000, None)];
            put_metric(out, "hits_total", true, [("code", "2xx")].into_iter(), samples.into_iter());
            put_metric(out, "load", false, std::iter::empty(), [(1_790_000_000_000, Some(0.5))].into_iter());
        },
    );
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let log = LogOut {
        time_ns: 1_790_000_000_000_000_007,
        severity: 17,
        level: "error",
        text: "no ü",
        source: "stderr",
        trace,
        span: "00f067aa0ba902b7",
    };
    put_resource(&mut logs, resource(), |_| {}, "juchu", |out| put_log(out, &log));
    for span in ["00f067aa0ba902b7", "00f067aa0ba902b8"] {
        let span = SpanOut {
            trace,
            span,
            parent: "",
            name: "GET /",
            kind: "server",
            start_ns: 5,
            end_ns: 9,
            status: "error",
            message: "no",
            left_out: 0,
        };
        put_resource(
            &mut traces,
            resource(),
            |_| {},
            "juchu",
            |out| {
                put_span(out, &span, |out| {
                    put_attribute(out, "http.response.status_code", &json!(503));
                    put_event(out, 7, "first byte", std::iter::empty());
                });
            },
        );
    }
    [(Signal::Metrics, metrics, 3), (Signal::Logs, logs, 1), (Signal::Traces, traces, 2)]
}

#[test]
fn a_collector_reads_what_is_sent() {
    let Some(python) = testkit::python_with_peers() else { return };
    let directory = TempDir::new();
    let heard = directory.path().join("heard");
    let mut command = Command::new(python);
    command.args(["-c", COLLECTOR]).arg(&heard).stdin(Stdio::null()).stdout(Stdio::null());
    let _guard = ProcessGuard::spawn(&mut command);
    let lines = || -> Vec<String> {
        let Ok(file) = std::fs::File::open(&heard) else { return Vec::new() };
        BufReader::new(file).lines().map_while(Result::ok).collect()
    };
    let port: u16 = wait_for(LIMIT, "it listens", || lines().first()?.parse().ok());
    let place = Place { url: format!("http://127.0.0.1:{port}"), authorization: None };
    let deliverer = start(&directory.path().join("queue"), Box::new(Otlp::new(Client::new(place))));
    for (signal, request, items) in requests() {
        deliverer.push(&payload(signal, &request), items).expect("room");
    }
    let status = until(&deliverer, "all is sent", |status| status.sent + status.lost == 6);
    assert_eq!((status.sent, status.lost), (5, 1), "what the collector refuses is counted: {status:?}");

    let heard: Vec<Value> =
        lines()[1..].iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [metrics, logs, traces] =
        [("metrics", "Metrics"), ("logs", "Logs"), ("traces", "Spans")].map(|(path, kind)| {
            let request = heard.iter().find_map(|one| one.get(format!("/v1/{path}"))).expect("it came");
            request[format!("resource{kind}")].clone()
        });
    let resource = json!([
        {"key": "service.name", "value": {"stringValue": "web"}},
        {"key": "juchu.stack", "value": {"stringValue": "shop"}},
    ]);
    assert_eq!(metrics[0]["resource"]["attributes"], resource);
    let read = &metrics[0]["scopeMetrics"][0]["metrics"];
    let sum = &read[0]["sum"];
    assert_eq!(
        (&read[0]["name"], &sum["aggregationTemporality"], &sum["isMonotonic"]),
        (&json!("hits_total"), &json!("AGGREGATION_TEMPORALITY_CUMULATIVE"), &json!(true))
    );
    assert_eq!(sum["dataPoints"][0]["asDouble"], 2.0);
    assert_eq!(sum["dataPoints"][0]["timeUnixNano"], "1790000000000000000");
    assert_eq!(sum["dataPoints"][1]["flags"], 1);
    assert_eq!(read[1]["gauge"]["dataPoints"][0]["asDouble"], 0.5);

    let record = &logs[0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["body"]["stringValue"], "no ü");
    assert_eq!(record["severityNumber"], "SEVERITY_NUMBER_ERROR");
    assert_eq!(record["timeUnixNano"], "1790000000000000007");
    assert_eq!(record["traceId"], "S/kvNXezTaajzpKdDg5HNg==");

    assert_eq!(traces.as_array().map(Vec::len), Some(2));
    let span = &traces[0]["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["name"], &span["kind"]), (&json!("GET /"), &json!("SPAN_KIND_SERVER")));
    assert_eq!(span["status"], json!({"code": "STATUS_CODE_ERROR", "message": "no"}));
    assert_eq!(span["attributes"][0]["value"]["intValue"], "503");
    assert_eq!(span["events"][0]["name"], "first byte");
}
