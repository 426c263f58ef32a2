//! Of items of a list that say the same thing the last counts, at the place of the first.

use crate::diagnostics::Sink;
use crate::rules::Rules;
use crate::tree::{Node, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What makes two items the same thing.
#[derive(Clone, Copy)]
enum Key {
    /// What stands before `=`.
    Name,
    /// The place a volume is mounted at.
    Volume,
    Device,
    /// The place of a file, below this directory where only its source is named.
    File(&'static str),
    Port,
    Exposed,
    EnvFile,
}

static RULES: LazyLock<Rules<Key>> = LazyLock::new(|| {
    let named = [
        "networks.*.labels",
        "networks.*.ipam.options",
        "services.*.annotations",
        "services.*.build.args",
        "services.*.build.additional_contexts",
        "services.*.build.tags",
        "services.*.build.labels",
        "services.*.cap_add",
        "services.*.cap_drop",
        "services.*.deploy.labels",
        "services.*.dns",
        "services.*.dns_opt",
        "services.*.dns_search",
        "services.*.environment",
        "services.*.labels",
        "services.*.links",
        "services.*.networks.*.aliases",
        "services.*.networks.*.link_local_ips",
        "services.*.profiles",
        "services.*.sysctls",
        "services.*.tmpfs",
    ];
    let others = [
        ("services.*.configs", Key::File("")),
        ("services.*.devices", Key::Device),
        ("services.*.env_file", Key::EnvFile),
        ("services.*.expose", Key::Exposed),
        ("services.*.ports", Key::Port),
        ("services.*.secrets", Key::File("/run/secrets")),
        ("services.*.volumes", Key::Volume),
    ];
    Rules::new(named.into_iter().map(|place| (place, Key::Name)).chain(others))
});

/// Removes what is said again later from every list of the tree.
pub(crate) fn unify(root: &mut Node, sink: &mut Sink) {
    walk(root, &RULES, sink);
}

fn walk(node: &mut Node, rules: &'static Rules<Key>, sink: &mut Sink) {
    match &mut node.value {
        Value::Map(map) => {
            for (key, entry) in map.iter_mut() {
                if let Some(rules) = rules.child(key) {
                    walk(&mut entry.node, rules, sink);
                }
            }
        }
        Value::List(list) => {
            if let Some(key) = rules.rule {
                *list = last_of_each(std::mem::take(list), key, sink);
            }
        }
        _ => {}
    }
}

fn last_of_each(list: Vec<Node>, key: Key, sink: &mut Sink) -> Vec<Node> {
    let mut kept: Vec<Node> = Vec::with_capacity(list.len());
    let mut places: HashMap<String, usize> = HashMap::new();
    for node in list {
        let known = key_of(&node, key, sink).map(|key| *places.entry(key).or_insert(kept.len()));
        match known.filter(|place| *place < kept.len()) {
            Some(place) => kept[place] = node,
            None => kept.push(node),
        }
    }
    kept
}

/// `None` where the item is of no known form, which is reported when kinds are checked.
fn key_of(node: &Node, key: Key, sink: &mut Sink) -> Option<String> {
    let text = |key: &str| node.get(key).and_then(Node::as_text).map(str::to_owned);
    let before = |text: &str, mark: char| text.split(mark).next().unwrap_or_default().to_owned();
    match (key, &node.value) {
        (Key::Name, Value::Text(text)) => Some(before(text, '=')),
        (Key::Volume, Value::Text(text)) => crate::canonical::volume_target(text),
        (Key::Device, Value::Text(text)) => {
            Some(text.split(':').nth(1).map_or(before(text, ':'), str::to_owned))
        }
        (Key::Volume | Key::Device, Value::Map(_)) => {
            if !node.has("target") {
                let what = if matches!(key, Key::Volume) { "volume" } else { "device" };
                let hint = "say where in the service it is: `target: /PATH`";
                sink.error_hint(node.pos, format!("the {what} has no `target`"), hint);
            }
            text("target")
        }
        (Key::File(directory), Value::Text(text)) => Some(format!("{directory}/{text}")),
        (Key::File(directory), Value::Map(_)) => {
            text("target").or_else(|| text("source").map(|source| format!("{directory}/{source}")))
        }
        (Key::Port, Value::Int(_) | Value::Text(_)) | (Key::Exposed, Value::Int(_) | Value::Text(_)) => {
            node.scalar_text()
        }
        (Key::Port, Value::Map(_)) => port(node, sink),
        (Key::EnvFile, Value::Text(text)) => Some(text.clone()),
        (Key::EnvFile, Value::Map(_)) => text("path"),
        _ => None,
    }
}

fn port(node: &Node, sink: &mut Sink) -> Option<String> {
    if !node.has("target") {
        let hint = "add the port inside the service: `target: 80`";
        sink.error_hint(node.pos, "the port has no `target`", hint);
        return None;
    }
    let part = |key: &str, default: &str| {
        node.get(key).and_then(Node::scalar_text).unwrap_or_else(|| default.to_owned())
    };
    // A published port in quotes and one without are two.
    let kind = node.get("published").map_or("none", Node::kind);
    let (host, protocol) = (part("host_ip", "0.0.0.0"), part("protocol", "tcp"));
    Some(format!("{host}:{kind} {}:{}/{protocol}", part("published", ""), part("target", "")))
}
