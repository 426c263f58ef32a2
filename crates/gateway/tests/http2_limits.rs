//! Clients of HTTP/2 that ask more than they may: each limit holds, and others are served.

mod common;

use common::http2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOAWAY, HEADERS, Http2,
    PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use common::{Gateway, Instance, PATIENCE, eventually};
use model::service::Protocol::Http;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::net::{SocketAddr, TcpStream};

/// Streams of one connection, as the gateway announces.
const STREAMS: u32 = 128;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// An instance that answers nobody.
fn silent() -> Instance {
    Instance::start(|mut talk| while talk.more() {})
}

fn serving(instance: &Instance, public: bool) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::with(|options| {
        options.limits.response_header = PATIENCE;
        options.limits.keep_alive = PATIENCE;
    });
    let address = gateway.serve(&[(Http, public, &[instance.address])])[0];
    (gateway, address)
}

/// Nothing of what was asked is left anywhere.
fn is_at_rest(gateway: &mut Gateway) {
    eventually(|| {
        let status = gateway.status();
        let at_listeners: u64 = status.listeners.iter().map(|l| l.counts.active).sum();
        let at_endpoints: u64 = status.backends[0].endpoints.iter().map(|e| e.counts.active).sum();
        (at_listeners, at_endpoints, status.connections) == (0, 0, 0)
    });
}

/// Odd numbers from the one.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[test]
fn a_client_has_so_many_streams_and_no_more() {
    let instance = silent();
    let (mut gateway, address) = serving(&instance, true);
    let mut client = Frames::to(address);
    for stream in streams().take(STREAMS as usize + 1) {
        client.send(HEADERS, END_STREAM | END_HEADERS, stream, &http2::get());
    }
    let refused = client.until(RST_STREAM);
    assert_eq!((refused.stream, refused.payload.as_slice()), (2 * STREAMS + 1, &[0, 0, 0, 7][..]));
    eventually(|| gateway.status().listeners[0].counts.active == u64::from(STREAMS));
    drop(client);
    is_at_rest(&mut gateway);
}

#[test]
fn streams_that_are_begun_and_reset_at_once_end_the_connection() {
    let instance = silent();
    let (mut gateway, address) = serving(&instance, true);
    let mut client = Frames::to(address);
    let mut flood = Vec::new();
    for stream in streams().take(1000) {
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &http2::get()));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    client.bytes(&flood);
    assert_eq!(client.dismissed(), Some(ENHANCE_YOUR_CALM));
    is_at_rest(&mut gateway);
}

#[test]
fn streams_that_reach_an_instance_and_are_given_up_end_the_connection() {
    let instance = silent();
    let (mut gateway, address) = serving(&instance, true);
    let mut client = Frames::to(address);
    let mut begun = 0;
    for stream in streams().take(1000) {
        client.send(HEADERS, END_STREAM | END_HEADERS, stream, &http2::get());
        // A ping's answer says that the stream was looked at.
        client.send(PING, 0, 0, &[7; 8]);
        begun += 1;
        loop {
            match client.next() {
                Some(frame) if frame.kind == PING => break,
                Some(frame) if frame.kind == GOAWAY => {
                    assert_eq!(frame.payload[7], ENHANCE_YOUR_CALM);
                    assert!((200..=240).contains(&begun), "{begun}");
                    drop(client);
                    is_at_rest(&mut gateway);
                    return;
                }
                Some(_) => {}
                None => panic!("the connection ended without a word"),
            }
        }
        client.send(RST_STREAM, 0, stream, &CANCEL);
    }
    panic!("{begun} streams were given up");
}

fn floods(name: &str, frames: &[u8]) {
    let instance = Instance::saying("hello");
    let (mut gateway, address) = serving(&instance, true);
    let mut client = Frames::to(address);
    let mut reader = Frames(client.0.try_clone().expect("a descriptor"));
    let frames = frames.to_vec();
    let writer = std::thread::spawn(move || {
        // More than any limit, and no more than a test can wait for.
        for _ in 0..50 {
            client.bytes(&frames);
        }
    });
    assert_eq!(reader.dismissed(), Some(ENHANCE_YOUR_CALM), "{name}");
    writer.join().expect("no panic");
    drop(reader);
    is_at_rest(&mut gateway);
    assert_eq!(Http2::to(address).get("http://a/").expect("others are served").status, 200, "{name}");
}

