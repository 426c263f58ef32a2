//! What can be known to fail before anything is done: so that nothing is left half-made.

use crate::ports::Machine;
use model::gateway::Mark;
use model::mount::MountSource;
use model::service::{NetworkMode, PublishedPort, Transport};
use model::stack::FileSource;
use model::subnet::{Cidr, Layout};
use model::{ErrorKind, Release, Report, Service, Stack};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// The first thing that stands in the way, in the order of the file.
pub fn check(
    stack: &Stack,
    previous: Option<&Release>,
    others: &[&Release],
    machine: &dyn Machine,
) -> Result<(), Report> {
    for service in stack.services.values() {
        for mount in &service.mounts {
            if let MountSource::Bind { path, create: false, .. } = &mount.source {
                exists(path).map_err(|why| bind_missing(service.name.as_str(), path, &why))?;
            }
        }
        if let NetworkMode::Service { service: target } = &service.network_mode
            && !stack.services.contains_key(target)
        {
            return Err(Report::usage(format!(
                "service {}: network_mode names {target}, which is not declared",
                service.name
            )));
        }
    }
    files(stack)?;
    networks(stack, previous, others)?;
    ports(stack, previous, others, machine)
}

fn exists(path: &Path) -> Result<(), String> {
    std::fs::metadata(path).map(|_| ()).map_err(|error| error.to_string())
}

fn bind_missing(service: &str, path: &Path, why: &str) -> Report {
    Report::usage(format!("service {service}: the bind source {} cannot be used: {why}", path.display()))
        .hint(format!("mkdir -p {}", path.display()))
}

fn files(stack: &Stack) -> Result<(), Report> {
    let all = stack.configs.iter().map(|c| ("config", c)).chain(stack.secrets.iter().map(|s| ("secret", s)));
    for (kind, (name, source)) in all {
        match source {
            FileSource::Inline(_) => {}
            FileSource::File(path) => {
                let meta = std::fs::metadata(path).map_err(|error| {
                    Report::usage(format!("{kind} {name}: {}: {error}", path.display())).hint(format!(
                        "create the file, or correct `{kind}s.{name}.file` in the Compose file"
                    ))
                })?;
                if !meta.is_file() {
                    return Err(Report::usage(format!("{kind} {name}: {} is not a file", path.display())));
                }
            }
            FileSource::External(key) => {
                return Err(Report::usage(format!(
                    "{kind} {name}: external {kind}s such as `{key}` are not available on this host"
                ))
                .hint(format!("give `{kind}s.{name}` a `file:`, `environment:` or `content:`")));
            }
        }
    }
    Ok(())
}

/// A network of somebody else is there as long as a stack of ours is on it.
fn networks(stack: &Stack, previous: Option<&Release>, others: &[&Release]) -> Result<(), Report> {
    for (key, network) in stack.networks.iter().filter(|(_, n)| n.external) {
        let before = previous.and_then(|r| Some((r, r.stack.networks.get(key)?)));
        let is_known = before.is_some_and(|(r, n)| n.name == network.name && r.addresses.contains_key(key));
        if !is_known && plan::address::shared(network, others).is_none() {
            let name = &network.name;
            return Err(Report::usage(format!("network {key}: there is no network `{name}`")).hint(format!(
                "declare it in the stack that is there first, `networks: {{{key}: {{name: {name}}}}}`, and run \
                 `juchu up` there; or leave `external: true` out here"
            )));
        }
    }
    fixed_addresses(stack, previous, others)
}

