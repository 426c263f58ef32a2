//! Answers compressed on their way: what clients get, and when.

mod common;

use common::http2::Http2;
use common::{Gateway, Instance, Raw, status_of, table};
use model::Bytes;
use model::service::Protocol::Http;
use model::traffic::Compression;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc;

/// A gateway that compresses what this instance says.
fn before(instance: &Instance, compression: Compression) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::start();
    let mut table = table(gateway.next_revision(), &[(Http, true, &[instance.address])]);
    table.backends.values_mut().for_each(|backend| backend.traffic.compression = Some(compression.clone()));
    let address = gateway.apply(&table).bound[0].1;
    (gateway, address)
}

/// Text that is worth compressing, and not the same everywhere.
fn content(bytes: usize) -> String {
    (0..)
        .map(|line| format!("line {line} of {}\n", line * 7919 % 1009))
        .scan(0, |sum, line| {
            *sum += line.len();
            (*sum <= bytes).then_some(line)
        })
        .collect()
}

/// Answers every request with this head and these bytes.
fn instance(head: String, body: Vec<u8>) -> Instance {
    Instance::start(move |mut talk| {
        while let Some(asked) = talk.request() {
            talk.send(&head);
            if !asked.starts_with("HEAD") {
                talk.send_bytes(&body);
            }
            if head.contains("Connection: close") {
                return;
            }
        }
    })
}

fn plain(encoding: &str, packed: &[u8]) -> String {
    let mut text = String::new();
    match encoding {
        "gzip" => flate2::read::MultiGzDecoder::new(packed).read_to_string(&mut text).expect("it is whole"),
        _ => zstd::stream::read::Decoder::new(packed)
            .expect("it is one")
            .read_to_string(&mut text)
            .expect("it is whole"),
    };
    text
}

/// Head and content of the answer to a request over HTTP/1.1 with these fields.
fn asked(address: SocketAddr, method: &str, fields: &str) -> (String, Vec<u8>) {
    let mut client = Raw::to(address);
    client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n"));
    let head = client.until("\r\n\r\n");
    let mut body = client.exactly(usize::MAX);
    if head.contains("Transfer-Encoding: chunked") {
        body = unchunked(&body);
    }
    (head, body)
}

fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size =
            std::str::from_utf8(&chunks[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.expect("a chunk's size");
        if size == 0 {
            assert!(chunks.ends_with(b"\r\n\r\n"), "the end is the end");
            return content;
        }
        content.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
}

#[test]
fn content_is_the_same_however_it_is_framed_and_encoded() {
    for size in [1100, 20_000, 400_000] {
        let content = content(size);
        let chunks: String = content
            .as_bytes()
            .chunks(7001)
            .map(|part| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part)))
            .collect();
        let kinds = [
            (format!("Content-Length: {}\r\n", content.len()), content.clone()),
            ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{chunks}0\r\nX-Sum: 1\r\n\r\n")),
            ("Connection: close\r\n".to_owned(), content.clone()),
        ];
        for (framing, body) in kinds {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"a\"\r\n{framing}\r\n");
            let instance = instance(head, body.into_bytes());
            let (_gateway, address) = before(&instance, Compression::default());
            for encoding in ["gzip", "zstd"] {
                let (head, packed) = asked(address, "GET", &format!("Accept-Encoding: {encoding}\r\n"));
                for line in [
                    format!("Content-Encoding: {encoding}"),
                    "Vary: Accept-Encoding".into(),
                    "ETag: W/\"a\"".into(),
                ] {
                    assert!(head.contains(&line), "{line}: {head}");
                }
                assert!(packed.len() * 2 < content.len(), "{} of {}", packed.len(), content.len());
                assert!(plain(encoding, &packed) == content, "{framing} {encoding} {size}");
            }
            let (head, body) = asked(address, "GET", "Accept-Encoding: br\r\n");
            assert!(head.contains("Vary: Accept-Encoding") && !head.contains("Content-Encoding"), "{head}");
            assert_eq!(head.contains("Content-Length"), framing.contains("Content-Length"), "{head}");
            assert!(body == content.as_bytes(), "{framing} {size}");
            let mut client = Http2::to(address);
            let request = http::Request::builder().uri("http://a/").header("accept-encoding", "gzip");
            let answer = client.ask(request, b"", None).expect("it is answered");
            assert_eq!(answer.head["content-encoding"], "gzip");
            assert!(plain("gzip", &answer.body) == content, "HTTP/2: {framing} {size}");
        }
    }
}

