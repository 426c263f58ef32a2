//! Requests that servers read differently: which are refused, and which bytes reach an instance.

mod common;

use common::{Gateway, Instance, Raw, status_of};
use model::service::Protocol::Http;

/// Refused with this status, nothing reaching the instance.
const fn refused(status: u16) -> Expect {
    Expect::Refused(status)
}

/// Served; the instance sees exactly this body after a head containing each of these.
const fn passed(head: &'static [&'static str], body: &'static str) -> Expect {
    Expect::Passed(head, body)
}

#[derive(Clone, Copy)]
enum Expect {
    Refused(u16),
    Passed(&'static [&'static str], &'static str),
}

const CASES: &[(&str, Expect)] = &[
    // Two lengths for one body.
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        refused(400),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        refused(400),
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent_Length: 6\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", refused(400)),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        refused(400),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        refused(400),
    ),
    // Lengths that are no numbers.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", refused(400)),
    // Codings we do not speak, or that some take for chunked.
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n", refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", refused(400)),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", refused(400)),
    // Line ends and folds.
    ("GET / HTTP/1.1\nHost: a\n\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", refused(400)),
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", refused(400)),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    // Names and values.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{1}\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{7f}\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n", refused(400)),
    // Host.
    ("GET / HTTP/1.1\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", refused(400)),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close, content-length\r\n\r\nx",
        refused(400),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n\r\n0\r\n\r\n",
        refused(400),
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nConnection: authorization\r\n\r\n", refused(400)),
    // Request lines.
    ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", refused(400)),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", refused(400)),
    ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET file:///x HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("get / HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("G=T / HTTP/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET /\r\n\r\n", refused(400)),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", refused(400)),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", refused(505)),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", refused(505)),
    ("GET / HTTP/1.11\r\nHost: a\r\n\r\n", refused(400)),
    ("\u{16}\u{3}\u{1}\u{2}\0\n\r\n", refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\n\r\n", refused(417)),
    // What is odd but clear passes, framed anew.
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", passed(&["GET / HTTP/1.1\r\nHost: a\r\n"], "")),
    ("GET http://A/x?y HTTP/1.1\r\nHost: a\r\n\r\n", passed(&["GET /x?y HTTP/1.1\r\nHost: a\r\n"], "")),
    ("GET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n", passed(&["GET /?y HTTP/1.1\r\n"], "")),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", passed(&["OPTIONS * HTTP/1.1\r\n"], "")),
    ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", passed(&["Host: [::1]:8080\r\n"], "")),
    ("GET /\u{e9} HTTP/1.1\r\nhOsT: a\r\nX:y\r\n\r\n", passed(&["Host: a\r\n", "X: y\r\n"], "")),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello",
        passed(&["Content-Length: 5\r\n"], "hello"),
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", passed(&["Content-Length: 2\r\n"], "hi")),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;x=\"y\"\r\nhi\r\n0\r\nHost: b\r\nX-Sum: 1\r\n\r\n",
        passed(&["Transfer-Encoding: chunked\r\n"], "2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 6.6.6.6\r\nProxy: x\r\n\r\n",
        passed(&["X-Forwarded-For: 127.0.0.1\r\n"], ""),
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, deflate\r\nKeep-Alive: 5\r\n\r\n",
        passed(&["Connection: TE\r\nTE: trailers\r\n"], ""),
    ),
];

/// Bodies whose chunks are wrong: refused once the fault is read.
const BAD_CHUNKS: &[&str] = &[
    "x\r\n",
    "-1\r\nx\r\n",
    "0x1\r\nx\r\n",
    "1 \r\nx\r\n",
    " 1\r\nx\r\n",
    "1\nx\r\n",
    "1\r\nxx\r\n",
    "1\r\nx\n",
    "1;\u{1}\r\nx\r\n",
    "1;a\nb\r\nx\r\n",
    "1000000000000000000\r\nx\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\r\nX\r\n\r\n",
    "0\r\nX: y\n\r\n",
];

#[test]
fn what_could_be_read_in_two_ways_never_reaches_an_instance() {
    assert!(CASES.len() + BAD_CHUNKS.len() >= 60);
    let instance = Instance::start(|mut talk| {
        while talk.request().is_some() {
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    for (request, expect) in CASES {
        let before = instance.received().len();
        let mut client = Raw::to(address);
        // A second request behind each: a fault must end the connection, or it would be smuggled.
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(request);
        match expect {
            Expect::Refused(status) => {
                client.send(smuggled);
                let answer = client.all();
                assert_eq!(status_of(&answer), *status, "{request:?} → {answer}");
                assert!(answer.contains("Connection: close"), "{request:?} → {answer}");
                assert_eq!(answer.matches("Content-Length: ").count(), 1, "{request:?} → {answer}");
                assert_eq!(&instance.received()[before..], "", "{request:?}");
            }
            Expect::Passed(heads, body) => {
                let (answer, _) = client.response();
                assert_eq!(status_of(&answer), 200, "{request:?} → {answer}");
                let received = instance.received()[before..].to_owned();
                let (head, rest) = received.split_once("\r\n\r\n").expect("a head");
                let head = format!("{head}\r\n");
                assert!(heads.iter().all(|part| head.contains(part)), "{request:?} → {head}");
                assert!(
                    !head.contains("6.6.6.6") && !head.contains("Proxy:") && !head.contains("Keep-Alive"),
                    "{head}"
                );
                assert_eq!(rest, *body, "{request:?}");
            }
        }
    }
}

#[test]
fn wrong_chunks_are_answered_and_end_the_connection() {
    let instance = Instance::start(|mut talk| while talk.more() {});
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    for chunks in BAD_CHUNKS {
        let mut client = Raw::to(address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").send(chunks);
        let answer = client.send("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").all();
        assert_eq!(status_of(&answer), 400, "{chunks:?} → {answer}");
        assert_eq!(answer.matches("Content-Length: ").count(), 1, "{chunks:?} → {answer}");
    }
    assert!(!instance.received().contains("smuggled"));
}

#[test]
fn heads_have_limits() {
    let instance = Instance::saying("ok");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let get = |rest: String| Raw::to(address).send(format!("GET {rest}")).end().all();
    let fields = |count: usize| "X: y\r\n".repeat(count - 1);
    for (request, status) in [
        (format!("/ HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(100)), 200),
        (format!("/ HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(101)), 431),
        (format!("/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8 * 1024 - 1)), 200),
        (format!("/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8 * 1024)), 414),
        (format!("/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(40 * 1024)), 414),
        (format!("/ HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(32 * 1024 - 40)), 200),
        (format!("/ HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(32 * 1024)), 431),
        (format!("/ HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(200 * 1024)), 431),
    ] {
        let answer = get(request.clone());
        assert_eq!(status_of(&answer), status, "{} → {answer}", &request[..40]);
    }
}
