//! Networks and datagrams: who gets which address, what is shared, what names mean to whom.

use crate::world::{World, name, published, release, service};
use model::route::RouteTable;
use model::service::{Attachment, ExposedPort, Transport};
use model::stack::Network;
use model::{NetworkName, Release, Service};
use plan::address::allocate;
use plan::routes::table;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

fn network(text: &str) -> NetworkName {
    NetworkName::new(text).expect("valid")
}

fn joining(mut this: Service, networks: &[(&str, Attachment)]) -> Service {
    this.networks = networks.iter().map(|(name, attachment)| (network(name), attachment.clone())).collect();
    this
}

/// The release with these networks beside the default one, addressed anew.
fn with(mut release: Release, networks: &[(&str, Network)], others: &[&Release]) -> Release {
    for (name, declared) in networks {
        release.stack.networks.insert(network(name), declared.clone());
    }
    release.addresses = allocate(&release.stack, None, &[], "/home", others).expect("there is room");
    release
}

fn told(world: &mut World) -> RouteTable {
    world.note_ready();
    table(&[world.routed()], &BTreeSet::new(), 1)
}

#[test]
fn datagrams_are_published_and_exposed_beside_streams() {
    let mut dns = published(published(service("dns"), 53), 53);
    dns.ports[1].transport = Transport::Udp;
    dns.expose.push(ExposedPort { port: 5353, transport: Transport::Udp });
    let mut world = World::of(vec![dns]);
    world.settle();
    let table = told(&mut world);
    let lines: Vec<String> =
        table.datagrams.iter().map(|l| format!("{} {} {}", l.address, l.backend, l.public)).collect();
    assert_eq!(
        lines,
        [
            "0.0.0.0:53 shop/dns:53/udp true",
            "10.208.0.2:53 shop/dns:53/udp false",
            "10.208.0.2:5353 shop/dns:5353/udp false",
        ]
    );
    assert!(table.listeners.iter().any(|l| l.backend == "shop/dns:53"), "{:?}", table.listeners);
    let names = &table.zones[0].names;
    assert_eq!(names["dns"], [IpAddr::from([10, 208, 0, 2])], "UDP is no reason to pass the gateway by");
    assert_eq!(table.backends["shop/dns:53/udp"].endpoints[0].address.to_string(), "10.208.1.0:53");
}

