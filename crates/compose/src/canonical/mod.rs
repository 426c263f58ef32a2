//! Short forms → long forms. Some while files are laid over each other, because the rules of merging
//! count on them; the rest once everything is one tree ([`settle`]).

mod mounts;
mod service;

pub(crate) use mounts::target as volume_target;

use crate::diagnostics::Sink;
use crate::tree::{Entry, Map, Node, Tag, Value};

/// Rewrites what was laid over each other so far; with `as_written`, variables are still in it.
pub(crate) fn canonical(root: &mut Node, as_written: bool, sink: &mut Sink) {
    if let Some(services) = root.get_mut("services") {
        for (_, entry) in services.entries_mut() {
            service::canonical(&mut entry.node, as_written, sink);
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        if let Some(section) = root.get_mut(section) {
            section.entries_mut().for_each(|(_, entry)| resource(&mut entry.node, sink));
        }
    }
}

/// Brings the merged tree to one form for each key.
pub(crate) fn settle(root: &mut Node, sink: &mut Sink) {
    if let Some(services) = root.get_mut("services") {
        for (_, entry) in services.entries_mut() {
            service::settle(&mut entry.node, sink);
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        if let Some(section) = root.get_mut(section) {
            section.entries_mut().for_each(|(_, entry)| pairs(entry.node.get_mut("labels"), true));
        }
    }
}

/// A network, volume, config or secret: `external: {name}` → `external: true` and `name`.
fn resource(node: &mut Node, sink: &mut Sink) {
    let Some(external) = node.get("external").filter(|external| external.as_map().is_some()) else { return };
    let (pos, name) = (external.pos, external.get("name").cloned());
    node.set("external", Node::new(pos, Value::Bool(true)));
    let Some(name) = name else { return };
    sink.warning_hint(pos, "`external: {name: …}` is obsolete", "write `external: true` and `name: …`");
    if let Some(own) = node.get("name")
        && own.as_text() != name.as_text()
    {
        let message = "`name` and `external.name` differ";
        sink.error_hint(name.pos, message, "write `external: true` and one `name`");
    } else {
        node.set("name", name);
    }
}

/// `KEY=VALUE` items → a mapping. A key alone becomes null, or empty where `fill` is set.
fn pairs(node: Option<&mut Node>, fill: bool) {
    let Some(node) = node else { return };
    if let Value::List(list) = &node.value {
        let mut map = Map::new();
        for item in list {
            let Some(text) = item.as_text() else { continue };
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key, Value::Text(value.to_owned())),
                None => (text, Value::Null),
            };
            map.insert(key.to_owned(), Entry { key: item.pos, node: Node::new(item.pos, value) });
        }
        node.value = Value::Map(map);
    }
    for (_, entry) in node.entries_mut() {
        if fill && entry.node.is_null() {
            entry.node.value = Value::Text(String::new());
        }
    }
}

/// A single text → a list of it.
fn to_list(node: Option<&mut Node>) {
    if let Some(node) = node
        && matches!(node.value, Value::Text(_))
    {
        let text = std::mem::replace(&mut node.value, Value::Null);
        node.value = Value::List(vec![Node::new(node.pos, text)]);
    }
}

/// A text → a mapping with it under `key`.
fn wrap_text(node: &mut Node, key: &'static str) {
    if matches!(node.value, Value::Text(_)) {
        let text = std::mem::replace(&mut node.value, Value::Null);
        node.value = Node::map(node.pos, [(key, Node::new(node.pos, text))]).value;
    }
}

/// Applies `convert` to each item of a list; an item may become several.
fn each_item(node: Option<&mut Node>, mut convert: impl FnMut(Node) -> Vec<Node>) {
    if let Some(Node { value: Value::List(list), tag, .. }) = node
        && *tag != Tag::Reset
    {
        *list = std::mem::take(list).into_iter().flat_map(&mut convert).collect();
    }
}
