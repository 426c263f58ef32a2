//! One bridge per network, its addresses, and the way out. A bridge of ours is known by its
//! alias, which also says what the firewall rules need; the kernel is the only memory.

use crate::NetError;
use crate::inside;
use crate::namespace;
use crate::nft::{Firewall, Outcome, Standing};
use crate::rtnl::{self, Address, Link};
use crate::rules::{Bridge, ruleset};
use crate::socket::Socket;
use crate::sysctl;
use model::instance::NetworkSpec;
use model::subnet::Cidr;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Attempts to write the rules while somebody else keeps changing the firewall.
const RULES_ATTEMPTS: u32 = 50;
/// Of Ethernet; used where there is no way out that says otherwise.
const DEFAULT_MTU: u32 = 1500;
/// Stands for "somewhere outside" when looking for the way out: a documentation address (RFC 5737)
/// to which nothing is ever sent.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// Bridges and rules are read and then written; two threads must not do so at once. (Processes
/// are told apart by the firewall's generation.) The guard keeps the firewall open between calls.
static HOST_NETWORK: Mutex<Option<KeptFirewall>> = Mutex::new(None);

struct KeptFirewall {
    /// Inode of the network namespace it belongs to, which it also keeps from being reused.
    namespace: u64,
    firewall: Firewall,
}

fn exclusive() -> MutexGuard<'static, Option<KeptFirewall>> {
    HOST_NETWORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The firewall of the calling thread's namespace; `None` when this kernel has no nf_tables.
fn firewall(kept: &mut Option<KeptFirewall>) -> Result<Option<&mut Firewall>, NetError> {
    let file = Path::new(namespace::OWN);
    let namespace = std::fs::metadata(file).map_err(NetError::file("examine", file))?.ino();
    if kept.as_ref().is_none_or(|kept| kept.namespace != namespace) {
        *kept = Firewall::open()?.map(|firewall| KeptFirewall { namespace, firewall });
    }
    Ok(kept.as_mut().map(|kept| &mut kept.firewall))
}

/// A `NetworkSpec` that was found sound.
struct Network {
    bridge: Bridge,
    gateway: Ipv4Addr,
    addresses: BTreeSet<(Ipv4Addr, u8)>,
    mtu: Option<u32>,
}

impl Network {
    fn new(spec: &NetworkSpec) -> Result<Self, NetError> {
        let wrong = |reason: String| NetError::Spec { name: spec.bridge.clone(), reason };
        check_interface_name(&spec.bridge)?;
        let gateway = ipv4(&spec.bridge, spec.gateway)?;
        if !(1..=30).contains(&spec.prefix_len) {
            return Err(wrong(format!("a prefix length of {} leaves no addresses", spec.prefix_len)));
        }
        let subnet = Cidr::containing(gateway, spec.prefix_len).expect("the length was checked above");
        let mut addresses = BTreeSet::from([(gateway, spec.prefix_len)]);
        for address in &spec.virtual_addresses {
            let address = ipv4(&spec.bridge, *address)?;
            if !subnet.contains(address) {
                return Err(wrong(format!("the virtual address {address} is outside of {subnet}")));
            }
            if address != gateway {
                addresses.insert((address, 32));
            }
        }
        let bridge = Bridge { name: spec.bridge.clone(), subnet, internal: spec.internal };
        Ok(Self { bridge, gateway, addresses, mtu: spec.mtu })
    }

    fn name(&self) -> &str {
        &self.bridge.name
    }
}

pub(crate) fn ipv4(network: &str, address: IpAddr) -> Result<Ipv4Addr, NetError> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(NetError::NotIpv4 { name: network.to_owned(), address }),
    }
}

/// The rule of Linux for interface names, and no `%`, which would make it a pattern.
fn check_interface_name(name: &str) -> Result<(), NetError> {
    let valid = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !matches!(name, "." | ".." | "lo" | "all" | "default");
    if valid {
        return Ok(());
    }
    let reason = format!("an interface name has 1 to {NAME_MAX} letters, digits, `-`, `_` or `.`");
    Err(NetError::Spec { name: name.to_owned(), reason })
}

/// A locally administered hardware address that belongs to an address for good: caches of
/// neighbours stay right when a bridge gains its first port or an instance is replaced.
pub(crate) fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x6a, a, b, c, d]
}

/// Makes the bridge with its addresses, its settings and the firewall rules of all our bridges,
/// or corrects whatever differs. Where the kernel has no nf_tables the network has no way out
/// (see `lacks`): without rules nothing is forwarded.
pub fn ensure_bridge(spec: &NetworkSpec) -> Result<(), NetError> {
    let network = Network::new(spec)?;
    let mut kept = exclusive();
    let mut socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    let link = ensure_link(&mut socket, &network)?;
    shield(network.name())?;
    // The rules come first: at no moment is the bridge reachable without them.
    let protected = apply_rules(&mut socket, &mut kept)?;
    ensure_addresses(&mut socket, &network, &link)?;
    if !link.is_up() {
        ask(&mut socket, rtnl::set_up(network.name()), || format!("bring up {}", network.name()))?;
    }
    let open = protected && !network.bridge.internal;
    sysctl::set(&forwarding(network.name()), if open { "1" } else { "0" })
}

