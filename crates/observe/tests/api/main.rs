//! The HTTP API as clients use it: over TCP, and by Debian's promtool.

mod node_exporter;

use observe::api::{Api, Known};
use observe::collect::Recorder;
use observe::keep::{Ends, Metrics, Settings};
use serde_json::{Value as Json, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use testkit::TempDir;

const START_MS: i64 = 1_790_000_000_000;
const SECONDS: i64 = 120;

fn now_ms() -> i64 {
    START_MS + SECONDS * 1000
}

/// A server over two minutes of made-up measurements.
struct Server {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _directory: TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = TempDir::new();
        let metrics = Metrics::open(directory.path(), Settings::default(), now_ms()).unwrap();
        let base = vec![("job".to_owned(), "node".to_owned()), ("instance".to_owned(), "here".to_owned())];
        let mut recorder = Recorder::new("node", Ends::WhenMissing, base);
        for second in 0..=SECONDS {
            let done = recorder.tick(&metrics, START_MS + second * 1000, |sink| {
                sink.gauge("up", &[], 1.0);
                sink.gauge("node_load1", &[], second as f64 / 100.0);
                for cpu in ["0", "1"] {
                    sink.counter("node_cpu_seconds_total", &[("cpu", cpu), ("mode", "user")], second as f64);
                }
                sink.gauge("juchu_containers", &[("state", "up")], 3.0);
                sink.counter("juchu_logins_total", &[("result", "a \"quoted\"\\\nname")], 1.0);
                for (le, count) in [("0.1", 1.0), ("+Inf", 2.0)] {
                    sink.counter("juchu_gateway_request_duration_seconds_bucket", &[("le", le)], count);
                }
                sink.counter("juchu_gateway_request_duration_seconds_sum", &[], 0.5);
                sink.counter("juchu_gateway_request_duration_seconds_count", &[], 2.0);
            });
            assert_eq!(done, Ok(10));
        }
        let api = Api::new(Arc::new(metrics), Known::default(), now_ms);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, api.router()).await });
        Self { address, _runtime: runtime, _directory: directory }
    }

    /// Head and body of an answer.
    fn ask(&self, head: &str, body: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }

    fn get(&self, path: &str) -> (u16, Json) {
        let (head, body) = self.ask(&format!("GET {path} HTTP/1.1"), "");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{head}")))
    }

    fn data(&self, path: &str) -> Json {
        let (status, answer) = self.get(path);
        assert_eq!((status, &answer["status"]), (200, &json!("success")), "{answer}");
        answer["data"].clone()
    }

    /// What promtool prints; it must succeed.
    fn promtool(&self, tool: &Path, arguments: &[&str]) -> String {
        let url = format!("http://{}", self.address);
        let arguments = arguments.iter().map(|argument| if *argument == "URL" { &*url } else { argument });
        let output = Command::new(tool).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

#[test]
fn queries_are_answered_in_the_form_of_prometheus() {
    let server = Server::start();
    assert_eq!(
        server.data("/api/v1/query?query=1%2B1"),
        json!({ "resultType": "scalar", "result": [1_790_000_120, "2"] })
    );
    assert_eq!(
        server.data("/api/v1/query?query=node_load1&time=1790000010"),
        json!({ "resultType": "vector", "result": [{
            "metric": { "__name__": "node_load1", "instance": "here", "job": "node" },
            "value": [1_790_000_010, "0.1"],
        }] })
    );
    let range = "query=sum(rate(node_cpu_seconds_total[30s]))&start=1790000060&end=1790000120.5&step=30";
    let expected = json!({ "resultType": "matrix", "result": [{
        "metric": {},
        "values": [[1_790_000_060, "2"], [1_790_000_090, "2"], [1_790_000_120, "2"]],
    }] });
    assert_eq!(server.data(&format!("/api/v1/query_range?{range}")), expected);
    let form = "POST /api/v1/query_range HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    let (_, body) = server.ask(form, range);
    assert_eq!(serde_json::from_slice::<Json>(&body).unwrap()["data"], expected);
    assert_eq!(server.data("/api/v1/query_exemplars?query=up&start=1&end=2"), json!([]));
    assert_eq!(server.data("/api/v1/rules"), json!({ "groups": [] }));
    assert_eq!(server.data("/api/v1/alerts"), json!({ "alerts": [] }));
    assert_eq!(server.data("/api/v1/status/buildinfo")["version"], "2.42.0");
}

#[test]
fn what_there_is_can_be_listed() {
    let server = Server::start();
    assert_eq!(server.data("/api/v1/label/cpu/values"), json!(["0", "1"]));
    assert_eq!(server.data("/api/v1/label/cpu/values?match[]=up"), json!([]));
    assert_eq!(
        server.data("/api/v1/labels?match[]=node_cpu_seconds_total"),
        json!(["__name__", "cpu", "instance", "job", "mode"])
    );
    assert_eq!(server.data("/api/v1/labels?start=1&end=2"), json!([]));
    let series = server.data("/api/v1/series?match[]=up&match[]=node_load1");
    let names: Vec<&Json> = series.as_array().unwrap().iter().map(|series| &series["__name__"]).collect();
    assert_eq!(names, ["node_load1", "up"]);
    assert_eq!(server.data("/api/v1/metadata?metric=up")["up"][0]["type"], "gauge");
    let all = server.data("/api/v1/metadata");
    assert_eq!(all["juchu_gateway_request_duration_seconds"][0]["type"], "histogram");
}

#[test]
fn what_cannot_be_answered_is_refused_in_words_that_clients_know() {
    let server = Server::start();
    let check = |path: &str, status: u16, kind: &str, text: &str| {
        let (answered, answer) = server.get(path);
        assert_eq!((answered, answer["errorType"].as_str()), (status, Some(kind)), "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(text), "{path}: {answer}");
    };
    check("/api/v1/query?query=", 400, "bad_data", "invalid parameter \"query\"");
    check("/api/v1/query?query=up(", 400, "bad_data", "invalid parameter \"query\"");
    check("/api/v1/query?query=up&time=soon", 400, "bad_data", "cannot parse \"soon\" to a valid timestamp");
    let range = "/api/v1/query_range?query=up";
    check(
        &format!("{range}&start=0&end=11001&step=1"),
        400,
        "bad_data",
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    );
    check(
        &format!("{range}&start=2&end=1&step=1"),
        400,
        "bad_data",
        "end timestamp must not be before start time",
    );
    check(
        &format!("{range}&start=1&end=2&step=0"),
        400,
        "bad_data",
        "zero or negative query resolution step widths are not accepted",
    );
    check(&format!("{range}&end=2&step=1"), 400, "bad_data", "invalid parameter \"start\"");
    check("/api/v1/query?query=up%20%2B%20on()%20node_cpu_seconds_total", 422, "execution", "");
    check("/api/v1/query?query=up&timeout=0", 503, "timeout", "timed out");
    check("/api/v1/series", 400, "bad_data", "no match[] parameter provided");
    check("/api/v1/label/0x/values", 400, "bad_data", "invalid label name");
}

#[test]
fn long_answers_are_compressed_for_who_wants_that() {
    let server = Server::start();
    let path = "GET /api/v1/query_range?query=node_load1&start=1790000000&end=1790000120&step=1 HTTP/1.1";
    let (head, plain) = server.ask(path, "");
    assert!(!head.to_ascii_lowercase().contains("content-encoding"), "{head}");
    let (head, packed) = server.ask(&format!("{path}\r\nAccept-Encoding: deflate, gzip"), "");
    assert!(head.to_ascii_lowercase().contains("content-encoding: gzip"), "{head}");
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
}

#[test]
fn promtool_works_against_it() {
    let Some(tool) = testkit::needs("promtool", "prometheus") else { return };
    let server = Server::start();
    let text = server.promtool(&tool, &["query", "instant", "--time=1790000120", "URL", "node_load1"]);
    assert!(text.starts_with("node_load1{instance=\"here\", job=\"node\"} => 1.2 @["), "{text}");
    let range = [
        "query",
        "range",
        "--start=1790000060",
        "--end=1790000120",
        "--step=60s",
        "URL",
        "rate(node_cpu_seconds_total{cpu='0'}[30s])",
    ];
    let text = server.promtool(&tool, &range);
    assert!(text.contains("1 @[1790000060]\n1 @[1790000120]"), "{text}");
    let text = server.promtool(
        &tool,
        &[
            "query",
            "series",
            "--start=1790000000",
            "--end=1790000120",
            "--match=node_cpu_seconds_total",
            "URL",
        ],
    );
    assert_eq!(text.lines().count(), 2, "{text}");
    let text =
        server.promtool(&tool, &["query", "labels", "--start=1790000000", "--end=1790000120", "URL", "cpu"]);
    assert_eq!(text, "0\n1\n");
    // What newer ones ask by `check healthy` and `check ready`.
    for path in ["/-/healthy", "/-/ready"] {
        let (head, _) = server.ask(&format!("GET {path} HTTP/1.1"), "");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}

#[test]
fn what_it_exposes_is_in_order() {
    let Some(tool) = testkit::needs("promtool", "prometheus") else { return };
    let server = Server::start();
    let (head, own) = server.ask("GET /metrics HTTP/1.1", "");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let text = String::from_utf8(own.clone()).unwrap();
    assert!(
        text.contains(
            "juchu_logins_total{instance=\"here\",job=\"node\",result=\"a \\\"quoted\\\"\\\\\\nname\"} 1\n"
        ),
        "{text}"
    );
    let mut check = Command::new(&tool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(&own).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    let (_, federated) = server.ask("GET /federate?match[]=node_load1 HTTP/1.1", "");
    let federated = String::from_utf8(federated).unwrap();
    assert!(
        federated.ends_with("node_load1{instance=\"here\",job=\"node\"} 1.2 1790000120000\n"),
        "{federated}"
    );
}
