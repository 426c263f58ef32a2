//! Raw connections: relayed as they are, whoever speaks first and however they end.

mod common;

use common::{Gateway, Instance, Raw, eventually, status_of};
use model::service::Protocol::{Auto, Tcp};
use std::io::Read;
use std::net::SocketAddr;

/// Sends back what it gets and says goodbye at the end.
fn echo() -> Instance {
    Instance::start(|mut talk| {
        let mut from = talk.stream.try_clone().expect("a descriptor");
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            talk.send_bytes(&buffer[..count]);
        }
        talk.send("bye");
    })
}

#[test]
fn bytes_pass_and_each_direction_ends_by_itself() {
    let instance = echo();
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Tcp, false, &[instance.address])])[0];
    let mut client = Raw::to(address);
    assert_eq!(client.send("\0\u{1}GET / HTTP/1.1\r\n\r\n").exactly(20).len(), 20);
    // Half closed: the instance still has the last word.
    assert_eq!(client.end().all(), "bye");
    eventually(|| gateway.status().listeners[0].counts.active == 0);
    let counts = gateway.status().listeners[0].counts.clone();
    assert_eq!((counts.connections, counts.bytes_in, counts.bytes_out), (1, 20, 23));
}

#[test]
fn large_streams_pass_unchanged_in_both_directions_at_once() {
    let instance = echo();
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Tcp, false, &[instance.address])])[0];
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 249) as u8).collect();
    let mut client = Raw::to(address);
    let mut sending = client.stream.try_clone().expect("a descriptor");
    let sent = data.clone();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut sending, &sent));
    assert!(client.exactly(data.len()) == data);
    sender.join().expect("no panic").expect("all was taken");
}

#[test]
fn a_server_may_speak_first() {
    let instance = Instance::start(|mut talk| {
        talk.send("220 welcome\r\n");
        talk.until("EHLO x\r\n").expect("the client's words");
        talk.send("250 ok\r\n");
    });
    let mut gateway = Gateway::start();
    for protocol in [Tcp, Auto] {
        let address = gateway.serve(&[(protocol, false, &[instance.address])])[0];
        let mut client = Raw::to(address);
        assert_eq!(client.until("\r\n"), "220 welcome\r\n");
        assert_eq!(client.send("EHLO x\r\n").until("\r\n"), "250 ok\r\n");
    }
}

#[test]
fn auto_tells_http_from_anything_else() {
    let instance = Instance::start(|mut talk| {
        if talk.more() {
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            while talk.more() {}
        }
    });
    let mut gateway = Gateway::with(|options| options.limits.detect = std::time::Duration::from_secs(5));
    let address = gateway.serve(&[(Auto, false, &[instance.address])])[0];
    let mut client = Raw::to(address);
    // In pieces: the first are not enough to tell.
    client.send("GE").send("T ").send("/ HTTP/1.1\r\nHost: a\r\n\r\n").response();
    assert!(instance.received().contains("X-Forwarded-For: 127.0.0.1"));
    let before = instance.received().len();
    Raw::to(address).send("*1\r\n$4\r\nPING\r\n").response();
    assert_eq!(&instance.received()[before..], "*1\r\n$4\r\nPING\r\n");
    assert_eq!(status_of(&Raw::to(address).send("GET / HTTP/1.1\r\n\r\n").all()), 400);
}

#[test]
fn without_an_instance_the_connection_is_reset() {
    let dead: SocketAddr =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let mut gateway = Gateway::start();
    for instances in [&[][..], &[dead][..]] {
        let address = gateway.serve(&[(Tcp, false, instances)])[0];
        let mut client = Raw::to(address);
        let error = client.stream.read(&mut [0]).expect_err("not an orderly end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    eventually(|| gateway.status().listeners[0].counts.errors == 2);
}

#[test]
fn a_second_instance_is_tried() {
    let dead: SocketAddr =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let instance = echo();
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Tcp, false, &[dead, instance.address])])[0];
    for _ in 0..10 {
        assert_eq!(Raw::to(address).send("hello").exactly(5), b"hello");
    }
}

#[test]
fn a_broken_stream_does_not_look_like_a_finished_one() {
    let instance = Instance::start(|mut talk| {
        talk.until("go").expect("the client's words");
        talk.send("part");
        let socket = socket2::SockRef::from(&talk.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("an option");
        // Reset only once the descriptor is closed; the test's own copy is closed by shutdown.
        drop(talk);
    });
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Tcp, false, &[instance.address])])[0];
    let mut client = Raw::to(address);
    client.send("go");
    assert_eq!(client.exactly(4), b"part");
    drop(instance);
    let mut client_end = [0; 1];
    // Either kind of end is passed on; what must not happen is silence.
    assert!(matches!(client.stream.read(&mut client_end), Ok(0) | Err(_)));
}