/// A fixed address lies in the network, and is nobody else's there.
fn fixed_addresses(stack: &Stack, previous: Option<&Release>, others: &[&Release]) -> Result<(), Report> {
    for (service, key, address) in fixed(stack) {
        let Some(network) = stack.networks.get(key) else { continue };
        let refused = |why: String| {
            Err(Report::usage(format!(
                "service {service}: {address} cannot be had on the network {key}: {why}"
            ))
            .hint(format!("choose another `services.{service}.networks.{key}.ipv4_address`")))
        };
        let of_previous = previous.and_then(|r| r.addresses.get(key));
        let standing = plan::address::shared(network, others).or(of_previous.filter(|_| network.external));
        if let Some(standing) = standing {
            if !plan::address::subnet_of(standing).is_some_and(|subnet| subnet.contains(address)) {
                return refused("its subnet is another".to_owned());
            }
            let of_others = others.iter().flat_map(|r| r.addresses.values());
            let mut there = of_others.filter(|a| a.bridge == standing.bridge);
            if there.any(|a| a.reserved.contains(&address) || a.services.values().any(|s| *s == address)) {
                return refused("another stack has it".to_owned());
            }
        }
        let gateway = network.gateway.or(standing.map(|a| a.gateway)).or_else(|| {
            let subnet = network.subnet.as_deref().and_then(|text| Cidr::parse(text).ok())?;
            Some(Layout::new(subnet).ok()?.gateway())
        });
        if gateway == Some(address) {
            return refused("it is the network's own, where the gateway answers".to_owned());
        }
    }
    Ok(())
}

fn fixed(stack: &Stack) -> impl Iterator<Item = (&model::ServiceName, &model::NetworkName, Ipv4Addr)> {
    stack.services.values().flat_map(|service| {
        service.networks.iter().filter_map(move |(key, attachment)| match attachment.ipv4_address {
            Some(IpAddr::V4(address)) => Some((&service.name, key, address)),
            _ => None,
        })
    })
}

/// A port of this host that a stack asks for by number.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    address: SocketAddr,
    transport: Transport,
    service: &'a str,
}

impl Wanted<'_> {
    fn overlaps(&self, other: &Wanted<'_>) -> bool {
        self.transport == other.transport && overlap(self.address, other.address)
    }

    /// `80`, or `53/udp`.
    fn shown(&self) -> String {
        match self.transport {
            Transport::Tcp => self.address.port().to_string(),
            Transport::Udp => format!("{}/udp", self.address.port()),
        }
    }
}

/// Published ports: no two services, no other stack, nobody else on this machine.
fn ports(
    stack: &Stack,
    previous: Option<&Release>,
    others: &[&Release],
    machine: &dyn Machine,
) -> Result<(), Report> {
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    let already: Vec<Wanted<'_>> = previous.into_iter().flat_map(|r| published(&r.stack)).collect();
    for port in published(stack) {
        let (service, number) = (port.service, port.shown());
        if let Some(other) = wanted.iter().find(|w| w.overlaps(&port)) {
            return Err(Report::usage(format!(
                "port {number} is published by both {} and {service}",
                other.service
            ))
            .hint("give one of them another host port under `ports`"));
        }
        wanted.push(port);
        for other in others {
            if published(&other.stack).any(|w| w.overlaps(&port)) {
                let text = format!(
                    "service {service}: port {number} is published by the stack {}",
                    other.stack.name
                );
                return Err(Report::environment(text).hint(format!(
                    "publish another port under `ports`, or stop that one: `juchu -p {} stop`",
                    other.stack.name
                )));
            }
        }
        let ours = already.iter().any(|w| w.overlaps(&port));
        if let Some(why) = (!ours).then(|| machine.port_in_use(port.address, port.transport)).flatten() {
            let text = format!("service {service}: port {number} cannot be published: {why}");
            let which = if port.transport == Transport::Udp { "-lnup" } else { "-ltnp" };
            return Err(Report::new(ErrorKind::Environment, text).hint(format!(
                "see who holds it with `ss {which} 'sport = :{}'`, or publish another port",
                port.address.port()
            )));
        }
    }
    ranges(stack, previous, &wanted, others, machine)?;
    routes(stack, previous, others, machine)
}