#[test]
fn programs_of_others_read_it() {
    let Some(curl) = testkit::needs("curl", "curl") else { return };
    let Some(python) = testkit::needs("python3", "python3") else { return };
    let content = content(300_000);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    let instance = instance(head, content.clone().into_bytes());
    let (_gateway, address) = before(&instance, Compression::default());
    let url = format!("http://{address}/");
    let script = "import gzip, sys, urllib.request as u\n\
        answer = u.urlopen(u.Request(sys.argv[1], headers={'Accept-Encoding': 'gzip'}), timeout=20)\n\
        assert answer.headers['Content-Encoding'] == 'gzip', answer.headers\n\
        sys.stdout.buffer.write(gzip.decompress(answer.read()))";
    for (program, arguments) in
        [(curl, vec!["-sS", "--max-time", "20", "--compressed", &url]), (python, vec!["-c", script, &url])]
    {
        let output = Command::new(&program).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == content.as_bytes(), "{program:?}");
    }
}

#[test]
fn what_is_sent_does_not_wait_for_what_follows() {
    for encoding in ["gzip", "zstd"] {
        let (seen, goes_on) = mpsc::channel::<()>();
        let goes_on = std::sync::Mutex::new(goes_on);
        let instance = Instance::start(move |mut talk| {
            talk.request();
            talk.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for event in ["data: one\n\n", "data: two\n\n"] {
                talk.send(&format!("{:x}\r\n{event}\r\n", event.len()));
                let _ = goes_on.lock().expect("no panic").recv_timeout(common::PATIENCE);
            }
            talk.send("0\r\n\r\n");
        });
        let types = vec!["text/event-stream".to_owned()];
        let (_gateway, address) = before(&instance, Compression { types, min_size: None });
        let mut client = Raw::to(address);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {encoding}\r\n\r\n"));
        client.until("\r\n\r\n");
        let mut packed = Vec::new();
        let mut text = String::new();
        for event in ["data: one\n\n", "data: two\n\n"] {
            while !text.ends_with(event) {
                let line = client.until("\r\n");
                let size = usize::from_str_radix(line.trim_end(), 16).expect("a chunk's size");
                packed.extend(client.exactly(size));
                client.until("\r\n");
                text = so_far(encoding, &packed);
            }
            seen.send(()).expect("the instance waits");
        }
        assert_eq!(text, "data: one\n\ndata: two\n\n", "{encoding}");
    }
}

/// What can be read of content that has not ended.
fn so_far(encoding: &str, packed: &[u8]) -> String {
    let mut bytes = [0; 4096];
    let mut reader: Box<dyn Read> = match encoding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(packed)),
        _ => Box::new(zstd::stream::read::Decoder::new(packed).expect("it is one")),
    };
    let mut count = 0;
    while let Ok(more @ 1..) = reader.read(&mut bytes[count..]) {
        count += more;
    }
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[test]
fn what_has_its_form_keeps_it() {
    let content = content(4000);
    for (line, fields, length) in [
        ("206 Partial Content", "Content-Range: bytes 0-3/4000\r\n", content.len()),
        ("200 OK", "Content-Encoding: br\r\n", content.len()),
        ("200 OK", "Cache-Control: no-transform\r\n", content.len()),
        ("200 OK", "", 900),
    ] {
        let head =
            format!("HTTP/1.1 {line}\r\nContent-Type: text/html\r\n{fields}Content-Length: {length}\r\n\r\n");
        let body = content.as_bytes()[..length].to_vec();
        let instance = instance(head, body.clone());
        let (_gateway, address) = before(&instance, Compression::default());
        let (head, sent) = asked(address, "GET", "Accept-Encoding: gzip\r\n");
        assert!(head.contains(&format!("Content-Length: {length}")) && !head.contains("gzip"), "{head}");
        assert!(sent == body, "{line} {fields}");
        let all = Compression { min_size: Some(Bytes(0)), ..Compression::default() };
        let (_gateway, address) = before(&instance, all);
        let (head, sent) = asked(address, "HEAD", "Accept-Encoding: gzip\r\n");
        assert!(sent.is_empty() && head.contains(&format!("Content-Length: {length}")), "{head}");
    }
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let (seen, breaks_off) = mpsc::channel::<()>();
    let breaks_off = std::sync::Mutex::new(breaks_off);
    let instance = Instance::start(move |mut talk| {
        talk.request();
        talk.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9000\r\n\r\n");
        talk.send(&content(5000));
        let _ = breaks_off.lock().expect("no panic").recv_timeout(common::PATIENCE);
    });
    let (_gateway, address) = before(&instance, Compression::default());
    let mut client = Raw::to(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(status_of(&client.until("\r\n\r\n")), 200);
    seen.send(()).expect("the instance waits");
    assert!(!client.all().ends_with("0\r\n\r\n"), "the last chunk is missing");
    let mut client = Http2::to(address);
    let request = http::Request::builder().uri("http://a/").header("accept-encoding", "gzip");
    let (response, _) = client.begin(request.body(()).expect("it is valid"), true);
    let response = client.wait(response).expect("its head comes");
    seen.send(()).expect("the instance waits");
    assert!(client.wait(common::http2::read(response)).is_err(), "the stream is reset");
}
