//! What programs of others send, over real connections, into stores.

mod hostile;
mod json;
mod prometheus;
mod python;
mod syslog;

use observe::api::Known;
use observe::keep::{Metrics, Settings};
use observe::logs::query::{Filter, parse};
use observe::logs::{FoundRow, Limits, Logs, Order, Search};
use observe::promql::{Query, Value};
use observe::receive::{Receiver, Stores};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i64
}

/// A receiver with its stores, listening.
struct Site {
    address: SocketAddr,
    stores: Stores,
    receiver: Receiver,
    rows: Arc<Logs>,
    spans: Arc<Logs>,
    _directory: TempDir,
}

impl Site {
    async fn start() -> Self {
        Self::with(Settings::default(), Limits::default()).await
    }

    async fn with(settings: Settings, limits: Limits) -> Self {
        let directory = TempDir::new();
        let at = |name: &str| directory.path().join(name);
        let metrics = Metrics::open(&at("metrics"), settings, now_ns() / 1_000_000).expect("a store");
        let open = |name: &str| Arc::new(Logs::open(&at(name), limits.clone(), now_ns()).expect("a store"));
        let (rows, spans) = (open("rows"), open("spans"));
        let stores = Stores {
            metrics: Arc::new(metrics),
            known: Known::default(),
            rows: Some(rows.clone()),
            spans: Some(spans.clone()),
        };
        let receiver = Receiver::new(stores.clone(), now_ns);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = receiver.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, stores, receiver, rows, spans, _directory: directory }
    }

    /// Status, head and body of the answer to a body.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).await.expect("sent");
        // Who refuses a body may not read it.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..end].to_vec()).expect("a text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_ascii_lowercase(), answer[end + 4..].to_vec())
    }

    /// Labels and values of what a query finds now.
    fn ask(&self, query: &str) -> Vec<(String, f64)> {
        let query = Query::parse(query).expect("a query");
        let now_ms = now_ns() / 1_000_000;
        let Value::Vector(answers) =
            query.instant(&*self.stores.metrics, now_ms, &Default::default()).expect("an answer")
        else {
            panic!("not a vector")
        };
        let mut found: Vec<(String, f64)> =
            answers.iter().map(|answer| (answer.labels.to_string(), answer.points.values[0])).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn value(&self, query: &str) -> f64 {
        let found = self.ask(query);
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        found[0].1
    }
}

fn search(logs: &Logs, query: &str) -> Vec<FoundRow> {
    let filter = Filter::new(&parse(query).expect("a query"));
    let search = Search { filter: &filter, from_ns: 0, to_ns: i64::MAX, stop: &|| false };
    logs.search(&search, Order::Oldest, 1000).rows
}
