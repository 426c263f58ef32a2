//! Networks: how their addresses are laid out, who joins them how, and what cannot be had.

mod support;

use model::service::NetworkMode;
use support::Project;

fn file(service: &str, networks: &str) -> Project {
    Project::new(&format!("services:\n  a: {{image: x, {service}}}\nnetworks: {{n: {{{networks}}}}}\n"))
}

#[test]
fn addresses_are_laid_out_as_declared() {
    let ipam = "ipam: {config: [{subnet: 'fd00::/64'}, {subnet: 10.5.0.0/24, gateway: 10.5.0.254, \
                ip_range: 10.5.0.128/25, aux_addresses: {printer: 10.5.0.9}}]}, \
                driver_opts: {com.docker.network.driver.mtu: '1400'}";
    let (stack, said) = file("networks: [n]", ipam).warned();
    let network = &stack.networks["n"];
    assert_eq!(network.subnet.as_deref(), Some("10.5.0.0/24"));
    assert_eq!(network.gateway.map(|g| g.to_string()).as_deref(), Some("10.5.0.254"));
    assert_eq!(network.ip_range.as_deref(), Some("10.5.0.128/25"));
    assert_eq!(network.reserved, [std::net::Ipv4Addr::new(10, 5, 0, 9)]);
    assert_eq!(network.mtu, Some(1400));
    assert!(said.contains("instances get no address in fd00::/64"), "{said}");
}

#[test]
fn what_a_network_cannot_be_is_said() {
    for (networks, expect) in [
        ("ipam: {config: [{subnet: 10.5.0.0/30}]}", "the subnet 10.5.0.0/30 is too small"),
        (
            "ipam: {config: [{subnet: 10.5.0.0/24, gateway: 10.6.0.1}]}",
            "`10.6.0.1` is no address in 10.5.0.0/24",
        ),
        (
            "ipam: {config: [{subnet: 10.5.0.0/24, ip_range: 10.6.0.0/25}]}",
            "`10.6.0.0/25` is no part of 10.5.0.0/24",
        ),
        ("ipam: {config: [{subnet: 10.5.0.0/24, aux_addresses: {x: 10.9.0.1}}]}", "`10.9.0.1` is no address"),
        ("driver: macvlan", "the network `n` cannot have the driver `macvlan`"),
        ("driver: host", "`host` is no network that services join"),
        ("external: true, name: host", "`host` is no network that services join"),
        ("enable_ipv4: false", "the network `n` cannot be without IPv4"),
        ("driver_opts: {com.docker.network.driver.mtu: 9}", "`9` is not the size of a packet"),
    ] {
        let said = file("networks: [n]", networks).refused();
        assert!(said.contains(expect), "{networks}: {said}");
    }
    for (networks, expect) in [
        ("driver: overlay", "the network `n` is a bridge of this host"),
        ("enable_ipv6: true", "instances on the network `n` get no IPv6 address"),
        ("driver_opts: {x: y}", "the network option `x` has no effect"),
    ] {
        let said = file("networks: [n]", networks).warned().1;
        assert!(said.contains(expect), "{networks}: {said}");
    }
}

const SUBNET: &str = "ipam: {config: [{subnet: 10.5.0.0/24}]}";

#[test]
fn how_a_service_joins() {
    let keys = "networks: {n: {ipv4_address: 10.5.0.7, mac_address: '02-42-AC-11-65-43', interface_name: lan0, \
                link_local_ips: [169.254.1.2], priority: 5, gw_priority: 7, aliases: [x]}}";
    let stack = file(keys, SUBNET).clean();
    let joined = &stack.services["a"].networks["n"];
    assert_eq!(joined.mac_address.as_deref(), Some("02:42:ac:11:65:43"));
    assert_eq!(joined.interface_name.as_deref(), Some("lan0"));
    assert_eq!((joined.link_local_ips.len(), joined.priority, joined.gw_priority), (1, 5, 7));
    let stack = file("networks: [n], mac_address: '02:42:ac:11:65:44'", SUBNET).clean();
    assert_eq!(stack.services["a"].networks["n"].mac_address.as_deref(), Some("02:42:ac:11:65:44"));
}

#[test]
fn what_a_service_cannot_have_is_said() {
    for (service, expect) in [
        ("networks: {n: {ipv4_address: 10.6.0.7}}", "10.6.0.7 is not in 10.5.0.0/24"),
        (
            "networks: {n: {ipv4_address: 10.5.0.7}}, scale: 2",
            "the 2 instances of `a` cannot all have the address",
        ),
        ("networks: {n: {mac_address: '02:42:ac:11:65:43'}}, scale: 3", "the 3 instances of `a` cannot all"),
        ("networks: {n: {mac_address: '01:00:5e:00:00:01'}}", "is the address of a group"),
        ("networks: {n: {ipv6_address: 'fd00::7'}}", "cannot be honoured"),
        ("networks: {n: {link_local_ips: [10.5.0.9]}}", "is not valid on a single link only"),
        ("networks: {n: {interface_name: 'much-too-long-a-name'}}", "is not a name of an interface"),
    ] {
        let said = file(service, SUBNET).refused();
        assert!(said.contains(expect), "{service}: {said}");
    }
    let said = file("networks: {n: {ipv4_address: 10.5.0.7}}", "").refused();
    assert!(said.contains("10.5.0.7 is in no subnet"), "{said}");
    let two = "services:\n  a: {image: x, networks: {n: {ipv4_address: 10.5.0.7}}}\n  \
               b: {image: x, networks: {n: {ipv4_address: 10.5.0.7}}}\n\
               networks: {n: {ipam: {config: [{subnet: 10.5.0.0/24}]}}}\n";
    let said = Project::new(two).refused();
    assert!(said.contains("the services `a` and `b` both have the address 10.5.0.7"), "{said}");
}

#[test]
fn links_are_names_that_one_service_knows() {
    let yaml = "services:\n  a: {image: x, links: ['db:store', db], external_links: ['other_db_1:legacy']}\n  \
                db: {image: x}\n";
    let stack = Project::new(yaml).clean();
    let links: Vec<_> = stack.services["a"].links.iter().collect();
    assert_eq!(format!("{links:?}"), r#"[("legacy", "other_db_1"), ("store", "db")]"#);
    assert!(stack.services["db"].links.is_empty());
}

#[test]
fn a_container_of_this_stack_is_known_by_its_name() {
    let yaml = "services:\n  a: {image: x, network_mode: 'container:gate'}\n  vpn: {image: x, container_name: gate}\n";
    match &Project::new(yaml).clean().services["a"].network_mode {
        NetworkMode::Service { service } => assert_eq!(service.as_str(), "vpn"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_endpoint_mode_decides_what_a_name_means() {
    let direct = |mode: &str| {
        let yaml = format!("services: {{a: {{image: x, deploy: {{endpoint_mode: {mode}}}}}}}");
        Project::new(&yaml).clean().services["a"].policy.direct
    };
    assert!(direct("dnsrr") && !direct("vip"));
}
