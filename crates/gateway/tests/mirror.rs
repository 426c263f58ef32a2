//! Copies of requests for another service: they arrive, and nobody waits for them.

mod common;

use common::http2::Http2;
use common::{Gateway, Instance, Raw, eventually, status_of};
use model::Percent;
use model::service::Protocol::Http;
use model::traffic::Mirror;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};

/// An instance that says what it was asked, head and body, and answers with this status.
fn telling(status: u16) -> (Instance, Receiver<String>) {
    let (seen, asked) = channel();
    let instance = Instance::start(move |mut talk| {
        while let Some(head) = talk.head() {
            let mut said = head.clone();
            if head.contains("Content-Length: 3") && talk.body("a=1").is_some() {
                said.push_str("a=1");
            }
            let _ = seen.send(said);
            talk.send(&format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    (instance, asked)
}

/// The first service's requests are copied to the second, this share of them.
fn mirrored(real: SocketAddr, shadow: SocketAddr, share: &str) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::start();
    let mut table =
        common::table(gateway.next_revision(), &[(Http, true, &[real]), (Http, false, &[shadow])]);
    let share = Percent::parse(share).expect("a share");
    let backend = table.backends.get_mut("t/0:1").expect("it is there");
    backend.traffic.mirror = Some(Mirror { backend: "t/1:1".into(), share });
    // What is sent to the copies' service is not copied back.
    let backend = table.backends.get_mut("t/1:1").expect("it is there");
    backend.traffic.mirror = Some(Mirror { backend: "t/0:1".into(), share });
    let address = gateway.apply(&table).bound[0].1;
    (gateway, address)
}

fn counted(gateway: &mut Gateway) -> (u64, u64, u64) {
    let status = gateway.status();
    let backend = status.backends.iter().find(|backend| backend.backend == "t/0:1").expect("it is there");
    let mirror = backend.mirror.as_ref().expect("it is mirrored");
    assert_eq!(mirror.to, "t/1:1");
    (mirror.counts.requests, mirror.counts.classes[4], mirror.left_out)
}

#[test]
fn a_copy_is_what_the_original_was_and_its_answer_nobodys() {
    let (real, originals) = telling(200);
    let (shadow, copies) = telling(500);
    let (mut gateway, address) = mirrored(real.address, shadow.address, "100%");
    let mut client = Raw::to(address);
    for _ in 0..2 {
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na=1");
        assert_eq!(status_of(&client.response().0), 200);
        let original = originals.recv_timeout(common::PATIENCE).expect("it was asked");
        let copy = copies.recv_timeout(common::PATIENCE).expect("it was asked");
        assert!(copy.starts_with("POST /x HTTP/1.1\r\nHost: a\r\n") && copy.ends_with("a=1"), "{copy}");
        assert_eq!(copy, original, "to the byte");
    }
    let answer = Http2::to(address).get("http://a/y").expect("it is answered");
    assert_eq!(answer.status, 200);
    let copy = copies.recv_timeout(common::PATIENCE).expect("it was asked");
    assert!(copy.starts_with("GET /y HTTP/1.1\r\nHost: a\r\n"), "{copy}");
    eventually(|| counted(&mut gateway) == (3, 3, 0));
    assert!(originals.try_iter().count() == 1, "only the original of HTTP/2 is left");
}

#[test]
fn nobody_waits_for_a_service_that_does_not_answer() {
    let (real, _originals) = telling(200);
    let silent = Instance::start(|mut talk| while talk.more() {});
    let (mut gateway, address) = mirrored(real.address, silent.address, "100%");
    let mut client = Raw::to(address);
    // More than may be under way at a time.
    for _ in 0..200 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status_of(&client.response().0), 200);
    }
    let (.., left_out) = counted(&mut gateway);
    assert!(left_out >= 200 - 64, "{left_out}");
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    let (other, _) = telling(200);
    let (mut gateway, address) = mirrored(real.address, other.address, "100%");
    assert_eq!(status_of(&Raw::to(address).send(large).response().0), 200);
    assert_eq!(counted(&mut gateway).2, 1, "it is too large to be copied");
}

#[test]
fn a_share_is_copied() {
    let (real, _originals) = telling(200);
    let (shadow, copies) = telling(200);
    let (mut gateway, address) = mirrored(real.address, shadow.address, "50%");
    let mut client = Raw::to(address);
    for _ in 0..60 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status_of(&client.response().0), 200);
    }
    eventually(|| {
        let (requests, ..) = counted(&mut gateway);
        requests == requests.clamp(3, 57)
    });
    // Seven standard deviations of 30 ± 3.9.
    let seen = copies.try_iter().count();
    assert!((1..58).contains(&seen), "{seen}");
}
