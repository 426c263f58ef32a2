//! Datagrams over real sockets: whom they reach, where answers come from, and what changes do.

mod common;

use common::datagrams::{Client, Echo, serve};
use common::{Gateway, Raw, eventually, table};
use model::route::RouteTable;
use model::service::Protocol::Tcp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const BACKEND: &str = "t/dns:53/udp";

fn relay(gateway: &mut Gateway, instances: &[&Echo]) -> SocketAddr {
    let mut wanted = table(gateway.next_revision(), &[]);
    serve(&mut wanted, BACKEND, instances);
    assert_eq!(gateway.apply(&wanted).failed, []);
    gateway.datagrams()[0]
}

#[test]
fn a_client_stays_with_one_instance_and_clients_are_spread() {
    let instances: Vec<Echo> = (0..3).map(|_| Echo::start()).collect();
    let mut gateway = Gateway::start();
    let address = relay(&mut gateway, &instances.iter().collect::<Vec<_>>());
    let mut seen: HashMap<String, usize> = HashMap::new();
    // All at once: a port that was let go would be another client's, and go on as the same flow.
    let clients: Vec<Client> = (0..90).map(|_| Client::of(address)).collect();
    for client in &clients {
        let instance = client.instance();
        assert!((0..3).all(|_| client.instance() == instance));
        *seen.entry(instance).or_default() += 1;
    }
    assert!(seen.len() == 3 && seen.values().all(|count| *count > 8), "{seen:?}");
    // One client is one flow, and an instance sees each flow as another client.
    let peers: usize = instances.iter().map(|i| i.peers.lock().expect("no panic").len()).sum();
    assert_eq!(peers, 90);
    let listener = &gateway.status().listeners[0];
    assert_eq!((listener.counts.connections, listener.counts.errors), (90, 0));
    assert!(listener.counts.bytes_in == 90 * 4 * 3 && listener.counts.bytes_out > listener.counts.bytes_in);
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let instance = Echo::start();
    let mut gateway = Gateway::start();
    let mut wanted = table(gateway.next_revision(), &[]);
    serve(&mut wanted, BACKEND, &[&instance]);
    wanted.datagrams[0].address = SocketAddr::from(([0, 0, 0, 0], 0));
    gateway.apply(&wanted);
    let port = gateway.datagrams()[0].port();
    for last in [1, 2, 77] {
        // A connected socket hears nothing that comes from elsewhere.
        let client = Client::of(SocketAddr::from(([127, 0, 0, last], port)));
        assert!(client.ask("hello").ends_with("hello"), "127.0.0.{last}");
    }
    let mut wanted = table(gateway.next_revision(), &[]);
    serve(&mut wanted, BACKEND, &[&instance]);
    wanted.datagrams[0].address = "[::]:0".parse().expect("an address");
    if gateway.apply(&wanted).failed.is_empty() {
        let port = gateway.datagrams()[0].port();
        assert!(Client::of(SocketAddr::new("::1".parse().expect("valid"), port)).ask("six").ends_with("six"));
    }
}

#[test]
fn datagrams_of_every_size_pass_unchanged() {
    let instance = Echo::start();
    let mut gateway = Gateway::start();
    let client = Client::of(relay(&mut gateway, &[&instance]));
    for size in [0, 1, 512, 1472, 1473, 9000, 60_000] {
        let text = "x".repeat(size);
        let answer = client.ask(&text);
        assert_eq!(answer.len(), instance.port().len() + 1 + size);
        assert!(answer.ends_with(&text));
    }
}

