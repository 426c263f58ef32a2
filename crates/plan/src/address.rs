//! Addresses: the stable ones of services, kept from release to release, and those of instances.

use crate::input::Input;
use model::instance::{InstanceNetwork, InstanceSpec};
use model::release::NetworkAddresses;
use model::service::NetworkMode;
use model::stack::Network;
use model::subnet::{Cidr, Layout, SubnetError, choose_subnets};
use model::{Digest, NetworkName, Release, Service, ServiceName, Stack, StackName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Gives each network of the stack its subnet and each service on it its virtual address. What
/// `previous` had is kept; `taken` is what the host and the other stacks use; `home` tells apart
/// the networks of two installations on one host.
pub fn allocate(
    stack: &Stack,
    previous: Option<&Release>,
    taken: &[Cidr],
    home: &str,
    others: &[&Release],
) -> Result<BTreeMap<NetworkName, NetworkAddresses>, SubnetError> {
    let mut all = BTreeMap::new();
    let mut fresh = Vec::new();
    for (name, network) in &stack.networks {
        let declared = network.subnet.as_deref().map(Cidr::parse).transpose()?;
        if let Some(shared) = shared(network, others) {
            if let Some(wanted) = declared.filter(|wanted| subnet_of(shared) != Some(*wanted)) {
                let taken = subnet_of(shared).unwrap_or(wanted);
                return Err(SubnetError::Shared { name: network.name.clone(), wanted, taken });
            }
            let before = previous.and_then(|r| r.addresses.get(name)).filter(|a| a.bridge == shared.bridge);
            let services = before.map(|a| a.services.clone()).unwrap_or_default();
            all.insert(name.clone(), NetworkAddresses { services, ..shared.clone() });
            continue;
        }
        match previous.and_then(|r| r.addresses.get(name)).filter(|a| keeps(a, network, declared)) {
            Some(kept) => {
                let (range, reserved) = (range_of(network), reserved(stack, name, network));
                let (internal, mtu) = (network.internal, network.mtu);
                all.insert(name.clone(), NetworkAddresses { internal, mtu, range, reserved, ..kept.clone() });
            }
            None => fresh.push((name, network, declared)),
        }
    }
    let mut used = taken.to_vec();
    used.extend(all.values().filter_map(subnet_of));
    let wanted: Vec<Option<Cidr>> = fresh.iter().map(|(_, _, declared)| *declared).collect();
    for ((name, network, _), subnet) in fresh.into_iter().zip(choose_subnets(&used, &wanted)?) {
        let addresses = NetworkAddresses {
            bridge: bridge_name(home, &stack.name, name),
            gateway: network.gateway.unwrap_or(Layout::new(subnet)?.gateway()),
            prefix_len: subnet.prefix_len(),
            internal: network.internal,
            services: BTreeMap::new(),
            mtu: network.mtu,
            range: range_of(network),
            reserved: reserved(stack, name, network),
        };
        all.insert(name.clone(), addresses);
    }
    for (name, addresses) in &mut all {
        seat_services(stack, name, addresses, others)?;
    }
    Ok(all)
}

fn keeps(addresses: &NetworkAddresses, network: &Network, declared: Option<Cidr>) -> bool {
    let first = subnet_of(addresses).and_then(|subnet| Layout::new(subnet).ok()).map(Layout::gateway);
    network.gateway.or(first) == Some(addresses.gateway)
        && declared.is_none_or(|subnet| subnet_of(addresses) == Some(subnet))
}

/// The network of that name that another stack is on.
pub fn shared<'a>(network: &Network, others: &[&'a Release]) -> Option<&'a NetworkAddresses> {
    others.iter().find_map(|release| {
        let named = release.stack.networks.iter().find(|(_, other)| other.name == network.name);
        named.and_then(|(key, _)| release.addresses.get(key))
    })
}

fn range_of(network: &Network) -> Option<Cidr> {
    network.ip_range.as_deref().and_then(|range| Cidr::parse(range).ok())
}

/// What is given to nobody that did not ask for it.
fn reserved(stack: &Stack, name: &NetworkName, network: &Network) -> Vec<Ipv4Addr> {
    let mut all: BTreeSet<Ipv4Addr> = network.reserved.iter().copied().collect();
    all.extend(fixed_addresses(stack, name));
    all.into_iter().collect()
}

fn fixed_addresses<'a>(stack: &'a Stack, name: &'a NetworkName) -> impl Iterator<Item = Ipv4Addr> + 'a {
    let attachments = stack.services.values().filter_map(move |s| s.networks.get(name));
    attachments.filter_map(|attachment| match attachment.ipv4_address {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    })
}

