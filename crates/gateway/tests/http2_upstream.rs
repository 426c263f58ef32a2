//! Instances that speak HTTP/2: what clients of either version get from them.

mod common;

use bytes::Bytes;
use common::http2::Http2;
use common::{Gateway, Instance, Raw, endpoint, eventually, status_of, table};
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, Request, Response};
use model::service::Protocol::Http;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

/// A server of HTTP/2 that ends with the test.
struct Http2Instance {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Heads of the requests.
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Http2Instance {
    /// Answers each request by `answer`, and takes so many streams at a time.
    fn start<F>(
        streams: u32,
        answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + 'static,
    {
        Self::with((streams, usize::MAX, false), answer)
    }

    /// The same, each connection for so many requests, and for WebSockets or not.
    fn with<F>(
        (streams, requests, websockets): (u32, usize, bool),
        answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("an option");
        let (connections, asked): (Arc<AtomicUsize>, Arc<Mutex<Vec<_>>>) = Default::default();
        let (stop, stopped) = oneshot::channel();
        let (count, heads) = (connections.clone(), asked.clone());
        let serve = move || async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let answer = std::rc::Rc::new(answer);
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                count.fetch_add(1, SeqCst);
                let (answer, heads) = (answer.clone(), heads.clone());
                spawn_local(async move {
                    let mut builder = Builder::new();
                    if websockets {
                        builder.enable_connect_protocol();
                    }
                    let handshake = builder.max_concurrent_streams(streams).handshake(socket).await;
                    let Ok(mut connection) = handshake else { return };
                    let mut served = 0;
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        served += 1;
                        if served == requests {
                            connection.graceful_shutdown();
                        }
                        let head = (request.uri().to_string(), request.headers().clone());
                        heads.lock().expect("no panic").push(head);
                        spawn_local(answer(request, respond));
                    }
                });
            }
        };
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = serve() => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, connections, asked, stop: Some(stop), thread: Some(thread) }
    }

    /// Sends back the body with its trailers.
    fn echo(streams: u32) -> Self {
        Self::echo_for(streams, usize::MAX)
    }

    fn echo_for(streams: u32, requests: usize) -> Self {
        Self::with((streams, requests, false), |mut request, mut respond| async move {
            let mut send = respond.send_response(Response::new(()), false)?;
            while let Some(data) = request.body_mut().data().await {
                let data = data?;
                request.body_mut().flow_control().release_capacity(data.len())?;
                send.send_data(data, false)?;
            }
            match request.body_mut().trailers().await? {
                Some(trailers) => send.send_trailers(trailers),
                None => send.send_data(Bytes::new(), true),
            }
        })
    }
}

impl Drop for Http2Instance {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the instance ends without a panic");
        }
    }
}

fn serving(instances: &[SocketAddr]) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::with(|options| options.threads = Some(1));
    let mut table = table(gateway.next_revision(), &[(Http, false, instances)]);
    table.backends.values_mut().for_each(|backend| backend.traffic.http2 = true);
    let report = gateway.apply(&table);
    (gateway, report.bound[0].1)
}

#[test]
fn clients_of_either_version_are_served_over_one_connection() {
    let instance = Http2Instance::echo(100);
    let (mut gateway, address) = serving(&[instance.address]);
    let mut old = Raw::to(address);
    for _ in 0..3 {
        let (head, body) =
            old.send("POST /x?y HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello").response();
        assert_eq!(status_of(&head), 200, "{head}");
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
    }
    let mut new = Http2::to(address);
    for _ in 0..3 {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "7".parse().expect("a value"));
        let request = Request::post("http://shop/x?y").header("te", "trailers");
        let answer = new.ask(request, b"hello", Some(trailers)).expect("an answer");
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.trailers.expect("there are some")["x-checksum"], "7");
    }
    let asked = instance.asked.lock().expect("no panic").clone();
    assert!(asked.iter().all(|(uri, head)| uri == "http://shop/x?y" && head.contains_key("x-forwarded-for")));
    assert_eq!(asked.iter().filter(|(_, head)| head.get("te").is_some_and(|te| te == "trailers")).count(), 3);
    assert_eq!((asked.len(), instance.connections.load(SeqCst)), (6, 1));
    eventually(|| {
        let counts = gateway.status().backends[0].endpoints[0].counts.clone();
        (counts.requests, counts.errors, counts.active) == (6, 0, 0)
    });
}

