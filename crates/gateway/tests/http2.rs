//! HTTP/2 from clients: the same service as over HTTP/1.1.

mod common;

use common::http2::{self, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Http2, RST_STREAM};
use common::tls::{Authority, Secured, leave};
use common::{Gateway, Instance, Raw, eventually, table};
use http::{HeaderMap, Request};
use model::route::{ListenerTls, RouteTable};
use model::service::Protocol::{Auto, Http};
use rustls::ALL_VERSIONS;
use std::net::SocketAddr;
use std::sync::mpsc;

fn serving(instance: &Instance) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    (gateway, address)
}

#[test]
fn requests_with_prior_knowledge_are_served_counted_and_recorded() {
    let instance = Instance::saying("hello");
    let mut gateway =
        Gateway::with(|options| options.access_log = Some(options.control_socket.with_file_name("access")));
    let addresses = gateway.serve(&[(Http, true, &[instance.address]), (Auto, false, &[instance.address])]);
    for address in &addresses {
        let mut client = Http2::to(*address);
        for _ in 0..3 {
            let request = Request::builder().uri("http://shop.example/x?y=1").header("cookie", "a=1");
            let answer = client.ask(request.header("cookie", "b=2"), b"", None).expect("an answer");
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        }
    }
    let received = instance.received();
    assert_eq!(received.matches("GET /x?y=1 HTTP/1.1\r\nHost: shop.example\r\n").count(), 6, "{received}");
    assert_eq!(received.matches("cookie: a=1; b=2\r\n").count(), 6, "{received}");
    assert!(*instance.connections.lock().expect("no panic") <= 2, "each thread keeps its own");
    for listener in 0..2 {
        eventually(|| {
            let counts = gateway.status().listeners[listener].counts.clone();
            (counts.connections, counts.requests, counts.errors, counts.active) == (1, 3, 0, 0)
        });
    }
    let log = gateway.dir.path().join("access");
    eventually(|| {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        lines.lines().count() == 6 && lines.lines().all(|line| line.contains("\"http\":\"2\""))
    });
}

#[test]
fn within_tls_it_is_what_both_sides_agree_on() {
    let authority = Authority::new();
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    leave(&gateway, "web.pem", &authority.pem(&["shop.example"]));
    gateway.wait(async |client| client.certificates().await).expect("the gateway answers");
    let mut table = table(gateway.next_revision(), &[(Http, true, &[instance.address])]);
    table.listeners[0].tls = Some(ListenerTls { certificate: "web".to_owned(), hsts: None });
    let address = gateway.apply(&table).bound[0].1;
    let config = authority.trusting(ALL_VERSIONS, &["h2", "http/1.1"]);
    let client = Secured::to(address, "shop.example", &config).expect("a handshake");
    assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Frames::over(client.stream);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &http2::get());
    assert_eq!(client.until(HEADERS).payload[0], 0x88, "it is the code of 200");
    let data = client.until(DATA);
    assert_eq!((data.payload.as_slice(), data.flags & END_STREAM), (&b"hello"[..], END_STREAM));
    assert!(instance.received().contains("X-Forwarded-Proto: https\r\n"));
}

#[test]
fn an_upgrade_in_clear_is_ignored() {
    let instance = Instance::saying("hello");
    let (_gateway, address) = serving(&instance);
    let mut client = Raw::to(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
    assert!(client.response().0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let instance = Instance::start(|mut talk| {
        while let Some(head) = talk.head() {
            assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
            talk.body("b\r\nthe request\r\n0\r\nx-checksum: 7\r\n\r\n").expect("the body with its trailers");
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nthe \r\n6\r\nanswer\r\n0\r\nGrpc-Status: 0\r\n\r\n");
        }
    });
    let (_gateway, address) = serving(&instance);
    let mut client = Http2::to(address);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "7".parse().expect("a value"));
    let request = Request::builder().method("POST").uri("http://a/").header("te", "trailers");
    let answer = client.ask(request, b"the request", Some(trailers)).expect("an answer");
    assert_eq!(answer.text(), "the answer");
    assert_eq!(answer.trailers.expect("there are some")["grpc-status"], "0");
    assert!(instance.received().contains("TE: trailers\r\n"));
}

#[test]
fn a_large_body_passes_in_pieces_in_both_directions() {
    static BODY: [u8; 3_000_000] = [b'x'; 3_000_000];
    let instance = Instance::start(|mut talk| {
        while talk.request().is_some() {
            talk.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY.len()));
            talk.send_bytes(&BODY);
        }
    });
    let (_gateway, address) = serving(&instance);
    let mut client = Http2::to(address);
    let (response, mut send) = client.begin(
        Request::post("http://a/").header("content-length", BODY.len()).body(()).expect("it is valid"),
        false,
    );
    send.send_data(bytes::Bytes::from_static(&BODY), true).expect("it is queued");
    let answer = client.wait(async { http2::read(response.await?).await }).expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (200, BODY.len()));
}

