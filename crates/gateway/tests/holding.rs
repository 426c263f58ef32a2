//! Requests and connections that come while nobody takes them wait, as many and as long as was
//! said, and are served when somebody comes.

mod common;

use common::{Gateway, Instance, Raw, eventually, status_of, table};
use model::route::RouteTable;
use model::service::Protocol::{self, Auto, Http, Tcp};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn holding(gateway: &mut Gateway, protocol: Protocol, instances: &[SocketAddr], hold_ms: u64) -> SocketAddr {
    let mut table: RouteTable = table(gateway.next_revision(), &[(protocol, true, instances)]);
    table.backends.get_mut("t/0:1").expect("it is there").hold_ms = hold_ms;
    gateway.apply(&table).bound[0].1
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it is bound")
}

fn active(gateway: &mut Gateway) -> u64 {
    gateway.status().listeners[0].counts.active
}

#[test]
fn what_waits_is_served_when_an_instance_comes() {
    const COUNT: usize = 300;
    let one = Instance::saying("one");
    let two = Instance::saying("two");
    let mut gateway = Gateway::start();
    let address = holding(&mut gateway, Http, &[], 20_000);
    let mut clients: Vec<Raw> = (0..COUNT).map(|_| Raw::to(address)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        match n % 3 {
            0 => client.send(GET),
            1 => client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"),
            _ => client
                .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        };
    }
    eventually(|| active(&mut gateway) == COUNT as u64);
    holding(&mut gateway, Http, &[one.address, two.address], 20_000);
    let mut bodies: Vec<String> = clients
        .iter_mut()
        .map(|client| {
            let (head, body) = client.response();
            assert_eq!(status_of(&head), 200, "{head}");
            body
        })
        .collect();
    bodies.sort();
    let ones = bodies.iter().filter(|body| *body == "one").count();
    assert!((COUNT / 4..=3 * COUNT / 4).contains(&ones), "{ones} of {COUNT} went to one of two");
    assert_eq!(gateway.status().listeners[0].counts.errors, 0);
}

#[test]
fn after_the_time_the_answer_says_when_to_come_again() {
    let mut gateway = Gateway::start();
    let address = holding(&mut gateway, Http, &[], 400);
    let begun = Instant::now();
    let mut client = Raw::to(address);
    let (head, body) = client.send(GET).response();
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(status_of(&head), 503);
    assert!(head.contains("Retry-After: 1\r\n") && body.contains("became ready in time"), "{head}{body}");
    let mut session = Raw::to(holding(&mut gateway, Tcp, &[], 300));
    let begun = Instant::now();
    assert!(session.send("hello").ends());
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[test]
fn an_instance_that_died_is_waited_for_until_it_is_back_at_its_address() {
    let address_of_it = nobody();
    let mut gateway = Gateway::start();
    let address = holding(&mut gateway, Http, &[address_of_it], 20_000);
    let mut clients: Vec<Raw> = (0..50).map(|_| Raw::to(address)).collect();
    clients.iter_mut().for_each(|client| {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    });
    eventually(|| active(&mut gateway) == 50);
    let back = TcpListener::bind(address_of_it).expect("it is free");
    let server = std::thread::spawn(move || {
        for stream in back.incoming().take(50) {
            let mut stream = stream.expect("a connection");
            let mut buffer = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut buffer);
            let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nback";
            std::io::Write::write_all(&mut stream, answer).expect("it reads");
        }
    });
    for client in &mut clients {
        assert_eq!(client.response().1, "back");
    }
    server.join().expect("all came");
}

#[test]
fn sessions_wait_too_and_lose_nothing_of_what_was_said() {
    let instance = Instance::start(|mut talk| {
        talk.until("hello").expect("the client's words");
        talk.send("bye");
    });
    for protocol in [Tcp, Auto] {
        let mut gateway = Gateway::start();
        let address = holding(&mut gateway, protocol, &[], 20_000);
        let mut client = Raw::to(address);
        client.send("hello");
        eventually(|| active(&mut gateway) == 1);
        holding(&mut gateway, protocol, &[instance.address], 20_000);
        assert_eq!(client.exactly(3), b"bye");
    }
}

