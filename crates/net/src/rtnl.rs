//! Links, addresses and routes: the few requests of rtnetlink that the networks need, and the few
//! fields of its answers. Numbers not named by `libc` are from `include/uapi/linux/if_link.h`.

use crate::NetError;
use crate::socket::{Answer, Socket};
use crate::wire::{self, Attributes, Message};
use model::subnet::Cidr;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
/// Length of `struct ifinfomsg`, `struct ifaddrmsg` and `struct rtmsg`.
const LINK_HEADER_LEN: usize = 16;
const ADDRESS_HEADER_LEN: usize = 8;
const ROUTE_HEADER_LEN: usize = 12;
const UP: u32 = libc::IFF_UP as u32;
const CREATE: i32 = libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
const REPLACE: i32 = libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;

#[derive(Debug, Clone, Default)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub flags: u32,
    pub mtu: u32,
    pub master: Option<u32>,
    /// Index of the other end of a veth, counted in the namespace of that end.
    pub peer: Option<u32>,
    pub kind: String,
    pub alias: String,
    pub hardware_address: Vec<u8>,
}

impl Link {
    pub fn is_up(&self) -> bool {
        self.flags & UP != 0
    }
    pub fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub link: u32,
    pub address: Ipv4Addr,
    pub prefix_len: u8,
}

#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub destination: Cidr,
    pub link: Option<u32>,
}

/// `struct ifinfomsg`; `index` 0 leaves the choice to the kernel or to `IFLA_IFNAME`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER_LEN] {
    let mut header = [0; LINK_HEADER_LEN];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn kind(name: &str) -> Attributes {
    Attributes::new().text(IFLA_INFO_KIND, name)
}

pub fn create_bridge(name: &str, hardware_address: [u8; 6], mtu: u32) -> Message {
    let attributes = Attributes::new()
        .text(libc::IFLA_IFNAME, name)
        .bytes(libc::IFLA_ADDRESS, &hardware_address)
        .u32(libc::IFLA_MTU, mtu)
        .nest(libc::IFLA_LINKINFO, kind("bridge"));
    Message::new(libc::RTM_NEWLINK, CREATE, &link_header(0, 0, 0), attributes)
}

