//! HTTP/1.1 through a running gateway, in raw bytes on both sides.

mod common;

use common::{Gateway, Instance, PATIENCE, Raw, eventually, status_of};
use model::service::Protocol::Http;
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

#[test]
fn a_request_is_served_and_the_connection_kept() {
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    for _ in 0..3 {
        client.send("GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Kept: 2\r\n\r\n");
        let (head, body) = client.response();
        assert_eq!((status_of(&head), body.as_str()), (200, "hello"), "{head}");
    }
    let received = instance.received();
    let first = received.split("\r\n\r\n").next().expect("a head");
    assert!(first.starts_with("GET /a?b=c HTTP/1.1\r\nHost: example.org\r\n"), "{first}");
    assert!(first.contains(
        "\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: example.org"
    ));
    assert!(first.contains("X-Kept: 2") && first.contains("X-Request-Id: "));
    assert!(
        !first.contains("6.6.6.6") && !first.contains("X-Hop") && !first.contains("Connection"),
        "{first}"
    );
    assert_eq!(*instance.connections.lock().expect("no panic"), 1);
}

#[test]
fn as_many_connections_to_an_instance_are_kept_as_it_had_requests_at_once() {
    const AT_ONCE: usize = 150;
    let all = Arc::new(Barrier::new(AT_ONCE));
    let instance = Instance::start(move |mut talk| {
        while talk.request().is_some() {
            all.wait();
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut gateway = Gateway::with(|options| {
        options.threads = Some(1);
        (options.limits.response_header, options.limits.keep_alive) = (PATIENCE, PATIENCE);
        options.limits.upstream_idle = PATIENCE;
    });
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut clients: Vec<Raw> = (0..AT_ONCE).map(|_| Raw::to(address)).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().1, "ok");
        }
    }
    assert_eq!(*instance.connections.lock().expect("no panic"), AT_ONCE);
}