#[test]
fn frames_that_carry_nothing_end_the_connection() {
    floods("pings", &frame(PING, 0, 0, &[1; 8]).repeat(1000));
    floods("settings", &frame(SETTINGS, 0, 0, b"").repeat(1000));
    floods("priorities", &frame(2, 0, 1, &[0, 0, 0, 0, 1]).repeat(1000));
    floods("frames of no known kind", &frame(0xbe, 0, 1, b"x").repeat(1000));
}

#[test]
fn a_header_without_an_end_ends_the_connection() {
    let instance = Instance::saying("hello");
    let (mut gateway, address) = serving(&instance, true);
    for piece in [&b""[..], &http2::fields(&[("x", "y")])] {
        let mut client = Frames::to(address);
        client.send(HEADERS, END_STREAM, 1, &http2::get());
        client.bytes(&frame(CONTINUATION, 0, 1, piece).repeat(20_000));
        assert_eq!(client.dismissed(), Some(ENHANCE_YOUR_CALM));
    }
    is_at_rest(&mut gateway);
    assert_eq!(instance.received(), "");
}

#[test]
fn a_header_that_is_too_long_is_refused_alone() {
    let instance = Instance::saying("hello");
    let (_gateway, address) = serving(&instance, true);
    let mut client = Http2::to(address);
    let request = http::Request::builder().uri("http://a/");
    let long = (0..10).fold(request, |request, n| request.header(format!("x-{n}"), "y".repeat(4000)));
    assert_eq!(client.ask(long, b"", None).expect("an answer").status, 431);
    assert_eq!(client.get("http://a/").expect("an answer").status, 200);
}

#[test]
fn a_client_that_takes_nothing_loses_its_stream_and_holds_no_more_than_it_may() {
    static LARGE: [u8; 4 << 20] = [b'x'; 4 << 20];
    let instance = Instance::start(|mut talk| {
        while talk.request().is_some() {
            talk.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LARGE.len()));
            talk.send_bytes(&LARGE);
        }
    });
    let (mut gateway, address) = serving(&instance, true);
    let mut client = Frames::to(address);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &http2::get());
    let mut received = 0;
    // The window is never opened again.
    let reset = loop {
        let frame = client.next().expect("the connection goes on");
        match frame.kind {
            DATA => received += frame.payload.len(),
            RST_STREAM => break frame,
            _ => {}
        }
    };
    assert_eq!((reset.stream, received), (1, 65_535));
    drop(client);
    is_at_rest(&mut gateway);
}

#[test]
fn a_body_that_comes_too_slowly_is_refused() {
    let instance = Instance::saying("hello");
    let (_gateway, address) = serving(&instance, true);
    let mut client = Http2::to(address);
    let request = http::Request::post("http://a/").body(()).expect("it is valid");
    let (response, _send) = client.begin(request, false);
    assert_eq!(client.wait(response).expect("an answer").status(), 408);
}

/// Frames that could be right and mostly are not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![Just(0u32), 0u32..16, any::<u32>()];
    let payload = prop_oneof![
        Just(http2::get()),
        Just(http2::fields(&[("x", "y")])),
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..64),
        prop::sample::select(vec![4usize, 5, 8, 6, 16_384, 16_385]).prop_map(|length| vec![0; length]),
    ];
    let kind = prop_oneof![4 => Just(HEADERS), 3 => Just(DATA), 2 => Just(WINDOW_UPDATE), 4 => 0u8..11, 1 => any::<u8>()];
    let flags = prop_oneof![
        Just(0),
        Just(END_STREAM),
        Just(END_HEADERS),
        Just(END_STREAM | END_HEADERS),
        any::<u8>()
    ];
    (kind, flags, stream, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

#[test]
fn whatever_is_sent_nothing_is_left_and_others_are_served() {
    let instance = Instance::saying("hello");
    let (mut gateway, address) = serving(&instance, true);
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let streams = prop::collection::vec(any_frame(), 0..40);
    let outcome = runner.run(&(streams, any::<bool>()), |(frames, begins_well)| {
        let mut client = match begins_well {
            true => Frames::to(address),
            false => Frames(TcpStream::connect(address).expect("someone listens")),
        };
        client.bytes(&frames.concat());
        if !begins_well {
            client.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        let other = Http2::to(address).get("http://a/").map(|answer| answer.status);
        prop_assert_eq!(other.ok(), Some(200));
        Ok(())
    });
    outcome.expect("it holds for all");
    is_at_rest(&mut gateway);
}
