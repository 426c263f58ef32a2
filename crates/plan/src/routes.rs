//! Where connections go, computed from what is in force and what is seen.

use crate::input::{InstanceView, Phase};
pub use crate::serving::Routed;
use crate::serving::serving;
use model::instance::InstanceNetwork;
use model::release::NetworkAddresses;
use model::route::{
    Backend, DEFAULT_DRAIN_MS, DEFAULT_WEIGHT, Endpoint, Listener, NameZone, ROUTE_TABLE_VERSION, RouteTable,
};
use model::service::{NetworkMode, Protocol, PublishedPort, Transport};
use model::{DurationMs, NetworkName, Release, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How long what is under way may take to end when nobody else can take it over.
pub const DRAIN_ALONE: DurationMs = DurationMs(500);

/// The table for all stacks. `unbound` are virtual addresses that the gateway could not listen on:
/// their services are reached directly.
pub fn table(stacks: &[Routed<'_>], unbound: &BTreeSet<IpAddr>, revision: u64) -> RouteTable {
    let mut table = RouteTable {
        version: ROUTE_TABLE_VERSION,
        revision,
        listeners: Vec::new(),
        backends: BTreeMap::new(),
        zones: Vec::new(),
    };
    for stack in stacks {
        for service in stack.release.stack.services.values() {
            route_service(stack, service, &mut table);
        }
        for (name, network) in &stack.release.addresses {
            table.zones.push(zone(stack, name, network, unbound));
        }
    }
    table
}

/// Names resolve to the instances themselves: asked for, or needed because it speaks UDP.
fn is_direct(service: &Service, instances: &[InstanceView]) -> bool {
    let udp_exposed = service.expose.iter().any(|p| p.transport == Transport::Udp);
    let udp_image = instances
        .iter()
        .filter(|i| *i.service() == service.name)
        .any(|i| i.observed.spec.image_config.ports.iter().any(|(_, t)| t == "udp"));
    service.policy.direct || udp_exposed || udp_image
}

fn route_service(stack: &Routed<'_>, service: &Service, table: &mut RouteTable) {
    let protocols: BTreeMap<u16, Protocol> = service
        .ports
        .iter()
        .filter(|p| p.transport == Transport::Tcp)
        .map(|p| (p.target, p.protocol))
        .collect();
    for published in service.ports.iter().filter(|p| p.transport == Transport::Tcp) {
        let address = published.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let backend = match predecessor(stack, service, published) {
            Some((before, previous, port)) => backend(&before, previous, port, table),
            None => backend(stack, service, published.target, table),
        };
        table.listeners.push(Listener {
            address: SocketAddr::new(address, published.published),
            protocol: published.protocol,
            backend,
            public: true,
        });
    }
    if service.network_mode != NetworkMode::Stack || is_direct(service, stack.instances) {
        return;
    }
    let virtual_addresses: Vec<Ipv4Addr> = virtual_addresses(stack.release, service).collect();
    for port in known_ports(stack, service) {
        let backend = backend(stack, service, port, table);
        for address in &virtual_addresses {
            table.listeners.push(Listener {
                address: SocketAddr::new(IpAddr::V4(*address), port),
                protocol: protocols.get(&port).copied().unwrap_or_default(),
                backend: backend.clone(),
                public: false,
            });
        }
    }
}

fn virtual_addresses<'a>(release: &'a Release, service: &'a Service) -> impl Iterator<Item = Ipv4Addr> + 'a {
    service
        .networks
        .keys()
        .filter_map(|n| release.addresses.get(n))
        .filter_map(|a| a.services.get(&service.name).copied())
}

/// Declared, said by the image, or seen in use.
fn known_ports(stack: &Routed<'_>, service: &Service) -> BTreeSet<u16> {
    let declared = service.ports.iter().filter(|p| p.transport == Transport::Tcp).map(|p| p.target);
    let exposed = service.expose.iter().filter(|p| p.transport == Transport::Tcp).map(|p| p.port);
    let image = stack.release.images.get(&service.name).into_iter().flat_map(|i| &i.config.ports);
    let image = image.filter(|(_, t)| t == "tcp").map(|(p, _)| *p);
    let of_service = stack.instances.iter().filter(|i| *i.service() == service.name && i.is_running());
    let seen = of_service.flat_map(|i| i.observed.listening.iter().copied());
    declared.chain(exposed).chain(image).chain(seen).filter(|p| *p != 0).collect()
}

/// A service of the release before that has this host port until the one that takes it over can.
fn predecessor<'a>(
    stack: &Routed<'a>,
    service: &Service,
    port: &PublishedPort,
) -> Option<(Routed<'a>, &'a Service, u16)> {
    let fallback = stack.fallback.filter(|f| f.phase == Phase::TakingOver)?;
    let is_same = |p: &PublishedPort| {
        (p.transport, p.published, p.host_ip) == (port.transport, port.published, port.host_ip)
    };
    let others = fallback.release.stack.services.values().filter(|s| s.name != service.name);
    let (previous, found) = others.filter_map(|s| Some((s, s.ports.iter().find(|p| is_same(p))?))).next()?;
    let before = Routed { release: fallback.release, fallback: None, ..*stack };
    let is_ready = |stack: &Routed<'_>, service: &Service| {
        serving(stack, service).iter().any(|s| s.instance.ready_since.is_some())
    };
    let is_needed = port.published != 0 && !is_ready(stack, service) && is_ready(&before, previous);
    is_needed.then_some((before, previous, found.target))
}

