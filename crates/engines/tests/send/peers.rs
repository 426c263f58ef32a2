//! Real receivers of remote write: Debian's Prometheus and VictoriaMetrics.

use super::{LIMIT, start, until};
use engines::remote_write::{Messages, RemoteWrite};
use engines::send::{Client, Place};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testkit::{ProcessGuard, TempDir, free_port, wait_for};

/// The answer to a query, once somebody answers.
fn ask(port: u16, path: &str) -> Option<serde_json::Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// Sends three series of five samples and asks for them.
fn check(command: &mut Command, port: u16) {
    let _guard =
        ProcessGuard::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let mut messages = Messages::default();
    for instance in ["a", "b", "ü\"\\\n"] {
        let labels = [("__name__", "sent_total"), ("instance", instance), ("job", "test")];
        let samples: Vec<(i64, f64)> = (0..5).map(|at| (now - 5000 + at * 1000, at as f64 * 1.5)).collect();
        messages.add(labels.into_iter(), &samples);
    }
    let directory = TempDir::new();
    let place = Place { url: format!("http://127.0.0.1:{port}/api/v1/write"), authorization: None };
    let deliverer = start(directory.path(), Box::new(RemoteWrite::new(Client::new(place))));
    for (payload, items) in messages.finish() {
        deliverer.push(&payload, items).expect("room");
    }
    until(&deliverer, "all samples are sent", |status| status.sent == 15 && status.lost == 0);
    let at = now as f64 / 1000.0;
    let found = wait_for(LIMIT, "they are there", || {
        let answer = ask(port, &format!("/api/v1/query?query=sent_total&time={at}"))?;
        let series = answer["data"]["result"].as_array()?.clone();
        (series.len() == 3).then_some(series)
    });
    assert!(found.iter().all(|series| series["value"][1] == "6"), "{found:?}");
    assert!(found.iter().any(|series| series["metric"]["instance"] == "ü\"\\\n"), "{found:?}");
}

#[test]
fn prometheus_takes_what_is_sent() {
    let Some(program) = testkit::needs("prometheus", "prometheus") else { return };
    let directory = TempDir::new();
    let configuration = directory.path().join("prometheus.yml");
    std::fs::write(&configuration, "global: {}\n").expect("a file");
    let port = free_port();
    let mut command = Command::new(program);
    command
        .arg("--web.enable-remote-write-receiver")
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    check(&mut command, port);
}

#[test]
fn victoria_metrics_takes_what_is_sent() {
    let Some(program) = testkit::needs("victoria-metrics", "victoria-metrics") else { return };
    let directory = TempDir::new();
    let port = free_port();
    let mut command = Command::new(program);
    command
        .arg(format!("-storageDataPath={}", directory.path().join("data").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg("-search.latencyOffset=0s");
    check(&mut command, port);
}
