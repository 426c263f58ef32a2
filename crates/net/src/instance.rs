//! The network of one instance: a namespace, and in it one veth per link, whose other end is a
//! port of the link's bridge. Whatever is half-made or wrong is completed or made anew.

use crate::NetError;
use crate::bridge::{hardware_address, ipv4};
use crate::namespace::{self, Namespace};
use crate::rtnl::{self, Address};
use crate::socket::{Answer, Socket};
use crate::wire::Message;
use model::instance::Link;
use model::{Digest, InstanceId};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::path::Path;

/// Networks one instance may be on.
const LINKS_MAX: usize = 32;
/// Of 169.254.0.0/16 (RFC 3927).
const LINK_LOCAL_LEN: u8 = 16;
/// Hexadecimal digits of the hash of the id in a name; with `jv` and two digits: 15 characters.
const HASH_LEN: usize = 11;

/// Name of the host's end of an instance's link.
fn host_name(id: &InstanceId, index: usize) -> String {
    format!("jv{}{index}", &Digest::of(id.as_str().as_bytes()).hex()[..HASH_LEN])
}

/// As declared, else `ethN`.
fn inner_name(index: usize, link: &Link) -> String {
    link.interface.clone().unwrap_or_else(|| format!("eth{index}"))
}

/// As declared, else one that belongs to the address.
fn hardware_address_of(link: &Link, address: Ipv4Addr) -> Result<[u8; 6], NetError> {
    let Some(text) = &link.mac else { return Ok(hardware_address(address)) };
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()).ok_or_else(|| NetError::Spec {
        name: link.network.bridge.clone(),
        reason: format!("`{text}` is not a hardware address"),
    })
}

/// One link with everything it needs looked up.
struct Port {
    host_name: String,
    inner_name: String,
    bridge: rtnl::Link,
    address: Ipv4Addr,
    prefix_len: u8,
    hardware_address: [u8; 6],
    /// Valid on this link only.
    link_local: Vec<Ipv4Addr>,
}

/// Makes the instance's namespace at `netns_path` with its links, addresses and default route, or
/// completes it. The bridges must be there. The calling thread stays where it is.
pub fn ensure_instance(netns_path: &Path, id: &InstanceId, links: &[Link]) -> Result<(), NetError> {
    if links.len() > LINKS_MAX {
        let reason = format!("{} networks, an instance may be on {LINKS_MAX}", links.len());
        return Err(NetError::Spec { name: id.to_string(), reason });
    }
    let mut host = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    let ports = ports(&mut host, id, links)?;
    let mut namespace = Namespace::ensure(netns_path)?;
    let inner = ensure_pairs(&mut host, &mut namespace, id, &ports)?;
    ensure_host_ends(&mut host, &ports)?;
    ensure_inside(&mut namespace.socket, &ports, &inner, default_gateway(links)?)
}

/// Removes the links and the namespace; what is not there is fine.
pub fn remove_instance(netns_path: &Path, id: &InstanceId) -> Result<(), NetError> {
    let mut host = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    let requests: Vec<_> = (0..LINKS_MAX).map(|index| rtnl::delete_link(&host_name(id, index))).collect();
    delete(&mut host, &requests, || format!("remove the links of {id}"))?;
    namespace::remove(netns_path)
}

fn ports(host: &mut Socket, id: &InstanceId, links: &[Link]) -> Result<Vec<Port>, NetError> {
    let mut ports = Vec::with_capacity(links.len());
    for (index, link) in links.iter().enumerate() {
        let name = &link.network.bridge;
        let bridge = rtnl::link(host, name)?.filter(|l| l.kind == "bridge");
        let address = ipv4(name, link.address)?;
        ports.push(Port {
            host_name: host_name(id, index),
            inner_name: inner_name(index, link),
            bridge: bridge.ok_or_else(|| NetError::NoBridge(name.clone()))?,
            address,
            prefix_len: link.network.prefix_len,
            hardware_address: hardware_address_of(link, address)?,
            link_local: link.link_local.iter().map(|a| ipv4(name, *a)).collect::<Result<_, _>>()?,
        });
    }
    Ok(ports)
}

/// The gateway of the first network that has a way out.
fn default_gateway(links: &[Link]) -> Result<Option<(usize, Ipv4Addr)>, NetError> {
    let open = links.iter().enumerate().find(|(_, link)| !link.network.internal);
    open.map(|(index, link)| Ok((index, ipv4(&link.network.bridge, link.network.gateway)?))).transpose()
}

