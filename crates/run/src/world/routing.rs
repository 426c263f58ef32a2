//! The route table: made anew each turn, handed to the gateway when it differs.

use super::{World, tell};
use crate::control::Address;
use model::route::ApplyReport;
use model::service::{Protocol, PublishedPort, Transport};
use model::{Service, StackName};
use plan::InstanceView;
use plan::routes::{Routed, certificates, speaks_tls, speaks_tls_at, table};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl World {
    /// Applies the present routes if they changed. A gateway that does not answer is asked again.
    pub async fn route(&mut self) {
        let instances: Vec<(&StackName, Vec<InstanceView>)> =
            self.stacks.keys().map(|name| (name, self.instances_of(name))).collect();
        let routed: Vec<Routed<'_>> = instances
            .iter()
            .filter_map(|(name, instances)| self.stacks[*name].routed(instances, self.now()))
            .collect();
        let certificates = routed.iter().flat_map(|stack| certificates(stack.release)).collect();
        self.parts.router.want_certificates(certificates);
        let mut next = table(&routed, &self.unbound, self.table.revision);
        if next == self.table {
            return;
        }
        next.revision = next.revision.max(self.now().0.unsigned_abs()).max(self.table.revision + 1);
        let begun = tokio::time::Instant::now();
        match self.parts.router.apply(&next).await {
            Ok(report) => {
                let before = std::mem::replace(&mut self.table, next);
                self.note_swap(&before, begun.elapsed());
                self.note_bindings(&report);
            }
            Err(report) => tell(&report.to_string()),
        }
    }

    fn note_bindings(&mut self, report: &ApplyReport) {
        self.bound = report.ports.iter().map(|p| ((p.backend.clone(), p.asked), p.bound)).collect();
        self.unbound.clear();
        for failure in &report.failed {
            let all = match failure.transport {
                Transport::Tcp => &self.table.listeners,
                Transport::Udp => &self.table.datagrams,
            };
            let listener = all.iter().find(|l| l.address == failure.address);
            match listener {
                Some(listener) if listener.public => {
                    let text =
                        format!("port {} cannot be published: {}", failure.address.port(), failure.error);
                    let ids = listener.rules.iter().map(|rule| &rule.id).chain([&listener.backend]);
                    let named: BTreeSet<&str> = ids.filter_map(|id| id.split('/').next()).collect();
                    let of_it = self.stacks.iter_mut().filter(|(name, _)| named.contains(name.as_str()));
                    for (_, state) in of_it {
                        state.bind_failure = Some(text.clone());
                    }
                }
                Some(listener) => {
                    self.unbound.insert(listener.address.ip());
                }
                None => tell(&format!("{}: {}", failure.address, failure.error)),
            }
        }
    }

    /// Where people reach a stack, before anything is measured.
    pub fn addresses_of(&self, name: &StackName) -> Vec<Address> {
        let Some(release) = self.stacks.get(name).and_then(|s| s.active.as_deref()) else {
            return Vec::new();
        };
        let services = || release.stack.services.values();
        let published = services().flat_map(|service| {
            let ports = service.ports.iter();
            ports.filter_map(move |port| self.address_of(name, service, port))
        });
        published.chain(services().flat_map(addresses_by_route)).collect()
    }

    fn address_of(&self, stack: &StackName, service: &Service, port: &PublishedPort) -> Option<Address> {
        let host = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let asked = SocketAddr::new(host, port.published);
        let is_udp = port.transport == Transport::Udp;
        let suffix = if is_udp { "/udp" } else { "" };
        let backend = format!("{stack}/{}:{}{suffix}", service.name, port.target);
        let bound = self.bound.get(&(backend, asked)).copied();
        let is_chosen = port.published == 0 || port.published_last != 0;
        let bound = bound.or((!is_chosen).then_some(asked)).filter(|bound| bound.port() != 0)?;
        let scheme = match port.protocol {
            _ if is_udp => "udp",
            Protocol::Tcp => "tcp",
            _ if speaks_tls(service, port) => "https",
            Protocol::Auto | Protocol::Http => "http",
        };
        let url = format!("{scheme}://{}", reachable(bound));
        Some(Address { service: service.name.clone(), url, first_byte_us: None })
    }
}

/// As somebody on this host reaches it.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let host = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(host, bound.port())
}

/// The addresses that a service has by its routes; of those for every host only what is not
/// published anyway.
fn addresses_by_route(service: &Service) -> Vec<Address> {
    let mut urls = Vec::new();
    for route in &service.policy.gateway.routes {
        let is_published = route.listen.is_none() && !service.ports.is_empty();
        let path = Some(route.path.text()).filter(|path| *path != "/").unwrap_or_default();
        for listen in service.listens_for(route) {
            let (scheme, usual) =
                if speaks_tls_at(service, listen.port()) { ("https", 443) } else { ("http", 80) };
            let port = if listen.port() == usual { String::new() } else { format!(":{}", listen.port()) };
            let names = route.hosts.iter().filter(|host| !host.starts_with('*'));
            urls.extend(names.map(|host| format!("{scheme}://{host}{port}{path}")));
            if route.hosts.is_empty() && !is_published {
                urls.push(format!("{scheme}://{}{path}", reachable(listen)));
            }
        }
    }
    let mut seen = BTreeSet::new();
    urls.retain(|url| seen.insert(url.clone()));
    let address = |url| Address { service: service.name.clone(), url, first_byte_us: None };
    urls.into_iter().map(address).collect()
}