#[test]
fn a_flow_stays_with_an_instance_that_drains_and_moves_when_it_is_gone() {
    let (old, new) = (Echo::start(), Echo::start());
    let mut gateway = Gateway::start();
    let address = relay(&mut gateway, &[&old]);
    let (talking, late) = (Client::of(address), Client::of(address));
    assert_eq!(talking.instance(), old.port());
    let change = |gateway: &mut Gateway, instances: &[&Echo], old_drains: bool| {
        let mut wanted: RouteTable = table(gateway.next_revision(), &[]);
        serve(&mut wanted, BACKEND, instances);
        let endpoints = &mut wanted.backends.get_mut(BACKEND).expect("just made").endpoints;
        endpoints.iter_mut().filter(|e| e.address == old.address).for_each(|e| e.draining = old_drains);
        gateway.apply(&wanted);
    };
    change(&mut gateway, &[&old, &new], true);
    assert_eq!(talking.instance(), old.port(), "it has not finished");
    assert_eq!(late.instance(), new.port(), "nothing new goes to the old one");
    let name = common::endpoint(old.address).instance;
    // Nobody has to stop talking for good: a second of silence is enough.
    let left = gateway.wait(async |client| client.wait_drained(&name, Duration::from_secs(10)).await);
    assert_eq!(left.expect("it answers"), 0);
    assert_eq!(talking.instance(), old.port(), "silence alone moves nobody");
    change(&mut gateway, &[&new], false);
    assert_eq!(talking.instance(), new.port());
}

#[test]
fn at_the_end_of_its_time_a_draining_instance_is_left() {
    let (old, new) = (Echo::start(), Echo::start());
    let mut gateway = Gateway::start();
    let address = relay(&mut gateway, &[&old]);
    let client = Client::of(address);
    assert_eq!(client.instance(), old.port());
    let mut wanted = table(gateway.next_revision(), &[]);
    serve(&mut wanted, BACKEND, &[&old, &new]);
    let endpoint = &mut wanted.backends.get_mut(BACKEND).expect("just made").endpoints[0];
    (endpoint.draining, endpoint.drain_ms) = (true, 300);
    gateway.apply(&wanted);
    // An answer that is under way when the time is over may be lost with the instance.
    eventually(|| client.insist() == new.port());
}

#[test]
fn an_instance_where_nobody_listens_is_left_for_another() {
    let (dead, alive) = (Echo::start(), Echo::start());
    let mut gateway = Gateway::start();
    let address = relay(&mut gateway, &[&dead, &alive]);
    let clients: Vec<Client> = (0..40).map(|_| Client::of(address)).collect();
    let of_dead: Vec<&Client> = clients.iter().filter(|c| c.instance() == dead.port()).collect();
    assert!(!of_dead.is_empty());
    dead.end();
    for client in of_dead {
        assert_eq!(client.insist(), alive.port());
    }
    // With nobody at all datagrams are lost and counted, and the next instance gets what comes then.
    let mut wanted = table(gateway.next_revision(), &[]);
    serve(&mut wanted, BACKEND, &[]);
    gateway.apply(&wanted);
    clients[0].0.send(b"lost").expect("it is sent");
    eventually(|| gateway.status().backends[0].without_endpoint > 0);
    let next = Echo::start();
    relay(&mut gateway, &[&next]);
    assert_eq!(clients[0].insist(), next.port());
}

#[test]
fn what_is_silent_is_forgotten() {
    let instance = Echo::start();
    let mut gateway = Gateway::with(|options| {
        options.limits.datagram_short_idle = Duration::from_millis(300);
        options.limits.datagram_idle = Duration::from_millis(300);
    });
    let client = Client::of(relay(&mut gateway, &[&instance]));
    client.ask("hello");
    let flows = |instance: &Echo| instance.peers.lock().expect("no panic").len();
    assert_eq!(flows(&instance), 1);
    eventually(|| {
        // Silence itself is what is tried: nothing could be polled for.
        std::thread::sleep(Duration::from_millis(400));
        client.ask("again");
        flows(&instance) >= 2
    });
}

#[test]
fn many_clients_at_once_make_room_for_each_other() {
    let instance = Echo::start();
    let mut gateway = Gateway::start();
    let address = relay(&mut gateway, &[&instance]);
    // More than one client's address may have at a time: those that were answered give way.
    let mut last = None;
    for _ in 0..gateway::options::MAX_FLOWS_OF_CLIENT + 200 {
        let client = Client::of(address);
        last = Some(match last {
            Some(_) if gateway_is_full(&client) => client.insist(),
            _ => instance.port(),
        });
    }
    assert_eq!(last, Some(instance.port()));
}

/// Whether the first datagram of a client was lost.
fn gateway_is_full(client: &Client) -> bool {
    client.0.set_read_timeout(Some(Duration::from_millis(200))).expect("an option");
    client.0.send(b"who").expect("it is sent");
    client.0.recv(&mut [0; 64]).is_err()
}

