//! Ports, exposed ports and networks of a service.

use super::{port_number, text, text_list, word};
use crate::diagnostics::Sink;
use crate::ports;
use crate::tree::Node;
use model::service::{Attachment, ExposedPort, NetworkMode, Protocol, PublishedPort, Transport};
use model::subnet::Cidr;
use model::{NetworkName, Service, ServiceName};
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
    let (published, published_last) = published(node, sink)?;
    let app_protocol = text(node, "app_protocol");
    let http2 = matches!(app_protocol.as_deref(), Some("h2c" | "grpc" | "http2" | "kubernetes.io/h2c"));
    let protocol = match app_protocol.as_deref() {
        Some("http") => Protocol::Http,
        _ if http2 => Protocol::Http,
        Some("tcp") => Protocol::Tcp,
        _ => protocol,
    };
    Some(PublishedPort { target, published, published_last, host_ip, transport, protocol, http2 })
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

/// First and last port, of which any free one is taken; the last is 0 if there is but one. 0 asks for
/// any free port.
fn published(node: &Node, sink: &mut Sink) -> Option<(u16, u16)> {
    let Some(found) = node.get("published") else { return Some((0, 0)) };
    let text = found.scalar_text().unwrap_or_default();
    if text.is_empty() {
        return Some((0, 0));
    }
    match ports::range(&text) {
        Some((first, last)) if first == last => Some((first, 0)),
        Some((0, _)) => {
            sink.error(found.pos, format!("the ports {text} begin at 0, which is no port"));
            None
        }
        Some(range) => Some(range),
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
    let mode = mode(node, root, sink);
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
    service_mac(node, &mut joined, sink);
    (mode, joined)
}

fn mode(node: &Node, root: &Node, sink: &mut Sink) -> NetworkMode {
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
            if let Some(container) = other.strip_prefix("container:") {
                return of_container(container, found, root, sink);
            }
            let message = format!("`network_mode` cannot be `{other}`");
            let hint = "use host, none or service:NAME, or join a network under `networks`";
            sink.error_hint(found.pos, message, hint);
            NetworkMode::Stack
        }
    }
}

/// A container is known by the name that a service of this stack gives it.
fn of_container(container: &str, found: &Node, root: &Node, sink: &mut Sink) -> NetworkMode {
    let services = root.get("services").into_iter().flat_map(Node::entries);
    let owner = services.filter_map(|(name, entry)| {
        let is_named = word(&entry.node, "container_name").as_deref() == Some(container);
        is_named.then(|| ServiceName::new(name.as_str()).ok()).flatten()
    });
    match owner.into_iter().next() {
        Some(service) => NetworkMode::Service { service },
        None => {
            let message = format!("no service of this stack has the container name `{container}`");
            let hint =
                "only networks of this stack's own services can be shared: `network_mode: service:NAME`";
            sink.error_hint(found.pos, message, hint);
            NetworkMode::Stack
        }
    }
}

fn attachment(node: &Node, root: &Node, network: &str, sink: &mut Sink) -> Attachment {
    let ipv4_address = super::parsed(node, "ipv4_address", sink, |text| {
        text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| format!("`{text}` is not an IPv4 address"))
    });
    if let Some(IpAddr::V4(address)) = ipv4_address {
        let declared = root.get("networks").and_then(|networks| networks.get(network));
        fits(address, declared, network, node, sink);
    }
    let number = |key: &str| node.get(key).and_then(Node::as_int).unwrap_or_default();
    let (priority, gw_priority) = (number("priority"), number("gw_priority"));
    Attachment {
        aliases: text_list(node.get("aliases")),
        ipv4_address,
        mac_address: super::parsed(node, "mac_address", sink, mac),
        interface_name: super::parsed(node, "interface_name", sink, interface),
        link_local_ips: link_local(node, sink),
        priority,
        gw_priority,
    }
}

/// A fixed address needs a subnet that is known, and must be in it.
fn fits(address: Ipv4Addr, declared: Option<&Node>, network: &str, node: &Node, sink: &mut Sink) {
    let pos = node.get("ipv4_address").map(|node| node.pos);
    let subnet = declared.and_then(|declared| {
        ipam_configs(declared).find_map(|config| cidr(config.get("subnet")?.as_text()?))
    });
    match subnet {
        Some(subnet) if !subnet.contains(address) => {
            let message = format!("{address} is not in {subnet}, the subnet of the network `{network}`");
            sink.error(pos, message);
        }
        Some(_) => {}
        None if declared.is_some_and(|declared| super::flag(declared, "external")) => {}
        None => {
            let message = format!("{address} is in no subnet: that of the network `{network}` is chosen");
            let hint = format!("declare `networks.{network}.ipam.config: [{{subnet: …}}]`");
            sink.error_hint(pos, message, hint);
        }
    }
}

/// `mac_address` of the service is that of the network it joins first.
fn service_mac(node: &Node, joined: &mut BTreeMap<NetworkName, Attachment>, sink: &mut Sink) {
    let Some(address) = super::parsed(node, "mac_address", sink, mac).filter(|_| !joined.is_empty()) else {
        return;
    };
    let first = joined.iter().min_by_key(|(name, a)| (-a.priority, (*name).clone())).map(|(n, _)| n.clone());
    if let Some(attachment) = first.and_then(|name| joined.get_mut(&name)) {
        attachment.mac_address.get_or_insert(address);
    }
}

