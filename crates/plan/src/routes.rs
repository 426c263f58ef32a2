//! Where connections go, computed from what is in force and what is seen.

mod names;
mod rules;
mod tls;

use crate::input::{InstanceView, Phase};
pub use crate::serving::Routed;
use crate::serving::serving;
use model::route::{
    Backend, DEFAULT_DRAIN_MS, DEFAULT_WEIGHT, Endpoint, Listener, ROUTE_TABLE_VERSION, RouteTable,
};
use model::service::{NetworkMode, Protocol, PublishedPort, Transport};
use model::traffic::{Mirror, Traffic};
use model::{DurationMs, Release, Service};
use names::zone;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
pub use tls::{certificates, speaks_tls, speaks_tls_at};
use tls::{leads_to, secured};

/// How long what is under way may take to end when nobody else can take it over.
pub const DRAIN_ALONE: DurationMs = DurationMs(500);

/// The table for all stacks. `unbound` are virtual addresses that the gateway could not listen on:
/// their services are reached directly.
pub fn table(stacks: &[Routed<'_>], unbound: &BTreeSet<IpAddr>, revision: u64) -> RouteTable {
    let mut table = RouteTable { version: ROUTE_TABLE_VERSION, revision, ..RouteTable::empty() };
    for stack in stacks {
        for service in stack.release.stack.services.values() {
            route_service(stack, service, &mut table);
        }
        for (name, network) in &stack.release.addresses {
            let zone = zone(stack, name, network, unbound);
            // Stacks on one network know each other.
            match table.zones.iter_mut().find(|known| known.listen == zone.listen) {
                Some(known) => names::join(known, zone),
                None => table.zones.push(zone),
            }
        }
        table.askers.extend(names::askers(stack));
        table.callers.extend(names::callers(stack));
    }
    // Behind all that is published, so that what is listened on already is found.
    for stack in stacks {
        rules::add(stack, &mut table);
    }
    table
}

fn route_service(stack: &Routed<'_>, service: &Service, table: &mut RouteTable) {
    for published in &service.ports {
        let (target, transport) = (published.target, published.transport);
        let backend = match predecessor(stack, service, published) {
            Some((before, previous, port)) => backend(&before, previous, (port, transport), table),
            None => backend(stack, service, (target, transport), table),
        };
        let host = published.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let listener = Listener {
            address: SocketAddr::new(host, published.published),
            protocol: published.protocol,
            backend,
            public: true,
            last_port: published.published_last,
            rules: Vec::new(),
            tls: (transport == Transport::Tcp)
                .then(|| secured(stack, service, published.published))
                .flatten(),
            https_port: (transport == Transport::Tcp)
                .then(|| leads_to(service, published.published))
                .flatten(),
            proxied: (transport == Transport::Tcp)
                .then(|| service.policy.gateway.proxy.accepts(published.published))
                .flatten(),
        };
        listeners(table, transport).push(listener);
    }
    if service.network_mode != NetworkMode::Stack || service.policy.direct {
        return;
    }
    let virtual_addresses: Vec<Ipv4Addr> = virtual_addresses(stack.release, service).collect();
    for transport in [Transport::Tcp, Transport::Udp] {
        for port in known_ports(stack, service, transport) {
            let protocol = protocol_of(service, port, transport);
            let backend = backend(stack, service, (port, transport), table);
            for address in &virtual_addresses {
                let address = SocketAddr::new(IpAddr::V4(*address), port);
                let backend = backend.clone();
                let listener = Listener {
                    address,
                    protocol,
                    backend,
                    public: false,
                    last_port: 0,
                    rules: Vec::new(),
                    tls: None,
                    https_port: None,
                    proxied: None,
                };
                listeners(table, transport).push(listener);
            }
        }
    }
}

fn listeners(table: &mut RouteTable, transport: Transport) -> &mut Vec<Listener> {
    match transport {
        Transport::Tcp => &mut table.listeners,
        Transport::Udp => &mut table.datagrams,
    }
}

/// As where it is published.
fn protocol_of(service: &Service, port: u16, transport: Transport) -> Protocol {
    let mut published = service.ports.iter().filter(|p| p.transport == transport && p.target == port);
    published.next_back().map(|p| p.protocol).unwrap_or_default()
}

fn virtual_addresses<'a>(release: &'a Release, service: &'a Service) -> impl Iterator<Item = Ipv4Addr> + 'a {
    service
        .networks
        .keys()
        .filter_map(|n| release.addresses.get(n))
        .filter_map(|a| a.services.get(&service.name).copied())
}

/// Declared, said by the image, or seen in use.
fn known_ports(stack: &Routed<'_>, service: &Service, transport: Transport) -> BTreeSet<u16> {
    let declared = service.ports.iter().filter(|p| p.transport == transport).map(|p| p.target);
    let exposed = service.expose.iter().filter(|p| p.transport == transport).map(|p| p.port);
    let image = stack.release.images.get(&service.name).into_iter().flat_map(|i| &i.config.ports);
    let word = if transport == Transport::Udp { "udp" } else { "tcp" };
    let image = image.filter(|(_, t)| t == word).map(|(p, _)| *p);
    let of_service = stack.instances.iter().filter(|i| *i.service() == service.name && i.is_running());
    let seen = of_service.flat_map(|i| match transport {
        Transport::Tcp => i.observed.listening.iter().copied(),
        Transport::Udp => i.observed.listening_udp.iter().copied(),
    });
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
        (p.transport, p.published, p.published_last, p.host_ip)
            == (port.transport, port.published, port.published_last, port.host_ip)
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

fn backend(
    stack: &Routed<'_>,
    service: &Service,
    (port, transport): (u16, Transport),
    table: &mut RouteTable,
) -> String {
    let suffix = if transport == Transport::Udp { "/udp" } else { "" };
    let id = format!("{}/{}:{port}{suffix}", stack.release.stack.name, service.name);
    if !table.backends.contains_key(&id) {
        let endpoints = endpoints(stack, service, port);
        let sends = service.policy.gateway.proxy.sends(port).filter(|_| transport == Transport::Tcp);
        let speaks_http2 =
            service.ports.iter().any(|p| p.http2 && p.target == port && p.transport == transport);
        let declared = service.policy.gateway.traffic.clone();
        let http2 = declared.http2 || speaks_http2;
        table.backends.insert(
            id.clone(),
            Backend {
                endpoints,
                hold_ms: service.policy.hold.unwrap_or_default().0,
                traffic: Traffic { proxy: sends, http2, ..declared },
            },
        );
        if transport == Transport::Tcp {
            mirror(stack, service, &id, table);
        }
    }
    id
}

/// Says where copies of a backend's requests go. It is in the table by then, so that two services
/// that are sent each other's requests are made once each.
fn mirror(stack: &Routed<'_>, service: &Service, id: &str, table: &mut RouteTable) {
    let Some(declared) = &service.policy.gateway.mirror else { return };
    let target = rules::leading_to(stack, &declared.to, declared.port, table);
    let mirror = target.map(|backend| Mirror { backend, share: declared.share });
    if let Some(known) = table.backends.get_mut(id) {
        known.traffic.mirror = mirror;
    }
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
    instance.observed.spec.network.address(|id| {
        stack.instances.iter().find(|i| i.observed.spec.id == *id).map(|i| &i.observed.spec.network)
    })
}