/// Both ends of a veth in one request, the peer in its namespace; both are down.
pub fn create_veth(
    name: &str,
    peer: &str,
    peer_mac: [u8; 6],
    mtu: u32,
    namespace: BorrowedFd<'_>,
) -> Message {
    let peer = Attributes::new()
        .text(libc::IFLA_IFNAME, peer)
        .bytes(libc::IFLA_ADDRESS, &peer_mac)
        .u32(libc::IFLA_MTU, mtu)
        .u32(libc::IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
    let data = Attributes::new().nest_with_header(VETH_INFO_PEER, &link_header(0, 0, 0), peer);
    let attributes = Attributes::new()
        .text(libc::IFLA_IFNAME, name)
        .u32(libc::IFLA_MTU, mtu)
        .nest(libc::IFLA_LINKINFO, kind("veth").nest(IFLA_INFO_DATA, data));
    Message::new(libc::RTM_NEWLINK, CREATE, &link_header(0, 0, 0), attributes)
}

/// Changes a link found by name; `up` brings it up in the same request.
fn set_link(name: &str, up: bool, attributes: Attributes) -> Message {
    let flags = if up { UP } else { 0 };
    let attributes = attributes.text(libc::IFLA_IFNAME, name);
    Message::new(libc::RTM_NEWLINK, libc::NLM_F_REQUEST, &link_header(0, flags, flags), attributes)
}

pub fn set_alias(name: &str, alias: &str) -> Message {
    set_link(name, false, Attributes::new().bytes(libc::IFLA_IFALIAS, alias.as_bytes()))
}

pub fn set_mtu_and_address(name: &str, mtu: u32, hardware_address: [u8; 6]) -> Message {
    let attributes = Attributes::new().u32(libc::IFLA_MTU, mtu).bytes(libc::IFLA_ADDRESS, &hardware_address);
    set_link(name, false, attributes)
}

pub fn set_up(name: &str) -> Message {
    set_link(name, true, Attributes::new())
}

pub fn set_master_and_up(name: &str, master: u32) -> Message {
    set_link(name, true, Attributes::new().u32(libc::IFLA_MASTER, master))
}

/// No link-local IPv6 address is made when the link comes up. Refused without IPv6.
pub fn set_no_link_local(name: &str) -> Message {
    let mode = Attributes::new().u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    let family = Attributes::new().nest(libc::AF_INET6 as u16, mode);
    set_link(name, false, Attributes::new().nest(libc::IFLA_AF_SPEC, family))
}

pub fn delete_link(name: &str) -> Message {
    let attributes = Attributes::new().text(libc::IFLA_IFNAME, name);
    Message::new(libc::RTM_DELLINK, libc::NLM_F_REQUEST, &link_header(0, 0, 0), attributes)
}

pub fn get_link(name: &str) -> Message {
    let attributes =
        Attributes::new().text(libc::IFLA_IFNAME, name).u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    Message::new(libc::RTM_GETLINK, libc::NLM_F_REQUEST, &link_header(0, 0, 0), attributes)
}

/// `None` when there is no link of that name.
pub fn link(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetError> {
    let failed = || NetError::kernel(format!("read the interface {name}"));
    match socket.ask(&[get_link(name)]).map_err(failed())?.remove(0) {
        Ok(answers) => Ok(answers.iter().find_map(parse_link)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(failed()(error.into())),
    }
}

pub fn links(socket: &mut Socket) -> Result<Vec<Link>, NetError> {
    let attributes = Attributes::new().u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    let request = Message::new(libc::RTM_GETLINK, libc::NLM_F_REQUEST, &link_header(0, 0, 0), attributes);
    let answers = socket.list(&request).map_err(NetError::kernel("list the interfaces"))?;
    Ok(answers.iter().filter_map(parse_link).collect())
}

pub fn parse_link(answer: &Answer) -> Option<Link> {
    if answer.kind != libc::RTM_NEWLINK {
        return None;
    }
    let mut link = Link {
        index: wire::u32_at(&answer.body, 4)?,
        flags: wire::u32_at(&answer.body, 8)?,
        ..Link::default()
    };
    for (kind, payload) in wire::attributes(answer.body.get(LINK_HEADER_LEN..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = wire::text(payload),
            libc::IFLA_MTU => link.mtu = wire::u32_at(payload, 0)?,
            libc::IFLA_MASTER => link.master = wire::u32_at(payload, 0),
            libc::IFLA_LINK => link.peer = wire::u32_at(payload, 0),
            libc::IFLA_IFALIAS => link.alias = wire::text(payload),
            libc::IFLA_ADDRESS => link.hardware_address = payload.to_vec(),
            libc::IFLA_LINKINFO => {
                link.kind = wire::attribute(payload, IFLA_INFO_KIND).map(wire::text).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn address_message(kind: u16, flags: i32, address: &Address) -> Message {
    let mut header = [0; ADDRESS_HEADER_LEN];
    header[0] = libc::AF_INET as u8;
    header[1] = address.prefix_len;
    header[4..8].copy_from_slice(&address.link.to_ne_bytes());
    let octets = address.address.octets();
    let mut attributes = Attributes::new().bytes(libc::IFA_LOCAL, &octets).bytes(libc::IFA_ADDRESS, &octets);
    if address.prefix_len < 31 {
        let host_bits = u32::MAX >> address.prefix_len;
        let broadcast = Ipv4Addr::from(u32::from(address.address) | host_bits);
        attributes = attributes.bytes(libc::IFA_BROADCAST, &broadcast.octets());
    }
    Message::new(kind, flags, &header, attributes)
}

pub fn add_address(address: &Address) -> Message {
    address_message(libc::RTM_NEWADDR, REPLACE, address)
}

pub fn delete_address(address: &Address) -> Message {
    address_message(libc::RTM_DELADDR, libc::NLM_F_REQUEST, address)
}

/// All IPv4 addresses.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>, NetError> {
    let mut header = [0; ADDRESS_HEADER_LEN];
    header[0] = libc::AF_INET as u8;
    let request = Message::new(libc::RTM_GETADDR, libc::NLM_F_REQUEST, &header, Attributes::new());
    let answers = socket.list(&request).map_err(NetError::kernel("list the addresses"))?;
    Ok(answers.iter().filter_map(parse_address).collect())
}

fn parse_address(answer: &Answer) -> Option<Address> {
    let body = &answer.body;
    if answer.kind != libc::RTM_NEWADDR || i32::from(*body.first()?) != libc::AF_INET {
        return None;
    }
    let run = body.get(ADDRESS_HEADER_LEN..)?;
    let local = wire::attribute(run, libc::IFA_LOCAL).or_else(|| wire::attribute(run, libc::IFA_ADDRESS))?;
    Some(Address { link: wire::u32_at(body, 4)?, address: ipv4(local)?, prefix_len: body[1] })
}

fn ipv4(payload: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(payload).ok()?))
}

fn route_header(prefix_len: u8, kind: u8) -> [u8; ROUTE_HEADER_LEN] {
    let mut header = [0; ROUTE_HEADER_LEN];
    header[0] = libc::AF_INET as u8;
    header[1] = prefix_len;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_STATIC;
    header[6] = libc::RT_SCOPE_UNIVERSE;
    header[7] = kind;
    header
}

pub fn replace_default_route(gateway: Ipv4Addr, link: u32) -> Message {
    let attributes = Attributes::new().bytes(libc::RTA_GATEWAY, &gateway.octets()).u32(libc::RTA_OIF, link);
    Message::new(libc::RTM_NEWROUTE, REPLACE, &route_header(0, libc::RTN_UNICAST), attributes)
}

pub fn delete_default_route() -> Message {
    let header = route_header(0, libc::RTN_UNICAST);
    Message::new(libc::RTM_DELROUTE, libc::NLM_F_REQUEST, &header, Attributes::new())
}

/// The link by which packets to `destination` would leave; `None` when there is no route.
pub fn outgoing_link(socket: &mut Socket, destination: Ipv4Addr) -> Result<Option<u32>, NetError> {
    let attributes = Attributes::new().bytes(libc::RTA_DST, &destination.octets());
    let mut header = [0; ROUTE_HEADER_LEN];
    header[0] = libc::AF_INET as u8;
    header[1] = 32;
    let request = Message::new(libc::RTM_GETROUTE, libc::NLM_F_REQUEST, &header, attributes);
    match socket.ask(&[request]).map_err(NetError::kernel("look up a route"))?.remove(0) {
        Ok(answers) => Ok(answers.iter().find_map(parse_route).and_then(|route| route.link)),
        Err(_) => Ok(None), // unreachable, prohibited, blackhole: no way out by this table
    }
}

/// All IPv4 routes that are not about the host's own addresses.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>, NetError> {
    let header = route_header(0, 0);
    let request = Message::new(libc::RTM_GETROUTE, libc::NLM_F_REQUEST, &header, Attributes::new());
    let answers = socket.list(&request).map_err(NetError::kernel("list the routes"))?;
    Ok(answers.iter().filter_map(parse_route).collect())
}

fn parse_route(answer: &Answer) -> Option<Route> {
    let body = &answer.body;
    if answer.kind != libc::RTM_NEWROUTE || i32::from(*body.first()?) != libc::AF_INET {
        return None;
    }
    if *body.get(7)? != libc::RTN_UNICAST {
        return None;
    }
    let run = body.get(ROUTE_HEADER_LEN..)?;
    let destination = wire::attribute(run, libc::RTA_DST).map_or(Some(Ipv4Addr::UNSPECIFIED), ipv4)?;
    Some(Route {
        destination: Cidr::containing(destination, body[1])?,
        link: wire::attribute(run, libc::RTA_OIF).and_then(|p| wire::u32_at(p, 0)),
    })
}
