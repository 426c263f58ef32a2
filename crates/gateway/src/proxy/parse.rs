//! The head by which a load balancer in front says for whom it speaks: versions 1 and 2 of the PROXY
//! protocol (haproxy.org, proxy-protocol.txt). Pure. Whatever is not exactly as the protocol has it is
//! refused: what follows it would be read as something else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest head of version 1, with its end of line.
const MAX_LINE: usize = 107;
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// Longest rest of version 2: addresses and what else is told; nothing known comes near it.
const MAX_REST: usize = 4096;

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The beginning of a head.
    Begun,
    /// A whole head, which is so long.
    Whole { length: usize, told: Option<Told> },
}

/// Who speaks, and where it connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// An error says what is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Head, &'static str> {
    let begins = |mark: &[u8]| {
        let length = mark.len().min(bytes.len());
        bytes[..length] == mark[..length]
    };
    if begins(SIGNATURE) {
        return second(bytes);
    }
    if begins(b"PROXY ") {
        return first(bytes);
    }
    Err("it does not begin with a head of the PROXY protocol")
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 40000 443`, or `PROXY UNKNOWN` and anything.
fn first(bytes: &[u8]) -> Result<Head, &'static str> {
    const WRONG: &str = "its PROXY line is not valid";
    let Some(end) = bytes.windows(2).take(MAX_LINE - 1).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_LINE { Ok(Head::Begun) } else { Err("its PROXY line is too long") };
    };
    let length = end + 2;
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| WRONG)?;
    let words: Vec<&str> = line.split(' ').collect();
    let (from, to, ports) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(Head::Whole { length, told: None }),
        ["PROXY", "TCP4", from, to, a, b] => (address::<Ipv4Addr>(from), address::<Ipv4Addr>(to), [a, b]),
        ["PROXY", "TCP6", from, to, a, b] => (address::<Ipv6Addr>(from), address::<Ipv6Addr>(to), [a, b]),
        _ => return Err(WRONG),
    };
    let (Some(from), Some(to), [Some(a), Some(b)]) = (from, to, ports.map(port)) else { return Err(WRONG) };
    let told = Told { from: SocketAddr::new(from, a), to: SocketAddr::new(to, b) };
    Ok(Head::Whole { length, told: Some(told) })
}

fn address<A: std::str::FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<A>().ok().map(Into::into)
}

fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// The signature, version and command, family, length, addresses, and more that is not looked at.
fn second(bytes: &[u8]) -> Result<Head, &'static str> {
    if let Some(version) = bytes.get(12)
        && !matches!(version, 0x20 | 0x21)
    {
        return Err("its PROXY head has an unknown version or command");
    }
    let Some(fixed) = bytes.get(..FIXED) else { return Ok(Head::Begun) };
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest > MAX_REST {
        return Err("its PROXY head is too long");
    }
    let Some(body) = bytes.get(FIXED..FIXED + rest) else { return Ok(Head::Begun) };
    let length = FIXED + rest;
    // The load balancer speaks for itself, or for what has no address that means something here.
    if fixed[12] == 0x20 || matches!(fixed[13], 0x00 | 0x31) {
        return Ok(Head::Whole { length, told: None });
    }
    let told = match fixed[13] {
        0x11 => pair::<4>(body, |octets| Ipv4Addr::from(octets).into()),
        0x21 => pair::<16>(body, |octets| Ipv6Addr::from(octets).into()),
        _ => return Err("its PROXY head is not for TCP"),
    };
    let told = told.ok_or("its PROXY head is too short for its addresses")?;
    Ok(Head::Whole { length, told: Some(told) })
}

/// Two addresses of `N` bytes, then two ports.
fn pair<const N: usize>(body: &[u8], address: fn([u8; N]) -> IpAddr) -> Option<Told> {
    let (from, rest) = body.split_first_chunk::<N>()?;
    let (to, rest) = rest.split_first_chunk::<N>()?;
    let ([a, b], rest) = rest.split_first_chunk::<2>().map(|(port, rest)| (*port, rest))?;
    let [c, d] = *rest.first_chunk::<2>()?;
    let socket =
        |octets: &[u8; N], port: [u8; 2]| SocketAddr::new(address(*octets), u16::from_be_bytes(port));
    Some(Told { from: socket(from, [a, b]), to: socket(to, [c, d]) })
}

#[cfg(test)]
mod tests {
    use super::super::write;
    use super::*;
    use model::traffic::ProxyVersion;
    use proptest::prelude::*;

    fn told(from: &str, to: &str) -> Option<Told> {
        let socket = |text: &str| text.parse().expect("a socket address");
        Some(Told { from: socket(from), to: socket(to) })
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expect) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", told("192.0.2.1:40000", "198.51.100.2:443")),
            ("PROXY TCP6 2001:db8::1 ::1 1 0\r\n", told("[2001:db8::1]:1", "[::1]:0")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ::1 1 2\r\n", None),
        ] {
            let whole = Head::Whole { length: line.len(), told: expect };
            assert_eq!(parse(format!("{line}GET / HTTP/1.1").as_bytes()), Ok(whole), "{line}");
            for end in 0..line.len() {
                assert_eq!(parse(&line.as_bytes()[..end]), Ok(Head::Begun), "{:?}", &line[..end]);
            }
        }
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
            "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        assert!(parse(format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE)).as_bytes()).is_err());
    }

    #[test]
    fn heads_of_version_2() {
        let head = |version: u8, family: u8, body: &[u8]| {
            let mut head = SIGNATURE.to_vec();
            head.extend_from_slice(&[version, family]);
            head.extend_from_slice(&(body.len() as u16).to_be_bytes());
            head.extend_from_slice(body);
            head
        };
        let body = [192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 1, 187];
        let more = [&body[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        for (head, expect) in [
            (head(0x21, 0x11, &body), told("192.0.2.1:40000", "198.51.100.2:443")),
            (head(0x21, 0x11, &more), told("192.0.2.1:40000", "198.51.100.2:443")),
            (head(0x20, 0x00, &[]), None),
            (head(0x21, 0x00, &[1, 2, 3]), None),
            (head(0x21, 0x31, &[0; 216]), None),
        ] {
            assert_eq!(parse(&head), Ok(Head::Whole { length: head.len(), told: expect }));
            assert!((0..head.len()).all(|end| parse(&head[..end]) == Ok(Head::Begun)));
        }
        for head in [
            head(0x22, 0x11, &body),
            head(0x11, 0x11, &body),
            head(0x21, 0x12, &body),
            head(0x21, 0x11, &body[..11]),
            head(0x21, 0x21, &body),
            head(0x21, 0x11, &[0; MAX_REST + 1]),
        ] {
            assert!(parse(&head).is_err(), "{head:02x?}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_without_harm(
            mark in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [mark, &rest].concat();
            if let Ok(Head::Whole { length, .. }) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
                // What follows changes nothing.
                prop_assert_eq!(parse(&bytes), parse(&bytes[..length]));
            }
        }

        #[test]
        fn what_is_written_is_read(from: SocketAddr, to: SocketAddr, second: bool) {
            let version = if second { ProxyVersion::V2 } else { ProxyVersion::V1 };
            let head = write::head(version, from, to);
            let Ok(Head::Whole { length, told: Some(told) }) = parse(&head) else {
                return Err(TestCaseError::fail(format!("{head:02x?}")));
            };
            prop_assert_eq!(length, head.len());
            let plain = |ip: IpAddr| ip.to_canonical();
            prop_assert_eq!((plain(told.from.ip()), told.from.port()), (plain(from.ip()), from.port()));
            prop_assert_eq!((plain(told.to.ip()), told.to.port()), (plain(to.ip()), to.port()));
        }
    }
}