#[test]
fn between_services_the_chain_of_callers_is_continued() {
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, false, &[instance.address])])[0];
    Raw::to(address)
        .send("GET / HTTP/1.1\r\nHost: api\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Request-Id: abc\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n\r\n")
        .response();
    let received = instance.received();
    for expect in [
        "X-Forwarded-For: 9.9.9.9, 127.0.0.1\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Host: shop.example\r\n",
        "X-Request-Id: abc\r\n",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n",
    ] {
        assert!(received.contains(expect), "{expect} in {received}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let instance = Instance::start(|mut talk| {
        while let Some(head) = talk.request() {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            talk.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    let many: String =
        (0..100).map(|n| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")).collect();
    client.send(many);
    for n in 0..100 {
        assert_eq!(client.response().1, format!("/{n}"));
    }
}

#[test]
fn bodies_pass_in_both_directions_however_they_are_framed() {
    let instance = Instance::start(|mut talk| {
        while let Some(head) = talk.request() {
            match head.split(' ').nth(1).unwrap_or_default() {
                "/chunked" => talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nDigest: 1\r\nHost: no\r\n\r\n"),
                "/close" => {
                    talk.send("HTTP/1.0 200 OK\r\n\r\nto the end");
                    return;
                }
                _ => talk.send("HTTP/1.1 204 No Content\r\n\r\n"),
            }
        }
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    let head = client.send("GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n").until("\r\n\r\n");
    let body = client.until("\r\n\r\n");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    assert_eq!(body, "3\r\nabc\r\n2\r\nde\r\n0\r\nDigest: 1\r\n\r\n");
    let (_, body) = client.send("GET /close HTTP/1.1\r\nHost: a\r\n\r\n").response();
    assert_eq!(body, "a\r\nto the end\r\n0\r\n\r\n");
    let (head, _) = client
        .send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        .response();
    assert_eq!(status_of(&head), 204);
    assert!(instance.received().contains("Transfer-Encoding: chunked"));
    let old = Raw::to(address).send("GET /chunked HTTP/1.0\r\n\r\n").all();
    assert!(old.ends_with("Connection: close\r\n\r\nabcde"), "{old}");
}

#[test]
fn large_bodies_pass_unchanged() {
    const SIZE: usize = 5_000_003;
    let instance = Instance::start(|mut talk| {
        let head = talk.head().expect("a request");
        assert!(head.contains(&format!("Content-Length: {SIZE}")), "{head}");
        talk.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let mut stream = talk.stream.try_clone().expect("a descriptor");
        std::io::copy(&mut talk.stream, &mut stream).ok();
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let data: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    let mut client = Raw::to(address);
    let mut sending = client.stream.try_clone().expect("a descriptor");
    let body = data.clone();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        write!(sending, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n").expect("room");
        // The first bytes may have been read with the head: the echo starts with what follows.
        sending.write_all(&body).expect("the gateway reads");
    });
    let head = client.until("\r\n\r\n");
    assert_eq!(status_of(&head), 200);
    let tail = client.exactly(1_000_000);
    assert!(tail.len() == 1_000_000 && data.windows(4).any(|w| w == &tail[..4]));
    drop(client);
    let _ = sender.join();
}

#[test]
fn head_and_empty_responses_have_no_body() {
    let instance = Instance::start(|mut talk| {
        while let Some(head) = talk.request() {
            match head.split(' ').nth(1).unwrap_or_default() {
                "/304" => talk.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: x\r\n\r\n"),
                _ => talk.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
            }
        }
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    for _ in 0..2 {
        let head = client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("Content-Length: 10"), "{head}");
        let head = client.send("GET /304 HTTP/1.1\r\nHost: a\r\n\r\n").until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 304") && head.contains("ETag: x"), "{head}");
    }
}

#[test]
fn a_client_that_expects_100_gets_it_from_the_instance() {
    let instance = Instance::start(|mut talk| {
        let head = talk.head().expect("a request");
        assert!(head.contains("Expect: 100-continue"), "{head}");
        talk.send("HTTP/1.1 100 Continue\r\n\r\n");
        talk.until("hello").expect("the body");
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.send("hello").response().1, "ok");
}

#[test]
fn a_refused_upload_gets_its_answer_and_the_connection_ends() {
    let instance = Instance::start(|mut talk| {
        talk.head().expect("a request");
        talk.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!");
        talk.more();
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\nExpect: 100-continue\r\n\r\n");
    let (head, body) = client.response();
    assert_eq!((status_of(&head), body.as_str()), (413, "no!"));
    assert!(head.contains("Connection: close"), "{head}");
    assert!(client.ends());
}

#[test]
fn after_an_upgrade_bytes_pass_both_ways() {
    let instance = Instance::start(|mut talk| {
        let head = talk.head().expect("a request");
        assert!(head.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "{head}");
        talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst");
        talk.until("ping").expect("the client's words");
        talk.send("pong");
        while talk.more() {}
        talk.send("bye");
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n");
    let head = client.until("\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 101") && head.contains("Connection: Upgrade\r\nUpgrade: websocket"),
        "{head}"
    );
    assert_eq!(client.exactly(5), b"first");
    assert_eq!(client.send("ping").exactly(4), b"pong");
    assert_eq!(client.end().all(), "bye");
}

#[test]
fn an_unwanted_upgrade_does_not_pass() {
    let instance = Instance::start(|mut talk| {
        talk.head().expect("a request");
        talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n");
    assert_eq!(status_of(&client.response().0), 502);
    let received = instance.received();
    assert!(!received.contains("h2c") && !received.contains("HTTP2"), "{received}");
}

#[test]
fn slow_clients_are_let_go() {
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let head = Raw::to(address).send("GET / HTTP/1.1\r\nHo").all();
    assert_eq!(status_of(&head), 408, "{head}");
    let body = Raw::to(address).send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab").all();
    assert_eq!(status_of(&body), 408, "{body}");
    assert!(Raw::to(address).ends(), "a connection without a request is closed in silence");
    let mut kept = Raw::to(address);
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response();
    assert!(kept.ends());
}

#[test]
fn an_instance_that_fails_is_told_from_one_that_is_slow() {
    let instance = Instance::start(|mut talk| {
        while let Some(head) = talk.request() {
            match head.split(' ').nth(1).unwrap_or_default() {
                "/slow" => while talk.more() {},
                "/garbage" => talk.send("hello\r\n\r\n"),
                "/two" => talk.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
                _ => return,
            }
        }
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    for (path, status) in [("/slow", 504), ("/garbage", 502), ("/two", 502), ("/gone", 502)] {
        let mut client = Raw::to(address);
        let (head, body) = client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n\r\n")).response();
        assert_eq!(status_of(&head), status, "{path} {head}");
        assert!(body.contains("request id ") && head.contains("X-Request-Id: "), "{body}");
        // The fault was the instance's: the client may go on.
        assert_eq!(status_of(&client.send("POST /garbage HTTP/1.1\r\nHost: a\r\n\r\n").response().0), 502);
    }
}

#[test]
fn a_response_cut_short_ends_the_connection() {
    let instance = Instance::start(|mut talk| {
        let head = talk.request().expect("a request");
        match head.contains("/chunked") {
            true => talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo"),
            false => talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"),
        }
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let cut = Raw::to(address).send("GET /length HTTP/1.1\r\nHost: a\r\n\r\n").all();
    assert!(cut.ends_with("\r\n\r\nhello"), "{cut}");
    let cut = Raw::to(address).send("GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n").all();
    assert!(cut.contains("5\r\nhello\r\n") && !cut.ends_with("0\r\n\r\n"), "{cut}");
    eventually(|| gateway.status().listeners[0].counts.errors == 2);
}

#[test]
fn without_an_instance_the_answer_says_when_to_come_again() {
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[])])[0];
    let mut client = Raw::to(address);
    let (head, body) = client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response();
    assert_eq!(status_of(&head), 503);
    assert!(
        head.contains("Retry-After: 1\r\n") && body.starts_with("503 Service Unavailable"),
        "{head}{body}"
    );
    assert_eq!(gateway.status().backends[0].without_endpoint, 1);
    eventually(|| gateway.status().listeners[0].counts.classes[4] == 1);
    let instance = Instance::saying("back");
    gateway.serve(&[(Http, true, &[instance.address])]);
    // The same connection reaches the new instance.
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().1, "back");
}

#[test]
fn a_request_that_was_not_sent_goes_to_another_instance() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let instance = Instance::saying("alive");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[dead, instance.address])])[0];
    for _ in 0..20 {
        let (head, body) =
            Raw::to(address).send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").response();
        assert_eq!((status_of(&head), body.as_str()), (200, "alive"));
    }
    let (head, _) = {
        let address = gateway.serve(&[(Http, true, &[dead])])[0];
        Raw::to(address).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response()
    };
    assert_eq!(status_of(&head), 503);
}

#[test]
fn a_kept_connection_that_died_is_noticed_and_the_request_repeated() {
    // Each connection answers once, says that it stays, and goes.
    let (again, wait) = mpsc::channel::<()>();
    let again = std::sync::Mutex::new(again);
    let instance = Instance::start(move |mut talk| {
        talk.request();
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        // Takes the next request and closes without a word.
        if talk.request().is_some() {
            again.lock().expect("no panic").send(()).expect("the test waits");
        }
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().1, "ok");
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().1, "ok");
    wait.recv_timeout(PATIENCE).expect("the kept connection was used");
    // What is not idempotent is not sent twice.
    let (head, _) = client.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n").response();
    assert_eq!(status_of(&head), 502);
}

#[test]
fn what_cannot_be_repeated_is_not_sent_on_a_connection_that_was_long_idle() {
    let instance = Instance::saying("ok");
    let mut gateway = Gateway::with(|options| {
        options.limits.upstream_idle_unsafe = Duration::from_secs(1);
        options.limits.keep_alive = PATIENCE;
    });
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let connections = || *instance.connections.lock().expect("no panic");
    let mut client = Raw::to(address);
    let mut after = |request: &str, pause: Duration| {
        // The time an idle connection has is what is tried.
        std::thread::sleep(pause);
        assert_eq!(client.send(request).response().1, "ok");
        connections()
    };
    let (get, post) = ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(after(get, Duration::ZERO), 1);
    assert_eq!(
        after(get, Duration::from_millis(1500)),
        1,
        "a kept connection is used for what is repeatable"
    );
    assert_eq!(after(post, Duration::ZERO), 1, "and for everything while it is young");
    assert_eq!(after(post, Duration::from_millis(1500)), 2, "but not for what is not, later");
}

#[test]
fn old_clients_are_served_as_they_expect() {
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let plain = Raw::to(address).send("GET / HTTP/1.0\r\n\r\n").all();
    assert!(plain.contains("Connection: close") && plain.ends_with("hello"), "{plain}");
    assert!(instance.received().contains(&format!("Host: {address}\r\n")));
    let mut kept = Raw::to(address);
    for _ in 0..2 {
        let (head, _) = kept.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").response();
        assert!(head.contains("Connection: keep-alive"), "{head}");
    }
    let closed = Raw::to(address).send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").all();
    assert!(closed.contains("Connection: close"), "{closed}");
    // A client that has said all it will say still gets its answer.
    let half = Raw::to(address).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").end().all();
    assert!(half.ends_with("hello"), "{half}");
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let (gone, noticed) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let instance = Instance::start(move |mut talk| {
        talk.request();
        talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata\n\r\n");
        while talk.more() {}
        let _ = gone.lock().expect("no panic").send(());
    });
    let mut gateway = Gateway::with(|options| options.limits.half_closed = Duration::from_millis(100));
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").until("data");
    drop(client);
    noticed.recv_timeout(PATIENCE).expect("the instance is told");
}
