//! Debian's Prometheus writing into ours: the same questions, the same answers.

use super::{Site, now_ns};
use formats::packed::snap;
use formats::remote_write::put_series;
use observe::STALE;
use observe::promql::{Query, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::{ProcessGuard, TempDir, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(60);
const SNAPPY: &[(&str, &str)] = &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
const PATH: &str = "/prometheus/api/v1/write";

const QUESTIONS: [&str; 7] = [
    "prometheus_tsdb_head_series",
    "sum by (handler) (prometheus_http_requests_total)",
    "rate(prometheus_tsdb_head_samples_appended_total[10s])",
    "histogram_quantile(0.9, sum by (le) (prometheus_tsdb_compaction_duration_seconds_bucket))",
    "count({__name__=~'go_.*'})",
    "up",
    "absent(nothing_of_this_name)",
];

/// Reads itself each second and sends what it reads to the site.
fn start(program: &Path, directory: &Path, port: u16, site: &Site) -> ProcessGuard {
    let configuration = directory.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n\
         remote_write: [{{url: 'http://{}{PATH}', queue_config: {{batch_send_deadline: 500ms, min_shards: 3}}}}]\n",
        site.address
    );
    std::fs::write(&configuration, text).expect("a file");
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ProcessGuard::spawn(&mut command)
}

async fn theirs(port: u16, query: &str, at_ms: i64) -> Option<BTreeMap<String, f64>> {
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let at = at_ms as f64 / 1000.0;
    let head = format!("GET /api/v1/query?query={query}&time={at} HTTP/1.0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let body: Json = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    let series = body["data"]["result"].as_array()?.iter().map(|one| {
        let labels = one["metric"].as_object().expect("labels").iter();
        let labels = labels.map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()));
        let value = one["value"][1].as_str().expect("a value").parse().expect("a number");
        (observe::Labels::new(labels).to_string(), value)
    });
    Some(series.collect())
}

fn ours(site: &Site, query: &str, at_ms: i64) -> BTreeMap<String, f64> {
    let query = Query::parse(query).expect("a query");
    match query.instant(&*site.stores.metrics, at_ms, &Default::default()).expect("an answer") {
        Value::Vector(found) => {
            found.iter().map(|one| (one.labels.to_string(), one.points.values[0])).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_sends_is_answered_as_prometheus_answers() {
    let Some(program) = testkit::needs("prometheus", "prometheus") else { return };
    let site = Site::start().await;
    let directory = TempDir::new();
    let port = free_port();
    let _guard = start(&program, directory.path(), port, &site);
    let end = Instant::now() + LIMIT;
    // Enough for a rate over ten seconds, all of it sent.
    let at_ms = loop {
        let now_ms = now_ns() / 1_000_000;
        let sent = "timestamp(prometheus_tsdb_head_series)";
        let first = ours(&site, "min_over_time(timestamp(up)[5m:1s])", now_ms).into_values().next();
        let last = ours(&site, sent, now_ms).into_values().next();
        if let (Some(first), Some(last)) = (first, last)
            && last - first >= 15.0
        {
            break (last as i64 - 2) * 1000;
        }
        assert!(Instant::now() < end, "Prometheus sends within a minute");
        sleep(Duration::from_millis(200)).await;
    };
    for question in QUESTIONS {
        let expect = theirs(port, question, at_ms).await.expect("an answer");
        let found = ours(&site, question, at_ms);
        assert!(!expect.is_empty(), "{question}");
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expect.keys().collect::<Vec<_>>(),
            "{question} at {at_ms}"
        );
        for (series, value) in &expect {
            let difference = (found[series] - value).abs();
            let both_nan = found[series].is_nan() && value.is_nan();
            assert!(
                both_nan || difference <= 1e-9 * value.abs(),
                "{question}: {series} {} {value}",
                found[series]
            );
        }
    }
    let mut families = site.ask("count({job='self'})");
    assert!(families.pop().is_some_and(|(_, count)| count > 300.0));
    assert_eq!(site.stores.known.describe("prometheus_http_requests_total").1.kind, "counter");
}

type Told<'t> = (&'t [(&'t str, &'t str)], &'t [(i64, f64)]);

async fn send(site: &Site, all: &[Told<'_>]) -> (u16, String) {
    let mut message = Vec::new();
    for (labels, samples) in all {
        put_series(&mut message, labels.iter().copied(), samples.iter().copied());
    }
    let (status, _, body) = site.post(PATH, SNAPPY, &snap(&message)).await;
    (status, String::from_utf8(body).expect("a text"))
}

#[tokio::test]
async fn samples_come_in_any_order_once_and_end_when_told() {
    let site = Site::start().await;
    let now = now_ns() / 1_000_000;
    let a: &[(&str, &str)] = &[("__name__", "a"), ("instance", "x"), ("job", "j")];
    let b: &[(&str, &str)] = &[("__name__", "b"), ("instance", "x"), ("job", "j")];
    assert_eq!(send(&site, &[(a, &[(now - 3000, 1.0), (now - 1000, 3.0)])]).await, (204, String::new()));
    assert_eq!(send(&site, &[(b, &[(now - 3000, 7.0)]), (a, &[(now - 2000, 2.0)])]).await.0, 204);
    // A sender that lost the answer.
    assert_eq!(send(&site, &[(a, &[(now - 3000, 1.0), (now - 1000, 3.0)])]).await.0, 204);
    assert_eq!(site.value("sum_over_time(a[5s])"), 6.0);
    let (status, told) = send(&site, &[(a, &[(now - 2000, 9.0), (now - 500, 4.0)])]).await;
    assert_eq!(
        (status, &*told),
        (400, "1 of 2 samples were not taken: a series has two values at one time\n")
    );
    assert_eq!((site.value("a"), site.value("sum_over_time(a[5s])")), (4.0, 10.0));
    assert_eq!(send(&site, &[(a, &[(now - 400, STALE)])]).await.0, 204);
    assert_eq!((site.ask("a"), site.value("b")), (vec![], 7.0));
}

#[tokio::test]
async fn a_sender_is_told_whether_to_come_again() {
    let site = Site::start().await;
    let now = now_ns() / 1_000_000;
    let a: &[(&str, &str)] = &[("__name__", "a"), ("job", "j")];
    let (status, told) = send(&site, &[(&[("job", "j")], &[(now, 1.0)]), (a, &[(now, 1.0)])]).await;
    assert_eq!(
        (status, &*told),
        (400, "1 of 2 samples were not taken: a series has no name, or a label without one\n")
    );
    let (status, told) = send(&site, &[(a, &[(now + 3_600_000, 1.0)])]).await;
    assert_eq!((status, &*told), (400, "1 of 1 samples were not taken: the samples lie in the future\n"));
    let many: Vec<(i64, f64)> = (0..2100).map(|at| (now - 3000 + at, 1.0)).collect();
    let (status, told) = send(&site, &[(a, &many)]).await;
    assert!(status == 503 && told.contains("too many samples of the target wait"), "{told}");
    let (status, _, _) = site.post(PATH, SNAPPY, b"not snappy").await;
    assert_eq!(status, 400);
    let zstd = [("Content-Encoding", "zstd")];
    assert_eq!(site.post(PATH, &zstd, b"x").await.0, 415);
    let third = [("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v3.Request")];
    assert_eq!(site.post(PATH, &third, b"x").await.0, 415);
}
