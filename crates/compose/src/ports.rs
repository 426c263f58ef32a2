//! The short form of ports: `[HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]`, each port may be a range.

use std::net::IpAddr;

/// More ports than this in one service are refused.
pub(crate) const MAX_PORTS: usize = 4096;

/// One port of the short form, ranges taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShortPort {
    pub host_ip: Option<IpAddr>,
    /// A port, or a range of which any may be used; nothing asks for any free port.
    pub published: Option<String>,
    pub target: u16,
    pub protocol: String,
}

/// First and last port of `80` or `80-90`.
pub(crate) fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some((first, last))
}

/// Takes a short form apart; the error says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<ShortPort>, String> {
    let (spec, protocol) = match text.rsplit_once('/') {
        Some((spec, protocol)) => (spec, protocol.to_ascii_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is not a protocol of ports"));
    }
    let (host_ip, published, target) = sections(spec)?;
    let (first, last) =
        range(target).ok_or_else(|| format!("`{target}` is not a port or a range of ports"))?;
    let published = match published {
        "" => None,
        text => Some(range(text).ok_or_else(|| format!("`{text}` is not a port or a range of ports"))?),
    };
    let count = usize::from(last - first) + 1;
    if count > MAX_PORTS {
        return Err(format!("the range {target} has more than {MAX_PORTS} ports"));
    }
    let port = |offset: u16, published: Option<String>| ShortPort {
        host_ip,
        published,
        target: first + offset,
        protocol: protocol.clone(),
    };
    match published {
        None => Ok((0..=last - first).map(|offset| port(offset, None)).collect()),
        Some((low, high)) if high - low == last - first => {
            Ok((0..=last - first).map(|offset| port(offset, Some((low + offset).to_string()))).collect())
        }
        Some((low, high)) if first == last => Ok(vec![port(0, Some(format!("{low}-{high}")))]),
        Some((low, high)) => {
            Err(format!("the ranges {low}-{high} and {first}-{last} do not have the same length"))
        }
    }
}

/// Host address, published part and target of `spec`.
fn sections(spec: &str) -> Result<(Option<IpAddr>, &str, &str), String> {
    let (before, target) = spec.rsplit_once(':').unwrap_or(("", spec));
    if target.is_empty() {
        return Err("the port inside the service is missing".to_owned());
    }
    if before.is_empty() {
        return Ok((None, "", target));
    }
    let (ip, published) = match before.rsplit_once(':') {
        Some((ip, published)) => (Some(ip), published),
        None => (None, before),
    };
    let Some(ip) = ip else { return Ok((None, published, target)) };
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if bare.is_empty() {
        return Ok((None, published, target));
    }
    let address = bare.parse().map_err(|_| format!("`{ip}` is not an IP address"))?;
    match (address, ip.starts_with('[')) {
        (IpAddr::V6(_), false) => Err(format!("the IPv6 address {ip} must stand in square brackets")),
        _ => Ok((Some(address), published, target)),
    }
}