#[test]
fn both_sides_may_talk_at_the_same_time() {
    let instance = Http2Instance::echo(100);
    let (_gateway, address) = serving(&[instance.address]);
    let mut client = Http2::to(address);
    let (response, mut send) = client.begin(Request::post("http://a/").body(()).expect("it is valid"), false);
    let mut body = client.wait(response).expect("the head comes before the body is sent").into_body();
    for word in ["one", "two", "three"] {
        send.send_data(Bytes::from_static(word.as_bytes()), false).expect("it is queued");
        let data = client.wait(body.data()).expect("it comes back").expect("it is whole");
        assert_eq!(data, word);
        body.flow_control().release_capacity(data.len()).expect("it was taken");
    }
    send.send_data(Bytes::new(), true).expect("it is queued");
    let end = client.wait(body.data());
    assert!(end.is_none_or(|end| end.expect("it is whole").is_empty()));
}

#[test]
fn more_requests_than_a_connection_takes_open_another() {
    let instance = Http2Instance::echo(2);
    let (_gateway, address) = serving(&[instance.address]);
    let mut client = Http2::to(address);
    let mut open = Vec::new();
    for _ in 0..5 {
        let (response, send) = client.begin(Request::post("http://a/").body(()).expect("it is valid"), false);
        open.push((client.wait(response).expect("a head"), send));
    }
    assert_eq!(instance.connections.load(SeqCst), 3);
}

