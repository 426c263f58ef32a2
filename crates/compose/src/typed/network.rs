//! Ports, exposed ports and networks of a service.

use super::{port_number, text, text_list};
use crate::diagnostics::Sink;
use crate::ports;
use crate::tree::Node;
use model::service::{Attachment, ExposedPort, NetworkMode, Protocol, PublishedPort, Transport};
use model::{NetworkName, ServiceName};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn ports(node: &Node, protocol: Protocol, sink: &mut Sink) -> Vec<PublishedPort> {
    let items = node.get("ports").map(Node::items).unwrap_or_default();
    if let Some(first) = items.first()
        && !may_publish(node, first, sink)
    {
        return Vec::new();
    }
    items.iter().filter(|node| node.is_given()).filter_map(|node| port(node, protocol, sink)).collect()
}

/// Whether the network mode leaves anything to publish.
fn may_publish(node: &Node, first: &Node, sink: &mut Sink) -> bool {
    let mode = node.get("network_mode").and_then(Node::as_text).unwrap_or_default();
    if matches!(mode, "host" | "none") {
        let message = format!("`ports` have no effect with `network_mode: {mode}`");
        sink.warning_hint(first.pos, message, "remove one of the two");
        return false;
    }
    if let Some(other) = mode.strip_prefix("service:") {
        let message = format!("a service on the network of `{other}` cannot publish ports of its own");
        sink.error_hint(first.pos, message, format!("publish them at `{other}`"));
        return false;
    }
    true
}

fn port(node: &Node, protocol: Protocol, sink: &mut Sink) -> Option<PublishedPort> {
    let Some(target) = node.get("target") else {
        if !node.has("target") {
            sink.error_hint(
                node.pos,
                "the port has no `target`",
                "add the port inside the service: `target: 80`",
            );
        }
        return None;
    };
    let target = port_number(target, sink)?;
    let transport = transport(node, sink)?;
    let host_ip = super::parsed(node, "host_ip", sink, |text| {
        text.parse::<IpAddr>().map_err(|_| format!("`{text}` is not an IP address"))
    });
    let published = published(node, sink)?;
    let protocol = match text(node, "app_protocol").as_deref() {
        Some("http") => Protocol::Http,
        Some("tcp") => Protocol::Tcp,
        _ => protocol,
    };
    Some(PublishedPort { target, published, host_ip, transport, protocol })
}

fn transport(node: &Node, sink: &mut Sink) -> Option<Transport> {
    match text(node, "protocol").as_deref() {
        None | Some("tcp") => Some(Transport::Tcp),
        Some("udp") => Some(Transport::Udp),
        Some(other) => {
            sink.error_hint(
                node.pos,
                format!("ports of protocol `{other}` are not supported"),
                "use tcp or udp",
            );
            None
        }
    }
}

/// 0 asks for any free port; of a range the first port is used.
fn published(node: &Node, sink: &mut Sink) -> Option<u16> {
    let Some(found) = node.get("published") else { return Some(0) };
    let text = found.scalar_text().unwrap_or_default();
    if text.is_empty() {
        return Some(0);
    }
    match ports::range(&text) {
        Some((first, last)) => {
            if first != last {
                let message = format!("of the published ports {text} the first is used");
                sink.warning_hint(found.pos, message, format!("publish one port: \"{first}\""));
            }
            Some(first)
        }
        None => {
            sink.error(found.pos, format!("the published port `{text}` is not a port or a range of ports"));
            None
        }
    }
}

