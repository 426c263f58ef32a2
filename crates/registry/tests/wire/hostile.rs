//! Clients that are broken or mean harm: each gets one answer, and nothing half is kept or served.

use crate::harness::{INDEX, MANIFEST, Served, answer, limits, manifest};
use build::repositories::Algorithm;
use registry::{Anonymous, Limits};
use std::io::Write;
use std::time::{Duration, Instant};
use testkit::{TempDir, wait_until};

fn open() -> Served {
    Served::open(Anonymous::Push)
}

#[test]
fn names_that_lead_out_are_no_names() {
    let served = open();
    for name in ["..", "a/../../b", "%2e%2e/%2e%2e", "a%00b", "A", "a//b", &"a".repeat(256)] {
        let reply = served.get(&format!("/v2/{name}/manifests/x"));
        assert_eq!((reply.status, reply.code().as_str()), (400, "NAME_INVALID"), "{name}");
        assert_eq!(served.ask("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"").status, 400, "{name}");
    }
    for reference in ["..", "%2e%2e", ".hidden", "sha256:zz", &"t".repeat(129)] {
        assert_eq!(served.put("a", reference, "{}").status, 400, "{reference}");
    }
    assert_eq!(served.get("/v2/_catalog").json()["repositories"], serde_json::json!([]));
}

#[test]
fn content_that_is_not_its_digest_is_not_kept() {
    let served = open();
    let wrong = Algorithm::Sha256.of(b"something else");
    let reply = served.ask("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), &[], b"bytes");
    assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
    let place = served.begin("a");
    let reply = served.ask("PUT", &format!("{place}?digest={wrong}"), &[], b"bytes");
    assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(served.get(&place).status, 404, "it has to be begun anew");
    assert_eq!(served.put("a", &wrong.to_string(), &manifest(&wrong.to_string(), &[])).status, 400);
    assert_eq!((served.uploads(), served.blobs()), (0, 0));
    for digest in ["", "x", "sha256:short", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let place = served.begin("a");
        assert_eq!(served.ask("PUT", &format!("{place}?digest={digest}"), &[], b"").status, 400, "{digest}");
    }
}

#[test]
fn pieces_out_of_order_are_refused_and_the_upload_goes_on() {
    let served = open();
    let place = served.begin("a");
    let patch = |range: &str, body: &[u8]| served.ask("PATCH", &place, &[("content-range", range)], body);
    assert_eq!(patch("0-4", b"01234").header("range"), Some("0-4"));
    for (range, body) in
        [("0-4", &b"01234"[..]), ("6-8", b"678"), ("5-9", b"5"), ("x-y", b"5"), ("9-5", b"5")]
    {
        let reply = patch(range, body);
        assert_eq!((reply.status, reply.header("range")), (416, Some("0-4")), "{range}");
        assert_eq!(reply.header("location"), Some(place.as_str()));
    }
    let status = served.get(&place);
    assert_eq!((status.status, status.header("range")), (204, Some("0-4")));
    assert_eq!(patch("5-9", b"56789").status, 202);
    let digest = Algorithm::Sha256.of(b"0123456789");
    assert_eq!(served.ask("PUT", &format!("{place}?digest={digest}"), &[], b"").status, 201);
    assert_eq!(served.get(&format!("/v2/a/blobs/{digest}")).body, b"0123456789");
}

#[test]
fn a_connection_that_breaks_leaves_what_came_to_go_on_with() {
    let served = open();
    let place = served.begin("a");
    let mut stream = served.connect();
    let head = format!("PATCH {place} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("taken");
    stream.write_all(&[7; 300_000]).expect("taken");
    drop(stream);
    let mut length = 0;
    wait_until(Duration::from_secs(20), "the broken request has ended", || {
        let status = served.get(&place);
        let range = status.header("range").map(str::to_owned);
        length = range.and_then(|range| range[2..].parse::<usize>().ok()).map_or(0, |last| last + 1);
        status.status == 204 && length > 1
    });
    assert!(length <= 300_000, "{length}");
    let rest = vec![7; 1_000_000 - length];
    let digest = Algorithm::Sha256.of(&vec![7; 1_000_000]);
    assert_eq!(served.ask("PUT", &format!("{place}?digest={digest}"), &[], &rest).status, 201);
}

#[test]
fn too_much_is_refused() {
    let served =
        Served::with(TempDir::new(), Anonymous::Push, Limits { blob_max: 1000, uploads_max: 3, ..limits() });
    let digest = Algorithm::Sha256.of(&[0; 1001]);
    let whole = served.ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], &[0; 1001]);
    assert_eq!((whole.status, whole.code().as_str()), (413, "SIZE_INVALID"));
    let place = served.begin("a");
    assert_eq!(served.ask("PATCH", &place, &[], &[0; 600]).status, 202);
    assert_eq!(served.ask("PATCH", &place, &[], &[0; 600]).status, 413);
    assert_eq!(served.get(&place).status, 404, "it can never become whole");
    let large = format!(r#"{{"schemaVersion":2,"x":"{}"}}"#, "x".repeat(4 << 20));
    assert_eq!(served.put("a", "v1", &large).status, 413);
    let many: Vec<String> = (0..33).map(|n| format!("tag=t{n}")).collect();
    let config = served.blob("a", b"{}");
    let text = manifest(&config, &[]);
    let digest = Algorithm::Sha256.of(text.as_bytes());
    assert_eq!(served.put("a", &format!("{digest}?{}", many.join("&")), &text).status, 414);
    for _ in 0..3 {
        served.begin("a");
    }
    let reply = served.ask("POST", "/v2/a/blobs/uploads/", &[], b"");
    assert_eq!((reply.status, reply.code().as_str()), (429, "TOOMANYREQUESTS"));
    assert!(reply.header("retry-after").is_some());
    let long = "x".repeat(200 << 10);
    assert!(matches!(served.ask("GET", "/v2/", &[("x-long", &long)], b"").status, 400..=499));
}

#[test]
fn documents_that_are_bombs_are_refused_at_once() {
    let served = open();
    let config = served.blob("a", b"{}");
    let begun = Instant::now();
    let deep = format!(r#"{{"schemaVersion":2,"x":{}1"#, "[".repeat(2 << 20));
    let part = format!(r#"{{"digest":"{config}"}}"#);
    let wide = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![part.as_str(); 40_000].join(","));
    for (text, kind) in
        [(&deep, MANIFEST), (&wide, INDEX), (&"{".to_owned(), MANIFEST), (&"\u{0}".to_owned(), INDEX)]
    {
        let reply = served.ask("PUT", "/v2/a/manifests/v1", &[("content-type", kind)], text.as_bytes());
        assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(served.get("/v2/a/tags/list").json()["tags"], serde_json::json!([]));
}

#[test]
fn peers_that_send_nothing_are_hung_up_on() {
    let limits = Limits { idle: Duration::from_millis(300), ..limits() };
    let served = Served::with(TempDir::new(), Anonymous::Push, limits);
    let place = served.begin("a");
    let mut stream = served.connect();
    let head = format!("PATCH {place} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345");
    stream.write_all(head.as_bytes()).expect("taken");
    let begun = Instant::now();
    let reply = answer(stream, false);
    assert_eq!(reply.status, 408);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(served.get(&place).header("range"), Some("0-4"), "what came is kept");
}

#[test]
fn the_same_blob_from_many_at_once_is_there_once() {
    let served = open();
    let bytes = vec![42; 700_000];
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (served, bytes) = (&served, &bytes);
            scope.spawn(move || served.blob(&format!("repository-{}", n % 3), bytes));
        }
    });
    assert_eq!((served.blobs(), served.uploads()), (1, 0));
    let digest = Algorithm::Sha256.of(&bytes);
    for n in 0..3 {
        assert_eq!(served.get(&format!("/v2/repository-{n}/blobs/{digest}")).body, bytes);
    }
}

#[test]
fn two_registries_serve_one_store() {
    let one = open();
    // Its own directory is not used; the store is that of the first.
    let directory = TempDir::new();
    let two = {
        std::fs::remove_dir(directory.path()).expect("empty");
        std::os::unix::fs::symlink(one.directory.path(), directory.path()).expect("a link");
        Served::with(directory, Anonymous::Push, limits())
    };
    let digest = one.image("a", "v1", b"layer");
    assert_eq!(two.get("/v2/a/manifests/v1").header("docker-content-digest"), Some(digest.as_str()));
    let place = one.begin("a");
    assert_eq!(one.ask("PATCH", &place, &[], b"one ").status, 202);
    assert_eq!(two.ask("PATCH", &place, &[], b"two").status, 202);
    let whole = Algorithm::Sha256.of(b"one two");
    assert_eq!(one.ask("PUT", &format!("{place}?digest={whole}"), &[], b"").status, 201);
    assert_eq!(two.ask("DELETE", "/v2/a/manifests/v1", &[], b"").status, 202);
    assert_eq!(one.get("/v2/a/manifests/v1").status, 404);
    std::fs::remove_file(two.directory.path()).expect("the link");
}

#[test]
fn a_full_disk_is_said_and_nothing_is_kept() {
    let served = Served::with(TempDir::new(), Anonymous::Push, Limits { disk_floor: u64::MAX, ..limits() });
    assert_eq!(served.ask("POST", "/v2/a/blobs/uploads/", &[], b"").status, 507);
    assert_eq!(served.put("a", "v1", &manifest(&Algorithm::Sha256.of(b"").to_string(), &[])).status, 507);
    assert_eq!((served.uploads(), served.blobs()), (0, 0));
}

/// A file system of 8 MiB; it goes with the guard.
struct Small(TempDir);

impl Small {
    fn new() -> Self {
        let directory = TempDir::new();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", flags, Some(c"size=8m")).expect("mounted");
        Self(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_disk_that_becomes_full_on_the_way_keeps_nothing_of_it() {
    if !testkit::require_root("a_disk_that_becomes_full_on_the_way_keeps_nothing_of_it") {
        return;
    }
    let small = Small::new();
    let below = small.0.join("store");
    let link = TempDir::new();
    std::fs::create_dir(&below).expect("a directory");
    std::fs::remove_dir(link.path()).expect("empty");
    std::os::unix::fs::symlink(&below, link.path()).expect("a link");
    let served = Served::with(link, Anonymous::Push, limits());
    let place = served.begin("a");
    let reply = served.ask("PATCH", &place, &[], &vec![1; 16 << 20]);
    assert_eq!(reply.status, 507);
    assert_eq!((served.uploads(), served.blobs()), (0, 0));
    assert_eq!(served.get(&place).status, 404);
    served.image("a", "v1", &vec![2; 1 << 20]);
    assert_eq!(served.get("/v2/a/manifests/v1").status, 200, "what fits is taken afterwards");
    std::fs::remove_file(served.directory.path()).expect("the link");
}

#[test]
fn names_of_the_images_made_here_cannot_be_pushed_to() {
    let served = open();
    for path in ["/v2/juchu/shop/web/blobs/uploads/", "/v2/juchu/blobs/uploads/"] {
        let reply = served.ask("POST", path, &[], b"");
        assert_eq!((reply.status, reply.code().as_str()), (403, "DENIED"));
    }
    assert_eq!(served.put("juchu/a", "v1", "{}").status, 403);
    assert_eq!(served.ask("DELETE", "/v2/juchu/a/manifests/v1", &[], b"").status, 403);
    assert_eq!(served.get("/v2/juchu/a/manifests/v1").status, 404);
}

#[test]
fn other_methods_and_endpoints_are_told() {
    let served = open();
    let reply = served.ask("PATCH", "/v2/", &[], b"");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(served.ask("DELETE", "/v2/a/tags/list", &[], b"").status, 405);
    assert_eq!(served.get("/v2/a/b/c").status, 404);
    assert_eq!(served.get("/").status, 404);
    let mut stream = served.connect();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no http\r\n\r\n").expect("taken");
    assert_eq!(answer(stream, false).status, 400);
}

#[test]
fn a_blob_is_had_in_part_and_unchanged() {
    let served = open();
    let digest = served.blob("a", b"0123456789");
    let path = format!("/v2/a/blobs/{digest}");
    let part = served.ask("GET", &path, &[("range", "bytes=2-4")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &b"234"[..]));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let tag = format!("\"{digest}\"");
    assert_eq!(served.ask("GET", &path, &[("if-none-match", &tag)], b"").status, 304);
    let other = served.ask("GET", &path, &[("range", "bytes=2-4"), ("if-range", "\"x\"")], b"");
    assert_eq!((other.status, other.body.len()), (200, 10));
    let head = served.ask("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
}

#[test]
fn a_tag_is_moved_only_from_where_it_was_seen() {
    let served = open();
    let first = served.image("a", "v1", b"first");
    served.image("a", "v1", b"second");
    let config = served.blob("a", b"{}");
    let text = manifest(&config, &[]);
    let with = [("content-type", MANIFEST), ("if-match", &format!("\"{first}\""))];
    assert_eq!(served.ask("PUT", "/v2/a/manifests/v1", &with, text.as_bytes()).status, 412);
}
