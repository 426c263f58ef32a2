//! Load balancers in front that say for whom they speak, and instances that are told.

mod common;

use common::{Gateway, Instance, PATIENCE, Raw, endpoint, eventually, status_of};
use model::service::Protocol::{self, Auto, Http, Tcp};
use model::subnet::Cidr;
use model::traffic::ProxyVersion;
use std::net::SocketAddr;
use std::time::Duration;

const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.2 40000 443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The same as [`LINE`] in version 2.
fn bytes() -> Vec<u8> {
    let mut head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    head.extend_from_slice(&[192, 0, 2, 7, 198, 51, 100, 2, 0x9c, 0x40, 1, 187]);
    head
}

fn proxied(protocol: Protocol, instance: &Instance, from: &[&str]) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::start();
    let mut table = common::table(gateway.next_revision(), &[(protocol, true, &[instance.address])]);
    let subnets = from.iter().map(|text| Cidr::parse(text).expect("a subnet"));
    table.listeners[0].proxied = Some(subnets.collect());
    let address = gateway.apply(&table).bound[0].1;
    (gateway, address)
}

#[test]
fn the_client_is_the_one_the_load_balancer_names() {
    let well = Instance::saying("well");
    let (_gateway, address) = proxied(Auto, &well, &["127.0.0.0/8"]);
    for head in [LINE.as_bytes(), &bytes()] {
        let mut client = Raw::to(address);
        // However it is cut into packets.
        for part in head.chunks(7) {
            client.send(part);
        }
        let (answer, body) = client.send(GET).response();
        assert_eq!((status_of(&answer), body.as_str()), (200, "well"));
    }
    let mut together = LINE.as_bytes().to_vec();
    together.extend_from_slice(GET.as_bytes());
    assert_eq!(status_of(&Raw::to(address).send(&together).response().0), 200);
    let seen = well.received().to_ascii_lowercase();
    assert_eq!(seen.matches("x-forwarded-for: 192.0.2.7\r\n").count(), 3, "{seen}");
    let mut own = Raw::to(address);
    assert_eq!(status_of(&own.send("PROXY UNKNOWN\r\n").send(GET).response().0), 200);
    assert!(well.received().to_ascii_lowercase().contains("x-forwarded-for: 127.0.0.1\r\n"));
}

#[test]
fn who_does_not_say_it_or_is_not_believed_is_not_served() {
    let well = Instance::saying("well");
    let (mut gateway, address) = proxied(Http, &well, &[]);
    assert!(Raw::to(address).send(GET).ends(), "it says nothing");
    assert!(Raw::to(address).send("PROXY TCP4 1.2.3.4\r\n").send(GET).ends());
    let begun = std::time::Instant::now();
    assert!(Raw::to(address).send("PROXY TCP4 1.2").ends(), "it takes too long");
    assert!(begun.elapsed() < PATIENCE / 2);
    eventually(|| {
        let log = gateway.log();
        log.contains("it does not begin with a head of the PROXY protocol")
            && log.contains("its PROXY line is not valid")
            && log.contains("its PROXY head did not come in time")
    });
    assert_eq!(gateway.status().listeners[0].counts.errors, 3);
    let (gateway, address) = proxied(Http, &well, &["10.0.0.0/8"]);
    assert!(Raw::to(address).send(LINE).send(GET).ends());
    eventually(|| gateway.log().contains("it is not from where load balancers are"));
    assert_eq!(well.received(), "");
}

#[test]
fn a_session_begins_with_what_follows_the_head() {
    let echo = Instance::start(|mut talk| {
        while talk.more() {
            let all = talk.until("!").map(|_| ());
            if all.is_some() {
                talk.send("heard");
                return;
            }
        }
    });
    let (_gateway, address) = proxied(Tcp, &echo, &[]);
    let mut client = Raw::to(address);
    assert_eq!(client.send(bytes()).send("hello!").all(), "heard");
    assert_eq!(echo.received(), "hello!");
}

#[test]
fn instances_are_told_on_a_connection_for_each_client() {
    for (version, expect) in [
        (ProxyVersion::V1, &b"PROXY TCP4 192.0.2.7 198.51.100.2 40000 443\r\n"[..]),
        (ProxyVersion::V2, &bytes()),
    ] {
        let told = Instance::start(|mut talk| {
            while talk.request().is_some() {
                talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        let mut gateway = Gateway::start();
        let mut table = common::table(gateway.next_revision(), &[(Http, true, &[told.address])]);
        table.listeners[0].proxied = Some(Vec::new());
        let backend = table.backends.values_mut().next().expect("one was made");
        (backend.endpoints, backend.traffic.proxy) = (vec![endpoint(told.address)], Some(version));
        let address = gateway.apply(&table).bound[0].1;
        let mut client = Raw::to(address);
        client.send(LINE);
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(status_of(&client.response().0), 200);
        }
        let received = told.received.lock().expect("no panic").clone();
        assert!(received.starts_with(expect), "{}", String::from_utf8_lossy(&received));
        let heads = received.windows(expect.len()).filter(|part| *part == expect).count();
        assert_eq!((heads, *told.connections.lock().expect("no panic")), (2, 2));
    }
}

#[test]
fn a_port_that_is_only_looked_at_is_not_complained_about() {
    let well = Instance::saying("well");
    let (mut gateway, address) = proxied(Http, &well, &[]);
    drop(Raw::to(address));
    let mut silent = Raw::to(address);
    silent.stream.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    assert!(silent.end().ends());
    assert_eq!(gateway.status().listeners[0].counts.errors, 0);
}
