//! What names mean on each network, and what they mean to single instances beyond that.

use crate::input::InstanceView;
use crate::serving::{Routed, serving};
use model::instance::InstanceNetwork;
use model::release::NetworkAddresses;
use model::route::{Asker, NameZone};
use model::{NetworkName, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Name → addresses, each once.
#[derive(Default)]
struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Names {
    fn add(&mut self, name: &str, addresses: &[IpAddr]) {
        let known = self.0.entry(name.to_ascii_lowercase()).or_default();
        for address in addresses {
            if !known.contains(address) {
                known.push(*address);
            }
        }
    }
}

/// The names of one network of a stack. `unbound` are virtual addresses that the gateway could not
/// listen on: their services are reached directly.
pub(super) fn zone(
    stack: &Routed<'_>,
    name: &NetworkName,
    network: &NetworkAddresses,
    unbound: &BTreeSet<IpAddr>,
) -> NameZone {
    let (mut names, mut reverse) = (Names::default(), BTreeMap::new());
    for service in stack.release.stack.services.values() {
        let Some(attachment) = service.networks.get(name) else { continue };
        let addresses = addresses(stack, service, network, unbound);
        names.add(service.name.as_str(), &addresses);
        attachment.aliases.iter().for_each(|alias| names.add(alias, &addresses));
        service.process.container_name.iter().for_each(|n| names.add(n, &addresses));
        service.process.hostname.iter().for_each(|n| names.add(n, &addresses));
    }
    for instance in stack.instances.iter().filter(|i| i.is_running()) {
        let Some(address) = address_on(instance, network) else { continue };
        let spec = &instance.observed.spec;
        let full = format!("{}-{}-{}", spec.stack, spec.service, spec.slot);
        names.add(&full, &[address]);
        names.add(spec.id.as_str(), &[address]);
        reverse.insert(address, spec.process.container_name.clone().unwrap_or(full));
    }
    let domain = stack.release.stack.networks.get(name).map(|n| n.name.clone()).unwrap_or_default();
    let (listen, forward) = (IpAddr::V4(network.gateway), !network.internal);
    NameZone { listen, names: names.0, forward, domain, reverse }
}

/// What the name of a service means: one address that leads through the gateway, or each instance.
fn addresses(
    stack: &Routed<'_>,
    service: &Service,
    network: &NetworkAddresses,
    unbound: &BTreeSet<IpAddr>,
) -> Vec<IpAddr> {
    let virtual_address = network.services.get(&service.name).map(|a| IpAddr::V4(*a));
    let is_bound = virtual_address.filter(|a| !service.policy.direct && !unbound.contains(a));
    match is_bound {
        Some(address) => vec![address],
        None => serving(stack, service).iter().filter_map(|s| address_on(s.instance, network)).collect(),
    }
}

/// Adds what another stack has on the same network.
pub(super) fn join(known: &mut NameZone, other: NameZone) {
    let mut names = Names(std::mem::take(&mut known.names));
    other.names.iter().for_each(|(name, addresses)| names.add(name, addresses));
    known.names = names.0;
    known.reverse.extend(other.reverse);
}

fn address_on(instance: &InstanceView, network: &NetworkAddresses) -> Option<IpAddr> {
    match &instance.observed.spec.network {
        InstanceNetwork::Links { links, .. } => {
            links.iter().find(|l| l.network.bridge == network.bridge).map(|l| l.address)
        }
        _ => None,
    }
}

/// Instances on several networks, and those with links or name servers of their own. They are known
/// before they run, so that their first question is answered.
pub(super) fn askers(stack: &Routed<'_>) -> BTreeMap<IpAddr, Asker> {
    let mut all = BTreeMap::new();
    for instance in stack.instances {
        let spec = &instance.observed.spec;
        let InstanceNetwork::Links { links, .. } = &spec.network else { continue };
        let aliases = links_of(stack, instance);
        let servers = spec.process.dns.clone();
        if links.len() < 2 && aliases.is_empty() && servers.is_empty() {
            continue;
        }
        let zones: Vec<IpAddr> = links.iter().map(|link| link.network.gateway).collect();
        // Whichever of its addresses it asks from.
        for link in links {
            let (zones, aliases, servers) = (zones.clone(), aliases.clone(), servers.clone());
            all.insert(link.address, Asker { zones, aliases, servers });
        }
    }
    all
}

/// Whose address is whose, before it runs, so that its first connection is known.
pub(super) fn callers<'a>(stack: &'a Routed<'_>) -> impl Iterator<Item = (IpAddr, String)> + 'a {
    stack.instances.iter().flat_map(|instance| {
        let spec = &instance.observed.spec;
        let links = match &spec.network {
            InstanceNetwork::Links { links, .. } => links.as_slice(),
            _ => &[],
        };
        links.iter().map(|link| (link.address, format!("{}/{}", spec.stack, spec.service)))
    })
}

/// As the release in force declares them, else the one before.
fn links_of(stack: &Routed<'_>, instance: &InstanceView) -> BTreeMap<String, String> {
    let releases = std::iter::once(stack.release).chain(stack.fallback.map(|f| f.release));
    let mut declared = releases.filter_map(|release| release.stack.services.get(instance.service()));
    declared.next().map(|service| service.links.clone()).unwrap_or_default()
}
