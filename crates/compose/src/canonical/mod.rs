//! Short forms → long forms, file by file, before anything is merged: afterwards every key has one
//! form, and merging needs no special cases for strings against lists.

mod mounts;
mod service;

use crate::diagnostics::Sink;
use crate::tree::{Entry, Map, Node, Tag, Value};

/// Rewrites one checked file.
pub(crate) fn canonical(root: &mut Node, sink: &mut Sink) {
    if let Some(services) = root.get_mut("services") {
        for (_, entry) in services.entries_mut() {
            service::canonical(&mut entry.node, sink);
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        if let Some(section) = root.get_mut(section) {
            section.entries_mut().for_each(|(_, entry)| resource(&mut entry.node, sink));
        }
    }
    if let Some(Node { value: Value::List(includes), .. }) = root.get_mut("include") {
        includes.iter_mut().for_each(|include| wrap_text(include, "path"));
        includes.iter_mut().for_each(|include| {
            ["path", "env_file"].into_iter().for_each(|key| to_list(include.get_mut(key)));
        });
    }
}

/// A network, volume, config or secret: `external: {name}` → `external: true` and `name`.
fn resource(node: &mut Node, sink: &mut Sink) {
    pairs(node.get_mut("labels"), true);
    let Some(external) = node.get("external") else { return };
    if external.as_map().is_none() {
        return;
    }
    let (pos, name) = (external.pos, external.get("name").cloned());
    sink.warning_hint(pos, "`external: {name: …}` is obsolete", "write `external: true` and `name: …`");
    node.set("external", Node::new(pos, Value::Bool(true)));
    if let Some(name) = name {
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