pub(super) fn exposed(node: &Node, sink: &mut Sink) -> Vec<ExposedPort> {
    let mut all = Vec::new();
    for item in node.get("expose").map(Node::items).unwrap_or_default() {
        let Some(text) = item.scalar_text() else { continue };
        let (range, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        let transport = match protocol {
            "tcp" => Some(Transport::Tcp),
            "udp" => Some(Transport::Udp),
            _ => None,
        };
        match (ports::range(range), transport) {
            (Some((first, last)), Some(transport)) if usize::from(last - first) < ports::MAX_PORTS => {
                all.extend((first..=last).map(|port| ExposedPort { port, transport }));
            }
            _ => sink.error_hint(
                item.pos,
                format!("`{text}` in `expose` is not a port"),
                "write PORT[-PORT][/udp]",
            ),
        }
    }
    all
}

/// The mode and, where it is the stack's, the networks joined.
pub(super) fn networks(
    node: &Node,
    root: &Node,
    sink: &mut Sink,
) -> (NetworkMode, BTreeMap<NetworkName, Attachment>) {
    let mode = mode(node, sink);
    let mut joined = BTreeMap::new();
    if mode != NetworkMode::Stack {
        return (mode, joined);
    }
    for (key, entry) in node.get("networks").into_iter().flat_map(Node::entries) {
        match NetworkName::new(key.as_str()) {
            Ok(name) => {
                joined.insert(name, attachment(&entry.node, root, key, sink));
            }
            Err(error) => sink.error(entry.key, error.to_string()),
        }
    }
    if joined.is_empty() {
        let default = NetworkName::new("default").expect("`default` is a valid network name");
        joined.insert(default, Attachment::default());
    }
    (mode, joined)
}

fn mode(node: &Node, sink: &mut Sink) -> NetworkMode {
    let Some(found) = node.get("network_mode") else { return NetworkMode::Stack };
    let text = found.as_text().unwrap_or_default();
    match text {
        "bridge" | "default" | "" => NetworkMode::Stack,
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        other => {
            if let Some(Ok(service)) = other.strip_prefix("service:").map(ServiceName::new) {
                return NetworkMode::Service { service };
            }
            let message = format!("`network_mode` cannot be `{other}`");
            let hint = match other.starts_with("container:") {
                true => "use `service:NAME` for a service of this file",
                false => "use host, none or service:NAME, or join a network under `networks`",
            };
            sink.error_hint(found.pos, message, hint);
            NetworkMode::Stack
        }
    }
}

fn attachment(node: &Node, root: &Node, network: &str, sink: &mut Sink) -> Attachment {
    let address = super::parsed(node, "ipv4_address", sink, |text| {
        text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| format!("`{text}` is not an IPv4 address"))
    });
    let declared = root.get("networks").and_then(|networks| networks.get(network));
    if let (Some(address), Some(Some((base, length)))) =
        (address, declared.map(|declared| subnet_text(declared).and_then(|(text, _)| cidr(&text))))
        && !contains(base, length, address)
    {
        let pos = node.get("ipv4_address").map(|node| node.pos);
        sink.error(
            pos,
            format!("{address} is not in {base}/{length}, the subnet of the network `{network}`"),
        );
    }
    Attachment { aliases: text_list(node.get("aliases")), ipv4_address: address }
}

fn subnet_text(network: &Node) -> Option<(String, crate::diagnostics::Pos)> {
    let configs = network.get("ipam")?.get("config")?;
    let found = configs.items().iter().find_map(|config| config.get("subnet"))?;
    Some((found.as_text()?.to_owned(), found.pos))
}

/// The declared subnet of a network in CIDR form.
pub(super) fn subnet(network: &Node, sink: &mut Sink) -> Option<String> {
    let (text, pos) = subnet_text(network)?;
    if cidr(&text).is_none() {
        let message = format!("the subnet `{text}` is not an IPv4 network");
        sink.error_hint(pos, message, "write it as `10.10.0.0/24`");
        return None;
    }
    Some(text)
}

fn cidr(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, length) = text.split_once('/')?;
    let length = length.parse::<u8>().ok().filter(|length| *length <= 30)?;
    Some((address.parse().ok()?, length))
}

fn contains(base: Ipv4Addr, length: u8, address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    u32::from(base) & mask == u32::from(address) & mask
}
