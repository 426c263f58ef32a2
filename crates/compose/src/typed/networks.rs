//! The networks of the stack: their names on this host, and how their addresses are laid out.

use super::{Used, flag, resource_name, texts_of, word};
use crate::diagnostics::{Pos, Sink};
use crate::tree::Node;
use model::stack::Network;
use model::subnet::Cidr;
use model::{NetworkName, StackName};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Packet sizes that Linux takes for a link with IPv4.
const MTU: std::ops::RangeInclusive<u32> = 68..=65_535;
/// The one option of the bridge driver that has an effect, by its two names.
const MTU_OPTIONS: [&str; 2] = ["com.docker.network.driver.mtu", "mtu"];

pub(super) fn networks(
    root: &Node,
    stack: &StackName,
    used: &Used,
    sink: &mut Sink,
) -> BTreeMap<NetworkName, Network> {
    let declared = root.get("networks");
    let missing = Node::null(Pos::default());
    let one = |key: &NetworkName| {
        let node = declared.and_then(|map| map.get(key.as_str())).unwrap_or(&missing);
        (key.clone(), network(node, key, stack, sink))
    };
    used.networks.iter().map(one).collect()
}

fn network(node: &Node, key: &NetworkName, stack: &StackName, sink: &mut Sink) -> Network {
    let external = flag(node, "external");
    let name = resource_name(node, key.as_str(), stack, external);
    if external && matches!(name.as_str(), "host" | "none" | "bridge") {
        let message = format!("`{name}` is no network that services join");
        let hint = match name.as_str() {
            "bridge" => "leave `networks` out: the stack has a network of its own".to_owned(),
            _ => format!("give the service `network_mode: {name}` instead of `networks`"),
        };
        sink.error_hint(node.pos, message, hint);
    }
    driver(node, key, sink);
    let plan = address_plan(node, sink);
    Network {
        name,
        external,
        internal: flag(node, "internal"),
        subnet: plan.subnet.map(|subnet| subnet.to_string()),
        gateway: plan.gateway,
        ip_range: plan.range.map(|range| range.to_string()),
        reserved: plan.reserved,
        mtu: mtu(node, sink),
        labels: texts_of(node.get("labels")),
    }
}

/// What fits is a bridge; what is something else on purpose is refused.
fn driver(node: &Node, key: &NetworkName, sink: &mut Sink) {
    let pos = node.get("driver").map(|driver| driver.pos);
    match word(node, "driver").as_deref() {
        None | Some("bridge" | "default") => {}
        Some("overlay") => {
            let message = format!("the network `{key}` is a bridge of this host: there is one host");
            sink.warning_hint(pos.unwrap_or(node.pos), message, "`driver: bridge` says the same");
        }
        Some(mode @ ("host" | "none")) => {
            let message = format!("`{mode}` is no network that services join");
            sink.error_hint(pos, message, format!("give the service `network_mode: {mode}` instead"));
        }
        Some(other) => {
            let message = format!("the network `{key}` cannot have the driver `{other}`");
            let hint =
                "networks are bridges: leave `driver` out and publish ports, or use `network_mode: host`";
            sink.error_hint(pos, message, hint);
        }
    }
    if flag(node, "enable_ipv6") {
        let pos = node.get("enable_ipv6").map_or(node.pos, |node| node.pos);
        let message = format!("instances on the network `{key}` get no IPv6 address");
        sink.warning_hint(pos, message, "published ports can have one: `ports: [\"[::]:80:80\"]`");
    }
    if node.get("enable_ipv4").and_then(Node::as_bool) == Some(false) {
        let pos = node.get("enable_ipv4").map(|node| node.pos);
        sink.error_hint(
            pos,
            format!("the network `{key}` cannot be without IPv4"),
            "leave `enable_ipv4` out",
        );
    }
}

fn mtu(node: &Node, sink: &mut Sink) -> Option<u32> {
    let mut mtu = None;
    for (name, entry) in node.get("driver_opts").into_iter().flat_map(Node::entries) {
        let text = entry.node.scalar_text().unwrap_or_default();
        if !MTU_OPTIONS.contains(&name.as_str()) {
            let message = format!("the network option `{name}` has no effect");
            sink.warning_hint(entry.key, message, "`com.docker.network.driver.mtu` is supported");
            continue;
        }
        match text.parse::<u32>().ok().filter(|size| MTU.contains(size)) {
            Some(size) => mtu = Some(size),
            None => sink.error_hint(
                entry.node.pos,
                format!("`{text}` is not the size of a packet"),
                format!("a number from {} to {}", MTU.start(), MTU.end()),
            ),
        }
    }
    mtu
}

#[derive(Default)]
struct AddressPlan {
    subnet: Option<Cidr>,
    gateway: Option<Ipv4Addr>,
    range: Option<Cidr>,
    reserved: Vec<Ipv4Addr>,
}

/// The entry of `ipam.config` with an IPv4 subnet; one with an IPv6 subnet has no effect.
fn address_plan(network: &Node, sink: &mut Sink) -> AddressPlan {
    let mut found: Option<AddressPlan> = None;
    for config in super::network::ipam_configs(network) {
        let Some(subnet) = config.get("subnet") else {
            if let Some(other) = ["gateway", "ip_range"].iter().find_map(|key| config.get(key)) {
                sink.error_hint(other.pos, "it is in no subnet", "declare `subnet` beside it");
            }
            continue;
        };
        let text = subnet.as_text().unwrap_or_default();
        if text.contains(':') {
            let message = format!("instances get no address in {text}: networks are IPv4");
            sink.warning_hint(subnet.pos, message, "leave the IPv6 subnet out");
        } else if found.is_some() {
            let message = format!("the network has one subnet, {text} is not used");
            sink.warning_hint(subnet.pos, message, "declare a network of its own for it");
        } else {
            found = Some(plan_of(config, text, subnet.pos, sink));
        }
    }
    found.unwrap_or_default()
}

fn plan_of(config: &Node, text: &str, pos: Pos, sink: &mut Sink) -> AddressPlan {
    let Some(subnet) = super::network::cidr(text) else {
        let message = format!("the subnet `{text}` is not an IPv4 network");
        sink.error_hint(pos, message, "write it as `10.10.0.0/24`");
        return AddressPlan::default();
    };
    if let Err(error) = model::subnet::Layout::new(subnet) {
        sink.error_hint(pos, error.to_string(), "give the network more addresses");
    }
    let mut within = |node: &Node| -> Option<Ipv4Addr> {
        let text = node.as_text().unwrap_or_default();
        let address = text.parse::<Ipv4Addr>().ok().filter(|address| subnet.contains(*address));
        if address.is_none() && !matches!(text.parse(), Ok(IpAddr::V6(_))) {
            sink.error_hint(node.pos, format!("`{text}` is no address in {subnet}"), "choose one that is");
        }
        address
    };
    let gateway = config.get("gateway").and_then(&mut within);
    let auxiliary = config.get("aux_addresses").into_iter().flat_map(Node::entries);
    let reserved = auxiliary.filter_map(|(_, entry)| within(&entry.node)).collect();
    let range = config.get("ip_range").and_then(|node| {
        let text = node.as_text().unwrap_or_default();
        let range = super::network::cidr(text).filter(|range| subnet.overlaps(*range));
        let range = range.filter(|range| range.prefix_len() >= subnet.prefix_len());
        if range.is_none() {
            sink.error_hint(node.pos, format!("`{text}` is no part of {subnet}"), "choose a part of it");
        }
        range
    });
    AddressPlan { subnet: Some(subnet), gateway, range, reserved }
}
