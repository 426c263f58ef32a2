//! Instances that are to have nothing more to do: requests finish, streams are ended politely and
//! not all at once, and what is left at the end is cut.

mod common;

use common::{Gateway, Instance, PATIENCE, Raw, Talk, endpoint, eventually, status_of, table};
use model::route::{Endpoint, RouteTable};
use model::service::Protocol::{self, Http, Tcp};
use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
/// A close frame of a server: going away.
const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xe9];
/// The answer of a client, masked with zeros.
const ANSWER: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// One service with an instance that drains, and others that do not.
fn draining(gateway: &mut Gateway, protocol: Protocol, old: &Instance, drain_ms: u64, others: &[SocketAddr]) {
    let mut next = table(gateway.next_revision(), &[(protocol, true, others)]);
    next.backends.get_mut("t/0:1").expect("it is there").endpoints.push(Endpoint {
        draining: true,
        drain_ms,
        ..endpoint(old.address)
    });
    gateway.apply(&next);
}

fn left(gateway: &mut Gateway, instance: &Instance, limit: Duration) -> u64 {
    let name = endpoint(instance.address).instance;
    gateway.wait(async |client| client.wait_drained(&name, limit).await).expect("the gateway answers")
}

/// Speaks WebSocket: says a frame, then keeps what it is sent until the end.
fn websocket_instance() -> Instance {
    Instance::start(|mut talk| {
        talk.head().expect("a request");
        talk.send(UPGRADED);
        talk.send_bytes(b"\x81\x05hello");
        while talk.more() {}
    })
}

#[test]
fn a_websocket_gets_a_close_frame_and_its_answer_reaches_the_instance() {
    let old = websocket_instance();
    let other = Instance::saying("other");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[old.address])])[0];
    let mut client = Raw::to(address);
    client.send(UPGRADE).until("\r\n\r\n");
    assert_eq!(client.exactly(7), b"\x81\x05hello");
    draining(&mut gateway, Http, &old, 1000, &[other.address]);
    assert_eq!(client.exactly(4), CLOSE);
    // What the client says before its own close frame still arrives.
    client.send(b"\x81\x82\0\0\0\0hi").send(ANSWER);
    assert!(client.ends());
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
    let received = old.received.lock().expect("no panic").clone();
    assert!(received.ends_with(b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe9"), "{received:?}");
}

#[test]
fn a_client_that_does_not_answer_is_closed_for() {
    let old = websocket_instance();
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[old.address])])[0];
    let mut client = Raw::to(address);
    client.send(UPGRADE).until("hello");
    draining(&mut gateway, Http, &old, 4000, &[]);
    assert_eq!(client.exactly(4), CLOSE);
    assert!(client.ends());
    eventually(|| old.received.lock().expect("no panic").windows(2).any(|w| w == [0x88, 0x82]));
    let received = old.received.lock().expect("no panic").clone();
    let close = &received[received.len() - 8..];
    let code: Vec<u8> = close[6..].iter().zip(&close[2..]).map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!(code, [0x03, 0xe9]);
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
}

#[test]
fn no_close_frame_is_put_into_the_middle_of_another_frame() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let old = Instance::start(move |mut talk| {
        talk.head().expect("a request");
        talk.send(UPGRADED);
        // A frame of ten bytes of which the end comes late, and another right behind it.
        talk.send_bytes(b"\x82\x0a01234");
        wait.lock().expect("no panic").recv().expect("the test says when");
        talk.send_bytes(b"56789\x82\x01x");
        while talk.more() {}
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[old.address])])[0];
    let mut client = Raw::to(address);
    client.send(UPGRADE).until("01234");
    draining(&mut gateway, Http, &old, 3000, &[]);
    client.stream.set_read_timeout(Some(Duration::from_millis(2700))).expect("an option");
    let error = client.stream.read(&mut [0]).expect_err("nothing can be said in between");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    client.stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    go.send(()).expect("it waits");
    assert_eq!(client.exactly(9), b"56789\x88\x02\x03\xe9");
}

#[test]
fn websockets_are_closed_one_after_the_other() {
    const COUNT: usize = 40;
    let old = websocket_instance();
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[old.address])])[0];
    let clients: Vec<Raw> = (0..COUNT)
        .map(|_| {
            let mut client = Raw::to(address);
            client.send(UPGRADE).until("hello");
            client
        })
        .collect();
    let begun = Instant::now();
    draining(&mut gateway, Http, &old, 5000, &[]);
    let closing: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                assert_eq!(client.exactly(4), CLOSE);
                let when = begun.elapsed();
                client.send(ANSWER);
                assert!(client.ends());
                when
            })
        })
        .collect();
    let mut closed: Vec<Duration> =
        closing.into_iter().map(|client| client.join().expect("it was closed politely")).collect();
    closed.sort();
    // All but the last second, in which the last of them say goodbye.
    for (part, when) in [(4, closed[COUNT / 4]), (2, closed[COUNT / 2])] {
        let expect = Duration::from_millis(4000) / part;
        assert!(when.abs_diff(expect) < Duration::from_millis(700), "{when:?} for {expect:?}");
    }
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
    assert!(begun.elapsed() < Duration::from_millis(5500));
}

