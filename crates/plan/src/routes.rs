//! Where connections go, computed from what is in force and what is seen.

use crate::input::InstanceView;
use crate::ready::{Readiness, readiness};
use model::instance::{Health, InstanceNetwork};
use model::release::NetworkAddresses;
use model::route::{Backend, Endpoint, Listener, NameZone, ROUTE_TABLE_VERSION, RouteTable};
use model::service::{NetworkMode, Protocol, Transport};
use model::{InstanceId, NetworkName, Release, Service, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One stack as the routes see it.
pub struct Routed<'a> {
    pub release: &'a Release,
    pub instances: &'a [InstanceView],
    /// Finish what they have and get nothing new.
    pub draining: &'a BTreeSet<InstanceId>,
}

/// The table for all stacks. `unbound` are virtual addresses that the gateway could not listen on:
/// their services are reached directly.
pub fn table(stacks: &[Routed<'_>], unbound: &BTreeSet<IpAddr>, revision: u64, now: Timestamp) -> RouteTable {
    let mut table = RouteTable {
        version: ROUTE_TABLE_VERSION,
        revision,
        listeners: Vec::new(),
        backends: BTreeMap::new(),
        zones: Vec::new(),
    };
    for stack in stacks {
        for service in stack.release.stack.services.values() {
            route_service(stack, service, now, &mut table);
        }
        for (name, network) in &stack.release.addresses {
            table.zones.push(zone(stack, name, network, unbound, now));
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

fn route_service(stack: &Routed<'_>, service: &Service, now: Timestamp, table: &mut RouteTable) {
    let protocols: BTreeMap<u16, Protocol> = service
        .ports
        .iter()
        .filter(|p| p.transport == Transport::Tcp)
        .map(|p| (p.target, p.protocol))
        .collect();
    for published in service.ports.iter().filter(|p| p.transport == Transport::Tcp) {
        let address = published.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let backend = backend(stack, service, published.target, now, table);
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
        let backend = backend(stack, service, port, now, table);
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

fn backend(
    stack: &Routed<'_>,
    service: &Service,
    port: u16,
    now: Timestamp,
    table: &mut RouteTable,
) -> String {
    let id = format!("{}/{}:{port}", stack.release.stack.name, service.name);
    if !table.backends.contains_key(&id) {
        let endpoints = serving(stack, service, now)
            .into_iter()
            .filter_map(|i| Some((i, host_of(stack, i)?)))
            .map(|(i, host)| Endpoint {
                instance: i.observed.spec.id.to_string(),
                address: SocketAddr::new(host, port),
                draining: stack.draining.contains(&i.observed.spec.id),
                drain_ms: model::route::DEFAULT_DRAIN_MS,
                weight: model::route::DEFAULT_WEIGHT,
            })
            .collect();
        table
            .backends
            .insert(id.clone(), Backend { endpoints, hold_ms: service.policy.hold.unwrap_or_default().0 });
    }
    id
}

/// Instances that get traffic: the ready ones; while there is none, those that are still starting.
fn serving<'a>(stack: &Routed<'a>, service: &Service, now: Timestamp) -> Vec<&'a InstanceView> {
    let running: Vec<&InstanceView> =
        stack.instances.iter().filter(|i| *i.service() == service.name && i.is_running()).collect();
    let is_ready = |i: &&InstanceView| readiness(service, i, now) == Readiness::Ready;
    let usable = |i: &&InstanceView| !stack.draining.contains(&i.observed.spec.id);
    let any_ready = running.iter().any(|i| is_ready(i) && usable(i));
    running
        .into_iter()
        .filter(|i| if any_ready { is_ready(i) || !usable(i) } else { i.health != Health::Unhealthy })
        .collect()
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
    now: Timestamp,
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
            _ => serving(stack, service, now).iter().filter_map(|i| address_on(i, network)).collect(),
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
