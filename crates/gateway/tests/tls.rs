//! TLS towards clients of a running gateway.

mod common;

use common::tls::{Authority, Secured, leave};
use common::{Gateway, Instance, Raw, eventually, status_of, table};
use model::route::ListenerTls;
use model::service::Protocol::{Auto, Http, Tcp};
use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

const HOST: &str = "shop.example";

/// A gateway with one certificate for [`HOST`], named `web`.
fn gateway(authority: &Authority) -> Gateway {
    let mut gateway = Gateway::start();
    leave(&gateway, "web.pem", &authority.pem(&[HOST]));
    let report = gateway.wait(async |client| client.certificates().await).expect("the gateway answers");
    assert_eq!((report.served, report.faults), (vec!["web".to_owned()], vec![]));
    gateway
}

/// Sends back what it gets, and ends when its client does.
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
fn requests_within_tls_are_served_and_say_so() {
    let authority = Authority::new();
    let instance = Instance::saying("hello");
    let mut gateway = gateway(&authority);
    for protocol in [Http, Auto] {
        let address = gateway.serve_secured(protocol, "web", instance.address);
        for versions in [[&TLS12], [&TLS13]] {
            let config = authority.trusting(&versions, &["h3", "http/1.1"]);
            let mut client = Secured::to(address, HOST, &config).expect("a handshake");
            assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            for _ in 0..3 {
                let (head, body) = client.get(HOST);
                assert_eq!((status_of(&head), body.as_str()), (200, "hello"), "{head}");
            }
        }
    }
    let received = instance.received();
    assert_eq!(received.matches("X-Forwarded-Proto: https\r\n").count(), 12, "{received}");
    // The listener is the same over both tables; a request counts once its answer is gone.
    eventually(|| {
        let counts = gateway.status().listeners[0].counts.clone();
        (counts.requests, counts.errors, counts.active) == (12, 0, 0)
    });
}

#[test]
fn a_load_balancer_says_for_whom_it_speaks_before_the_handshake() {
    let authority = Authority::new();
    let instance = Instance::saying("hello");
    let mut gateway = gateway(&authority);
    let mut wanted = table(gateway.next_revision(), &[(Http, true, &[instance.address])]);
    wanted.listeners[0].tls =
        Some(ListenerTls { certificate: "web".to_owned(), hsts: Some("max-age=60".into()) });
    wanted.listeners[0].proxied = Some(Vec::new());
    let address = gateway.apply(&wanted).bound[0].1;
    let config = authority.trusting(&[&TLS13], &["http/1.1"]);
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.2 40000 443\r\n").expect("there is room");
    let (head, body) = Secured::over(socket, HOST, &config).expect("a handshake").get(HOST);
    assert!(head.contains("strict-transport-security: max-age=60\r\n"), "{head}");
    assert_eq!((status_of(&head), body.as_str()), (200, "hello"));
    let received = instance.received();
    assert!(received.contains("X-Forwarded-For: 192.0.2.7\r\n"), "{received}");
    assert!(Secured::to(address, HOST, &config).is_err(), "who says nothing is not served");
}

#[test]
fn a_session_is_resumed_in_both_versions() {
    let authority = Authority::new();
    let instance = Instance::saying("hello");
    let mut gateway = gateway(&authority);
    let address = gateway.serve_secured(Http, "web", instance.address);
    for versions in [[&TLS12], [&TLS13]] {
        let config = authority.trusting(&versions, &["http/1.1"]);
        let mut first = Secured::to(address, HOST, &config).expect("a handshake");
        // The ticket of TLS 1.3 comes after the handshake.
        first.get(HOST);
        let mut second = Secured::to(address, HOST, &config).expect("a handshake");
        assert!(!first.is_resumed() && second.is_resumed());
        assert_eq!(second.get(HOST).1, "hello");
    }
}

#[test]
fn a_new_certificate_is_shown_and_what_is_open_goes_on() {
    let authority = Authority::new();
    let instance = Instance::saying("hello");
    let mut gateway = gateway(&authority);
    let address = gateway.serve_secured(Http, "web", instance.address);
    let config = || authority.trusting(ALL_VERSIONS, &[]);
    let mut before = Secured::to(address, HOST, &config()).expect("a handshake");
    before.get(HOST);
    leave(&gateway, "web.pem", &authority.pem(&[HOST, "other.example"]));
    gateway.wait(async |client| client.certificates().await).expect("the gateway answers");
    let after = Secured::to(address, "other.example", &config()).expect("it is valid for both");
    assert_ne!(before.shown(), after.shown());
    assert_eq!(before.get(HOST).1, "hello", "the connection is the same");
}