#[test]
fn events_end_between_two_and_the_client_comes_again() {
    let old = Instance::start(|mut talk| {
        talk.head().expect("a request");
        talk.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Events that are cut anywhere by chunks, faster than they could be told apart by time.
        for number in 0.. {
            let event = format!("data: {number}\n\n");
            let (a, b) = event.split_at(number % event.len());
            let chunk = |part: &str| {
                if part.is_empty() { String::new() } else { format!("{:x}\r\n{part}\r\n", part.len()) }
            };
            if std::io::Write::write_all(&mut talk.stream, (chunk(a) + &chunk(b)).as_bytes()).is_err() {
                return;
            }
        }
    });
    let other = Instance::saying("other");
    let mut gateway = Gateway::with(|options| options.limits.keep_alive = PATIENCE);
    let address = gateway.serve(&[(Http, true, &[old.address])])[0];
    let mut client = Raw::to(address);
    let head = client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").until("\r\n\r\n");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    draining(&mut gateway, Http, &old, 500, &[other.address]);
    let body = client.until("\r\n0\r\n\r\n");
    let mut rest = body.as_str();
    let mut content = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        content.push_str(&after[..size]);
        rest = &after[(size + 2).min(after.len())..];
        if size == 0 {
            break;
        }
    }
    assert!(content.ends_with("\n\n") && content.len() > 100, "{:?}", &content[content.len() - 20..]);
    // The same connection reaches an instance that stays.
    assert_eq!(client.send(GET).response().1, "other");
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
}

#[test]
fn silent_events_are_ended_too_and_half_an_event_is_waited_for() {
    let old = Instance::start(|mut talk| {
        let head = talk.head().expect("a request");
        talk.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hi\n\n");
        if head.contains("/half") {
            talk.send("data: ha");
        }
        while talk.more() {}
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[old.address])])[0];
    let mut silent = Raw::to(address);
    silent.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n").until(": hi\n\n");
    let mut half = Raw::to(address);
    half.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n").until("data: ha");
    draining(&mut gateway, Http, &old, 800, &[]);
    assert_eq!(silent.until("0\r\n\r\n"), "\r\n0\r\n\r\n");
    // Its end never comes: it is cut, and the client can see that.
    assert!(!half.all().contains("0\r\n\r\n"));
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
}

#[test]
fn a_session_of_bytes_has_its_time_then_an_end_and_no_reset() {
    let old = Instance::start(|mut talk| while echo(&mut talk) {});
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Tcp, true, &[old.address])])[0];
    let mut client = Raw::to(address);
    client.send("one").exactly(3);
    let begun = Instant::now();
    draining(&mut gateway, Tcp, &old, 1500, &[]);
    while begun.elapsed() < Duration::from_millis(1000) {
        assert_eq!(client.send("more").exactly(4), b"more");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(client.ends());
    assert!(begun.elapsed() > Duration::from_millis(1200), "{:?}", begun.elapsed());
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
}

fn echo(talk: &mut Talk) -> bool {
    let mut buffer = [0; 4096];
    match talk.stream.read(&mut buffer) {
        Ok(count @ 1..) => {
            talk.send_bytes(&buffer[..count]);
            true
        }
        _ => false,
    }
}

#[test]
fn a_peer_that_does_not_end_is_reset_at_the_end_of_the_time() {
    // Takes the end of the other side for nothing and goes on.
    let old = Instance::start(|mut talk| {
        talk.more();
        loop {
            if std::io::Write::write_all(&mut talk.stream, b"x").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Tcp, true, &[old.address])])[0];
    let mut client = Raw::to(address);
    client.send("go").exactly(1);
    draining(&mut gateway, Tcp, &old, 600, &[]);
    while client.stream.read(&mut [0; 100]).is_ok_and(|count| count > 0) {}
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
    eventually(|| gateway.log().contains("was cut: its time to finish was over"));
}

