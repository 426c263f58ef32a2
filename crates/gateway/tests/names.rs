//! Names over real sockets, on an address of loopback that no other test uses.

mod common;

use common::{Gateway, PATIENCE, table};
use model::route::{NameZone, RouteTable};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

fn query(name: &str, qtype: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(4711);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new_unchecked(name), qtype.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().expect("a query can be written")
}

/// Response code and addresses.
fn read(answer: &[u8]) -> (RCODE, Vec<Ipv4Addr>) {
    let packet = Packet::parse(answer).expect("an answer can be read");
    assert_eq!(packet.id(), 4711);
    let addresses = packet.answers.iter().filter_map(|answer| match &answer.rdata {
        RData::A(a) => Some(Ipv4Addr::from(a.address)),
        _ => None,
    });
    (packet.rcode(), addresses.collect())
}

fn over_udp(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket.send_to(query, server).expect("it can be sent");
    let mut answer = [0; 4096];
    let (length, from) = socket.recv_from(&mut answer).expect("an answer");
    assert_eq!(from, server);
    answer[..length].to_vec()
}

fn over_tcp(stream: &mut TcpStream, query: &[u8]) -> Vec<u8> {
    let mut message = (query.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(query);
    stream.write_all(&message).expect("it can be sent");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).expect("all of it");
    answer
}

fn zones(revision: u64, listen: IpAddr, names: &[(&str, &[&str])], forward: bool) -> RouteTable {
    let address = |text: &&str| text.parse().expect("an address");
    let names: BTreeMap<String, Vec<IpAddr>> =
        names.iter().map(|(name, all)| ((*name).to_owned(), all.iter().map(address).collect())).collect();
    RouteTable {
        zones: vec![NameZone { listen, names, forward, domain: String::new(), reverse: BTreeMap::new() }],
        ..table(revision, &[])
    }
}

/// A port that is free for UDP and TCP on the address.
fn free_port(ip: IpAddr) -> u16 {
    loop {
        let udp = UdpSocket::bind((ip, 0)).expect("a port");
        let port = udp.local_addr().expect("it is bound").port();
        if TcpListener::bind((ip, port)).is_ok() {
            return port;
        }
    }
}

#[test]
fn names_are_answered_and_change_with_the_table() {
    let ip = IpAddr::from([127, 0, 0, 1]);
    let server = SocketAddr::new(ip, free_port(ip));
    let mut gateway = Gateway::with(|options| options.name_port = server.port());
    let report =
        gateway.apply(&zones(1, ip, &[("web", &["10.7.0.2"]), ("db", &["10.7.0.3", "10.7.0.4"])], false));
    assert_eq!(report.failed, []);
    assert_eq!(read(&over_udp(server, &query("web", TYPE::A))), (RCODE::NoError, vec![[10, 7, 0, 2].into()]));
    assert_eq!(read(&over_udp(server, &query("WeB", TYPE::AAAA))), (RCODE::NoError, vec![]));
    assert_eq!(read(&over_udp(server, &query("cache", TYPE::A))), (RCODE::NameError, vec![]));
    assert_eq!(read(&over_udp(server, &query("example.org", TYPE::A))), (RCODE::Refused, vec![]));
    let mut stream = TcpStream::connect(server).expect("it listens");
    for _ in 0..3 {
        assert_eq!(read(&over_tcp(&mut stream, &query("db", TYPE::A))).1.len(), 2);
    }
    gateway.apply(&zones(2, ip, &[("cache", &["10.7.0.9"])], false));
    assert_eq!(
        read(&over_udp(server, &query("cache", TYPE::A))),
        (RCODE::NoError, vec![[10, 7, 0, 9].into()])
    );
    assert_eq!(read(&over_tcp(&mut stream, &query("web", TYPE::A))), (RCODE::NameError, vec![]));
    // Packets that are no queries get nothing; the next query is answered as ever.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for junk in [&b""[..], b"x", &[0xff; 600], &read_as_reply(&query("cache", TYPE::A))] {
        socket.send_to(junk, server).expect("it can be sent");
    }
    assert_eq!(read(&over_udp(server, &query("cache", TYPE::A))).0, RCODE::NoError);
    assert!(gateway.status().names.dropped >= 4);
    gateway.apply(&table(3, &[]));
    let end = std::time::Instant::now() + PATIENCE;
    while TcpStream::connect(server).is_ok() {
        assert!(std::time::Instant::now() < end, "a zone that is gone is still answered");
    }
}