#[test]
fn without_a_certificate_nothing_is_secured_and_the_rest_is_served() {
    let authority = Authority::new();
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    let mut wanted = table(1, &[(Http, true, &[instance.address]), (Http, true, &[instance.address])]);
    wanted.listeners[1].tls = Some(model::route::ListenerTls { certificate: "web".to_owned(), hsts: None });
    wanted.listeners[1].address = "127.0.0.2:0".parse().expect("an address");
    let report = gateway.apply(&wanted);
    let [plain, secured] = [report.bound[0].1, report.bound[1].1];
    let config = authority.trusting(ALL_VERSIONS, &[]);
    assert!(Secured::to(secured, HOST, &config).is_err());
    assert_eq!(status_of(&Raw::to(plain).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().0), 200);
    leave(&gateway, "web.pem", &authority.pem(&[HOST]));
    leave(&gateway, "broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let found = gateway.wait(async |client| client.certificates().await).expect("the gateway answers");
    assert_eq!((found.served.len(), found.faults.len()), (1, 1), "{found:?}");
    assert_eq!(Secured::to(secured, HOST, &config).expect("a handshake").get(HOST).1, "hello");
}

#[test]
fn plain_http_is_told_to_speak_tls_and_other_bytes_are_not_served() {
    let instance = Instance::saying("hello");
    let mut gateway = gateway(&Authority::new());
    let address = gateway.serve_secured(Http, "web", instance.address);
    let answer = Raw::to(address).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").all();
    assert_eq!(status_of(&answer), 400);
    assert!(answer.contains("https://") && answer.contains("Connection: close"), "{answer}");
    for bytes in [&b"\0\0\0\x01"[..], b"\x16\x03\x01\0\x05hello", b"\x80\x2e\x01\0\x02"] {
        let mut client = Raw::to(address);
        client.send(bytes).all();
    }
    assert_eq!(*instance.connections.lock().expect("no panic"), 0);
    eventually(|| gateway.status().connections == 0);
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let mut gateway = gateway(&Authority::new());
    let instance = Instance::saying("hello");
    let address = gateway.serve_secured(Http, "web", instance.address);
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"] {
        let begin = std::time::Instant::now();
        let mut client = Raw::to(address);
        client.send(begun).all();
        assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{begun:?}");
    }
    eventually(|| gateway.status().connections == 0);
}

#[test]
fn bytes_pass_unchanged_within_tls_and_each_direction_ends_by_itself() {
    let authority = Authority::new();
    let instance = echo();
    let mut gateway = gateway(&authority);
    let address = gateway.serve_secured(Tcp, "web", instance.address);
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 249) as u8).collect();
    for versions in [[&TLS12], [&TLS13]] {
        let mut client =
            Secured::to(address, HOST, &authority.trusting(&versions, &[])).expect("a handshake");
        for part in data.chunks(100_000) {
            assert!(client.send(part).exactly(part.len()) == part);
        }
        // Half closed: the instance still has the last word.
        client.stream.conn.send_close_notify();
        client.stream.flush().expect("it is taken");
        assert_eq!(client.exactly(3), b"bye");
        let mut rest = Vec::new();
        let ended = client.stream.read_to_end(&mut rest);
        assert!(matches!(ended, Ok(0)), "the end is stated: {ended:?}");
    }
}

#[test]
fn a_large_answer_reaches_a_slow_client_whole() {
    let authority = Authority::new();
    let instance = Instance::start(|mut talk| {
        while talk.request().is_some() {
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n");
            talk.send_bytes(&vec![b'x'; 5_000_000]);
        }
    });
    let mut gateway = gateway(&authority);
    let address = gateway.serve_secured(Http, "web", instance.address);
    let config = authority.trusting(ALL_VERSIONS, &[]);
    let mut client = Secured::to(address, HOST, &config).expect("a handshake");
    let request = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2000000\r\n\r\n");
    client.send(request).send(vec![b'y'; 2_000_000]);
    let (head, body) = client.response();
    assert_eq!((status_of(&head), body.len()), (200, 5_000_000));
    assert!(body.bytes().all(|byte| byte == b'x'));
    assert_eq!(instance.received().matches('y').count(), 2_000_000);
}

#[test]
fn a_client_that_vanishes_within_a_body_is_not_taken_for_one_that_ended() {
    let authority = Authority::new();
    let instance = echo();
    let mut gateway = gateway(&authority);
    let address = gateway.serve_secured(Tcp, "web", instance.address);
    let config = authority.trusting(ALL_VERSIONS, &[]);
    let mut client = Secured::to(address, HOST, &config).expect("a handshake");
    client.send("half of a").exactly(9);
    client.stream.sock.shutdown(Shutdown::Write).expect("it is open");
    // Without the end that TLS states, the instance sees a break and does not answer.
    let mut rest = Vec::new();
    let _ = client.stream.sock.read_to_end(&mut rest);
    eventually(|| gateway.status().listeners[0].counts.active == 0);
    assert_eq!(gateway.status().listeners[0].counts.bytes_out, 9, "no goodbye was sent");
}