#[test]
fn requests_finish_and_what_takes_longer_than_the_time_is_cut_with_a_reason() {
    const SIZE: usize = 10 << 20;
    let old = Instance::start(|mut talk| {
        while let Some(head) = talk.request() {
            if head.contains("/never") {
                while talk.more() {}
                return;
            }
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("access.log");
    let access_log = log.clone();
    let mut gateway = Gateway::in_dir(dir, move |options| {
        options.access_log = Some(access_log);
        options.limits.response_header = PATIENCE;
        options.limits.body_progress = PATIENCE;
    });
    let address = gateway.serve(&[(Http, true, &[old.address])])[0];
    let mut upload = Raw::to(address);
    upload.send(format!("PUT /slow HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    let body = vec![b'x'; SIZE];
    upload.send(&body[..SIZE / 2]);
    let mut never = Raw::to(address);
    never.send("POST /never HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually(|| old.received().contains("/never"));
    draining(&mut gateway, Http, &old, 1500, &[]);
    upload.send(&body[SIZE / 2..]);
    assert_eq!(upload.response().1, "ok");
    let (head, body) = never.response();
    assert_eq!(status_of(&head), 504, "{head}");
    assert!(body.contains("its time to finish was over"), "{body}");
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
    eventually(|| {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("its time to finish was over"))
    });
}

#[test]
fn an_instance_that_is_taken_back_serves_again_and_its_streams_go_on() {
    let old = Instance::start(|mut talk| {
        let head = talk.head().expect("a request");
        match head.contains("/ws") {
            true => {
                talk.send(UPGRADED);
                while echo(&mut talk) {}
            }
            false => talk.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nold"),
        }
    });
    let other = Instance::saying("other");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[old.address])])[0];
    let mut clients: Vec<Raw> = (0..20)
        .map(|_| {
            let mut client = Raw::to(address);
            client.send(UPGRADE).until("\r\n\r\n");
            client
        })
        .collect();
    draining(&mut gateway, Http, &old, 60_000, &[other.address]);
    assert_eq!(Raw::to(address).send(GET).response().1, "other");
    gateway.serve(&[(Http, true, &[old.address])]);
    assert_eq!(Raw::to(address).send(GET).response().1, "old");
    let going_on = clients
        .iter_mut()
        .filter_map(|client| {
            client.send(b"\x82\x81\0\0\0\0x");
            let answer = client.exactly(7);
            (answer == b"\x82\x81\0\0\0\0x").then_some(())
        })
        .count();
    assert!(going_on >= 19, "{going_on} of 20 go on");
}

#[test]
fn a_dropped_endpoint_drains_like_a_draining_one() {
    let old = websocket_instance();
    let mut gateway = Gateway::start();
    let revision = gateway.next_revision();
    let mut first: RouteTable = table(revision, &[(Http, true, &[old.address])]);
    first.backends.get_mut("t/0:1").expect("it is there").endpoints[0].drain_ms = 500;
    let address = gateway.apply(&first).bound[0].1;
    let mut client = Raw::to(address);
    client.send(UPGRADE).until("hello");
    gateway.serve(&[(Http, true, &[])]);
    assert_eq!(client.exactly(4), CLOSE);
    client.send(ANSWER);
    assert!(client.ends());
    assert_eq!(left(&mut gateway, &old, PATIENCE), 0);
}

#[test]
fn a_session_that_is_asked_to_end_in_the_middle_of_an_exchange_finishes_it() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let bytes = Instance::start(move |mut talk| {
        talk.until("first?").expect("a question");
        // Says a little, again and again, longer than any moment at which it could be asked to end.
        while wait.lock().expect("no panic").try_recv().is_err() {
            talk.send(".");
            std::thread::sleep(Duration::from_millis(20));
        }
        talk.send("first!");
        while talk.more() {}
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Tcp, true, &[bytes.address])])[0];
    let mut session = Raw::to(address);
    session.send("first?").until(".");
    let begun = Instant::now();
    gateway.wait(async |client| client.shutdown(Duration::from_secs(5)).await).expect("it answers");
    // It would be asked within the first four seconds.
    while begun.elapsed() < Duration::from_millis(4100) {
        session.until(".");
    }
    go.send(()).expect("it waits");
    session.until("first!");
    assert!(session.ends());
    assert!(begun.elapsed() < Duration::from_millis(4900), "quiet is enough: {:?}", begun.elapsed());
    gateway.gone();
}

#[test]
fn when_the_whole_gateway_ends_streams_are_ended_within_its_grace() {
    let old = websocket_instance();
    let bytes = Instance::start(|mut talk| while echo(&mut talk) {});
    let mut gateway = Gateway::start();
    let addresses = gateway.serve(&[(Http, true, &[old.address]), (Tcp, true, &[bytes.address])]);
    let mut client = Raw::to(addresses[0]);
    client.send(UPGRADE).until("hello");
    let mut session = Raw::to(addresses[1]);
    session.send("one").exactly(3);
    gateway.wait(async |client| client.shutdown(Duration::from_millis(1000)).await).expect("it answers");
    assert_eq!(client.exactly(4), CLOSE);
    client.send(ANSWER);
    assert!(client.ends());
    assert!(session.ends());
    gateway.gone();
}