fn backend(stack: &Routed<'_>, service: &Service, port: u16, table: &mut RouteTable) -> String {
    let id = format!("{}/{}:{port}", stack.release.stack.name, service.name);
    if !table.backends.contains_key(&id) {
        let endpoints = endpoints(stack, service, port);
        table
            .backends
            .insert(id.clone(), Backend { endpoints, hold_ms: service.policy.hold.unwrap_or_default().0 });
    }
    id
}

/// Those that get what is new, and those that only finish what they have.
fn endpoints(stack: &Routed<'_>, service: &Service, port: u16) -> Vec<Endpoint> {
    let chosen = serving(stack, service);
    let drain_ms = drain(service, true).0;
    let endpoint = |instance: &InstanceView, weight: u32, draining: bool| {
        let address = SocketAddr::new(host_of(stack, instance)?, port);
        let instance = instance.observed.spec.id.to_string();
        Some(Endpoint { instance, address, draining, drain_ms, weight })
    };
    let is_chosen =
        |i: &InstanceView| chosen.iter().any(|s| s.instance.observed.spec.id == i.observed.spec.id);
    let of_service = stack.instances.iter().filter(|i| *i.service() == service.name && i.is_running());
    let finishing = of_service.filter(|i| !is_chosen(i)).filter_map(|i| endpoint(i, DEFAULT_WEIGHT, true));
    chosen.iter().filter_map(|s| endpoint(s.instance, s.weight, false)).chain(finishing).collect()
}

/// How long what is under way at an instance may take to end.
pub fn drain(service: &Service, others_serve: bool) -> DurationMs {
    let usual = if others_serve { DurationMs(DEFAULT_DRAIN_MS) } else { DRAIN_ALONE };
    service.policy.rollout.drain.unwrap_or(usual)
}

fn host_of(stack: &Routed<'_>, instance: &InstanceView) -> Option<IpAddr> {
    match &instance.observed.spec.network {
        InstanceNetwork::Links { links, .. } => links.first().map(|l| l.address),
        InstanceNetwork::Host => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        InstanceNetwork::None => None,
        InstanceNetwork::Instance { id } => {
            let joined = stack.instances.iter().find(|i| i.observed.spec.id == *id)?;
            match &joined.observed.spec.network {
                InstanceNetwork::Links { links, .. } => links.first().map(|l| l.address),
                _ => None,
            }
        }
    }
}

fn zone(
    stack: &Routed<'_>,
    name: &NetworkName,
    network: &NetworkAddresses,
    unbound: &BTreeSet<IpAddr>,
) -> NameZone {
    let mut names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let mut add = |key: &str, addresses: &[IpAddr]| {
        let entry = names.entry(key.to_ascii_lowercase()).or_default();
        addresses
            .iter()
            .filter(|a| !entry.contains(a))
            .copied()
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|a| entry.push(a));
    };
    for service in stack.release.stack.services.values() {
        let Some(attachment) = service.networks.get(name) else { continue };
        let virtual_address = network.services.get(&service.name).map(|a| IpAddr::V4(*a));
        let direct =
            is_direct(service, stack.instances) || virtual_address.is_some_and(|a| unbound.contains(&a));
        let addresses = match virtual_address {
            Some(address) if !direct => vec![address],
            _ => serving(stack, service).iter().filter_map(|s| address_on(s.instance, network)).collect(),
        };
        add(service.name.as_str(), &addresses);
        attachment.aliases.iter().for_each(|alias| add(alias, &addresses));
        service.process.container_name.iter().for_each(|n| add(n, &addresses));
        service.process.hostname.iter().for_each(|n| add(n, &addresses));
    }
    for instance in stack.instances.iter().filter(|i| i.is_running()) {
        if let Some(address) = address_on(instance, network) {
            let spec = &instance.observed.spec;
            add(&format!("{}-{}-{}", spec.stack, spec.service, spec.slot), &[address]);
            add(spec.id.as_str(), &[address]);
        }
    }
    NameZone { listen: IpAddr::V4(network.gateway), names, forward: !network.internal }
}

fn address_on(instance: &InstanceView, network: &NetworkAddresses) -> Option<IpAddr> {
    match &instance.observed.spec.network {
        InstanceNetwork::Links { links, .. } => {
            links.iter().find(|l| l.network.bridge == network.bridge).map(|l| l.address)
        }
        _ => None,
    }
}