/// Routes: no other stack takes the same requests, and nobody else has the address.
fn routes(
    stack: &Stack,
    previous: Option<&Release>,
    others: &[&Release],
    machine: &dyn Machine,
) -> Result<(), Report> {
    let ours: Vec<SocketAddr> =
        previous.into_iter().chain(others.iter().copied()).flat_map(listens).collect();
    let publishes = |address: SocketAddr| published(stack).any(|port| port.address == address);
    for (service, mark) in marks(stack) {
        for other in others {
            if let Some((rival, _)) = marks(&other.stack).find(|(_, theirs)| *theirs == mark) {
                let name = &other.stack.name;
                let text = format!(
                    "service {}: its route ({mark}) takes the same requests as one of {} of the stack {name}",
                    service.name, rival.name
                );
                return Err(
                    Report::usage(text).hint("let them differ in host, path, method, headers or listen")
                );
            }
        }
        if ours.contains(&mark.listen) || publishes(mark.listen) {
            continue;
        }
        if let Some(why) = machine.port_in_use(mark.listen, Transport::Tcp) {
            let port = mark.listen.port();
            let text =
                format!("service {}: its routes cannot be listened for on port {port}: {why}", service.name);
            return Err(Report::environment(text).hint(format!(
                "see who holds it with `ss -ltnp 'sport = :{port}'`, or give the route `listen`"
            )));
        }
    }
    Ok(())
}

fn marks(stack: &Stack) -> impl Iterator<Item = (&Service, Mark)> {
    stack.services.values().flat_map(|service| {
        let routes = service.policy.gateway.routes.iter();
        routes.flat_map(|route| service.marks_of(route)).map(move |mark| (service, mark))
    })
}

/// Where a release is listened for already.
fn listens(release: &Release) -> Vec<SocketAddr> {
    let tcp = published(&release.stack).filter(|port| port.transport == Transport::Tcp);
    tcp.map(|port| port.address).chain(marks(&release.stack).map(|(_, mark)| mark.listen)).collect()
}

/// Each range still has a free port when all before it have taken theirs.
fn ranges(
    stack: &Stack,
    previous: Option<&Release>,
    wanted: &[Wanted<'_>],
    others: &[&Release],
    machine: &dyn Machine,
) -> Result<(), Report> {
    let mut taken: Vec<Wanted<'_>> = wanted.to_vec();
    taken.extend(others.iter().flat_map(|other| published(&other.stack)));
    for (service, port) in stack.services.values().flat_map(|s| s.ports.iter().map(move |p| (s, p))) {
        if port.published_last == 0 {
            continue;
        }
        let is_ours = previous.and_then(|r| r.stack.services.get(&service.name)).is_some_and(|s| {
            s.ports.iter().any(|p| (p.published, p.published_last) == (port.published, port.published_last))
        });
        let free = (port.published..=port.published_last).find_map(|number| {
            let one = Wanted {
                address: SocketAddr::new(host_of(port), number),
                transport: port.transport,
                service: service.name.as_str(),
            };
            let is_free = !taken.iter().any(|t| t.overlaps(&one))
                && (is_ours || machine.port_in_use(one.address, one.transport).is_none());
            is_free.then_some(one)
        });
        match free {
            Some(one) => taken.push(one),
            None => {
                let range = format!("{}-{}", port.published, port.published_last);
                let text = format!("service {}: no port of {range} is free", service.name);
                return Err(Report::environment(text).hint("publish a wider range under `ports`"));
            }
        }
    }
    Ok(())
}

fn host_of(port: &PublishedPort) -> IpAddr {
    port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Ports of the host that a stack asks for by number.
fn published(stack: &Stack) -> impl Iterator<Item = Wanted<'_>> {
    stack.services.values().flat_map(|service| {
        let fixed = service.ports.iter().filter(|p| p.published != 0 && p.published_last == 0);
        fixed.map(|p| Wanted {
            address: SocketAddr::new(host_of(p), p.published),
            transport: p.transport,
            service: service.name.as_str(),
        })
    })
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