#[test]
fn interim_answers_pass_and_a_head_has_no_body() {
    let instance = Instance::start(|mut talk| {
        while let Some(head) = talk.request() {
            talk.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
            if !head.starts_with("HEAD") {
                talk.send("hello");
            }
        }
    });
    let (_gateway, address) = serving(&instance);
    let mut client = Http2::to(address);
    let (mut response, _) = client.begin(Request::get("http://a/").body(()).expect("it is valid"), true);
    let hint = client.wait(std::future::poll_fn(|cx| response.poll_informational(cx)));
    let hint = hint.expect("one comes").expect("it is valid");
    assert_eq!(
        (hint.status().as_u16(), &hint.headers()["link"]),
        (103, &"</a.css>".parse().expect("a value"))
    );
    let answer = client.wait(async { http2::read(response.await?).await }).expect("an answer");
    assert_eq!(answer.text(), "hello");
    let answer = client.ask(Request::head("http://a/"), b"", None).expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.head["content-length"], "5");
}

#[test]
fn a_websocket_is_opened_on_a_stream() {
    let instance = Instance::start(|mut talk| {
        let head = talk.head().expect("a request");
        assert!(
            head.starts_with("GET /chat HTTP/1.1\r\n") && head.contains("Upgrade: websocket\r\n"),
            "{head}"
        );
        talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n");
        // A frame of text in each direction, the client's masked by zeros.
        talk.until("hey").expect("the client's frame");
        talk.send_bytes(b"\x81\x02yo");
        talk.until("bye").expect("the client's last frame");
    });
    let (_gateway, address) = serving(&instance);
    let mut client = Http2::to(address);
    let mut request = Request::connect("http://a/chat").header("sec-websocket-version", "13");
    request = request.extension(h2::ext::Protocol::from_static("websocket"));
    let (response, mut send) = client.begin(request.body(()).expect("it is valid"), false);
    let response = client.wait(response).expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    send.send_data(bytes::Bytes::from_static(b"\x81\x83\0\0\0\0hey"), false).expect("it is queued");
    let mut body = response.into_body();
    let frame = client.wait(body.data()).expect("a frame").expect("it is whole");
    assert_eq!(frame.as_ref(), b"\x81\x02yo");
    send.send_data(bytes::Bytes::from_static(b"\x81\x83\0\0\0\0bye"), true).expect("it is queued");
    assert!(client.wait(body.data()).is_none_or(|end| end.is_ok()), "it ends well");
}

/// Sends a request of these fields; the status, or `None` when the stream is reset or the connection ended.
fn status_of(address: SocketAddr, fields: &[(&str, &str)]) -> Option<u16> {
    let mut client = Frames::to(address);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &http2::fields(fields));
    loop {
        let frame = client.next().expect("the connection goes on");
        match (frame.kind, frame.payload.first()) {
            (RST_STREAM | GOAWAY, _) => return None,
            // Statuses that stand in the table of every decoder.
            (HEADERS, Some(0x88)) => return Some(200),
            (HEADERS, Some(0x8c)) => return Some(400),
            (HEADERS, _) => return Some(coded_status(&frame.payload).expect("a status comes first")),
            _ => {}
        }
    }
}

