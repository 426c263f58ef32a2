//! Programs of others that show metrics: what they write is read whole.

use super::{Bench, page};
use observe::scrape::Format;
use observe::scrape::exposition::{Exposition, FamilyKind};
use observe::scrape::fetch::Page;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::{ProcessGuard, free_port};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(10);

/// Starts a program and reads what it shows once it is there.
async fn shown(command: &mut Command, port: u16) -> (ProcessGuard, Page) {
    let guard = ProcessGuard::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match page(port, "/metrics", LIMIT).await {
            Ok(page) => return (guard, page),
            Err(error) if Instant::now() > end => panic!("{error:?}"),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Every sample line is read, and each one is kept.
fn check(page: Page, format: Format, least: usize, families: &[(&str, FamilyKind)]) {
    assert_eq!(page.format, format);
    let lines = page.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    let read =
        Exposition::parse(&page.text, page.format).unwrap_or_else(|error| panic!("{error}\n{}", page.text));
    assert_eq!(read.len(), lines);
    assert!(lines >= least, "{lines} samples");
    for (name, kind) in families {
        let family = read.families().iter().find(|family| family.name == *name);
        let family = family.unwrap_or_else(|| panic!("{name} is not in\n{}", page.text));
        assert_eq!(family.kind, *kind, "{name}");
        assert!(!family.help.is_empty(), "{name}");
    }
    let mut bench = Bench::new();
    let looked = bench.look(0, Ok(page));
    assert_eq!((looked.scraped, looked.kept), (lines, lines), "{:?}", bench.metrics.status().offenders);
}

#[tokio::test]
async fn the_node_exporter_is_read_whole() {
    let Some(program) = testkit::needs("prometheus-node-exporter", "prometheus-node-exporter") else {
        return;
    };
    let port = free_port();
    let address = format!("--web.listen-address=127.0.0.1:{port}");
    let (_guard, page) = shown(Command::new(program).arg(address), port).await;
    let families = [("node_cpu_seconds_total", FamilyKind::Counter), ("node_load1", FamilyKind::Gauge)];
    check(page, Format::Text, 300, &families);
}

#[tokio::test]
async fn prometheus_own_metrics_are_read_whole() {
    let Some(program) = testkit::needs("prometheus", "prometheus") else { return };
    let directory = testkit::TempDir::new();
    let configuration = directory.path().join("prometheus.yml");
    std::fs::write(&configuration, "global: {}\n").expect("a file");
    let port = free_port();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let (_guard, page) = shown(&mut command, port).await;
    let families = [
        ("go_gc_duration_seconds", FamilyKind::Summary),
        ("prometheus_tsdb_compaction_chunk_size_bytes", FamilyKind::Histogram),
    ];
    check(page, Format::Text, 200, &families);
}

/// Each kind of metric, with labels that have to be escaped.
const PROGRAM: &str = r#"
import sys, time
from prometheus_client import Counter, Gauge, Histogram, Summary, Info, Enum, start_http_server
Counter("hits", "All\n\"hits\" \\", ["path"]).labels('/a"b\\c\nd é').inc(3, exemplar={"trace_id": "x"})
Gauge("heat", "Now", ["place"]).labels("").set(float("-inf"))
Histogram("took_seconds", "How long").observe(0.3, {"trace_id": "abc # {"})
Summary("size_bytes", "How large").observe(7)
Info("build", "Which").info({"version": "1.2"})
Enum("mood", "How it is", states=["good", "bad"]).state("bad")
start_http_server(int(sys.argv[1]), addr="127.0.0.1")
time.sleep(600)
"#;

#[tokio::test]
async fn the_python_client_is_read_whole() {
    let Some(python) = testkit::python_with_peers() else { return };
    let port = free_port();
    let mut command = Command::new(python);
    let (_guard, page) = shown(command.args(["-c", PROGRAM, &port.to_string()]), port).await;
    let read = Exposition::parse(&page.text, page.format).expect("it is read");
    let (hits, labels) = read.samples().find(|(sample, _)| sample.name == "hits_total").expect("it is there");
    assert_eq!((hits.value, &*labels[0].1), (3.0, "/a\"b\\c\nd é"));
    let families = [
        ("hits", FamilyKind::Counter),
        ("heat", FamilyKind::Gauge),
        ("took_seconds", FamilyKind::Histogram),
        ("size_bytes", FamilyKind::Summary),
        ("build", FamilyKind::Info),
        ("mood", FamilyKind::StateSet),
    ];
    check(page, Format::OpenMetrics, 30, &families);
}
