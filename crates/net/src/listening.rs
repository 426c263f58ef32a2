//! Which ports a process' network namespace listens on, from `/proc/<pid>/net/tcp`, `udp` and their
//! like for IPv6, so that nobody has to declare them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Most that is read of one table: about 100,000 sockets. Listening sockets come first in it.
const TABLE_MAX_BYTES: u64 = 16 << 20;
/// `TCP_LISTEN` as the tables write it.
const LISTEN: &str = "0A";
/// The state of UDP sockets that are connected to nobody.
const UNCONNECTED: &str = "07";
/// Ports from here on are those of clients (`net.ipv4.ip_local_port_range`): a socket that waits
/// for one answer looks like one that serves.
const FIRST_CLIENT_PORT: u16 = 32_768;

/// Ports in the state LISTEN on all addresses or on one that is not the loopback; sorted. Empty
/// when the process is gone.
pub fn listening(pid: i32) -> Vec<u16> {
    ports(pid, ["tcp", "tcp6"], LISTEN).into_iter().collect()
}

/// The same for UDP, without ports that clients are given.
pub fn listening_udp(pid: i32) -> Vec<u16> {
    let all = ports(pid, ["udp", "udp6"], UNCONNECTED);
    all.into_iter().filter(|port| *port < FIRST_CLIENT_PORT).collect()
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
    if fields.nth(1)? != state || is_loopback(address)? {
        return None;
    }
    u16::from_str_radix(port, 16).ok()
}

/// Addresses are printed as 32-bit words in the byte order of the host.
fn is_loopback(address: &str) -> Option<bool> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(v4).is_loopback());
    }
    let v6 = Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?);
    Some(v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()))
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
        assert_eq!(listening(-1), Vec::<u16>::new());
    }
}
