//! Which services take part: those without a profile and those of an active one.

use crate::diagnostics::Sink;
use crate::suggest;
use crate::tree::{Map, Node};
use std::collections::{BTreeMap, BTreeSet};

/// Takes the inactive services out and returns them with their profiles.
pub(crate) fn select(root: &mut Node, active: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut inactive = BTreeMap::new();
    let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return inactive };
    services.retain(|name, entry| {
        let profiles = of(&entry.node);
        let keep = profiles.is_empty() || active.iter().any(|p| p == "*" || profiles.contains(p));
        if !keep {
            inactive.insert(name.clone(), profiles);
        }
        keep
    });
    inactive
}

fn of(service: &Node) -> Vec<String> {
    let items = service.get("profiles").map(Node::items).unwrap_or_default();
    items.iter().filter_map(Node::as_text).map(str::to_owned).collect()
}

/// Every profile that some service has.
pub(crate) fn all(root: &Node) -> BTreeSet<String> {
    root.get("services").into_iter().flat_map(Node::entries).flat_map(|(_, entry)| of(&entry.node)).collect()
}

/// `active`, and the profiles of the services that were named.
pub(crate) fn with_named(root: &Node, active: &[String], named: &[String]) -> Vec<String> {
    let mut active = active.to_vec();
    let services = root.get("services");
    let nodes = named.iter().filter_map(|name| services?.get(name));
    active.extend(nodes.flat_map(of));
    active
}

/// Takes out what is neither named nor, directly or not, a dependency of what is.
pub(crate) fn keep_named(root: &mut Node, named: &[String], sink: &mut Sink) {
    let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return };
    if named.is_empty() {
        return;
    }
    for name in named.iter().filter(|name| !services.contains_key(*name)) {
        let known = || services.keys().map(String::as_str);
        let hint = suggest::hint(name, known())
            .unwrap_or_else(|| format!("the services are {}", known().collect::<Vec<_>>().join(", ")));
        sink.error_hint(None, format!("there is no service `{name}`"), hint);
    }
    let kept = with_dependencies(services, named);
    services.retain(|name, _| kept.contains(name));
    for (_, entry) in services {
        if let Some(map) = entry.node.get_mut("depends_on").and_then(Node::as_map_mut) {
            map.retain(|name, _| kept.contains(name));
        }
    }
}

fn with_dependencies(services: &Map, named: &[String]) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    let mut open: Vec<&str> = named.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        let Some(entry) = services.get(name) else { continue };
        if kept.insert(name.to_owned()) {
            let dependencies = entry.node.get("depends_on").into_iter().flat_map(Node::entries);
            open.extend(dependencies.map(|(name, _)| name.as_str()));
        }
    }
    kept
}