/// The subnet that a network's addresses lie in.
pub fn subnet_of(addresses: &NetworkAddresses) -> Option<Cidr> {
    Cidr::containing(addresses.gateway, addresses.prefix_len)
}

/// At most 15 characters, the same for the same network of the same stack of the same home.
fn bridge_name(home: &str, stack: &StackName, network: &NetworkName) -> String {
    let digest = Digest::of(format!("{home}\0{stack}\0{network}").as_bytes());
    format!("jc{}", &digest.hex()[..10])
}

fn seat_services(
    stack: &Stack,
    name: &NetworkName,
    addresses: &mut NetworkAddresses,
    others: &[&Release],
) -> Result<(), SubnetError> {
    let subnet = Cidr::containing(addresses.gateway, addresses.prefix_len).ok_or(SubnetError::Exhausted)?;
    let layout = Layout::new(subnet)?;
    let members: BTreeSet<&ServiceName> = stack
        .services
        .values()
        .filter(|s| s.network_mode == NetworkMode::Stack && s.networks.contains_key(name))
        .map(|s| &s.name)
        .collect();
    // Of another stack's network what it keeps, and what is fixed here, is not to be given either.
    let mut kept: BTreeSet<Ipv4Addr> = addresses.reserved.iter().copied().collect();
    kept.extend(fixed_addresses(stack, name));
    kept.insert(addresses.gateway);
    let on_it = others.iter().flat_map(|r| r.addresses.values()).filter(|a| a.bridge == addresses.bridge);
    for other in on_it {
        kept.extend(other.services.values().chain(&other.reserved));
    }
    addresses.reserved = {
        let own: BTreeSet<Ipv4Addr> =
            addresses.reserved.iter().copied().chain(fixed_addresses(stack, name)).collect();
        own.into_iter().collect()
    };
    addresses.services.retain(|service, address| members.contains(service) && !kept.contains(address));
    for service in members {
        if addresses.services.contains_key(service) {
            continue;
        }
        let used: BTreeSet<Ipv4Addr> = addresses.services.values().copied().collect();
        let is_free = |a: &Ipv4Addr| !used.contains(a) && !kept.contains(a);
        let free = layout.virtual_addresses().find(is_free).ok_or(SubnetError::Full(subnet))?;
        addresses.services.insert(service.clone(), free);
    }
    Ok(())
}

/// The addresses of one instance, one for each of its networks.
pub(crate) fn addresses_of(spec: &InstanceSpec) -> impl Iterator<Item = IpAddr> {
    let links = match &spec.network {
        InstanceNetwork::Links { links, .. } => links.as_slice(),
        _ => &[],
    };
    links.iter().map(|link| link.address)
}

/// Instance addresses in use while one plan is made.
#[derive(Debug, Default)]
pub struct AddressBook {
    used: BTreeSet<Ipv4Addr>,
}

impl AddressBook {
    /// Those of every instance that is seen or being created.
    pub fn of(input: &Input<'_>) -> Self {
        let seen = input.instances.iter().flat_map(|i| addresses_of(&i.observed.spec));
        let coming = input.in_flight.values().flat_map(|f| f.addresses.iter().copied());
        let v4 = |address: IpAddr| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let own = seen.chain(coming).filter_map(v4);
        let others = input.foreign.virtual_addresses.values().flatten().chain(&input.foreign.instances);
        Self { used: own.chain(others.copied()).collect() }
    }

    /// An address on each network of the service, or `None` when a network is full.
    pub fn take(
        &mut self,
        release: &Release,
        service: &Service,
        slot: u32,
    ) -> Option<BTreeMap<NetworkName, Ipv4Addr>> {
        let mut taken = BTreeMap::new();
        if service.network_mode != NetworkMode::Stack {
            return Some(taken);
        }
        for (name, attachment) in &service.networks {
            let network = release.addresses.get(name)?;
            let address = match attachment.ipv4_address {
                Some(IpAddr::V4(declared)) if slot == 1 => declared,
                _ => self.free_on(network)?,
            };
            self.used.insert(address);
            taken.insert(name.clone(), address);
        }
        Some(taken)
    }

    fn free_on(&self, network: &NetworkAddresses) -> Option<Ipv4Addr> {
        let layout = Layout::new(subnet_of(network)?).ok()?;
        let is_free = |a: &Ipv4Addr| {
            !self.used.contains(a)
                && *a != network.gateway
                && !network.reserved.contains(a)
                && !network.services.values().any(|service| service == a)
        };
        match network.range {
            Some(range) => layout.usable(range).find(is_free),
            None => layout.instance_addresses().find(is_free),
        }
    }
}