/// A status that is written with the name of `:status` from the table.
fn coded_status(payload: &[u8]) -> Option<u16> {
    // Digits have five bits (0 to 2) or six (3 to 9) in Huffman's code.
    let (length, coded) = (payload.get(1)? & 0x7f, payload.get(2..)?);
    let bits: String = coded.iter().take(length as usize).map(|byte| format!("{byte:08b}")).collect();
    let mut rest = bits.as_str();
    let mut status = 0;
    for _ in 0..3 {
        let short = u8::from_str_radix(rest.get(..5)?, 2).ok()?;
        let (digit, taken) = match short {
            0..=2 => (short, 5),
            _ => (u8::from_str_radix(rest.get(..6)?, 2).ok()?.checked_sub(0x19)? + 3, 6),
        };
        status = status * 10 + u16::from(digit);
        rest = rest.get(taken..)?;
    }
    Some(status)
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_as_over_http_1() {
    const LINE: [(&str, &str); 3] = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let instance = Instance::saying("hello");
    let (mut gateway, address) = serving(&instance);
    let long = format!("/{}", "x".repeat(9000));
    let many: Vec<(String, String)> = (0..120).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (more, expect) in [
        (&[(":authority", "a")][..], Some(200)),
        (&[("host", "a")], Some(200)),
        (&[(":authority", "a"), ("host", "A")], Some(200)),
        (&[(":authority", "a"), ("host", "b")], Some(400)),
        (&[("host", "a"), ("host", "a")], Some(400)),
        (&[], Some(400)),
        (&[(":authority", "a"), ("connection", "close")], None),
        (&[(":authority", "a"), ("transfer-encoding", "chunked")], None),
        (&[(":authority", "a"), ("upgrade", "websocket")], None),
        (&[(":authority", "a"), ("keep-alive", "5")], None),
        (&[(":authority", "a"), ("te", "gzip")], None),
        (&[(":authority", "a"), ("X-Upper", "1")], None),
        (&[(":authority", "a"), ("x-line", "1\r\nhost: b")], None),
        (&[(":authority", "a"), ("content-length", "5")], None),
        (&[(":authority", "a"), ("content-length", "0"), ("content-length", "0")], Some(400)),
        (&[(":authority", "a"), ("expect", "200-maybe")], Some(417)),
        (&[(":authority", "a"), ("content_length", "0")], Some(400)),
    ] {
        assert_eq!(status_of(address, &[&LINE[..], more].concat()), expect, "{more:?}");
    }
    let line =
        |method, path| [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
    for (fields, expect) in [
        (&line("get", "/")[..], Some(400)),
        (&line("GET", "*"), Some(400)),
        (&line("GET", ""), None),
        (&line("GET", &long), Some(414)),
        (&[&line("GET", "/")[..], &many].concat(), Some(431)),
        (&[(":method", "CONNECT"), (":authority", "a:443")], Some(400)),
        (&line("CONNECT", "/"), None),
    ] {
        assert_eq!(status_of(address, fields), expect, "{fields:?}");
    }
    let fields = [&line("CONNECT", "/")[..], &[(":protocol", "connect-udp")]].concat();
    assert_eq!(status_of(address, &fields), Some(400));
    eventually(|| gateway.status().listeners[0].counts.active == 0);
    assert_eq!(instance.received().matches("HTTP/1.1\r\n").count(), 3);
}

/// Answers when it is told to.
fn waiting() -> (Instance, mpsc::Sender<()>) {
    let (go, told) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let instance = Instance::start(move |mut talk| {
        while talk.request().is_some() {
            if told.lock().expect("no panic").recv_timeout(common::PATIENCE).is_err() {
                return;
            }
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    (instance, go)
}

fn without_listeners(revision: u64) -> RouteTable {
    table(revision, &[])
}

#[test]
fn a_listener_that_goes_tells_its_clients_and_finishes_what_was_begun() {
    let (instance, go) = waiting();
    let mut gateway = Gateway::with(|options| options.limits.response_header = common::PATIENCE);
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Frames::to(address);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &http2::get());
    eventually(|| !instance.received().is_empty());
    let idle = Http2::to(address);
    let next = gateway.next_revision();
    gateway.apply(&without_listeners(next));
    client.until(GOAWAY);
    idle.ended().expect("it ends without an error");
    go.send(()).expect("the instance waits");
    client.until(HEADERS);
    assert_eq!(client.until(DATA).payload, b"done");
    eventually(|| gateway.status().connections <= 1);
}

#[test]
fn an_idle_connection_is_ended_with_a_word() {
    let instance = Instance::saying("hello");
    let (_gateway, address) = serving(&instance);
    let mut client = Frames::to(address);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &http2::get());
    assert_eq!(client.until(DATA).payload, b"hello");
    assert_eq!(client.dismissed(), Some(0), "GOAWAY without an error");
}

#[test]
fn a_stream_that_the_client_gives_up_ends_alone() {
    let (instance, go) = waiting();
    let mut gateway = Gateway::with(|options| options.limits.response_header = common::PATIENCE);
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Http2::to(address);
    let get = || Request::get("http://a/").body(()).expect("it is valid");
    let (first, _) = client.begin(get(), true);
    let (second, _) = client.begin(get(), true);
    eventually(|| {
        client.turn();
        *instance.connections.lock().expect("no panic") == 2
    });
    drop(first);
    eventually(|| {
        client.turn();
        gateway.status().listeners[0].counts.active == 1
    });
    go.send(()).and_then(|()| go.send(())).expect("the instance waits");
    let answer = client.wait(async { http2::read(second.await?).await }).expect("an answer");
    assert_eq!(answer.text(), "done");
}

#[test]
fn an_answer_that_breaks_off_resets_its_stream() {
    let instance = Instance::start(|mut talk| {
        talk.request();
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it");
    });
    let (_gateway, address) = serving(&instance);
    let mut client = Http2::to(address);
    let error = client.get("http://a/").expect_err("it is not whole");
    assert!(error.is_reset(), "{error}");
    assert_eq!(client.get("http://a/").expect_err("neither is this").reason(), error.reason());
}
