//! Who reaches whom, and who does not, with real connections.

use crate::world::*;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use testkit::Netns;

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[test]
fn instances_of_a_network_reach_each_other() {
    let Some(world) = World::new() else { return };
    for spec in [network(1), internal(2)] {
        ensure(&spec);
        let one = world.instance("one", &[(&spec, [1, 0])]);
        let two = world.instance("two", &[(&spec, [1, 1])]);
        let greeter = greeter(&two, address(&spec, [1, 1]));
        assert_eq!(greeted(&one, greeter, LONG), Some(address(&spec, [1, 0])), "{}", spec.bridge);
        world.remove("one");
        world.remove("two");
    }
}

#[test]
fn bridged_packets_pass_where_the_host_filters_bridges() {
    let Some(world) = World::new() else { return };
    let key = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if !std::path::Path::new(key).exists() || std::fs::write(key, "1").is_err() {
        return eprintln!(
            "skipped: this kernel has no br_netfilter, so there is nothing that could go wrong"
        );
    }
    let (spec, shut) = (network(1), internal(2));
    for spec in [&spec, &shut] {
        ensure(spec);
        let one = world.instance("one", &[(spec, [1, 0])]);
        let two = world.instance("two", &[(spec, [1, 1])]);
        let greeter = greeter(&two, address(spec, [1, 1]));
        // Not translated either: the other side sees who it really is.
        assert_eq!(greeted(&one, greeter, LONG), Some(address(spec, [1, 0])));
        world.remove("one");
        world.remove("two");
    }
}

#[test]
fn virtual_addresses_and_the_gateway_answer() {
    let Some(world) = World::new() else { return };
    for spec in [network(1), internal(2)] {
        ensure(&spec);
        let instance = world.instance("web1", &[(&spec, [1, 0])]);
        for at in [spec.gateway, spec.virtual_addresses[0], spec.virtual_addresses[1]] {
            let greeter = greeter(world.host.netns(), at);
            assert_eq!(greeted(&instance, greeter, LONG), Some(address(&spec, [1, 0])), "{at}");
            // And from the host itself, over the loopback.
            assert_eq!(greeted(world.host.netns(), greeter, LONG), Some(at), "{at}");
        }
        world.remove("web1");
    }
}

#[test]
fn the_outside_is_reached_under_the_address_of_the_host() {
    let Some(world) = World::new() else { return };
    let internet = internet(&world);
    let spec = network(1);
    ensure(&spec);
    let instance = world.instance("web1", &[(&spec, [1, 0])]);
    let greeter = greeter(&internet, ANY);
    let target = SocketAddr::new(Ipv4Addr::new(203, 0, 113, 1).into(), greeter.port());
    let seen = greeted(&instance, target, LONG);
    assert_eq!(seen, Some(Ipv4Addr::new(203, 0, 113, 2).into()));
}

#[test]
fn an_internal_network_has_no_way_out() {
    let Some(world) = World::new() else { return };
    // One that would even answer to an address that was not translated.
    let internet = stranger(&world);
    let (shut, open) = (internal(1), network(2));
    ensure(&shut);
    ensure(&open);
    let instance = world.instance("db1", &[(&shut, [1, 0])]);
    // Somebody inside who is root may add a route; it must not help.
    ip(&instance, "route add default via 10.208.4.1");
    let target = SocketAddr::new(Ipv4Addr::new(203, 0, 113, 1).into(), greeter(&internet, ANY).port());
    assert_eq!(greeted(&instance, target, PATIENCE), None);
    let on_host = greeter(world.host.netns(), ANY).port();
    let own = SocketAddr::new(shut.gateway, on_host);
    assert!(greeted(&instance, own, LONG).is_some(), "its own gateway answers");
    for other in [Ipv4Addr::new(203, 0, 113, 2).into(), open.gateway, open.virtual_addresses[0]] {
        assert_eq!(greeted(&instance, SocketAddr::new(other, on_host), PATIENCE), None, "{other}");
    }
    // Even on a host that an administrator made a router.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    assert_eq!(greeted(&instance, target, PATIENCE), None);
    ensure(&shut);
    assert_eq!(greeted(&instance, target, PATIENCE), None);
}

#[test]
fn networks_are_apart() {
    let Some(world) = World::new() else { return };
    let (first, second) = (network(1), network(2));
    ensure(&first);
    ensure(&second);
    let one = world.instance("one", &[(&first, [1, 0])]);
    let two = world.instance("two", &[(&second, [1, 0])]);
    let direct = greeter(&two, ANY).port();
    let on_host = greeter(world.host.netns(), ANY).port();
    assert_eq!(greeted(&one, SocketAddr::new(address(&second, [1, 0]), direct), PATIENCE), None);
    for foreign in [second.gateway, second.virtual_addresses[0]] {
        assert_eq!(greeted(&one, SocketAddr::new(foreign, on_host), PATIENCE), None, "{foreign}");
    }
    assert!(greeted(&one, SocketAddr::new(first.virtual_addresses[0], on_host), LONG).is_some());
    // An instance on both reaches both.
    let both = world.instance("both", &[(&first, [1, 5]), (&second, [1, 5])]);
    for spec in [&first, &second] {
        let to = greeter(&both, address(spec, [1, 5]));
        let from = if spec.bridge == "jct1" { &one } else { &two };
        assert!(greeted(from, to, LONG).is_some(), "{}", spec.bridge);
    }
}

