//! Short forms of a service's keys.

use super::{each_item, mounts, pairs, to_list, wrap_text};
use crate::diagnostics::Sink;
use crate::ports::{self, MAX_PORTS};
use crate::shell_words;
use crate::tree::{Entry, Map, Node, Tag, Value};

pub(super) fn canonical(service: &mut Node, sink: &mut Sink) {
    if service.tag == Tag::Reset {
        return;
    }
    if let Some(build) = service.get_mut("build") {
        wrap_text(build, "context");
        pairs(build.get_mut("args"), false);
        pairs(build.get_mut("labels"), true);
        for key in ["additional_contexts", "ssh"] {
            pairs(build.get_mut(key), false);
        }
        each_item(build.get_mut("secrets"), wrapped("source"));
    }
    if let Some(extends) = service.get_mut("extends") {
        wrap_text(extends, "service");
    }
    for key in ["command", "entrypoint"] {
        command(service.get_mut(key), key, sink);
    }
    pairs(service.get_mut("environment"), false);
    for key in ["labels", "annotations", "sysctls"] {
        pairs(service.get_mut(key), true);
    }
    for key in ["dns", "dns_search", "tmpfs", "label_file", "env_file"] {
        to_list(service.get_mut(key));
    }
    names_to_map(service.get_mut("networks"), Node::null);
    names_to_map(service.get_mut("models"), Node::null);
    names_to_map(service.get_mut("depends_on"), |pos| {
        Node::map(pos, [("condition", Node::text(pos, "service_started"))])
    });
    each_item(service.get_mut("env_file"), wrapped("path"));
    for key in ["configs", "secrets"] {
        each_item(service.get_mut(key), wrapped("source"));
    }
    each_item(service.get_mut("ports"), |item| port(item, sink));
    limit_ports(service.get_mut("ports"), sink);
    each_item(service.get_mut("volumes"), |item| vec![mounts::volume(item, sink)]);
    each_item(service.get_mut("devices"), |item| vec![mounts::device(item, sink)]);
    extra_hosts(service.get_mut("extra_hosts"), sink);
    for key in ["post_start", "pre_stop"] {
        each_item(service.get_mut(key), |mut hook| {
            command(hook.get_mut("command"), key, sink);
            vec![hook]
        });
    }
    gpus(service.get_mut("gpus"));
    health_test(service.get_mut("healthcheck").and_then(|check| check.get_mut("test")));
    each_item(service.get_mut("develop").and_then(|develop| develop.get_mut("watch")), |rule| {
        vec![watch_rule(rule, sink)]
    });
}

fn watch_rule(mut rule: Node, sink: &mut Sink) -> Node {
    for key in ["ignore", "include"] {
        to_list(rule.get_mut(key));
    }
    if let Some(exec) = rule.get_mut("exec") {
        command(exec.get_mut("command"), "command", sink);
        pairs(exec.get_mut("environment"), false);
    }
    rule
}

fn wrapped(key: &'static str) -> impl FnMut(Node) -> Vec<Node> {
    move |mut item| {
        wrap_text(&mut item, key);
        vec![item]
    }
}

fn command(node: Option<&mut Node>, key: &str, sink: &mut Sink) {
    let Some(node) = node else { return };
    let Some(text) = node.as_text() else { return };
    match shell_words::split(text) {
        Some(words) => {
            let items = words.into_iter().map(|word| Node::text(node.pos, word)).collect();
            node.value = Value::List(items);
        }
        None => {
            let message = format!("`{key}` has an open quote, an open escape or a parenthesis");
            sink.error_hint(node.pos, message, "close the quote, or write the command as a list");
            node.value = Value::Invalid;
        }
    }
}

/// A list of names → a mapping from each name.
fn names_to_map(node: Option<&mut Node>, value: impl Fn(crate::diagnostics::Pos) -> Node) {
    let Some(node) = node else { return };
    let Value::List(list) = &node.value else { return };
    let mut map = Map::new();
    for item in list {
        if let Some(name) = item.as_text() {
            map.insert(name.to_owned(), Entry { key: item.pos, node: value(item.pos) });
        }
    }
    node.value = Value::Map(map);
}

fn port(item: Node, sink: &mut Sink) -> Vec<Node> {
    let Some(text) = item.as_text() else { return vec![item] };
    match ports::parse(text.trim()) {
        Ok(mut ports) => {
            // The order in which the reference implementation takes a range apart.
            ports.sort_by_cached_key(|port| format!("{}/{}", port.target, port.protocol));
            ports.into_iter().map(|port| port_node(&item, port)).collect()
        }
        Err(reason) => {
            let message = format!("the port `{text}` is not valid: {reason}");
            sink.error_hint(item.pos, message, "write [HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]");
            Vec::new()
        }
    }
}

fn port_node(item: &Node, port: ports::ShortPort) -> Node {
    let text = |text: String| Node::text(item.pos, text);
    let mut node =
        Node::map(item.pos, [("target", text(port.target.to_string())), ("protocol", text(port.protocol))]);
    if let Some(published) = port.published {
        node.set("published", text(published));
    }
    if let Some(host_ip) = port.host_ip {
        node.set("host_ip", text(host_ip.to_string()));
    }
    node
}

fn limit_ports(node: Option<&mut Node>, sink: &mut Sink) {
    if let Some(Node { value: Value::List(list), pos, .. }) = node
        && list.len() > MAX_PORTS
    {
        sink.error(*pos, format!("a service can have at most {MAX_PORTS} ports, these are {}", list.len()));
        list.truncate(MAX_PORTS);
    }
}

/// `host:address`, `host=address` or a mapping → a mapping from host to a list of addresses.
fn extra_hosts(node: Option<&mut Node>, sink: &mut Sink) {
    let Some(node) = node else { return };
    let Value::List(list) = &node.value else {
        node.entries_mut().for_each(|(_, entry)| to_list(Some(&mut entry.node)));
        return;
    };
    let mut map = Map::new();
    for item in list {
        let Some(text) = item.as_text() else { continue };
        let Some((host, address)) = text.split_once('=').or_else(|| text.split_once(':')) else {
            let message = format!("`{text}` in `extra_hosts` has no address");
            sink.error_hint(item.pos, message, "write `host=address`");
            continue;
        };
        let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let empty = || Entry { key: item.pos, node: Node::new(item.pos, Value::List(Vec::new())) };
        if let Value::List(list) = &mut map.entry(host.to_owned()).or_insert_with(empty).node.value {
            list.push(Node::text(item.pos, address));
        }
    }
    node.value = Value::Map(map);
}

/// `all` → a list of one request for every device.
fn gpus(node: Option<&mut Node>) {
    if let Some(node) = node
        && let Value::Text(_) = node.value
    {
        let request = Node::map(node.pos, [("count", Node::text(node.pos, "all"))]);
        node.value = Value::List(vec![request]);
    }
}

fn health_test(node: Option<&mut Node>) {
    let Some(node) = node else { return };
    if let Value::Text(text) = &node.value {
        let items = vec![Node::text(node.pos, "CMD-SHELL"), Node::text(node.pos, text.clone())];
        node.value = Value::List(items);
    }
}
