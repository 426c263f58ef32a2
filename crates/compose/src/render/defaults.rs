//! What the reference implementation adds to a project before it prints it, and what it leaves
//! out: names, the default network, defaults of keys; resources that no active service uses.

use super::About;
use crate::load::Skip;
use crate::paths::clean_text;
use crate::tree::{Map, Node, Value};
use std::collections::HashSet;

/// Completes a merged tree in place.
pub(super) fn fill(tree: &mut Node, about: &About) {
    let normal = !about.skip.normalization;
    if normal || !about.skip.interpolation {
        tree.set("name", Node::text(tree.pos, about.project.as_str()));
    }
    for (_, entry) in tree.get_mut("services").into_iter().flat_map(Node::entries_mut) {
        service(&mut entry.node, about.skip);
        if normal {
            normalise(&mut entry.node);
        }
    }
    if normal {
        default_network(tree);
    }
    if !about.skip.interpolation {
        keep_used(tree);
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        for (key, entry) in tree.get_mut(section).into_iter().flat_map(Node::entries_mut).filter(|_| normal) {
            resource_name(key, &mut entry.node, &about.project);
        }
    }
    for (_, entry) in tree.get_mut("configs").into_iter().flat_map(Node::entries_mut) {
        if entry.node.get("environment").is_some() {
            remove(&mut entry.node, "content");
        }
    }
}

/// Defaults that are there in any case; what has been read from files goes.
fn service(node: &mut Node, skip: Skip) {
    remove(node, "extends");
    if !skip.interpolation {
        remove(node, "label_file");
    }
    if !skip.interpolation && !skip.env_files {
        remove(node, "env_file");
    }
    for file in items_mut(node.get_mut("env_file")) {
        default_flag(file, "required");
    }
    for port in items_mut(node.get_mut("ports")) {
        default_text(port, "protocol", "tcp");
        default_text(port, "mode", "ingress");
    }
    for secret in items_mut(node.get_mut("secrets")) {
        let source = secret.get("source").and_then(Node::as_text).unwrap_or_default();
        let target = format!("/run/secrets/{source}");
        default_text(secret, "target", &target);
    }
    for (_, entry) in node.get_mut("depends_on").into_iter().flat_map(Node::entries_mut) {
        default_flag(&mut entry.node, "required");
    }
    items_mut(node.get_mut("gpus")).for_each(device_count);
    let reservations = ["resources", "reservations", "devices"];
    let devices = reservations.iter().try_fold(node.get_mut("deploy"), |node, key| Some(node?.get_mut(key)));
    items_mut(devices.flatten()).for_each(device_count);
}

fn normalise(node: &mut Node) {
    if node.get("pull_policy").and_then(Node::as_text) == Some("if_not_present") {
        node.set("pull_policy", Node::text(node.pos, "missing"));
    }
    if let Some(build) = node.get_mut("build")
        && build.get("dockerfile").is_none()
        && build.get("dockerfile_inline").is_none()
    {
        build.set("dockerfile", Node::text(build.pos, "Dockerfile"));
    }
    for mount in items_mut(node.get_mut("volumes")) {
        if let Some(Node { value: Value::Text(target), .. }) = mount.get_mut("target") {
            *target = clean_text(target);
        }
    }
}

fn items_mut(node: Option<&mut Node>) -> impl Iterator<Item = &mut Node> {
    let list = match node {
        Some(Node { value: Value::List(list), .. }) => Some(list),
        _ => None,
    };
    list.into_iter().flatten()
}

fn remove(node: &mut Node, key: &str) {
    if let Some(map) = node.as_map_mut() {
        map.shift_remove(key);
    }
}

fn default_text(node: &mut Node, key: &str, text: &str) {
    if node.as_map().is_some_and(|map| !map.contains_key(key)) {
        node.set(key, Node::text(node.pos, text));
    }
}

fn default_flag(node: &mut Node, key: &str) {
    if node.as_map().is_some_and(|map| !map.contains_key(key)) {
        node.set(key, Node::new(node.pos, Value::Bool(true)));
    }
}

fn device_count(device: &mut Node) {
    let given = |key: &str| device.as_map().is_some_and(|map| map.contains_key(key));
    if !given("count") && !given("device_ids") {
        default_text(device, "count", "all");
    }
}

/// A service without networks is on `default`, which is declared when someone is on it.
fn default_network(tree: &mut Node) {
    let mut used = false;
    for (_, entry) in tree.get_mut("services").into_iter().flat_map(Node::entries_mut) {
        let service = &mut entry.node;
        if service.has("provider") || service.has("network_mode") {
            continue;
        }
        if service.get("networks").and_then(Node::as_map).is_none_or(|map| map.is_empty()) {
            service.set("networks", Node::map(service.pos, [("default", Node::null(service.pos))]));
        }
        used |= service.get("networks").and_then(Node::as_map).is_some_and(|map| map.contains_key("default"));
    }
    if !used {
        return;
    }
    if tree.get("networks").is_none() {
        tree.set("networks", Node::map(tree.pos, []));
    }
    let pos = tree.pos;
    if let Some(networks) = tree.get_mut("networks")
        && networks.as_map().is_some_and(|map| !map.contains_key("default"))
    {
        networks.set("default", Node::map(pos, []));
    }
}

fn resource_name(key: &str, node: &mut Node, project: &str) {
    if node.is_null() {
        node.value = Value::Map(Map::new());
    }
    if node.has("name") {
        return;
    }
    let external = node.get("external").and_then(Node::as_bool) == Some(true);
    let name = if external { key.to_owned() } else { format!("{project}_{key}") };
    node.set("name", Node::text(node.pos, name));
}

/// Takes out what no service uses.
fn keep_used(tree: &mut Node) {
    let mut used: HashSet<(&'static str, String)> = HashSet::new();
    for (_, entry) in tree.get("services").into_iter().flat_map(Node::entries) {
        let service = &entry.node;
        for section in ["networks", "models"] {
            let names = service.get(section).into_iter().flat_map(Node::entries);
            used.extend(names.map(|(name, _)| (section, name.clone())));
            used.extend(texts(service.get(section)).map(|name| (section, name)));
        }
        for mount in service.get("volumes").map(Node::items).unwrap_or_default() {
            let is_volume = mount.get("type").and_then(Node::as_text) == Some("volume");
            used.extend(text(mount, "source").filter(|_| is_volume).map(|name| ("volumes", name)));
        }
        let granted = |node: &Node, section: &'static str| -> Vec<_> {
            let grants = node.get(section).map(Node::items).unwrap_or_default().iter();
            let source = |grant: &Node| text(grant, "source").or_else(|| grant.scalar_text());
            grants.filter_map(source).map(|name| (section, name)).collect()
        };
        used.extend(granted(service, "configs"));
        used.extend(granted(service, "secrets"));
        used.extend(service.get("build").into_iter().flat_map(|build| granted(build, "secrets")));
    }
    for section in ["networks", "volumes", "configs", "secrets", "models"] {
        if let Some(map) = tree.get_mut(section).and_then(Node::as_map_mut) {
            map.retain(|name, _| used.contains(&(section, name.clone())));
        }
    }
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.scalar_text()
}

fn texts(node: Option<&Node>) -> impl Iterator<Item = String> {
    node.map(Node::items).unwrap_or_default().iter().filter_map(Node::scalar_text)
}
