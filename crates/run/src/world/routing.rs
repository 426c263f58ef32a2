//! The route table: made anew each turn, handed to the gateway when it differs.

use super::{World, tell};
use crate::control::Address;
use model::StackName;
use model::route::ApplyReport;
use model::service::{Protocol, Transport};
use plan::InstanceView;
use plan::routes::{Routed, table};
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
                    let stack = listener.backend.split('/').next().unwrap_or_default();
                    let text =
                        format!("port {} cannot be published: {}", failure.address.port(), failure.error);
                    let state = self.stacks.iter_mut().find(|(name, _)| name.as_str() == stack);
                    if let Some((_, state)) = state {
                        state.bind_failure = Some(text);
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
        let ports = release.stack.services.values().flat_map(|s| s.ports.iter().map(move |p| (s, p)));
        ports
            .filter_map(|(service, port)| {
                let host = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                let asked = SocketAddr::new(host, port.published);
                let is_udp = port.transport == Transport::Udp;
                let suffix = if is_udp { "/udp" } else { "" };
                let backend = format!("{name}/{}:{}{suffix}", service.name, port.target);
                let bound = self.bound.get(&(backend, asked)).copied();
                let is_chosen = port.published == 0 || port.published_last != 0;
                let bound = bound.or((!is_chosen).then_some(asked))?;
                (bound.port() != 0).then(|| {
                    let host = match bound.ip() {
                        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                        ip => ip,
                    };
                    let scheme = match port.protocol {
                        _ if is_udp => "udp",
                        Protocol::Tcp => "tcp",
                        Protocol::Auto | Protocol::Http => "http",
                    };
                    let url = format!("{scheme}://{}", SocketAddr::new(host, bound.port()));
                    Address { service: service.name.clone(), url, first_byte_us: None }
                })
            })
            .collect()
    }
}
