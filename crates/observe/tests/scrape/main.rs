//! Targets, good and bad, over real connections, into a store.

mod exporters;
mod hostile;

use observe::api::Known;
use observe::keep::{Metrics, Settings};
use observe::promql::{Query, Value};
use observe::scrape::fetch::{Asked, FetchError, Page, Room, fetch};
use observe::scrape::target::{Looked, Place, Target};
use std::time::Duration;
use tokio::net::TcpStream;

const START_MS: i64 = 1_790_000_000_000;

async fn page(port: u16, path: &str, limit: Duration) -> Result<Page, FetchError> {
    page_in(port, path, limit, &Room::default()).await
}

async fn page_in(port: u16, path: &str, limit: Duration, room: &Room) -> Result<Page, FetchError> {
    let asked = Asked { host: format!("127.0.0.1:{port}"), path: path.into(), limit };
    fetch(TcpStream::connect(("127.0.0.1", port)), &asked, room).await
}

/// A store with one target.
struct Bench {
    metrics: Metrics,
    known: Known,
    target: Target,
    _directory: testkit::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = testkit::TempDir::new();
        let metrics = Metrics::open(directory.path(), Settings::default(), START_MS).expect("a store");
        let labels = [("job", "web"), ("instance", "shop.web.1"), ("service", "web"), ("stack", "shop")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let place = Place {
            pool: "shop/web".into(),
            url: "http://10.0.0.1:80/metrics".into(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
        };
        let target = Target::new("scrape/shop.web.1", labels, place);
        Self { metrics, known: Known::default(), target, _directory: directory }
    }

    fn look(&mut self, second: i64, page: Result<Page, FetchError>) -> Looked {
        let time = START_MS + second * 1000;
        self.target.record(&self.metrics, &self.known, (time, time), page, Duration::from_millis(5))
    }

    /// The answers to a query, each as its labels and value.
    fn ask(&self, text: &str, second: i64) -> Vec<(String, f64)> {
        let query = Query::parse(text).expect("a query");
        match query.instant(&self.metrics, START_MS + second * 1000, &Default::default()).expect("an answer")
        {
            Value::Vector(all) => all.iter().map(|a| (a.labels.to_string(), a.points.values[0])).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn text(text: &str) -> Result<Page, FetchError> {
    Ok(Page { format: observe::scrape::Format::Text, text: text.into() })
}

#[test]
fn samples_get_the_labels_of_their_target_and_end_with_it() {
    let mut bench = Bench::new();
    let body = "# TYPE hits counter\n# HELP hits All of them.\nhits{job=\"other\",path=\"/a\"} 3\nold 1\n";
    let looked = bench.look(0, text(body));
    assert_eq!((looked.scraped, looked.kept), (2, 2));
    let hits = r#"hits{exported_job="other", instance="shop.web.1", job="web", path="/a", service="web", stack="shop"}"#;
    assert_eq!(bench.ask("hits", 1), [(hits.to_owned(), 3.0)]);
    assert_eq!(bench.known.describe("hits").1.kind, "counter");
    let value = |bench: &Bench, text: &str, second| bench.ask(text, second).first().map(|answer| answer.1);
    assert_eq!(value(&bench, "up{job='web'}", 0), Some(1.0));
    assert_eq!(value(&bench, "scrape_samples_scraped", 0), Some(2.0));
    assert_eq!(value(&bench, "scrape_duration_seconds", 0), Some(0.005));

    // One series is gone, then a text that cannot be read, then the whole target.
    bench.look(10, text("hits{job=\"other\",path=\"/a\"} 4\n"));
    assert_eq!((value(&bench, "old", 9), value(&bench, "old", 10)), (Some(1.0), None));
    let looked = bench.look(20, text("hits 5\n<html>"));
    assert_eq!(
        looked.error.expect("it fails").told(),
        "read the metrics: line 2: a name is expected, not \"<html>\""
    );
    assert_eq!((value(&bench, "up", 20), value(&bench, "hits", 20)), (Some(0.0), None));
    assert_eq!(bench.target.status().health, "down");
    bench.look(30, text("hits{job=\"other\",path=\"/a\"} 6\n"));
    assert_eq!(value(&bench, "increase(hits[30s])", 30).map(|rise| rise > 0.0), Some(true));
    bench.target.end(&bench.metrics, START_MS + 30_000);
    assert_eq!(
        (value(&bench, "up", 30), value(&bench, "up", 31), value(&bench, "hits", 31)),
        (Some(1.0), None, None)
    );
}

#[test]
fn too_much_of_one_target_is_left_out_and_named() {
    let mut bench = Bench::new();
    let long = "x".repeat(3000);
    let looked = bench.look(0, text(&format!("a 1\nb{{l=\"{long}\"}} 1\nc 1\n")));
    assert_eq!((looked.scraped, looked.kept), (3, 2));
    let status = bench.metrics.status();
    assert_eq!((status.refused, &*status.offenders[0].target), (1, "scrape/shop.web.1"));
    let many: String = (0..12_000).map(|at| format!("m{{n=\"{at}\"}} 1\n")).collect();
    let looked = bench.look(10, text(&many));
    assert_eq!(looked.scraped, 12_000);
    assert!(looked.error.is_none() && looked.kept < 10_000, "{looked:?}");
    assert_eq!(bench.ask("scrape_samples_scraped - scrape_samples_post_metric_relabeling", 10)[0].1, 2000.0);
    assert_eq!(bench.ask("up", 10)[0].1, 1.0);
}