#[test]
fn no_more_wait_than_there_are_places_and_who_leaves_gives_its_place_back() {
    const PLACES: usize = 1024;
    let mut gateway = Gateway::with(|options| options.threads = Some(1));
    let address = holding(&mut gateway, Http, &[], 60_000);
    let mut clients: Vec<Raw> = (0..PLACES).map(|_| Raw::to(address)).collect();
    clients.iter_mut().for_each(|client| {
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nthe beginning");
    });
    eventually(|| active(&mut gateway) == PLACES as u64);
    let (head, body) = Raw::to(address).send(GET).response();
    assert_eq!(status_of(&head), 503);
    assert!(body.contains("too many requests wait"), "{body}");
    // With a part of the body unread, too, a client that left is noticed.
    clients.truncate(PLACES - 1);
    eventually(|| active(&mut gateway) == PLACES as u64 - 1);
    let mut late = Raw::to(address);
    late.send(GET);
    eventually(|| active(&mut gateway) == PLACES as u64);
    let instance = Instance::saying("ok");
    holding(&mut gateway, Http, &[instance.address], 60_000);
    assert_eq!(late.response().1, "ok");
}

#[test]
fn a_request_that_takes_too_much_memory_does_not_wait() {
    let mut gateway = Gateway::start();
    let address = holding(&mut gateway, Http, &[], 60_000);
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(26_000));
    let (head, body) = Raw::to(address).send(large).response();
    assert_eq!(status_of(&head), 503);
    assert!(body.contains("too large to wait"), "{body}");
}

#[test]
fn a_thousand_that_wait_are_small() {
    const COUNT: usize = 1000;
    let mut gateway = Gateway::with(|options| options.threads = Some(1));
    let address = holding(&mut gateway, Http, &[], 60_000);
    let mut clients: Vec<Raw> = (0..COUNT).map(|_| Raw::to(address)).collect();
    let before = resident_bytes();
    let head = format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\nContent-Length: 100\r\n\r\nbegin",
        "c".repeat(2000)
    );
    clients.iter_mut().for_each(|client| {
        client.send(&head);
    });
    eventually(|| active(&mut gateway) == COUNT as u64);
    let each = resident_bytes().saturating_sub(before) / COUNT;
    println!("{each} bytes for each of {COUNT} that wait");
    assert!(each <= 32 * 1024, "{each} bytes for each");
}

/// Of this process, in which the gateway runs.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has it");
    let kilobytes: usize =
        line.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kilobytes * 1024
}

#[test]
fn a_request_that_is_sent_and_not_answered_is_repeated_only_without_harm() {
    // Takes each request and goes without a word.
    let dying = Instance::start(|mut talk| {
        talk.request();
    });
    let other = Instance::saying("other");
    let mut gateway = Gateway::start();
    let mut next = table(gateway.next_revision(), &[(Http, true, &[dying.address, other.address])]);
    // All goes to the one that dies while it can be reached.
    next.backends.get_mut("t/0:1").expect("it is there").endpoints[1].weight = 0;
    let address = gateway.apply(&next).bound[0].1;
    for (request, expect) in [
        (GET.to_owned(), 200),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".into(), 200),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".into(), 502),
        // The body is gone: it could only be repeated from what is not kept.
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".into(), 502),
    ] {
        let (head, body) = Raw::to(address).send(&request).response();
        assert_eq!(status_of(&head), expect, "{request} {head} {body}");
    }
}

#[test]
fn shares_are_kept_between_instances() {
    const COUNT: u32 = 2000;
    let (usual, canary) = (Instance::saying("usual"), Instance::saying("canary"));
    let mut gateway = Gateway::start();
    let mut next = table(gateway.next_revision(), &[(Http, true, &[usual.address, canary.address])]);
    let endpoints = &mut next.backends.get_mut("t/0:1").expect("it is there").endpoints;
    (endpoints[0].weight, endpoints[1].weight) = (90, 10);
    let address = gateway.apply(&next).bound[0].1;
    let mut client = Raw::to(address);
    let seen = (0..COUNT).filter(|_| client.send(GET).response().1 == "canary").count() as f64;
    // Five standard deviations: one run in a million fails by chance.
    let (expect, bound) = (0.1 * f64::from(COUNT), 5.0 * (f64::from(COUNT) * 0.1 * 0.9).sqrt());
    assert!((seen - expect).abs() <= bound, "{seen} of {COUNT}, expected {expect} ± {bound:.0}");
}

#[test]
fn a_client_that_leaves_while_it_waits_is_not_an_instance_s_fault() {
    let mut gateway = Gateway::start();
    let address = holding(&mut gateway, Http, &[], 60_000);
    let mut client = Raw::to(address);
    client.send(GET);
    eventually(|| active(&mut gateway) == 1);
    drop(client);
    eventually(|| active(&mut gateway) == 0);
    assert_eq!(gateway.status().backends[0].without_endpoint, 0);
}