/// Removes the bridge and its rules; when it was the last one, everything else of ours too.
pub fn remove_bridge(name: &str) -> Result<(), NetError> {
    check_interface_name(name)?;
    let mut kept = exclusive();
    let mut socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    if let Some(link) = rtnl::link(&mut socket, name)? {
        if Bridge::from_alias(name, &link.alias).is_none() {
            return Err(NetError::NameTaken(name.to_owned()));
        }
        ask(&mut socket, rtnl::delete_link(name), || format!("remove the bridge {name}"))?;
    }
    apply_rules(&mut socket, &mut kept)?;
    Ok(())
}

/// The names of our bridges, sorted.
pub fn bridges() -> Result<Vec<String>, NetError> {
    let mut socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    let mut names: Vec<_> = ours(&rtnl::links(&mut socket)?).into_iter().map(|b| b.name).collect();
    names.sort();
    Ok(names)
}

/// What this host's addresses and routes occupy, our own networks included; sorted, without the
/// default route and the loopback.
pub fn host_subnets() -> Result<Vec<Cidr>, NetError> {
    let mut socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    let routes = rtnl::routes(&mut socket)?.into_iter().map(|route| route.destination);
    let addresses = rtnl::addresses(&mut socket)?;
    let addresses = addresses.iter().filter_map(|a| Cidr::containing(a.address, a.prefix_len));
    let all: BTreeSet<_> =
        routes.chain(addresses).filter(|c| c.prefix_len() > 0 && !c.base().is_loopback()).collect();
    Ok(all.into_iter().collect())
}

/// What the way out of our networks follows from, as a number: it changes when a device gains or
/// loses its address, a default route comes or goes, or packets may be larger. Our own devices do
/// not count.
pub fn uplinks() -> Result<u64, NetError> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    let links = rtnl::links(&mut socket)?;
    let bridges = ours(&links);
    let addressed: BTreeSet<_> = rtnl::addresses(&mut socket)?.iter().map(|a| a.link).collect();
    let mut hasher = DefaultHasher::new();
    for link in links.iter().filter(|link| addressed.contains(&link.index)) {
        if bridges.iter().all(|bridge| bridge.name != link.name) {
            (link.index, &link.name, link.mtu, link.is_up()).hash(&mut hasher);
        }
    }
    (rtnl::outgoing_link(&mut socket, OUTSIDE)?, is_router()?).hash(&mut hasher);
    Ok(hasher.finish())
}

/// Only what is marked as ours, in the order of the kernel.
fn ours(links: &[Link]) -> Vec<Bridge> {
    let bridges = links.iter().filter(|link| link.kind == "bridge");
    bridges.filter_map(|link| Bridge::from_alias(&link.name, &link.alias)).collect()
}

fn ask(
    socket: &mut Socket,
    request: crate::wire::Message,
    what: impl FnOnce() -> String,
) -> Result<(), NetError> {
    socket.ask_one(request).map(drop).map_err(|source| NetError::Kernel { what: what(), source })
}

/// The bridge as a link: there, marked, with the right hardware address and packet size.
fn ensure_link(socket: &mut Socket, network: &Network) -> Result<Link, NetError> {
    let name = network.name();
    let alias = network.bridge.alias();
    let mtu = match network.mtu {
        Some(mtu) => mtu,
        None => uplink_mtu(socket)?,
    };
    let mac = hardware_address(network.gateway);
    match rtnl::link(socket, name)? {
        Some(link) if !is_ours_or_half_made(&link) => return Err(NetError::NameTaken(name.to_owned())),
        Some(link) => {
            let mut requests = Vec::new();
            if link.alias != alias {
                requests.push(rtnl::set_alias(name, &alias));
            }
            if link.mtu != mtu || link.hardware_address != mac {
                requests.push(rtnl::set_mtu_and_address(name, mtu, mac));
            }
            for result in socket.ask(&requests).map_err(NetError::kernel(format!("correct {name}")))? {
                result.map_err(NetError::kernel(format!("correct the bridge {name}")))?;
            }
            return Ok(link);
        }
        None => {
            // One batch: the kernel does not leave an unmarked bridge behind if we are killed.
            let requests = [rtnl::create_bridge(name, mac, mtu), rtnl::set_alias(name, &alias)];
            let what = || format!("create the bridge {name}");
            for result in socket.ask(&requests).map_err(NetError::kernel(what()))? {
                result.map_err(NetError::kernel(what()))?;
            }
        }
    }
    rtnl::link(socket, name)?.ok_or_else(|| NetError::NoBridge(name.to_owned()))
}

/// An unmarked bridge that is still down is one of ours whose making was cut short.
fn is_ours_or_half_made(link: &Link) -> bool {
    link.kind == "bridge"
        && (Bridge::from_alias(&link.name, &link.alias).is_some() || (link.alias.is_empty() && !link.is_up()))
}

