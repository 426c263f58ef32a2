//! Files of a directory as a route's answers.

mod common;

use common::http2::Http2;
use common::{Gateway, Raw, status_of};
use model::route::{Listener, ROUTE_TABLE_VERSION, RouteTable};
use model::rule::{Action, Edits, HeaderEdits, PathMatch, Rule};
use model::service::Protocol::Http;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// A gateway that serves the directory at `/` and at `/static`.
fn serving(directory: &Path) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::start();
    let rule = |id: &str, path: &str| Rule {
        id: id.into(),
        hosts: Vec::new(),
        path: PathMatch::Prefix(path.into()),
        methods: Vec::new(),
        headers: Default::default(),
        action: Action::Files { directory: directory.to_str().expect("it is text").into() },
        edits: Edits {
            response: HeaderEdits {
                set: [("cache-control".to_owned(), "max-age=60".to_owned())].into(),
                ..HeaderEdits::default()
            },
            ..Edits::default()
        },
        priority: None,
    };
    let listener = Listener {
        address: "127.0.0.1:0".parse().expect("an address"),
        protocol: Http,
        backend: String::new(),
        public: true,
        last_port: 0,
        rules: vec![rule("s/web#1", "/"), rule("s/web#2", "/static")],
        tls: None,
        https_port: None,
        proxied: None,
    };
    let revision = gateway.next_revision();
    let table = RouteTable {
        version: ROUTE_TABLE_VERSION,
        revision,
        listeners: vec![listener],
        ..RouteTable::empty()
    };
    let address = gateway.apply(&table).bound[0].1;
    (gateway, address)
}

fn site() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("public");
    fs::create_dir_all(root.join("sub")).expect("it is ours");
    fs::create_dir(root.join(".git")).expect("it is ours");
    for (name, content) in [
        ("public/index.html", "<p>home"),
        ("public/app.js", "let a = 1"),
        ("public/app.js.gz", "packed"),
        ("public/sub/index.html", "<p>sub"),
        ("public/.git/config", "secret"),
        ("public/ten", "0123456789"),
        ("outside", "secret"),
    ] {
        fs::write(dir.path().join(name), content).expect("it is ours");
    }
    std::os::unix::fs::symlink("../outside", root.join("out")).expect("it is ours");
    std::os::unix::fs::symlink("/etc/passwd", root.join("passwd")).expect("it is ours");
    std::os::unix::fs::symlink("ten", root.join("in")).expect("it is ours");
    dir
}

fn ask(address: SocketAddr, line: &str, fields: &str) -> (u16, String, String) {
    let mut client = Raw::to(address);
    client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n"));
    let all = client.all();
    let (head, body) = all.split_once("\r\n\r\n").expect("a whole head");
    (status_of(&all), format!("{head}\r\n"), body.to_owned())
}

fn value<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn files_are_found_by_their_path_and_nothing_else_is() {
    let site = site();
    let (_gateway, address) = serving(&site.path().join("public"));
    for (target, status, body) in [
        ("/", 200, "<p>home"),
        ("/index.html", 200, "<p>home"),
        ("/app.js?v=2", 200, "let a = 1"),
        ("/static/app.js", 200, "let a = 1"),
        ("/sub/", 200, "<p>sub"),
        ("/in", 200, "0123456789"),
    ] {
        let (found, head, said) = ask(address, &format!("GET {target}"), "");
        assert_eq!((found, said.as_str()), (status, body), "{target}");
        assert_eq!(value(&head, "cache-control"), Some("max-age=60"), "{target}");
    }
    for target in [
        "/nothing",
        "/app.js/",
        "/ten/x",
        "/out",
        "/passwd",
        "/../outside",
        "/..%2foutside",
        "/.git/config",
        "/%2egit/config",
        "/a%00",
        "/sub/../../outside",
        "/statics/app.js",
    ] {
        let (status, _, said) = ask(address, &format!("GET {target}"), "");
        assert_eq!(status, 404, "{target}: {said}");
        assert!(!said.contains("secret") && !said.contains("root:"), "{target}: {said}");
    }
    let (status, head, _) = ask(address, "GET /sub?a=b", "");
    assert_eq!((status, value(&head, "Location")), (301, Some("/sub/?a=b")));
    let (status, head, _) = ask(address, "POST /ten", "Content-Length: 0\r\n");
    assert_eq!((status, value(&head, "Allow")), (405, Some("GET, HEAD")));
    let (_, head, _) = ask(address, "GET /app.js", "");
    assert_eq!(value(&head, "Content-Type"), Some("text/javascript; charset=utf-8"));
    let answer = Http2::to(address).get("http://a/ten").expect("it is answered");
    assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"));
}

