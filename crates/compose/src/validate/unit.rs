//! What is checked of each set of files that is read together, before anything includes it.

use crate::diagnostics::Sink;
use crate::tree::{Entry, Node};
use std::net::IpAddr;

/// Reports what does not fit within single services and resources.
pub(crate) fn unit(root: &Node, sink: &mut Sink) {
    for (_, entry) in root.get("services").into_iter().flat_map(Node::entries) {
        for port in items(entry.node.get("ports")) {
            host_address(port, sink);
        }
        for volume in items(entry.node.get("volumes")) {
            bind_source(volume, sink);
        }
        let deploy = entry.node.get("deploy").and_then(|deploy| deploy.get("resources")?.get("reservations"));
        let devices = deploy.and_then(|reservations| reservations.get("devices"));
        for request in items(devices).iter().chain(items(entry.node.get("gpus"))) {
            device_request(request, sink);
        }
    }
    for (name, entry) in root.get("volumes").into_iter().flat_map(Node::entries) {
        external_volume(name, &entry.node, sink);
    }
    for (section, keys) in
        [("configs", &["file", "content", "environment"][..]), ("secrets", &["file", "environment"])]
    {
        for (name, entry) in root.get(section).into_iter().flat_map(Node::entries) {
            source(section, name, entry, keys, sink);
        }
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    node.map(Node::items).unwrap_or_default()
}

fn host_address(port: &Node, sink: &mut Sink) {
    let Some(address) = port.get("host_ip") else { return };
    if let Some(text) = address.as_text().filter(|text| text.parse::<IpAddr>().is_err()) {
        let hint = "write an address such as `127.0.0.1`, or remove the key";
        sink.error_hint(address.pos, format!("`{text}` is not an IP address"), hint);
    }
}

fn bind_source(volume: &Node, sink: &mut Sink) {
    let is_bind = volume.get("type").and_then(Node::as_text) == Some("bind");
    if is_bind && volume.as_map().is_some_and(|map| !map.contains_key("source")) {
        sink.error_hint(volume.pos, "a bind mount has no `source`", "name a file or directory of this host");
    }
}

fn device_request(request: &Node, sink: &mut Sink) {
    if let (Some(_), Some(ids)) = (request.get("count"), request.get("device_ids")) {
        let message = "a device request has both `count` and `device_ids`";
        sink.error_hint(ids.pos, message, "keep one of the two");
    }
}

/// What exists already is not described.
fn external_volume(name: &str, volume: &Node, sink: &mut Sink) {
    if volume.get("external").and_then(Node::as_bool) != Some(true) {
        return;
    }
    let other = volume
        .entries()
        .find(|(key, _)| !matches!(key.as_str(), "name" | "external") && !key.starts_with("x-"));
    if let Some((key, entry)) = other {
        let message = format!("the volume `{name}` is `external` and has `{key}`");
        sink.error_hint(entry.key, message, "remove one of the two");
    }
}

/// A config or secret has one source, unless something else knows it.
fn source(section: &str, name: &str, entry: &Entry, keys: &[&str], sink: &mut Sink) {
    let Some(map) = entry.node.as_map() else { return };
    let given = keys.iter().filter(|key| map.contains_key(**key)).count();
    let what = section.trim_end_matches('s');
    let choice = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" or ");
    if given > 1 {
        let message = format!("the {what} `{name}` has more than one source");
        sink.error_hint(entry.key, message, format!("keep one of {choice}"));
    } else if given == 0 && !map.contains_key("driver") && !map.contains_key("external") {
        let message = format!("the {what} `{name}` has no source");
        sink.error_hint(entry.key, message, format!("give it {choice}"));
    }
}