#[test]
fn heads_without_a_body_and_interim_answers_are_understood() {
    let instance = Http2Instance::start(100, |request, mut respond| async move {
        respond.send_informational(Response::builder().status(103).body(()).expect("it is valid"))?;
        let status = request.uri().path()[1..].parse().unwrap_or(200);
        respond.send_response(Response::builder().status(status).body(()).expect("it is valid"), true)?;
        Ok(())
    });
    let (_gateway, address) = serving(&[instance.address]);
    let mut client = Raw::to(address);
    for (line, expect) in [
        ("GET /200", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("GET /204", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET /404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        ("HEAD /200", "HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 103 Early Hints\r\n\r\n");
        assert_eq!(client.until("\r\n\r\n"), expect, "{line}");
    }
}

#[test]
fn an_instance_that_says_goodbye_is_asked_over_another_connection() {
    let instance = Http2Instance::echo_for(100, 3);
    let (mut gateway, address) = serving(&[instance.address]);
    let mut client = Http2::to(address);
    for _ in 0..30 {
        assert_eq!(
            client.ask(Request::post("http://a/"), b"hello", None).expect("an answer").text(),
            "hello"
        );
    }
    let connections = instance.connections.load(SeqCst);
    assert!((4..=10).contains(&connections), "{connections}");
    assert_eq!(gateway.status().listeners[0].counts.errors, 0);
}

#[test]
fn a_request_that_was_surely_not_done_is_sent_again() {
    let refusing = Http2Instance::start(100, |_request, mut respond| async move {
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        Ok(())
    });
    let serves = Http2Instance::echo(100);
    let (mut gateway, address) = serving(&[refusing.address, serves.address]);
    let mut client = Http2::to(address);
    // None of these may be repeated for another reason.
    for _ in 0..20 {
        let answer = client.ask(Request::post("http://a/"), b"", None).expect("an answer");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(serves.asked.lock().expect("no panic").len(), 20);
    assert!(!refusing.asked.lock().expect("no panic").is_empty());
    eventually(|| gateway.status().listeners[0].counts.errors == 0);
}

#[test]
fn an_instance_that_breaks_off_or_speaks_otherwise_is_told_from_others() {
    let old = Instance::saying("hello");
    let (gateway, address) = serving(&[old.address]);
    let mut client = Http2::to(address);
    assert_eq!(client.get("http://a/").expect("an answer").status, 502);
    eventually(|| gateway.log().contains("does not keep to HTTP/2"));
    // Answers half, and breaks off once the request is complete.
    let breaks = Http2Instance::start(100, |mut request, mut respond| async move {
        let mut send = respond.send_response(Response::new(()), false)?;
        send.send_data(Bytes::from_static(b"half of it"), false)?;
        while request.body_mut().data().await.is_some() {}
        send.send_reset(h2::Reason::INTERNAL_ERROR);
        Ok(())
    });
    let (_gateway, address) = serving(&[breaks.address]);
    let mut client = Http2::to(address);
    let (response, mut send) = client.begin(Request::post("http://a/").body(()).expect("it is valid"), false);
    let mut body = client.wait(response).expect("a head").into_body();
    assert_eq!(client.wait(body.data()).expect("a part").expect("it is whole"), "half of it");
    send.send_data(Bytes::new(), true).expect("it is queued");
    let end = client.wait(body.data()).expect("it does not end well");
    assert!(end.expect_err("it is not whole").is_reset());
}

/// Begins a call, and says how it ended after its first message.
fn broken_call(head: http::response::Builder) -> (Result<Option<HeaderMap>, h2::Error>, String) {
    let head = head.body(()).expect("it is valid");
    let instance = Http2Instance::start(100, move |mut request, mut respond| {
        let head = head.clone();
        async move {
            let mut send = respond.send_response(head, false)?;
            send.send_data(Bytes::from_static(b"half of it"), false)?;
            while request.body_mut().data().await.is_some() {}
            send.send_reset(h2::Reason::INTERNAL_ERROR);
            Ok(())
        }
    });
    let mut gateway =
        Gateway::with(|options| options.access_log = Some(options.control_socket.with_file_name("access")));
    let mut table = table(gateway.next_revision(), &[(Http, false, &[instance.address])]);
    table.backends.values_mut().for_each(|backend| backend.traffic.http2 = true);
    let address = gateway.apply(&table).bound[0].1;
    let mut client = Http2::to(address);
    let request = Request::post("http://a/").header("content-type", "application/grpc");
    let (response, mut send) = client.begin(request.body(()).expect("it is valid"), false);
    let mut body = client.wait(response).expect("a head").into_body();
    assert_eq!(client.wait(body.data()).expect("a part").expect("it is whole"), "half of it");
    send.send_data(Bytes::new(), true).expect("it is queued");
    let trailers = match client.wait(body.data()) {
        Some(Err(error)) => Err(error),
        _ => client.wait(body.trailers()),
    };
    let log = gateway.dir.path().join("access");
    let line = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(|| line().ends_with('\n'));
    (trailers, line())
}

#[test]
fn a_call_that_breaks_after_its_head_ends_with_a_status() {
    let call = || Response::builder().header("content-type", "application/grpc");
    let (trailers, line) = broken_call(call());
    let trailers = trailers.expect("it is not reset").expect("there are some");
    assert_eq!(trailers["grpc-status"], "14");
    assert_eq!(trailers["grpc-message"], "the instance closed the connection without an answer");
    assert!(line.contains("\"grpc_status\":14"), "{line}");
    // Neither is its length a reason to reset it: the status comes in its place.
    let (trailers, _) = broken_call(call().header("content-length", "100"));
    assert_eq!(trailers.expect("it is not reset").expect("there are some")["grpc-status"], "14");
}

#[test]
fn trailers_that_are_announced_beside_a_length_are_passed_on() {
    let instance = Http2Instance::start(100, |mut request, mut respond| async move {
        let mut body = 0;
        while let Some(data) = request.body_mut().data().await {
            body += data?.len();
        }
        let asked = request.body_mut().trailers().await?;
        let head = Response::builder().header("content-length", "5").header("trailer", "x-checksum");
        let mut send = respond.send_response(head.body(()).expect("it is valid"), false)?;
        send.send_data(Bytes::from(format!("{body:05}")), false)?;
        send.send_trailers(asked.unwrap_or_default())
    });
    let (_gateway, address) = serving(&[instance.address]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "7".parse().expect("a value"));
    let request = Request::post("http://a/").header("content-length", "5").header("trailer", "x-checksum");
    let answer = Http2::to(address).ask(request, b"hello", Some(trailers)).expect("an answer");
    assert_eq!(answer.text(), "00005");
    assert_eq!(answer.trailers.expect("there are some")["x-checksum"], "7");
    let text = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Checksum: 8\r\n\r\n";
    let mut client = Raw::to(address);
    let head = client.send(text).until("\r\n\r\n");
    assert_eq!(status_of(&head), 200, "{head}");
    assert_eq!(client.until("\r\n\r\n"), "5\r\n00005\r\n0\r\nx-checksum: 8\r\n\r\n");
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[test]
fn a_websocket_reaches_an_instance_of_http2_on_a_stream() {
    let instance = Http2Instance::with((100, usize::MAX, true), |mut request, mut respond| async move {
        let protocol = request.extensions().get::<h2::ext::Protocol>().cloned();
        assert_eq!(request.method(), http::Method::CONNECT);
        assert_eq!(protocol.as_ref().map(h2::ext::Protocol::as_str), Some("websocket"));
        assert!(!request.headers().contains_key("sec-websocket-key"));
        let mut send = respond.send_response(Response::new(()), false)?;
        while let Some(data) = request.body_mut().data().await {
            send.send_data(data?, false)?;
        }
        send.send_data(Bytes::new(), true)
    });
    let (mut gateway, address) = serving(&[instance.address]);
    // Masked, with a mask of nothing.
    let frame = b"\x81\x85\0\0\0\0hello";
    let mut client = Raw::to(address);
    let head = client.send(UPGRADE).until("\r\n\r\n");
    assert_eq!(status_of(&head), 101, "{head}");
    assert!(head.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    client.send(frame);
    assert!(client.until("hello").ends_with("hello"));
    drop(client);
    let mut client = Http2::to(address);
    client.turn();
    let request = Request::connect("http://a/chat").header("sec-websocket-version", "13");
    let request = request.extension(h2::ext::Protocol::from_static("websocket"));
    let (response, mut send) = client.begin(request.body(()).expect("it is valid"), false);
    let response = client.wait(response).expect("a head");
    assert_eq!(response.status(), 200);
    send.send_data(Bytes::from_static(frame), false).expect("it is queued");
    let mut body = response.into_body();
    assert_eq!(client.wait(body.data()).expect("a part").expect("it is whole"), &frame[..]);
    send.send_data(Bytes::new(), true).expect("it is queued");
    while let Some(data) = client.wait(body.data()) {
        assert!(data.expect("it ends well").is_empty());
    }
    assert_eq!(gateway.status().listeners[0].counts.errors, 0);
}

#[test]
fn an_instance_of_http2_that_takes_no_websocket_is_not_asked_for_one() {
    let instance = Http2Instance::echo(100);
    let (mut gateway, address) = serving(&[instance.address]);
    for _ in 0..10 {
        let head = Raw::to(address).send(UPGRADE).until("\r\n\r\n");
        assert_eq!(status_of(&head), 501, "{head}");
    }
    assert_eq!(instance.asked.lock().expect("no panic").len(), 0);
    eventually(|| gateway.log().contains("the instance takes no WebSocket over HTTP/2"));
    // That says nothing about the instance.
    assert!(gateway.status().backends[0].endpoints[0].standing.is_serving());
    assert_eq!(Http2::to(address).get("http://a/").expect("an answer").status, 200);
}

#[test]
fn an_instance_that_drains_finishes_its_streams_and_gets_no_other() {
    let (first, second) = (Http2Instance::echo(100), Http2Instance::echo(100));
    let (mut gateway, address) = serving(&[first.address]);
    let mut client = Http2::to(address);
    let (response, mut send) = client.begin(Request::post("http://a/").body(()).expect("it is valid"), false);
    let mut body = client.wait(response).expect("a head").into_body();
    let mut next = table(gateway.next_revision(), &[(Http, false, &[second.address])]);
    next.backends.values_mut().for_each(|backend| {
        backend.traffic.http2 = true;
        backend.endpoints.push(model::route::Endpoint { draining: true, ..endpoint(first.address) });
    });
    gateway.apply(&next);
    assert_eq!(client.get("http://a/").expect("an answer").status, 200);
    assert_eq!(second.asked.lock().expect("no panic").len(), 1);
    send.send_data(Bytes::from_static(b"late"), true).expect("it is queued");
    let data = client.wait(body.data()).expect("the stream goes on").expect("it is whole");
    assert_eq!(data, "late");
}

#[test]
fn an_answer_of_http2_is_compressed_for_clients_of_both_versions() {
    let text = "the same again and again\n".repeat(4000);
    let body = Bytes::from(text.clone());
    let instance = Http2Instance::start(10, move |_, mut respond| {
        let body = body.clone();
        async move {
            let head =
                Response::builder().header("content-type", "text/plain").body(()).expect("it is valid");
            respond.send_response(head, false)?.send_data(body, true)
        }
    });
    let mut gateway = Gateway::start();
    let mut table = table(gateway.next_revision(), &[(Http, true, &[instance.address])]);
    let traffic = &mut table.backends.values_mut().next().expect("one").traffic;
    (traffic.http2, traffic.compression) = (true, Some(Default::default()));
    let address = gateway.apply(&table).bound[0].1;
    let request = Request::builder().uri("http://a/").header("accept-encoding", "zstd");
    let answer = Http2::to(address).ask(request, b"", None).expect("it is answered");
    assert_eq!(answer.head["content-encoding"], "zstd");
    assert!(zstd::decode_all(answer.body.as_slice()).expect("it is whole") == text.as_bytes());
    let request = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    let head = Raw::to(address).send(request).until("\r\n\r\n");
    assert!(head.contains("Content-Encoding: gzip\r\n"), "{head}");
}
