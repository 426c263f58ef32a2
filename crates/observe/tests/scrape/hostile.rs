//! Targets that are slow, endless or something else altogether.

use super::{page, page_in};
use observe::scrape::fetch::{BODY_MAX, Room};
use observe::scrape::target::ScrapeError;
use std::time::{Duration, Instant};
use testkit::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_millis(400);

/// What is told of a target that answers so, again and again the last part when `forever`.
async fn told(head: &str, part: Vec<u8>, forever: bool, limit: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let head = head.replace('\n', "\r\n");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.read(&mut [0; 2048]).await;
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(&part).await.is_ok() && forever {
            tokio::task::yield_now().await;
        }
        let _ = stream.shutdown().await;
    });
    let got = page(port, "/metrics", limit).await;
    server.abort();
    match got {
        Ok(page) => format!("{:?} of {} bytes", page.format, page.text.len()),
        Err(error) => ScrapeError::Fetch(error).told(),
    }
}

#[tokio::test]
async fn answers_that_are_no_metrics_are_named() {
    let once =
        |head: &'static str, body: &'static str| told(head, body.into(), false, Duration::from_secs(5));
    assert_eq!(once("HTTP/1.1 200 OK\n\n", "a 1\n").await, "Text of 4 bytes");
    let chunked = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: application/openmetrics-text; version=1.0.0\n\n";
    assert_eq!(once(chunked, "4\r\na 1\n\r\n6\r\n# EOF\n\r\n0\r\n\r\n").await, "OpenMetrics of 10 bytes");
    assert_eq!(once("HTTP/1.1 404 Not Found\n\n", "").await, "the answer has status 404");
    assert_eq!(once("HTTP/1.1 302 Found\nLocation: /there\n\n", "").await, "the answer has status 302");
    let web = once("HTTP/1.1 200 OK\nContent-Type: text/html; charset=utf-8\n\n", "<p>").await;
    assert_eq!(web, "the answer is of the type text/html, which no metrics are");
    let zipped = once("HTTP/1.1 200 OK\nContent-Encoding: gzip\n\n", "x").await;
    assert_eq!(zipped, "the answer is compressed by gzip, which was not asked for");
    let cut = once("HTTP/1.1 200 OK\nContent-Length: 10\n\n", "a 1\n").await;
    assert!(cut.starts_with("ask: "), "{cut}");
    assert!(once("SSH-2.0-OpenSSH_9.2\n\n", "").await.starts_with("ask: "));
    let binary = told("HTTP/1.1 200 OK\n\n", vec![b'a', 0xff], false, LIMIT).await;
    assert_eq!(binary, "the answer is not UTF-8 text after 1 bytes");
    let nobody = page(free_port(), "/metrics", LIMIT).await.expect_err("nobody listens");
    assert!(ScrapeError::Fetch(nobody).told().starts_with("connect: "));
}

#[tokio::test]
async fn endless_and_slow_targets_cost_their_limit_only() {
    let large = vec![b'#'; 64 << 10];
    let endless = told("HTTP/1.1 200 OK\n\n", large.clone(), true, Duration::from_secs(20)).await;
    assert_eq!(endless, format!("the answer is larger than {} MiB", BODY_MAX >> 20));
    let begun = Instant::now();
    assert_eq!(told("", Vec::new(), true, LIMIT).await, format!("no whole answer within {LIMIT:?}"));
    assert!(begun.elapsed() < LIMIT * 10, "{:?}", begun.elapsed());
    let fields = told("HTTP/1.1 200 OK\n", b"a: b\r\n".repeat(1000), true, Duration::from_secs(20)).await;
    assert!(fields.starts_with("ask: "), "{fields}");
}

#[tokio::test]
async fn small_answers_are_read_while_large_ones_take_all_the_room() {
    let room = Room::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // Each sends nearly all that it may, and then nothing.
    let server = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.read(&mut [0; 2048]).await;
            let is_small = open.len() == 6;
            open.push(tokio::spawn(async move {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let body = if is_small { b"a 1\n".to_vec() } else { vec![b'#'; BODY_MAX - 1] };
                let _ = stream.write_all(&body).await;
                if !is_small {
                    std::future::pending::<()>().await;
                }
            }));
        }
    });
    let limit = Duration::from_secs(20);
    let mut large = tokio::task::JoinSet::new();
    let mut told = Vec::new();
    for _ in 0..6 {
        let room = room.clone();
        large.spawn(async move { page_in(port, "/metrics", limit, &room).await });
    }
    // Four of them fit; the others are refused at once rather than when their time is over.
    for _ in 0..2 {
        let refused = large.join_next().await.expect("a task").expect("no panic");
        told.push(ScrapeError::Fetch(refused.expect_err("there is no room")).told());
    }
    assert_eq!(told, ["too many large answers are being read at the same time"; 2]);
    assert_eq!(page_in(port, "/metrics", limit, &room).await.expect("a small one").text, "a 1\n");
    large.abort_all();
    server.abort();
}