fn read_as_reply(query: &[u8]) -> Vec<u8> {
    let mut reply = query.to_vec();
    reply[2] |= 0x80;
    reply
}

/// A resolver of the host: UDP answers are cut short for names starting with "big".
fn resolver(ip: IpAddr, port: u16) -> SocketAddr {
    let udp = UdpSocket::bind((ip, port)).expect("the port is free");
    let address = udp.local_addr().expect("it is bound");
    let tcp = TcpListener::bind(address).expect("the port is free");
    let answer = |query: &[u8], big: bool| {
        let packet = Packet::parse(query).expect("the gateway asks properly");
        let mut reply = Packet::new_reply(packet.id());
        reply.questions = packet.questions.clone();
        match big {
            true => reply.set_flags(PacketFlag::TRUNCATION),
            false => {
                let data = RData::A(Ipv4Addr::new(93, 184, 216, 34).into());
                let name = packet.questions[0].qname.clone();
                reply.answers.push(simple_dns::ResourceRecord::new(name, CLASS::IN, 60, data));
            }
        }
        reply.build_bytes_vec().expect("an answer can be written")
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
            let query = &buffer[..length];
            // Someone else's answer first: it must not be taken.
            let mut forged = answer(query, false);
            forged[0] ^= 1;
            udp.send_to(&forged, peer).expect("it can be sent");
            udp.send_to(&answer(query, query[13..].starts_with(b"big")), peer).expect("it can be sent");
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_ok() {
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).expect("all of it");
                let reply = answer(&query, false);
                stream.write_all(&(reply.len() as u16).to_be_bytes()).expect("it is read");
                stream.write_all(&reply).expect("it is read");
            }
        }
    });
    address
}

#[test]
fn other_names_are_asked_of_the_hosts_resolvers() {
    let ip = IpAddr::from([127, 0, 0, 1]);
    let server = SocketAddr::new(ip, free_port(ip));
    let upstream_ip = IpAddr::from([127, 0, 0, 3]);
    let upstream = resolver(upstream_ip, free_port(upstream_ip));
    let silent = UdpSocket::bind("127.0.0.4:0").expect("a port");
    let silent_address = silent.local_addr().expect("it is bound");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let own = format!("nameserver {ip}#{}\n", server.port());
    let list = format!(
        "{own}nameserver 127.0.0.4#{}\nnameserver {upstream_ip}#{}\n",
        silent_address.port(),
        upstream.port()
    );
    std::fs::write(dir.path().join("resolv.conf"), list).expect("writable");
    let mut gateway = Gateway::in_dir(dir, |options| options.name_port = server.port());
    gateway.apply(&zones(1, ip, &[("web", &["10.7.0.2"])], true));
    let expect = (RCODE::NoError, vec![[93, 184, 216, 34].into()]);
    // The first resolver says nothing, the second answers.
    assert_eq!(read(&over_udp(server, &query("example.org", TYPE::A))), expect);
    let cut = over_udp(server, &query("big.example.org", TYPE::A));
    assert!(Packet::parse(&cut).expect("readable").has_flags(PacketFlag::TRUNCATION));
    let mut stream = TcpStream::connect(server).expect("it listens");
    assert_eq!(read(&over_tcp(&mut stream, &query("big.example.org", TYPE::A))), expect);
    assert_eq!(read(&over_udp(server, &query("nobody", TYPE::A))), (RCODE::NameError, vec![]));
    assert_eq!(gateway.status().names.forwarded, 3);
}

#[test]
fn without_a_resolver_the_answer_is_a_failure_at_once() {
    let ip = IpAddr::from([127, 0, 0, 1]);
    let server = SocketAddr::new(ip, free_port(ip));
    let mut gateway = Gateway::with(|options| options.name_port = server.port());
    gateway.apply(&zones(1, ip, &[], true));
    assert_eq!(read(&over_udp(server, &query("example.org", TYPE::A))), (RCODE::ServerFailure, vec![]));
}
