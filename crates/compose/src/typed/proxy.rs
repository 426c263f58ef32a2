//! `x-juchu.gateway.proxy_protocol`: load balancers that say for whom they speak, and instances that
//! are told.

use super::{flag, parsed};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::gateway::ProxyPolicy;
use model::subnet::Cidr;
use model::traffic::ProxyVersion;
use model::{Service, service::Transport};
use std::collections::BTreeMap;

/// Of what is under `x-juchu.gateway`.
pub(super) fn policy(gateway: &Node, sink: &mut Sink) -> ProxyPolicy {
    let Some(node) = gateway.get("proxy_protocol") else { return ProxyPolicy::default() };
    let (send, send_to) = sent(node, sink);
    let policy = ProxyPolicy { accept: accepted(node, sink), from: sources(node, sink), send, send_to };
    if policy.is_default() {
        let hint = "add `accept: true` for those in front of the gateway, `send: v2` for those behind it";
        sink.error_hint(node.pos, "`proxy_protocol` says nothing", hint);
    }
    policy
}

/// `true`, or host ports.
fn accepted(node: &Node, sink: &mut Sink) -> Option<Vec<u16>> {
    let declared = node.get("accept")?;
    if declared.as_list().is_none() {
        return flag(node, "accept").then(Vec::new);
    }
    let ports = declared.items().iter().filter_map(|port| super::port_number(port, sink)).collect();
    Some(ports)
}

fn sources(node: &Node, sink: &mut Sink) -> Vec<Cidr> {
    let Some(from) = node.get("from") else { return Vec::new() };
    if !node.has("accept") {
        sink.error_hint(from.pos, "`from` says who is believed, but nobody is asked", "add `accept: true`");
    }
    let nodes = from.as_list().unwrap_or(std::slice::from_ref(from));
    let subnet = |node: &Node| {
        let parsed = Cidr::parse(&node.scalar_text()?);
        parsed.map_err(|error| sink.error(node.pos, format!("`from`: {error}"))).ok()
    };
    nodes.iter().filter_map(subnet).collect()
}

/// One version for all ports, or one for each.
fn sent(node: &Node, sink: &mut Sink) -> (Option<ProxyVersion>, BTreeMap<u16, ProxyVersion>) {
    let Some(send) = node.get("send") else { return (None, BTreeMap::new()) };
    if send.as_map().is_none() {
        let every = match flag(node, "send") {
            true => Some(ProxyVersion::V2),
            false => parsed(node, "send", sink, |text| match text {
                "false" => Ok(None),
                text => version(text).map(Some),
            })
            .flatten(),
        };
        return (every, BTreeMap::new());
    }
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let mut each = BTreeMap::new();
    for (key, entry) in send.entries() {
        match (port(key), version(&entry.node.scalar_text().unwrap_or_default())) {
            (Some(port), Ok(version)) => {
                each.insert(port, version);
            }
            (None, _) => sink.error(entry.key, format!("`{key}` is not a port of the container")),
            (_, Err(error)) => sink.error(entry.node.pos, format!("`send`: {error}")),
        }
    }
    (None, each)
}

fn version(text: &str) -> Result<ProxyVersion, String> {
    match text {
        "v1" => Ok(ProxyVersion::V1),
        "v2" => Ok(ProxyVersion::V2),
        other => Err(format!("`{other}` is no version of the PROXY protocol; write v1 or v2")),
    }
}

/// Each port that is to be believed has to be listened on.
pub(super) fn check(service: &Service, gateway: &Node, sink: &mut Sink) {
    let Some(ports) = &service.policy.gateway.proxy.accept else { return };
    let Some(node) = gateway.get("proxy_protocol").and_then(|node| node.get("accept")) else { return };
    let published = service.ports.iter().filter(|port| port.transport == Transport::Tcp);
    let mut known: Vec<u16> = published.map(|port| port.published).collect();
    let routes = &service.policy.gateway.routes;
    known.extend(routes.iter().flat_map(|route| service.listens_for(route)).map(|listen| listen.port()));
    if known.is_empty() {
        let hint = "publish one: `ports: [\"443:8080\"]`";
        sink.error_hint(node.pos, "no TCP port is published on which load balancers could speak", hint);
    }
    for port in ports.iter().filter(|port| !known.contains(port)) {
        let hint = "name host ports, those before the colon in `ports`";
        sink.error_hint(node.pos, format!("{port} in `accept` is no published TCP port"), hint);
    }
}
