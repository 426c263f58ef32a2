//! What every destination must do, against a peer that fails on purpose, and real ones.

mod bulk;
mod collector;
mod peers;
mod scripted;

use engines::elasticsearch::{self, Elasticsearch};
use engines::otlp::{Otlp, payload};
use engines::remote_write::{Messages, RemoteWrite};
use engines::send::{Client, Deliverer, Destination, Place, Status};
use formats::otlp::Signal;
use scripted::{Answer, Scripted};
use std::path::Path;
use std::time::Duration;
use testkit::{TempDir, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
const ROOM: u64 = 1 << 20;

fn client(url: &str) -> Client {
    let place = Place { url: url.into(), authorization: Some("Bearer of-a-test".into()) };
    Client::with_patience(place, Duration::from_millis(500))
}

/// Each adapter with a payload of two items of its own making.
fn adapters(url: &str) -> Vec<(Box<dyn Destination>, Vec<u8>, &'static str)> {
    let mut messages = Messages::default();
    messages.add([("__name__", "a")].into_iter(), &[(1000, 1.0), (2000, 2.0)]);
    let (written, items) = messages.finish().remove(0);
    assert_eq!(items, 2);
    let mut rows = String::new();
    for number in 0..2 {
        elasticsearch::put(&mut rows, &row(number, "text"));
    }
    vec![
        (Box::new(RemoteWrite::new(client(url))), written, ""),
        (Box::new(Otlp::new(client(url))), payload(Signal::Metrics, b"request"), ""),
        (Box::new(Elasticsearch::new(client(url))), rows.into_bytes(), r#"{"errors":false,"items":[]}"#),
    ]
}

fn row(number: u64, text: &str) -> elasticsearch::Row<'_> {
    elasticsearch::Row {
        time_ns: 1_790_000_000_123_456_789,
        stack: "shop",
        service: "web",
        instance: "web-1",
        source: "stdout",
        level: "error",
        text,
        number,
    }
}

fn start(directory: &Path, destination: Box<dyn Destination>) -> Deliverer {
    Deliverer::with_pauses("test", directory, ROOM, destination, PAUSES).expect("a queue")
}

fn until(deliverer: &Deliverer, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
    wait_for(LIMIT, what, || Some(deliverer.status()).filter(&is_so))
}

#[test]
fn what_fails_for_a_while_comes_again_and_nothing_is_lost() {
    for at in 0..3 {
        let peer = Scripted::start();
        let (destination, payload, good) = adapters(&peer.url()).remove(at);
        peer.script([
            Answer::status(503, "not now"),
            Answer::status(429, "slowly").header("Retry-After: 0"),
            Answer::Hangs,
            Answer::Closes,
            Answer::status(401, "who are you"),
            Answer::status(200, good),
        ]);
        let directory = TempDir::new();
        let deliverer = start(directory.path(), destination);
        deliverer.push(&payload, 2).expect("room");
        let status = until(&deliverer, "it is sent", |status| status.sent == 2);
        assert_eq!((status.lost, status.waiting, status.waiting_bytes, status.trouble), (0, 0, 0, None));
        let asked = peer.asked();
        assert_eq!(asked.len(), 6);
        for request in asked {
            assert!(request.head.contains("authorization: bearer of-a-test"), "{}", request.head);
            // What it is stands before the message on disk.
            assert!(payload.ends_with(&request.body), "{:?}", request.body);
        }
    }
}

#[test]
fn what_is_refused_for_ever_is_lost_counted_and_told() {
    for at in 0..3 {
        let peer = Scripted::start();
        let (destination, payload, good) = adapters(&peer.url()).remove(at);
        peer.script([Answer::status(400, "out of\norder"), Answer::status(200, good)]);
        let directory = TempDir::new();
        let deliverer = start(directory.path(), destination);
        deliverer.push(&payload, 2).expect("room");
        let status = until(&deliverer, "it is lost", |status| status.lost == 2);
        assert_eq!(status.trouble.as_deref(), Some("it answered 400: out of order"));
        deliverer.push(&payload, 2).expect("room");
        let status = until(&deliverer, "the next is sent", |status| status.sent == 2);
        assert_eq!((status.lost, status.trouble), (2, None));
    }
}

#[test]
fn what_waits_survives_an_end_and_is_bounded() {
    for at in 0..3 {
        let directory = TempDir::new();
        let nobody = format!("http://127.0.0.1:{}", testkit::free_port());
        let (destination, payload, _) = adapters(&nobody).remove(at);
        let deliverer = start(directory.path(), destination);
        deliverer.push(&payload, 2).expect("room");
        deliverer.push(&payload, 2).expect("room");
        let status = until(&deliverer, "it is told", |status| status.trouble.is_some());
        assert!(status.trouble.is_some_and(|why| why.contains("cannot be reached")));
        assert_eq!((status.waiting, status.lost), (4, 0));
        drop(deliverer);

        let peer = Scripted::start();
        let (destination, _, good) = adapters(&peer.url()).remove(at);
        peer.script([Answer::status(200, good), Answer::status(200, good)]);
        let deliverer = start(directory.path(), destination);
        until(&deliverer, "what was left is sent", |status| status.sent == 4 && status.waiting == 0);

        let small = TempDir::new();
        let (destination, _, _) = adapters(&nobody).remove(at);
        let room = (payload.len() as u64 + 24) * 2;
        let deliverer =
            Deliverer::with_pauses("test", small.path(), room, destination, PAUSES).expect("a queue");
        for _ in 0..5 {
            deliverer.push(&payload, 2).expect("the oldest makes room");
        }
        let status = deliverer.status();
        assert_eq!((status.lost, status.waiting), (6, 4));
        assert!(status.waiting_bytes <= room);
    }
}