#[test]
fn what_a_client_has_and_wants_is_kept_to() {
    let site = site();
    let (_gateway, address) = serving(&site.path().join("public"));
    let (_, head, _) = ask(address, "GET /ten", "");
    let (etag, modified) =
        (value(&head, "ETag").expect("a tag"), value(&head, "Last-Modified").expect("a date"));
    for (fields, status, body) in [
        (format!("If-None-Match: {etag}\r\n"), 304, ""),
        (format!("If-Modified-Since: {modified}\r\n"), 304, ""),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200, "0123456789"),
        ("Range: bytes=2-4\r\n".to_owned(), 206, "234"),
        ("Range: bytes=-3\r\n".to_owned(), 206, "789"),
        (format!("Range: bytes=8-\r\nIf-Range: {etag}\r\n"), 206, "89"),
        ("Range: bytes=8-\r\nIf-Range: \"x\"\r\n".to_owned(), 200, "0123456789"),
        ("Range: bytes=0-1,4-5\r\n".to_owned(), 200, "0123456789"),
    ] {
        let (found, _, said) = ask(address, "GET /ten", &fields);
        assert_eq!((found, said.as_str()), (status, body), "{fields}");
    }
    let (status, head, _) = ask(address, "GET /ten", "Range: bytes=20-\r\n");
    assert_eq!((status, value(&head, "Content-Range")), (416, Some("bytes */10")));
    let (status, head, _) = ask(address, "GET /ten", "Range: bytes=2-4\r\n");
    assert_eq!((status, value(&head, "Content-Range")), (206, Some("bytes 2-4/10")));
    let (status, head, said) = ask(address, "HEAD /ten", "");
    assert_eq!((status, value(&head, "Content-Length"), said.as_str()), (200, Some("10"), ""));
    assert_eq!(ask(address, "GET /ten", "If-Match: \"x\"\r\n").0, 412);
}

#[test]
fn packed_siblings_are_sent_to_those_who_read_them() {
    let site = site();
    let root = site.path().join("public");
    let (_gateway, address) = serving(&root);
    let (_, head, said) = ask(address, "GET /app.js", "Accept-Encoding: gzip\r\n");
    assert_eq!((value(&head, "Content-Encoding"), said.as_str()), (Some("gzip"), "packed"));
    assert_eq!(value(&head, "Content-Type"), Some("text/javascript; charset=utf-8"));
    let (_, other, said) = ask(address, "GET /app.js", "Accept-Encoding: br\r\n");
    assert_eq!((value(&other, "Content-Encoding"), said.as_str()), (None, "let a = 1"));
    assert_eq!(
        (value(&head, "Vary"), value(&other, "Vary")),
        (Some("Accept-Encoding"), Some("Accept-Encoding"))
    );
    assert_ne!(value(&head, "ETag"), value(&other, "ETag"), "they are not the same bytes");
    // Older than what it is made of, it is not what it says.
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    let packed = fs::File::options().append(true).open(root.join("app.js.gz")).expect("it is ours");
    packed.set_modified(past).expect("it is ours");
    let (_, head, said) = ask(address, "GET /app.js", "Accept-Encoding: gzip\r\n");
    assert_eq!((value(&head, "Content-Encoding"), said.as_str()), (None, "let a = 1"));
}

#[test]
fn a_large_file_is_sent_whole_and_keeps_the_connection() {
    let site = site();
    let root = site.path().join("public");
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    fs::write(root.join("large"), &content).expect("it is ours");
    let (_gateway, address) = serving(&root);
    let mut client = Raw::to(address);
    for _ in 0..2 {
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        client.until("\r\n\r\n");
        assert!(client.exactly(content.len()) == content);
    }
    let answer = Http2::to(address).get("http://a/large").expect("it is answered");
    assert!(answer.body == content);
}