#[test]
fn a_subnet_is_laid_out_as_declared() {
    let fixed = Attachment { ipv4_address: Some([10, 9, 0, 3].into()), ..Attachment::default() };
    let lan = Network {
        name: "shop_lan".into(),
        subnet: Some("10.9.0.0/24".into()),
        gateway: Some(Ipv4Addr::new(10, 9, 0, 2)),
        ip_range: Some("10.9.0.200/30".into()),
        reserved: vec![Ipv4Addr::new(10, 9, 0, 201)],
        ..Network::default()
    };
    let services = vec![
        joining(service("a"), &[("lan", fixed)]),
        joining(service("b"), &[("lan", Attachment::default())]),
    ];
    let mut world = World::new(with(release(1, services, None), &[("lan", lan)], &[]));
    world.settle();
    let lan = &world.desired.as_ref().expect("it is declared").addresses[&network("lan")];
    assert_eq!(lan.gateway, Ipv4Addr::new(10, 9, 0, 2));
    // Neither the gateway nor what is fixed is given to a service's name.
    assert_eq!(lan.services[&name("a")], Ipv4Addr::new(10, 9, 0, 4));
    assert_eq!(lan.services[&name("b")], Ipv4Addr::new(10, 9, 0, 5));
    let of = |service: &str| {
        let mut instances = world.instances.iter().filter(|i| i.service().as_str() == service);
        match &instances.next().expect("it runs").observed.spec.network {
            model::instance::InstanceNetwork::Links { links, .. } => links[0].address.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((of("a").as_str(), of("b").as_str()), ("10.9.0.3", "10.9.0.200"));
}

#[test]
fn who_is_on_several_networks_asks_all_of_them() {
    let back = Network { name: "shop_back".into(), internal: true, ..Network::default() };
    let front = Network { name: "shop_front".into(), ..Network::default() };
    let gate = Attachment { gw_priority: 1, ..Attachment::default() };
    let mut web = joining(service("web"), &[("back", Attachment::default()), ("front", gate)]);
    web.links.insert("store".into(), "db".into());
    web.process.dns = vec![[9, 9, 9, 9].into()];
    let services = vec![web, joining(service("db"), &[("back", Attachment::default())])];
    let networks = [("back", back), ("front", front)];
    let mut world = World::new(with(release(1, services, None), &networks, &[]));
    world.settle();
    let table = told(&mut world);
    let addresses = &world.desired.as_ref().expect("it is declared").addresses;
    let gateway = |key: &str| IpAddr::V4(addresses[&network(key)].gateway);
    let asker = table.askers.values().next().expect("web asks more than one");
    assert_eq!(table.askers.len(), 2, "one for each of its addresses, none for db");
    assert_eq!(asker.zones, [gateway("front"), gateway("back")]);
    assert_eq!(asker.aliases["store"], "db");
    assert_eq!(asker.servers, [IpAddr::from([9, 9, 9, 9])]);
    let web = world.instances.iter().find(|i| i.service().as_str() == "web").expect("it runs");
    let model::instance::InstanceNetwork::Links { links, dns } = &web.observed.spec.network else {
        panic!("it has links")
    };
    assert_eq!(*dns, [gateway("front")], "everything is asked of the gateway");
    // The default route comes first; interfaces are numbered in the order of the names.
    let names: Vec<_> = links.iter().map(|l| (l.network.gateway, l.interface.as_deref())).collect();
    assert_eq!(names, [(gateway("front"), Some("eth1")), (gateway("back"), Some("eth0"))]);
    let zone = table.zones.iter().find(|z| z.listen == gateway("back")).expect("it has one");
    assert_eq!((zone.domain.as_str(), zone.forward), ("shop_back", false));
    assert!(zone.reverse.values().any(|name| name == "shop-db-1"), "{:?}", zone.reverse);
}

#[test]
fn stacks_with_a_network_of_one_name_are_on_one_network() {
    let named = Network { name: "meeting".into(), ..Network::default() };
    let on = |text: &str| vec![joining(service(text), &[("lan", Attachment::default())])];
    let owner = with(release(1, on("web"), None), &[("lan", named.clone())], &[]);
    let mut guest = release(1, on("visitor"), None);
    guest.stack.name = model::StackName::new("guest").expect("valid");
    let guest = with(guest, &[("lan", Network { external: true, ..named.clone() })], &[&owner]);
    let (ours, theirs) = (&owner.addresses[&network("lan")], &guest.addresses[&network("lan")]);
    assert_eq!((&ours.bridge, ours.gateway), (&theirs.bridge, theirs.gateway));
    assert_ne!(ours.services.values().next(), theirs.services.values().next());

    let mut foreign = plan::Foreign::default();
    foreign.add(&guest);
    let spec = plan::spec::network_spec(ours, &foreign);
    assert_eq!(spec.virtual_addresses.len(), 2, "the bridge has those of both");
    // Another subnet under the same name cannot be had while somebody is there.
    let mut moved = owner.stack.clone();
    moved.networks.get_mut(&network("lan")).expect("declared").subnet = Some("10.77.0.0/24".into());
    let error = allocate(&moved, Some(&owner), &[], "/home", &[&guest]).expect_err("it is in use");
    assert!(error.to_string().contains("another stack is on it"), "{error}");

    let draining = BTreeSet::new();
    let routed = |release| plan::routes::Routed {
        release,
        fallback: None,
        direction: plan::Direction::Forward,
        instances: &[],
        draining: &draining,
        now: model::Timestamp(0),
    };
    let both = table(&[routed(&owner), routed(&guest)], &BTreeSet::new(), 1);
    let zone: Vec<_> = both.zones.iter().filter(|z| z.listen == IpAddr::V4(ours.gateway)).collect();
    assert_eq!(zone.len(), 1, "one bridge answers for both");
    assert!(zone[0].names.contains_key("web") && zone[0].names.contains_key("visitor"));
}

#[test]
fn the_last_stack_takes_a_shared_network_along() {
    let mut world = World::of(vec![service("web")]);
    world.settle();
    let bridge =
        world.desired.as_ref().expect("declared").addresses.values().next().expect("one").bridge.clone();
    world.desired = None;
    world.foreign.virtual_addresses.insert(bridge, BTreeSet::new());
    let steps = world.settle();
    assert!(!steps.iter().any(|step| step.contains("remove network")), "{steps:?}");
    world.foreign = plan::Foreign::default();
    let steps = world.settle();
    assert!(steps.iter().any(|step| step.contains("remove network")), "{steps:?}");
}

#[test]
fn published_ports_speak_tls_as_declared() {
    use model::certificate::{CertificateSource, TlsPolicy};
    let declared = |ports: &[u16], redirect: bool| TlsPolicy {
        source: CertificateSource::Internal,
        hosts: Vec::new(),
        ports: ports.to_vec(),
        redirect,
        hsts: None,
    };
    // Host port, whether it speaks TLS, where it leads.
    let check = |policy: TlsPolicy, hosts: &[u16], expect: &[(u16, bool, Option<u16>)]| {
        let mut web = service("web");
        for host in hosts {
            web = published(web, 8080);
            web.ports.last_mut().expect("it was added").published = *host;
        }
        web.policy.tls = Some(policy);
        let mut world = World::of(vec![web]);
        world.settle();
        let table = told(&mut world);
        let wanted = plan::routes::certificates(world.routed().release);
        assert_eq!(wanted.len(), 1);
        assert!(wanted[0].hosts.contains(&"localhost".to_owned()), "{wanted:?}");
        let public = table.listeners.iter().filter(|listener| listener.public);
        let found: Vec<_> = public
            .map(|listener| {
                let tls = listener.tls.as_ref();
                assert!(tls.is_none_or(|tls| tls.certificate == wanted[0].name), "{listener:?}");
                (listener.address.port(), tls.is_some(), listener.https_port)
            })
            .collect();
        assert_eq!(found, expect);
        assert!(table.listeners.iter().all(|l| l.public || l.tls.is_none() && l.https_port.is_none()));
    };
    check(
        declared(&[], false),
        &[443, 80, 8080],
        &[(443, true, None), (80, false, None), (8080, false, None)],
    );
    check(declared(&[], true), &[443, 80], &[(443, true, None), (80, false, Some(443))]);
    check(declared(&[], true), &[8443, 80], &[(8443, true, None), (80, false, Some(8443))]);
    check(declared(&[8443], false), &[443, 8443], &[(443, false, None), (8443, true, None)]);
}
