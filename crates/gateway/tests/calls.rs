//! Who calls whom: each caller's requests and connections are counted at what it calls.

mod common;

use common::http2::Http2;
use common::{Gateway, Instance, Raw, eventually, status_of};
use gateway::wire::{CallStatus, Caller};
use model::service::Protocol::{Auto, Http, Tcp};
use model::traffic::Mirror;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::net::{SocketAddr, TcpStream};

/// A connection from this address.
fn from(ip: [u8; 4], to: SocketAddr) -> Raw {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from((ip, 0))).expect("all of 127.0.0.0/8 is this host's");
    connect(&socket, &to).expect("someone listens");
    Raw::over(TcpStream::from(socket))
}

/// The counts of one pair.
fn of(calls: &[CallStatus], caller: &Caller, backend: &str) -> Option<CallStatus> {
    calls.iter().find(|call| call.caller == *caller && call.backend == backend).cloned()
}

fn service(name: &str) -> Caller {
    Caller::Service(name.to_owned())
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// Two services: web at 127.0.0.5, api at 127.0.0.6.
fn gateway(services: &[(model::service::Protocol, bool, &[SocketAddr])]) -> (Gateway, Vec<SocketAddr>) {
    let mut gateway = Gateway::start();
    let mut table = common::table(gateway.next_revision(), services);
    table.callers.insert("127.0.0.5".parse().expect("valid"), "shop/web".into());
    table.callers.insert("127.0.0.6".parse().expect("valid"), "shop/api".into());
    let bound = gateway.apply(&table).bound.iter().map(|(_, bound)| *bound).collect();
    (gateway, bound)
}

#[test]
fn requests_are_counted_for_who_sent_them() {
    let good = Instance::saying("hello");
    let bad = Instance::start(|mut talk| {
        while talk.request().is_some() {
            talk.send("HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let (mut gateway, at) = gateway(&[(Http, false, &[good.address]), (Auto, false, &[bad.address])]);
    let mut web = from([127, 0, 0, 5], at[0]);
    for _ in 0..3 {
        assert_eq!(status_of(&web.send(GET).response().0), 200);
    }
    assert_eq!(status_of(&from([127, 0, 0, 5], at[1]).send(GET).response().0), 500);
    assert_eq!(status_of(&from([127, 0, 0, 6], at[0]).send(GET).response().0), 200);
    assert_eq!(status_of(&Raw::to(at[0]).send(GET).response().0), 200);
    assert_eq!(Http2::to(at[0]).get("http://a/y").expect("it is answered").status, 200);
    eventually(|| gateway.status().calls.iter().map(|call| call.counts.requests).sum::<u64>() == 7);
    let calls = gateway.status().calls;
    assert_eq!(calls.len(), 4, "{calls:?}");
    let web = of(&calls, &service("shop/web"), "t/0:1").expect("it called").counts;
    assert_eq!((web.requests, web.errors, web.classes[1], web.latency.count()), (3, 0, 3, 3));
    assert_eq!((web.connections, web.active, web.bytes_in), (0, 0, 0));
    assert!(web.bytes_out > 15, "{}", web.bytes_out);
    let failed = of(&calls, &service("shop/web"), "t/1:1").expect("it called").counts;
    assert_eq!((failed.requests, failed.errors, failed.classes[4]), (1, 1, 1));
    assert_eq!(of(&calls, &service("shop/api"), "t/0:1").expect("it called").counts.requests, 1);
    assert_eq!(of(&calls, &Caller::Host, "t/0:1").expect("it called").counts.requests, 2);
}

#[test]
fn sessions_are_counted_while_they_last() {
    let instance = Instance::start(|mut talk| {
        while talk.more() {
            talk.send("pong");
        }
    });
    let gone = SocketAddr::from(([127, 0, 0, 1], 1));
    let (mut gateway, at) = gateway(&[(Tcp, false, &[instance.address]), (Tcp, false, &[gone])]);
    let mut client = from([127, 0, 0, 6], at[0]);
    assert_eq!(client.send("\0ping").exactly(4), b"pong");
    let calls = gateway.status().calls;
    let open = of(&calls, &service("shop/api"), "t/0:1").expect("it called").counts;
    assert_eq!((open.connections, open.active, open.requests), (1, 1, 0));
    assert_eq!((open.bytes_in, open.bytes_out, open.errors), (5, 4, 0));
    drop(client);
    let active = |gateway: &mut Gateway| {
        of(&gateway.status().calls, &service("shop/api"), "t/0:1").map(|call| call.counts.active)
    };
    eventually(|| active(&mut gateway) == Some(0));
    assert!(from([127, 0, 0, 6], at[1]).ends());
    eventually(|| {
        of(&gateway.status().calls, &service("shop/api"), "t/1:1").is_some_and(|call| call.counts.errors == 1)
    });
}

#[test]
fn callers_that_are_no_services_are_told_apart() {
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    let mut table = common::table(
        gateway.next_revision(),
        &[(Http, true, &[instance.address]), (Http, false, &[instance.address])],
    );
    // A load balancer says for whom it speaks.
    table.listeners.iter_mut().for_each(|listener| listener.proxied = Some(Vec::new()));
    table.callers.insert("10.1.1.1".parse().expect("valid"), "shop/web".into());
    let at = gateway.apply(&table).bound;
    for (listener, client) in [(0, "192.0.2.7"), (0, "10.1.1.1"), (1, "10.9.9.9")] {
        let head = format!("PROXY TCP4 {client} 192.0.2.1 4000 80\r\n{GET}");
        assert_eq!(status_of(&Raw::to(at[listener].1).send(head).response().0), 200);
    }
    eventually(|| gateway.status().calls.len() == 3);
    let calls = gateway.status().calls;
    for (caller, backend) in
        [(Caller::Outside, "t/0:1"), (service("shop/web"), "t/0:1"), (Caller::Unknown, "t/1:1")]
    {
        assert_eq!(of(&calls, &caller, backend).map(|call| call.counts.requests), Some(1), "{calls:?}");
    }
}

#[test]
fn a_table_forgets_what_it_does_not_have_and_copies_are_nobodys_calls() {
    let (real, shadow) = (Instance::saying("hello"), Instance::saying("hello"));
    let services: [(_, _, &[SocketAddr]); 2] =
        [(Http, false, &[real.address]), (Http, false, &[shadow.address])];
    let mut gateway = Gateway::start();
    let mut table = common::table(gateway.next_revision(), &services);
    let share = model::Percent::parse("100%").expect("a share");
    table.backends.get_mut("t/0:1").expect("it is there").traffic.mirror =
        Some(Mirror { backend: "t/1:1".into(), share });
    let at = gateway.apply(&table).bound[0].1;
    assert_eq!(status_of(&Raw::to(at).send(GET).response().0), 200);
    eventually(|| {
        let status = gateway.status();
        status.backends.iter().all(|backend| backend.endpoints[0].counts.requests == 1)
    });
    let calls = gateway.status().calls;
    assert_eq!(calls.iter().map(|call| call.backend.as_str()).collect::<Vec<_>>(), ["t/0:1"]);
    table.revision = gateway.next_revision();
    table.backends.remove("t/0:1");
    table.backends.get_mut("t/1:1").expect("it is there").traffic.mirror = None;
    table.listeners.remove(0);
    gateway.apply(&table);
    assert_eq!(gateway.status().calls, []);
}
