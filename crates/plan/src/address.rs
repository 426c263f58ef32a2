//! Addresses: the stable ones of services, kept from release to release, and those of instances.

use crate::input::Input;
use model::instance::{InstanceNetwork, InstanceSpec};
use model::release::NetworkAddresses;
use model::service::NetworkMode;
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
) -> Result<BTreeMap<NetworkName, NetworkAddresses>, SubnetError> {
    let mut all = BTreeMap::new();
    let mut fresh = Vec::new();
    for (name, network) in &stack.networks {
        let declared = network.subnet.as_deref().map(Cidr::parse).transpose()?;
        match previous.and_then(|r| r.addresses.get(name)).filter(|a| keeps(a, declared)) {
            Some(kept) => {
                all.insert(name.clone(), NetworkAddresses { internal: network.internal, ..kept.clone() });
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
            gateway: Layout::new(subnet)?.gateway(),
            prefix_len: subnet.prefix_len(),
            internal: network.internal,
            services: BTreeMap::new(),
        };
        all.insert(name.clone(), addresses);
    }
    for (name, addresses) in &mut all {
        seat_services(stack, name, addresses)?;
    }
    Ok(all)
}

fn keeps(addresses: &NetworkAddresses, declared: Option<Cidr>) -> bool {
    declared.is_none_or(|subnet| subnet_of(addresses) == Some(subnet))
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
) -> Result<(), SubnetError> {
    let subnet = Cidr::containing(addresses.gateway, addresses.prefix_len).ok_or(SubnetError::Exhausted)?;
    let layout = Layout::new(subnet)?;
    let members: BTreeSet<&ServiceName> = stack
        .services
        .values()
        .filter(|s| s.network_mode == NetworkMode::Stack && s.networks.contains_key(name))
        .map(|s| &s.name)
        .collect();
    addresses.services.retain(|service, _| members.contains(service));
    for service in members {
        if addresses.services.contains_key(service) {
            continue;
        }
        let used: BTreeSet<Ipv4Addr> = addresses.services.values().copied().collect();
        let free = layout.virtual_addresses().find(|a| !used.contains(a)).ok_or(SubnetError::Exhausted)?;
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
        Self { used: seen.chain(coming).filter_map(v4).collect() }
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
            let layout = Layout::new(subnet_of(network)?).ok()?;
            let address = match attachment.ipv4_address {
                Some(IpAddr::V4(declared)) if slot == 1 => declared,
                _ => layout.instance_addresses().find(|a| !self.used.contains(a))?,
            };
            self.used.insert(address);
            taken.insert(name.clone(), address);
        }
        Some(taken)
    }
}