/// What the way out carries in one packet, so that nothing is fragmented or lost on it.
fn uplink_mtu(socket: &mut Socket) -> Result<u32, NetError> {
    let Some(index) = rtnl::outgoing_link(socket, OUTSIDE)? else { return Ok(DEFAULT_MTU) };
    let links = rtnl::links(socket)?;
    Ok(links.iter().find(|link| link.index == index).map_or(DEFAULT_MTU, |link| link.mtu))
}

/// Settings of the bridge's device: instances may not pretend to be elsewhere, redirect the host
/// or, by IPv6 router advertisements, make themselves its default route.
fn shield(name: &str) -> Result<(), NetError> {
    sysctl::set_if_known(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
    for (key, value) in
        [("rp_filter", "1"), ("accept_redirects", "0"), ("send_redirects", "0"), ("route_localnet", "0")]
    {
        sysctl::set(&format!("ipv4/conf/{name}/{key}"), value)?;
    }
    Ok(())
}

fn ensure_addresses(socket: &mut Socket, network: &Network, link: &Link) -> Result<(), NetError> {
    let present: BTreeSet<_> = rtnl::addresses(socket)?
        .iter()
        .filter(|a| a.link == link.index)
        .map(|a| (a.address, a.prefix_len))
        .collect();
    let address = |(address, prefix_len): &(Ipv4Addr, u8)| Address {
        link: link.index,
        address: *address,
        prefix_len: *prefix_len,
    };
    let stale = present.difference(&network.addresses).map(address);
    let missing = network.addresses.difference(&present).map(address);
    let requests: Vec<_> =
        stale.map(|a| rtnl::delete_address(&a)).chain(missing.map(|a| rtnl::add_address(&a))).collect();
    let what = || format!("set the addresses of {}", network.name());
    for result in socket.ask(&requests).map_err(NetError::kernel(what()))? {
        match result {
            // Deleting the first address of a subnet takes its others along.
            Ok(_) | Err(rustix::io::Errno::ADDRNOTAVAIL) => {}
            Err(error) => return Err(NetError::kernel(what())(error)),
        }
    }
    Ok(())
}

/// Brings the firewall table and the forwarding of other devices in line with the bridges that
/// are there now. Says whether the rules are in force.
fn apply_rules(socket: &mut Socket, kept: &mut Option<KeptFirewall>) -> Result<bool, NetError> {
    let result = match firewall(kept)? {
        Some(firewall) => write_rules(socket, firewall),
        None => Ok(false),
    };
    if result.is_err() {
        *kept = None; // whatever it still has to say is not for the next caller
    }
    result
}

fn write_rules(socket: &mut Socket, firewall: &mut Firewall) -> Result<bool, NetError> {
    for _ in 0..RULES_ATTEMPTS {
        let Some(generation) = firewall.generation()? else { return Ok(false) };
        let standing = firewall.standing()?;
        let links = rtnl::links(socket)?;
        let bridges = ours(&links);
        let routed = devices_to_route(socket, &links, &bridges, &standing)?;
        // The table is what remembers the devices: it names them before and until they forward.
        for device in standing.routed().filter(|device| !routed.iter().any(|r| r == device)) {
            stop_forwarding(device)?;
        }
        match firewall.replace(&standing, &ruleset(&bridges, &routed, inside::is_of_our_own()), generation)? {
            Outcome::Raced => continue,
            Outcome::Unsupported => return Ok(false),
            Outcome::Unchanged | Outcome::Replaced => {}
        }
        for device in routed {
            sysctl::set_if_known(&forwarding(&device), "1")?;
        }
        return Ok(true);
    }
    Err(NetError::RulesContended { attempts: RULES_ATTEMPTS })
}

fn forwarding(device: &str) -> String {
    format!("ipv4/conf/{device}/forwarding")
}

/// Whether the administrator made this host a router, so that every device forwards.
fn is_router() -> Result<bool, NetError> {
    Ok(sysctl::read("ipv4/ip_forward")?.as_deref() == Some("1"))
}

fn stop_forwarding(device: &str) -> Result<(), NetError> {
    if is_router()? { Ok(()) } else { sysctl::set_if_known(&forwarding(device), "0") }
}

/// Devices of others by which answers from outside may come, and whose forwarding is ours to
/// switch: every one with an address that does not forward already. What devices pass on that an
/// administrator made to forward is not for us to judge.
fn devices_to_route(
    socket: &mut Socket,
    links: &[Link],
    bridges: &[Bridge],
    standing: &Standing,
) -> Result<Vec<String>, NetError> {
    if is_router()? || bridges.iter().all(|bridge| bridge.internal) {
        return Ok(Vec::new());
    }
    let addressed: BTreeSet<_> = rtnl::addresses(socket)?.iter().map(|a| a.link).collect();
    let mut devices = Vec::new();
    for link in links.iter().filter(|link| addressed.contains(&link.index) && !link.is_loopback()) {
        if bridges.iter().any(|bridge| bridge.name == link.name) {
            continue;
        }
        let by_us = standing.routed().any(|device| device == link.name);
        if by_us || sysctl::read(&forwarding(&link.name))?.as_deref() == Some("0") {
            devices.push(link.name.clone());
        }
    }
    Ok(devices)
}