/// Six hexadecimal numbers, of one device.
fn mac(text: &str) -> Result<String, String> {
    let bytes: Option<Vec<u8>> = text
        .split([':', '-'])
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    match bytes {
        Some(bytes) if bytes.len() == 6 && bytes[0] & 1 == 0 => {
            Ok(text.to_ascii_lowercase().replace('-', ":"))
        }
        Some(bytes) if bytes.len() == 6 => {
            Err(format!("`{text}` is the address of a group, not of a device"))
        }
        _ => Err(format!("`{text}` is not a hardware address such as `02:42:ac:11:65:43`")),
    }
}

/// By the rule of Linux for names of interfaces.
fn interface(text: &str) -> Result<String, String> {
    let is_good = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%');
    match (1..=15).contains(&text.len()) && text.bytes().all(is_good) && !matches!(text, "." | ".." | "lo") {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("`{text}` is not a name of an interface, which has at most 15 letters and digits"))
        }
    }
}

fn link_local(node: &Node, sink: &mut Sink) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for item in node.get("link_local_ips").map(Node::items).unwrap_or_default() {
        let text = item.as_text().unwrap_or_default();
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if address.is_link_local() => all.push(IpAddr::V4(address)),
            Ok(IpAddr::V6(_)) => {
                let message = format!("the link gets no address {text}: networks are IPv4");
                sink.warning_hint(item.pos, message, "give one in 169.254.0.0/16");
            }
            _ => sink.error_hint(
                item.pos,
                format!("`{text}` is not valid on a single link only"),
                "give one in 169.254.0.0/16",
            ),
        }
    }
    all
}

pub(super) fn ipam_configs(network: &Node) -> impl Iterator<Item = &Node> {
    let configs = network.get("ipam").and_then(|ipam| ipam.get("config"));
    configs.map(Node::items).unwrap_or_default().iter()
}

/// The network that `text` lies in; bits of the host may be set in it.
pub(super) fn cidr(text: &str) -> Option<Cidr> {
    let (address, length) = text.split_once('/')?;
    let length = length.parse::<u8>().ok().filter(|length| *length <= 32)?;
    Cidr::containing(address.parse().ok()?, length)
}

/// `links` and `external_links`: the names that this service alone knows others by.
pub(super) fn links(node: &Node) -> BTreeMap<String, String> {
    let lists = ["links", "external_links"].into_iter().filter_map(|key| node.get(key));
    lists
        .flat_map(Node::items)
        .filter_map(|link| link.as_text()?.split_once(':'))
        .filter(|(name, alias)| name != alias)
        .map(|(name, alias)| (alias.to_owned(), name.to_owned()))
        .collect()
}

/// What one service cannot know: ports and addresses that two want, or several replicas of one.
pub(super) fn check(root: &Node, services: &BTreeMap<ServiceName, Service>, sink: &mut Sink) {
    one_service_per_host_port(root, services, sink);
    one_instance_per_address(root, services, sink);
}

/// Two services cannot publish the same port of the same address of this host. Of a range each takes
/// what is free.
fn one_service_per_host_port(root: &Node, services: &BTreeMap<ServiceName, Service>, sink: &mut Sink) {
    let mut taken = BTreeMap::<_, Vec<(Option<IpAddr>, &ServiceName)>>::new();
    for (name, service) in services {
        let fixed = |port: &&PublishedPort| port.published != 0 && port.published_last == 0;
        for port in service.ports.iter().filter(fixed) {
            let here = port.host_ip.filter(|ip| !ip.is_unspecified());
            let others = taken.entry((port.published, port.transport)).or_default();
            let clash = others.iter().find(|(there, other)| {
                *other != name && (here.is_none() || there.is_none() || *there == here)
            });
            if let Some((_, other)) = clash {
                let pos = root.get("services").and_then(|services| services.get(name.as_str())?.get("ports"));
                let message =
                    format!("the services `{other}` and `{name}` both publish port {}", port.published);
                sink.error_hint(pos.map(|node| node.pos), message, "publish one of them on another port");
            }
            others.push((here, name));
        }
    }
}

fn one_instance_per_address(root: &Node, services: &BTreeMap<ServiceName, Service>, sink: &mut Sink) {
    let mut taken = BTreeMap::<(&NetworkName, String), &ServiceName>::new();
    for (name, service) in services {
        let pos = root.get("services").and_then(|all| Some(all.get(name.as_str())?.get("networks")?.pos));
        for (network, attachment) in &service.networks {
            let fixed = [attachment.ipv4_address.map(|a| a.to_string()), attachment.mac_address.clone()];
            for address in fixed.into_iter().flatten() {
                if service.replicas > 1 {
                    let message = format!(
                        "the {} instances of `{name}` cannot all have the address {address}",
                        service.replicas
                    );
                    sink.error_hint(pos, message, "let the addresses be chosen, or declare one replica");
                } else if let Some(other) = taken.insert((network, address.clone()), name) {
                    let message =
                        format!("the services `{other}` and `{name}` both have the address {address}");
                    sink.error_hint(pos, message, "give one of them another");
                }
            }
        }
    }
}