/// Every link has both of its ends, here and in the namespace; returns the inner ends in order.
fn ensure_pairs(
    host: &mut Socket,
    namespace: &mut Namespace,
    id: &InstanceId,
    ports: &[Port],
) -> Result<Vec<rtnl::Link>, NetError> {
    let failed = || format!("make the links of {id}");
    let inside = rtnl::links(&mut namespace.socket)?;
    let outer: Vec<_> = ports.iter().map(|p| rtnl::get_link(&p.host_name)).collect();
    let outer = host.ask(&outer).map_err(NetError::kernel(failed()))?;
    let mut stale_here = Vec::new();
    let mut stale_inside = Vec::new();
    let mut missing = Vec::new();
    for (port, outer) in ports.iter().zip(outer) {
        let outer = outer.ok().and_then(|answers| answers.iter().find_map(rtnl::parse_link));
        let inner = inside.iter().find(|link| link.name == port.inner_name);
        let whole = match (&outer, inner) {
            (Some(outer), Some(inner)) => {
                outer.kind == "veth" && outer.peer == Some(inner.index) && inner.peer == Some(outer.index)
            }
            _ => false,
        };
        if whole {
            continue;
        }
        stale_here.extend(outer.map(|link| rtnl::delete_link(&link.name)));
        stale_inside.extend(inner.map(|link| rtnl::delete_link(&link.name)));
        let mac = port.hardware_address;
        let (mtu, file) = (port.bridge.mtu, namespace.file());
        missing.push(rtnl::create_veth(&port.host_name, &port.inner_name, mac, mtu, file));
    }
    let beyond = inside.iter().filter(|link| link.kind == "veth");
    let beyond = beyond.filter(|link| ports.iter().all(|port| port.inner_name != link.name));
    stale_inside.extend(beyond.map(|link| rtnl::delete_link(&link.name)));
    if !stale_here.is_empty() {
        delete(host, &stale_here, failed)?;
    }
    if !stale_inside.is_empty() {
        delete(&mut namespace.socket, &stale_inside, failed)?;
    }
    all(host.ask(&missing), failed)?;
    inner_ends(&mut namespace.socket, ports, failed)
}

fn inner_ends(
    socket: &mut Socket,
    ports: &[Port],
    failed: impl Fn() -> String,
) -> Result<Vec<rtnl::Link>, NetError> {
    let requests: Vec<_> = ports.iter().map(|port| rtnl::get_link(&port.inner_name)).collect();
    let answers = all(socket.ask(&requests), failed)?;
    Ok(answers.iter().filter_map(|answers| answers.iter().find_map(rtnl::parse_link)).collect())
}

/// The host's ends are ports of their bridges, up, and have no address of their own.
fn ensure_host_ends(host: &mut Socket, ports: &[Port]) -> Result<(), NetError> {
    let mut requests = Vec::new();
    for port in ports {
        requests.push(rtnl::set_no_link_local(&port.host_name));
        requests.push(rtnl::set_master_and_up(&port.host_name, port.bridge.index));
    }
    let failed = || "connect a link to its bridge".to_owned();
    let results = host.ask(&requests).map_err(NetError::kernel(failed()))?;
    for (index, result) in results.into_iter().enumerate() {
        let about_ipv6 = index % 2 == 0;
        match result {
            Err(error) if !about_ipv6 => return Err(NetError::kernel(failed())(error)),
            _ => {} // a kernel without IPv6 makes no IPv6 address either
        }
    }
    Ok(())
}

/// Inside: loopback and links up, exactly the declared addresses, the default route.
fn ensure_inside(
    socket: &mut Socket,
    ports: &[Port],
    inner: &[rtnl::Link],
    gateway: Option<(usize, Ipv4Addr)>,
) -> Result<(), NetError> {
    let mut requests = vec![rtnl::set_up("lo")];
    let present = rtnl::addresses(socket)?;
    let mut stale = Vec::new();
    for (port, link) in ports.iter().zip(inner) {
        let on_link = |address, prefix_len| Address { link: link.index, address, prefix_len };
        let mut wanted = vec![on_link(port.address, port.prefix_len)];
        wanted.extend(port.link_local.iter().map(|address| on_link(*address, LINK_LOCAL_LEN)));
        stale.extend(present.iter().filter(|a| a.link == link.index && !wanted.contains(a)));
        requests.extend(wanted.iter().filter(|a| !present.contains(a)).map(rtnl::add_address));
        if !link.is_up() {
            requests.push(rtnl::set_up(&port.inner_name));
        }
        if link.mtu != port.bridge.mtu || link.hardware_address != port.hardware_address {
            let mac = port.hardware_address;
            requests.push(rtnl::set_mtu_and_address(&port.inner_name, port.bridge.mtu, mac));
        }
    }
    let failed = || "set the addresses of an instance".to_owned();
    let stale: Vec<_> = stale.into_iter().map(rtnl::delete_address).collect();
    if !stale.is_empty() {
        delete(socket, &stale, failed)?;
    }
    requests
        .extend(gateway.and_then(|(index, gateway)| {
            Some(rtnl::replace_default_route(gateway, inner.get(index)?.index))
        }));
    all(socket.ask(&requests), failed)?;
    if gateway.is_none() {
        delete(socket, &[rtnl::delete_default_route()], failed)?;
    }
    Ok(())
}

/// The answers to all requests, or the first refusal.
fn all(
    results: std::io::Result<Vec<Result<Vec<Answer>, Errno>>>,
    what: impl Fn() -> String,
) -> Result<Vec<Vec<Answer>>, NetError> {
    let results = results.map_err(NetError::kernel(what()))?;
    results.into_iter().map(|result| result.map_err(NetError::kernel(what()))).collect()
}

/// Deletions: what is gone already is fine.
fn delete(socket: &mut Socket, requests: &[Message], what: impl Fn() -> String) -> Result<(), NetError> {
    for result in socket.ask(requests).map_err(NetError::kernel(what()))? {
        match result {
            Ok(_) | Err(Errno::NODEV | Errno::ADDRNOTAVAIL | Errno::SRCH) => {}
            Err(error) => return Err(NetError::kernel(what())(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_links_fit_and_differ() {
        let id = |text: &str| InstanceId::new(text).unwrap();
        let long = id(&"a".repeat(32));
        assert!(host_name(&long, LINKS_MAX - 1).len() <= 15);
        assert_ne!(host_name(&id("web1"), 0), host_name(&id("web2"), 0));
        assert_ne!(host_name(&id("web1"), 0), host_name(&id("web1"), 1));
    }
}
