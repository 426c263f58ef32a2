//! The head by which the gateway tells an instance for whom it speaks. Pure.

use super::parse::SIGNATURE;
use model::traffic::ProxyVersion;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The client, and the address it connected to.
pub fn head(version: ProxyVersion, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let ends = Ends::new(from, to);
    match version {
        ProxyVersion::V1 => ends.line().into_bytes(),
        ProxyVersion::V2 => ends.bytes(),
    }
}

/// Both of one family, as the protocol has it.
enum Ends {
    V4([[u8; 4]; 2], [u16; 2]),
    V6([Ipv6Addr; 2], [u16; 2]),
}

impl Ends {
    fn new(from: SocketAddr, to: SocketAddr) -> Self {
        let ports = [from.port(), to.port()];
        let mapped = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        match (from.ip().to_canonical(), to.ip().to_canonical()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Self::V4([from.octets(), to.octets()], ports),
            (from, to) => Self::V6([from, to].map(mapped), ports),
        }
    }

    fn line(&self) -> String {
        match self {
            Self::V4(ips, [a, b]) => {
                let [from, to] = ips.map(IpAddr::from);
                format!("PROXY TCP4 {from} {to} {a} {b}\r\n")
            }
            Self::V6([from, to], [a, b]) => format!("PROXY TCP6 {from} {to} {a} {b}\r\n"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let (family, ips, ports) = match self {
            Self::V4(ips, ports) => (0x11, ips.concat(), ports),
            Self::V6(ips, ports) => (0x21, ips.map(|ip| ip.octets()).concat(), ports),
        };
        let mut head = SIGNATURE.to_vec();
        head.extend_from_slice(&[0x21, family]);
        head.extend_from_slice(&(ips.len() as u16 + 4).to_be_bytes());
        head.extend_from_slice(&ips);
        ports.iter().for_each(|port| head.extend_from_slice(&port.to_be_bytes()));
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_say_the_same() {
        let socket = |text: &str| text.parse::<SocketAddr>().expect("a socket address");
        let (from, to) = (socket("192.0.2.1:40000"), socket("[::ffff:198.51.100.2]:443"));
        let line = head(ProxyVersion::V1, from, to);
        assert_eq!(line, b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n");
        let bytes = head(ProxyVersion::V2, from, to);
        assert_eq!(bytes.len(), 28);
        assert_eq!(bytes[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 1, 187]);
        let line = head(ProxyVersion::V1, from, socket("[2001:db8::1]:443"));
        assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 40000 443\r\n");
    }
}
