//! Short forms of a service's keys.

use super::{each_item, mounts, pairs, to_list, wrap_text};
use crate::diagnostics::Sink;
use crate::ports::{self, MAX_PORTS};
use crate::shell_words;
use crate::tree::{Entry, Map, Node, Value};

/// What merging counts on.
pub(super) fn canonical(service: &mut Node, as_written: bool, sink: &mut Sink) {
    if let Some(build) = service.get_mut("build") {
        wrap_text(build, "context");
        each_item(build.get_mut("secrets"), wrapped("source"));
        contexts(build.get_mut("additional_contexts"), sink);
        keys(build.get_mut("ssh"), sink);
    }
    if let Some(extends) = service.get_mut("extends") {
        wrap_text(extends, "service");
    }
    for key in ["dns", "label_file", "env_file"] {
        to_list(service.get_mut(key));
    }
    if let Some(Node { value: Value::List(dns), .. }) = service.get_mut("dns") {
        dns.retain(|server| !server.is_null() && server.as_text() != Some(""));
    }
    for key in ["networks", "models"] {
        names_to_map(service.get_mut(key), Node::null);
    }
    dependencies(service.get_mut("depends_on"));
    each_item(service.get_mut("env_file"), wrapped("path"));
    for key in ["configs", "secrets"] {
        each_item(service.get_mut(key), wrapped("source"));
    }
    if let Some(gpus) = service.get_mut("gpus")
        && gpus.as_text().is_some()
    {
        let all = Node::map(gpus.pos, [("count", Node::text(gpus.pos, "all"))]);
        gpus.value = Value::List(vec![all]);
    }
    // One port that cannot be read yet leaves all of them as they are.
    let readable = |item: &Node| item.scalar_text().is_none_or(|text| ports::parse(&text).is_ok());
    let ready = |ports: &&mut Node| !as_written || ports.items().iter().all(readable);
    each_item(service.get_mut("ports").filter(ready), |item| {
        let is_short = item.scalar_text().is_some();
        let ports = port(item, sink);
        if as_written && is_short { with_numbers(ports) } else { ports }
    });
    limit_ports(service.get_mut("ports"), sink);
    each_item(service.get_mut("volumes"), |item| vec![mounts::volume(item, sink)]);
    each_item(service.get_mut("devices"), |item| vec![mounts::device(item, sink)]);
    each_item(service.get_mut("develop").and_then(|develop| develop.get_mut("watch")), |mut rule| {
        ["ignore", "include"].into_iter().for_each(|key| to_list(rule.get_mut(key)));
        vec![rule]
    });
}

/// What is left when everything is merged.
pub(super) fn settle(service: &mut Node, sink: &mut Sink) {
    if let Some(build) = service.get_mut("build") {
        named_without_space(build.get("args"), sink);
        pairs(build.get_mut("args"), false);
        pairs(build.get_mut("labels"), true);
        extra_hosts(build.get_mut("extra_hosts"), sink);
    }
    for key in ["command", "entrypoint"] {
        command(service.get_mut(key), key, sink);
    }
    named_without_space(service.get("environment"), sink);
    pairs(service.get_mut("environment"), false);
    for key in ["labels", "annotations", "sysctls"] {
        pairs(service.get_mut(key), true);
    }
    pairs(service.get_mut("deploy").and_then(|deploy| deploy.get_mut("labels")), true);
    for key in ["dns_search", "tmpfs"] {
        to_list(service.get_mut(key));
    }
    extra_hosts(service.get_mut("extra_hosts"), sink);
    health_test(service.get_mut("healthcheck").and_then(|check| check.get_mut("test")));
    for key in ["post_start", "pre_stop"] {
        each_item(service.get_mut(key), |item| vec![hook(item, sink)]);
    }
    each_item(service.get_mut("develop").and_then(|develop| develop.get_mut("watch")), |mut rule| {
        if let Some(exec) = rule.get_mut("exec") {
            *exec = hook(std::mem::replace(exec, Node::null(exec.pos)), sink);
        }
        vec![rule]
    });
}

/// A command that is run inside an instance.
fn hook(mut hook: Node, sink: &mut Sink) -> Node {
    command(hook.get_mut("command"), "command", sink);
    named_without_space(hook.get("environment"), sink);
    pairs(hook.get_mut("environment"), false);
    hook
}