#[test]
fn plain_requests_are_led_to_https_and_proofs_are_given() {
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    leave(&gateway, "challenges/to-ken_1.txt", "to-ken_1.thumbprint");
    gateway.wait(async |client| client.certificates().await).expect("the gateway answers");
    for (port, shown) in [(443, ""), (8443, ":8443")] {
        let mut wanted = table(gateway.next_revision(), &[(Http, true, &[instance.address])]);
        wanted.listeners[0].https_port = Some(port);
        let address = gateway.apply(&wanted).bound[0].1;
        let mut client = Raw::to(address);
        let (head, _) = client.send("GET /a?b=c HTTP/1.1\r\nHost: shop.example:80\r\n\r\n").response();
        assert_eq!(status_of(&head), 308);
        assert!(head.contains(&format!("\r\nLocation: https://shop.example{shown}/a?b=c\r\n")), "{head}");
        let proof = "GET /.well-known/acme-challenge/to-ken_1 HTTP/1.1\r\nHost: shop.example\r\n\r\n";
        let (head, body) = client.send(proof).response();
        assert_eq!((status_of(&head), body.as_str()), (200, "to-ken_1.thumbprint"));
        let unknown = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: shop.example\r\n\r\n";
        assert_eq!(status_of(&client.send(unknown).response().0), 308);
        let posted = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345";
        let answer = client.send(posted).all();
        assert!(answer.contains("308") && answer.contains("Connection: close"), "{answer}");
    }
    assert_eq!(*instance.connections.lock().expect("no panic"), 0);
}

#[test]
fn a_host_is_proved_within_tls_by_its_protocol_alone() {
    let authority = Authority::new();
    let instance = Instance::saying("hello");
    let mut gateway = gateway(&authority);
    leave(&gateway, "challenges/shop.example.pem", &authority.pem(&[HOST, "proof.example"]));
    gateway.wait(async |client| client.certificates().await).expect("the gateway answers");
    let address = gateway.serve_secured(Http, "web", instance.address);
    let usual = Secured::to(address, HOST, &authority.trusting(ALL_VERSIONS, &[])).expect("a handshake");
    let config = authority.trusting(ALL_VERSIONS, &["acme-tls/1"]);
    let mut proof = Secured::to(address, HOST, &config).expect("a handshake");
    assert_eq!(proof.stream.conn.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    assert_ne!(proof.shown(), usual.shown());
    let mut nothing = Vec::new();
    assert!(matches!(proof.stream.read_to_end(&mut nothing), Ok(0)));
    assert!(Secured::to(address, "other.example", &config).is_err(), "nothing is proved for others");
}

/// What a scanner of others finds: only what is held to be strong today is offered.
#[test]
fn a_scanner_finds_nothing_weak() {
    let Some(sslscan) = testkit::needs("sslscan", "sslscan") else { return };
    let authority = Authority::new();
    let instance = Instance::saying("hello");
    let mut gateway = gateway(&authority);
    let address = gateway.serve_secured(Http, "web", instance.address);
    let output = Command::new(sslscan)
        .args(["--no-colour", "--xml=-", &format!("--sni-name={HOST}"), &address.to_string()])
        .output()
        .expect("sslscan runs");
    let found = String::from_utf8_lossy(&output.stdout);
    let lines =
        |start: &'static str| found.lines().map(str::trim).filter(move |line| line.starts_with(start));
    let is_on = |line: &&str| line.contains("enabled=\"1\"");
    let versions: Vec<&str> = lines("<protocol type=\"tls\"").filter(is_on).collect();
    assert_eq!(versions.len(), 2, "{found}");
    assert!(versions[0].contains("version=\"1.2\"") && versions[1].contains("version=\"1.3\""), "{found}");
    assert_eq!(lines("<protocol type=\"ssl\"").filter(is_on).count(), 0, "{found}");
    let ciphers: Vec<&str> = lines("<cipher ").collect();
    assert!(ciphers.len() > 3, "{found}");
    for cipher in ciphers {
        let is_strong = cipher.contains("strength=\"strong\"") || cipher.contains("strength=\"acceptable\"");
        let is_forward_secret = cipher.contains("TLSv1.3") || cipher.contains("cipher=\"ECDHE-");
        assert!(is_strong && is_forward_secret && !cipher.contains("CBC"), "{cipher}");
    }
    assert!(lines("<heartbleed").all(|line| line.contains("vulnerable=\"0\"")), "{found}");
    let renegotiation: Vec<&str> = lines("<renegotiation").collect();
    assert!(
        renegotiation.iter().all(|line| !line.contains("secure=\"0\"") || line.contains("supported=\"0\"")),
        "{found}"
    );
}
