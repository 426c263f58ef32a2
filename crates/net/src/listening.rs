//! Which ports a process' network namespace listens on, so that nobody has to declare them. Asked of
//! the kernel by a netlink socket inside the namespace: `/proc/<pid>/net/tcp` says the same, but
//! walks the table of every connection of the machine each time.

use crate::NetError;
use crate::namespace::on_helper_thread;
use crate::socket::Socket;
use crate::wire::{Attributes, Message, u16_at};
use rustix::thread::LinkNameSpaceType;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

/// Most that is read of one table: about 100,000 sockets. Listening sockets come first in it.
const TABLE_MAX_BYTES: u64 = 16 << 20;
/// `TCP_LISTEN` as the tables write it.
const LISTEN: &str = "0A";
/// The state of UDP sockets that are connected to nobody.
const UNCONNECTED: &str = "07";
/// Ports from here on are those of clients (`net.ipv4.ip_local_port_range`): a socket that waits
/// for one answer looks like one that serves.
const FIRST_CLIENT_PORT: u16 = 32_768;

/// `SOCK_DIAG_BY_FAMILY` of `include/uapi/linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// The one bit of `idiag_states` that stands for `TCP_LISTEN`.
const LISTEN_BIT: u32 = 1 << 10;
/// Length of `struct inet_diag_req_v2` of `include/uapi/linux/inet_diag.h`.
const REQUEST_LEN: usize = 56;
/// Where the number of the local port and its address stand in `struct inet_diag_msg`.
const PORT_AT: usize = 4;
const ADDRESS_AT: usize = 8;

/// Looks at one process' namespace again and again. It keeps that namespace alive: drop it when the
/// process has ended.
pub struct Listening {
    pid: i32,
    /// `None` where the kernel cannot be asked: no such protocol, or no right to enter.
    asked: Option<OwnedFd>,
}

impl Listening {
    pub fn of(pid: i32) -> Self {
        Self { pid, asked: enter(pid).ok() }
    }

    /// Ports in the state LISTEN on all addresses or on one that is not the loopback; sorted. Empty
    /// when the process is gone.
    pub fn tcp(&mut self) -> Vec<u16> {
        if let Some(file) = self.asked.take() {
            let mut socket = Socket::from_file(file);
            if let Ok(ports) = ask(&mut socket) {
                self.asked = Some(socket.into_file());
                return ports.into_iter().collect();
            }
        }
        ports(self.pid, ["tcp", "tcp6"], LISTEN).into_iter().collect()
    }

    /// The same for UDP, without ports that clients are given.
    pub fn udp(&self) -> Vec<u16> {
        let all = ports(self.pid, ["udp", "udp6"], UNCONNECTED);
        all.into_iter().filter(|port| *port < FIRST_CLIENT_PORT).collect()
    }
}

fn enter(pid: i32) -> Result<OwnedFd, NetError> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).map_err(NetError::file("open", &path))?;
    on_helper_thread(|| {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(NetError::kernel("enter a network namespace"))?;
        Socket::diagnosis().map(Socket::into_file).map_err(NetError::kernel("open a netlink socket"))
    })
}

fn ask(socket: &mut Socket) -> io::Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut request = [0; REQUEST_LEN];
        request[0] = family as u8;
        request[1] = libc::IPPROTO_TCP as u8;
        request[4..8].copy_from_slice(&LISTEN_BIT.to_ne_bytes());
        let request = Message::new(BY_FAMILY, libc::NLM_F_REQUEST, &request, Attributes::new());
        ports.extend(socket.list(&request)?.iter().filter_map(|answer| answered(family, &answer.body)));
    }
    Ok(ports)
}

/// The port of one answer, unless only the process itself reaches it.
fn answered(family: i32, body: &[u8]) -> Option<u16> {
    let address = body.get(ADDRESS_AT..ADDRESS_AT + 16)?;
    let address: IpAddr = match family {
        libc::AF_INET => <[u8; 4]>::try_from(&address[..4]).ok()?.into(),
        _ => <[u8; 16]>::try_from(address).ok()?.into(),
    };
    (!is_loopback(address)).then_some(u16::from_be(u16_at(body, PORT_AT)?))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn ports(pid: i32, tables: [&str; 2], state: &str) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for table in tables {
        let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) else { continue };
        ports.extend(parse(BufReader::new(file.take(TABLE_MAX_BYTES)), state));
    }
    ports
}

fn parse<'s>(table: impl BufRead + 's, state: &'s str) -> impl Iterator<Item = u16> + 's {
    table.lines().skip(1).map_while(Result::ok).filter_map(move |line| parse_line(&line, state))
}

/// `  0: 0100007F:1F90 00000000:0000 0A …`: number, local, remote, state.
fn parse_line(line: &str, state: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != state || is_loopback(parse_address(address)?) {
        return None;
    }
    u16::from_str_radix(port, 16).ok()
}

/// Addresses are printed as 32-bit words in the byte order of the host.
fn parse_address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..text.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(v4).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).into())
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_can_reach_counts() {
        let table = "  sl  local_address rem_address   st\n\
            0: 00000000:1F90 00000000:0000 0A 0 0\n\
            1: 0100007F:0016 00000000:0000 0A 0 0\n\
            2: 3A01D00A:0050 00000000:0000 0A 0 0\n\
            3: 3A01D00A:0051 0100D00A:1234 01 0 0\n\
            4: nonsense\n\
            5: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0\n\
            6: 00000000000000000000000001000000:01BC 00000000000000000000000000000000:0000 0A 0\n\
            7: 0000000000000000FFFF00000100007F:01BD 00000000000000000000000000000000:0000 0A 0\n";
        assert_eq!(parse(table.as_bytes(), LISTEN).collect::<Vec<_>>(), [8080, 80, 443]);
    }

    #[test]
    fn a_process_that_is_gone_listens_on_nothing() {
        assert_eq!(Listening::of(-1).tcp(), Vec::<u16>::new());
    }
}