#[test]
fn tcp_and_udp_have_the_same_port_and_names_beside_them() {
    let instance = Echo::start();
    let stream = common::Instance::saying("stream");
    let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 8));
    let port = (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind("0.0.0.0:0").ok()?;
            let port = udp.local_addr().ok()?.port();
            std::net::TcpListener::bind(("0.0.0.0", port)).ok().map(|_| port)
        })
        .expect("a port that is free for both");
    let mut gateway = Gateway::with(|options| options.name_port = port);
    let mut wanted = table(gateway.next_revision(), &[(Tcp, true, &[stream.address])]);
    wanted.listeners[0].address = SocketAddr::from(([0, 0, 0, 0], port));
    serve(&mut wanted, BACKEND, &[&instance]);
    wanted.datagrams[0].address = SocketAddr::from(([0, 0, 0, 0], port));
    let names = BTreeMap::from([("web".to_owned(), vec![IpAddr::from([10, 1, 2, 3])])]);
    let (domain, reverse) = (String::new(), BTreeMap::new());
    wanted.zones = vec![model::route::NameZone { listen: ip, names, forward: false, domain, reverse }];
    // In either order: a published port 53 beside names on port 53 of a network.
    for zones_first in [true, false] {
        let mut before = wanted.clone();
        before.revision = gateway.next_revision();
        match zones_first {
            true => {
                before.listeners.clear();
                before.datagrams.clear();
            }
            false => before.zones.clear(),
        }
        assert_eq!(gateway.apply(&before).failed, []);
        wanted.revision = gateway.next_revision();
        assert_eq!(gateway.apply(&wanted).failed, []);
        let anywhere = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(Client::of(anywhere).ask("hello").ends_with("hello"));
        assert_eq!(Raw::to(anywhere).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().1, "stream");
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01";
        let names = Client::of(SocketAddr::new(ip, port));
        names.0.send(query).expect("it is sent");
        let mut answer = [0; 512];
        let length = names.0.recv(&mut answer).expect("names are answered beside it");
        assert!(answer[..length].ends_with(&[10, 1, 2, 3]));
    }
}

#[test]
fn of_a_range_the_first_free_port_is_taken_and_kept() {
    let instance = Echo::start();
    // A port that is taken, with free ones behind it.
    let (holder, first) = (0..200)
        .find_map(|_| {
            let holder = UdpSocket::bind("127.0.0.1:0").ok()?;
            let port = holder.local_addr().ok()?.port();
            let is_free =
                |n: u16| port.checked_add(n).is_some_and(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
            let free = (1..4).all(is_free);
            free.then_some((holder, port))
        })
        .expect("some ports in a row are free");
    let mut gateway = Gateway::start();
    let mut wanted = table(gateway.next_revision(), &[]);
    for backend in ["t/a:53/udp", "t/b:53/udp"] {
        serve(&mut wanted, backend, &[&instance]);
    }
    for listener in &mut wanted.datagrams {
        listener.address = SocketAddr::from(([127, 0, 0, 1], first));
        listener.last_port = first + 3;
    }
    let report = gateway.apply(&wanted);
    assert_eq!(report.failed, []);
    let ports: HashSet<u16> = report.ports.iter().map(|port| port.bound.port()).collect();
    assert_eq!(ports, HashSet::from([first + 1, first + 2]));
    drop(holder);
    // Free or not: who has a port keeps it, over a new table and over a restart.
    wanted.revision = gateway.next_revision();
    let again = gateway.apply(&wanted);
    assert_eq!(sorted(&again), sorted(&report));
    let dir = gateway.stop();
    let mut gateway = Gateway::in_dir(dir, |_| ());
    wanted.revision += 1;
    assert_eq!(sorted(&gateway.apply(&wanted)), sorted(&report));
}

fn sorted(report: &model::route::ApplyReport) -> Vec<(String, SocketAddr)> {
    let mut ports: Vec<_> = report.ports.iter().map(|p| (p.backend.clone(), p.bound)).collect();
    ports.sort();
    ports
}
