//! The gateway beside another reader of HTTP/1.1: what hyper sees behind the gateway must be a
//! beginning of what it sees without it. The gateway may refuse more; it may never see other
//! requests, other bodies or other borders between them.

mod common;

use common::{Gateway, Raw};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use model::service::Protocol::Http;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Streams of requests tried.
const STREAMS: u64 = 1500;

/// Method, path, host and body of each request with a whole body.
type Seen = Arc<Mutex<Vec<(String, String, String, Vec<u8>)>>>;

/// A server that remembers what it was asked.
fn recorder() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let remember = seen.clone();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("it is bound")).expect("the test waits");
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                let seen = remember.clone();
                let service = hyper::service::service_fn(move |request| record(request, seen.clone()));
                let connection = hyper::server::conn::http1::Builder::new()
                    .half_close(true)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    // Connections that end badly are the point of the test.
                    let _ = connection.await;
                });
            }
        });
    });
    (told.recv().expect("it starts"), seen)
}

async fn record(request: Request<Incoming>, seen: Seen) -> Result<Response<Empty<Bytes>>, Infallible> {
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let host = request
        .headers()
        .get("host")
        .map_or_else(String::new, |h| String::from_utf8_lossy(h.as_bytes()).into());
    let method = request.method().to_string();
    if let Ok(body) = request.into_body().collect().await {
        seen.lock().expect("no panic").push((method, path, host, body.to_bytes().to_vec()));
    }
    Ok(Response::new(Empty::new()))
}

/// Choices that are the same in every run.
struct Choice(u64);

impl Choice {
    fn next(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.next(all.len())]
    }
    /// The first choice mostly, one of the others now and then.
    fn mostly<'a>(&mut self, usual: &'a str, odd: &[&'a str]) -> &'a str {
        if self.next(8) > 0 { usual } else { self.of(odd) }
    }

    fn request(&mut self) -> String {
        let mut text = String::new();
        let version = self.mostly("HTTP/1.1", &["HTTP/1.0", "HTTP/1.1 ", "HTTP/2.0", "http/1.1"]);
        let target = self.mostly("/p?q=1", &["http://a/x", "*", "/a b", "/\u{1}", "/é", "a", "//", "/#f"]);
        let method = self.mostly("POST", &["GET", "HEAD", "PUT", "OPTIONS", "CONNECT", "post"]);
        text += &format!("{method} {target} {version}{}", self.end());
        text += &format!(
            "{}{}",
            self.mostly("Host: a", &["Host: b", "host:a", "Host : a", "X: y", "Host: a\r\nHost: a"]),
            self.end()
        );
        if self.next(3) == 0 {
            text += &format!(
                "{}{}",
                self.of(&[
                    "X: y",
                    " X: y",
                    "X:",
                    "X: \0",
                    "Connection: close",
                    "Connection: keep-alive",
                    "Expect: 100-continue",
                    "TE: trailers",
                    "Content_Length: 3",
                    "Transfer_Encoding: chunked"
                ]),
                self.end()
            );
        }
        let body = match self.next(4) {
            0 => "",
            1 => {
                text += self.mostly(
                    "Content-Length: 5",
                    &[
                        "Content-Length: 05",
                        "Content-Length: +5",
                        "Content-Length: 5, 5",
                        "Content-Length : 5",
                        "Content-Length: 5\r\nContent-Length: 5",
                        "Content-Length: 4",
                        "Content-Length:\t5",
                        "Content-Length: 5\r\nTransfer-Encoding: chunked",
                    ],
                );
                text += self.end();
                "hello"
            }
            _ => {
                text += self.mostly(
                    "Transfer-Encoding: chunked",
                    &[
                        "Transfer-Encoding: Chunked",
                        "Transfer-Encoding: gzip, chunked",
                        "Transfer-Encoding: chunked, identity",
                        "Transfer-Encoding:\u{b}chunked",
                        "transfer-encoding:chunked",
                        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
                    ],
                );
                text += self.end();
                self.mostly(
                    "5\r\nhello\r\n0\r\n\r\n",
                    &[
                        "5;x=y\r\nhello\r\n0\r\n\r\n",
                        "05\r\nhello\r\n0\r\n\r\n",
                        "5 \r\nhello\r\n0\r\n\r\n",
                        "5\nhello\n0\n\n",
                        "5\r\nhelloX\n0\r\n\r\n",
                        "0x5\r\nhello\r\n0\r\n\r\n",
                        "2\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
                        "0\r\n\r\n",
                        "5;\nx\r\nhello\r\n0\r\n\r\n",
                    ],
                )
            }
        };
        format!("{text}{}{body}", self.end())
    }
    fn end(&mut self) -> &'static str {
        if self.next(60) > 0 { "\r\n" } else { self.of(&["\n", "\r\n ", "\r", "\r\r\n"]) }
    }
}

#[test]
fn another_reader_never_sees_other_requests_behind_the_gateway() {
    let (direct, seen_directly) = recorder();
    let (behind, seen_behind) = recorder();
    let mut gateway = Gateway::with(|options| options.limits.linger = std::time::Duration::from_millis(20));
    let address = gateway.serve(&[(Http, false, &[behind])])[0];
    let mut choice = Choice(20_261_122);
    let (mut agreed, mut refused) = (0, 0);
    for number in 0..STREAMS {
        let stream: String = (0..=choice.next(3)).map(|_| choice.request()).collect();
        Raw::to(direct).send(&stream).end().all();
        Raw::to(address).send(&stream).end().all();
        let without = std::mem::take(&mut *seen_directly.lock().expect("no panic"));
        let with = std::mem::take(&mut *seen_behind.lock().expect("no panic"));
        assert!(with.len() <= without.len(), "{number} {stream:?}:\n{with:?}\n{without:?}");
        for (a, b) in with.iter().zip(&without) {
            assert_eq!(a, b, "{number} {stream:?}");
        }
        agreed += with.len();
        refused += without.len() - with.len();
    }
    // The comparison means something only if both outcomes are common.
    assert!(agreed > 500 && refused > 50, "{agreed} {refused}");
}