/// Names of variables in a list of `NAME=value`.
fn named_without_space(node: Option<&Node>, sink: &mut Sink) {
    for item in node.map(Node::items).unwrap_or_default() {
        let name = item.as_text().unwrap_or_default().split('=').next().unwrap_or_default();
        if name.ends_with(char::is_whitespace) {
            let message = format!("the variable name `{name}` ends with a space");
            sink.error_hint(item.pos, message, "remove the space before `=`");
        }
    }
}

/// `NAME=CONTEXT` items → a mapping.
fn contexts(node: Option<&mut Node>, sink: &mut Sink) {
    let Some(node) = node else { return };
    for item in node.items() {
        if item.as_text().is_some_and(|text| !text.contains('=')) {
            let text = item.as_text().unwrap_or_default();
            let message = format!("the additional context `{text}` has no value");
            sink.error_hint(item.pos, message, "write NAME=CONTEXT");
        }
    }
    pairs(Some(node), true);
}

/// `ID=PATH` items → a mapping; only `default` needs no path.
fn keys(node: Option<&mut Node>, sink: &mut Sink) {
    let Some(node) = node else { return };
    for item in node.items() {
        if item.as_text().is_some_and(|text| !text.contains('=') && text != "default") {
            let message = format!("the key `{}` has no path", item.as_text().unwrap_or_default());
            sink.error_hint(item.pos, message, "write ID=PATH, or `default`");
        }
    }
    pairs(Some(node), false);
}

/// A list of names → a mapping; what is not said of a dependency is filled in.
fn dependencies(node: Option<&mut Node>) {
    let Some(node) = node else { return };
    names_to_map(Some(&mut *node), |pos| Node::map(pos, []));
    for (_, entry) in node.entries_mut() {
        let pos = entry.node.pos;
        if entry.node.as_map().is_some_and(|map| !map.contains_key("condition")) {
            entry.node.set("condition", Node::text(pos, "service_started"));
        }
        if entry.node.as_map().is_some_and(|map| !map.contains_key("required")) {
            entry.node.set("required", Node::new(pos, Value::Bool(true)));
        }
    }
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
    if let Some(node) = node {
        crate::merge::keyed(node, value);
    }
}

/// Ports taken apart, with their targets as the numbers they are printed as.
fn with_numbers(mut ports: Vec<Node>) -> Vec<Node> {
    for port in &mut ports {
        if let Some(target) = port.get_mut("target")
            && let Some(number) = target.as_text().and_then(|text| text.parse().ok())
        {
            target.value = Value::Int(number);
        }
    }
    ports
}

fn port(item: Node, sink: &mut Sink) -> Vec<Node> {
    let Some(text) = item.scalar_text() else { return vec![item] };
    match ports::parse(&text) {
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
    if let Value::List(list) = &node.value {
        let mut map = Map::new();
        for item in list {
            host_line(item, &mut map, sink);
        }
        node.value = Value::Map(map);
    }
    for (host, entry) in node.entries_mut() {
        if host.is_empty() || host.contains([':', '=']) {
            sink.error(entry.key, format!("`{host}` in `extra_hosts` is not a host name"));
        }
        to_list(Some(&mut entry.node));
        if let Value::List(addresses) = &mut entry.node.value {
            addresses.iter_mut().for_each(without_brackets);
        }
    }
}

fn host_line(item: &Node, map: &mut Map, sink: &mut Sink) {
    let Some(text) = item.as_text() else { return };
    let Some((host, addresses)) = text.split_once('=').or_else(|| text.split_once(':')) else {
        let message = format!("`{text}` in `extra_hosts` has no address");
        return sink.error_hint(item.pos, message, "write `host=address`");
    };
    let empty = || Entry { key: item.pos, node: Node::new(item.pos, Value::List(Vec::new())) };
    if let Value::List(list) = &mut map.entry(host.to_owned()).or_insert_with(empty).node.value {
        list.extend(addresses.split(',').map(|address| Node::text(item.pos, address)));
    }
}

fn without_brackets(node: &mut Node) {
    if let Value::Text(text) = &mut node.value
        && text.len() > 2
        && let Some(bare) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'))
    {
        *text = bare.to_owned();
    }
}

fn health_test(node: Option<&mut Node>) {
    let Some(node) = node else { return };
    if let Value::Text(text) = &node.value {
        let items = vec![Node::text(node.pos, "CMD-SHELL"), Node::text(node.pos, text.clone())];
        node.value = Value::List(items);
    }
}