/// A stranger on the same wire as the host, who routes the networks' addresses to it.
fn stranger(world: &World) -> Netns {
    let stranger = internet(world);
    ip(&stranger, "route add 10.208.0.0/13 via 203.0.113.2");
    stranger
}

#[test]
fn strangers_do_not_get_in() {
    let Some(world) = World::new() else { return };
    let stranger = stranger(&world);
    let spec = network(1);
    ensure(&spec);
    let instance = world.instance("web1", &[(&spec, [1, 0])]);
    let inside = greeter(&instance, address(&spec, [1, 0]));
    let on_host = greeter(world.host.netns(), ANY).port();
    assert!(
        greeted(&stranger, SocketAddr::new(Ipv4Addr::new(203, 0, 113, 2).into(), on_host), LONG).is_some()
    );
    for round in ["as it is", "on a router"] {
        assert_eq!(greeted(&stranger, inside, PATIENCE), None, "{round}");
        for at in [spec.gateway, spec.virtual_addresses[0]] {
            assert_eq!(greeted(&stranger, SocketAddr::new(at, on_host), PATIENCE), None, "{at} {round}");
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        ensure(&spec);
    }
}

#[test]
fn the_host_does_not_become_a_router_for_strangers() {
    let Some(world) = World::new() else { return };
    let first = internet(&world);
    let second = Netns::new();
    outside_link(&world, &second, "lan0", "198.51.100.2/24", "198.51.100.1/24");
    ip(&first, "route add 198.51.100.0/24 via 203.0.113.2");
    ip(&second, "route add default via 198.51.100.2");
    let target = SocketAddr::new(Ipv4Addr::new(198, 51, 100, 1).into(), greeter(&second, ANY).port());
    assert_eq!(greeted(&first, target, PATIENCE), None, "as it was before");
    ensure(&network(1));
    assert_eq!(greeted(&first, target, PATIENCE), None, "and still is");
    // Both are reached by an instance, though.
    let instance = world.instance("web1", &[(&network(1), [1, 0])]);
    assert_eq!(greeted(&instance, target, LONG), Some(Ipv4Addr::new(198, 51, 100, 2).into()));
    // Where the administrator wants a router, ours does not stand in the way.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    ensure(&network(1));
    assert_eq!(greeted(&first, target, LONG), Some(Ipv4Addr::new(203, 0, 113, 1).into()));
}

#[test]
fn packets_are_as_large_as_the_way_out_carries() {
    let Some(world) = World::new() else { return };
    let _internet = internet(&world);
    ip(world.host.netns(), "link set up0 mtu 1380");
    ensure(&network(1));
    let instance = world.instance("web1", &[(&network(1), [1, 0])]);
    assert!(ip(&instance, "link show dev eth0").contains("mtu 1380"));
    assert!(ip(world.host.netns(), "link show dev jct1").contains("mtu 1380"));
    ip(world.host.netns(), "link set up0 mtu 9000");
    ensure(&network(1));
    world.instance("web1", &[(&network(1), [1, 0])]);
    assert!(ip(&instance, "link show dev eth0").contains("mtu 9000"));
}

#[test]
fn a_way_out_that_comes_later_is_noticed_and_used() {
    let Some(world) = World::new() else { return };
    ensure(&network(1));
    let instance = world.instance("web1", &[(&network(1), [1, 0])]);
    let uplinks = || net::uplinks().expect("it can be looked at");
    let before = uplinks();
    let outside = internet(&world);
    let to = greeter(&outside, "203.0.113.1".parse().unwrap());
    assert_ne!(uplinks(), before, "a device, an address and a default route are news");
    let with = uplinks();
    ensure(&network(1));
    ensure(&network(2));
    assert_eq!(uplinks(), with, "what we make ourselves is not");
    let seen = greeted(&instance, to, LONG);
    assert_eq!(seen, Some("203.0.113.2".parse().unwrap()));
    ip(world.host.netns(), "link set up0 mtu 1380");
    assert_ne!(uplinks(), with, "packets may be smaller");
    ip(world.host.netns(), "route del default");
    assert_ne!(uplinks(), with);
}

#[test]
fn links_are_as_declared() {
    let Some(world) = World::new() else { return };
    let small = model::instance::NetworkSpec { mtu: Some(1300), ..network(1) };
    ensure(&small);
    let id = instance_id("web1");
    let link = model::instance::Link {
        mac: Some("02:42:0a:00:00:09".to_owned()),
        interface: Some("lan0".to_owned()),
        link_local: vec!["169.254.3.4".parse().unwrap()],
        ..link(&small, [1, 0])
    };
    let path = world.path("web1");
    // Twice: what is there is not made anew.
    for _ in 0..2 {
        net::ensure_instance(&path, &id, std::slice::from_ref(&link)).expect("it can be made");
    }
    let inside = testkit::Netns::open(&path);
    let shown = ip(&inside, "address show lan0");
    for expect in ["mtu 1300", "02:42:0a:00:00:09", "10.208.5.0/22", "169.254.3.4/16"] {
        assert!(shown.contains(expect), "{expect}: {shown}");
    }
    let wrong = model::instance::Link { mac: Some("nonsense".to_owned()), ..link };
    let error = net::ensure_instance(&path, &id, &[wrong]).expect_err("no address");
    assert!(chain(&error).contains("is not a hardware address"), "{}", chain(&error));
}
