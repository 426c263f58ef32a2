//! Lays one canonical tree over another: mappings by key, lists appended or keyed by what makes
//! their items the same, commands replaced, `!reset` and `!override` obeyed.

use crate::tree::{Entry, Node, Tag, Value};
use indexmap::IndexMap;

/// Lays `over` onto `base`.
pub(crate) fn merge(base: &mut Node, over: Node) {
    merge_at(base, over, &mut Vec::new());
}

/// Lays one service onto another.
pub(crate) fn merge_service(base: &mut Node, over: Node) {
    merge_at(base, over, &mut vec!["services".to_owned(), "-".to_owned()]);
}

/// What a merged tree needs before it is validated: `!reset` keys go, repeated items are one.
pub(crate) fn finish(root: &mut Node) {
    finish_at(root, &mut Vec::new());
}

fn merge_at(base: &mut Node, over: Node, path: &mut Vec<String>) {
    if over.tag == Tag::Override {
        *base = Node { tag: Tag::None, ..over };
        return;
    }
    match (&mut base.value, over.value) {
        (Value::Map(map), Value::Map(entries)) if !replaces_mapping(path, map, &entries) => {
            for (key, entry) in entries {
                merge_entry(map, key, entry, path);
            }
        }
        (Value::List(list), Value::List(items)) if !replaces_list(path) => {
            list.extend(items);
            unify(list, path);
        }
        (_, Value::Null) if !null_replaces(path) => {}
        (_, value) => *base = Node { pos: over.pos, tag: Tag::None, value },
    }
}

fn merge_entry(map: &mut crate::tree::Map, key: String, entry: Entry, path: &mut Vec<String>) {
    if entry.node.tag == Tag::Reset {
        map.shift_remove(&key);
        return;
    }
    match map.get_mut(&key) {
        Some(present) => {
            path.push(key);
            merge_at(&mut present.node, entry.node, path);
            path.pop();
        }
        None => {
            map.insert(key, entry);
        }
    }
}

/// Below `services.NAME`: the rest of the path.
fn service_path(path: &[String]) -> Option<Vec<&str>> {
    match path {
        [services, _, rest @ ..] if services == "services" => Some(rest.iter().map(String::as_str).collect()),
        _ => None,
    }
}

/// Where null says "the image's own" or "from the environment" rather than nothing at all.
fn null_replaces(path: &[String]) -> bool {
    matches!(service_path(path).as_deref(), Some(["environment", _] | ["command" | "entrypoint"]))
}

/// Mappings that are one value.
fn replaces_mapping(path: &[String], base: &crate::tree::Map, over: &crate::tree::Map) -> bool {
    match service_path(path).as_deref() {
        Some(["ulimits", _]) => true,
        Some(["logging"]) => match (base.get("driver"), over.get("driver")) {
            (Some(before), Some(after)) => before.node.as_text() != after.node.as_text(),
            _ => false,
        },
        _ => false,
    }
}

/// Lists that are one value.
fn replaces_list(path: &[String]) -> bool {
    matches!(
        service_path(path).as_deref(),
        Some(["command" | "entrypoint"] | ["healthcheck", "test"] | ["x-juchu", ..])
    )
}

fn finish_at(node: &mut Node, path: &mut Vec<String>) {
    match &mut node.value {
        Value::Map(map) => {
            map.retain(|_, entry| entry.node.tag != Tag::Reset);
            for (key, entry) in map {
                path.push(key.clone());
                finish_at(&mut entry.node, path);
                path.pop();
            }
        }
        Value::List(list) => unify(list, path),
        _ => {}
    }
}

/// Of items with the same key the last stays, at the place of the first.
fn unify(list: &mut Vec<Node>, path: &[String]) {
    let Some(rest) = service_path(path) else { return };
    let key_of: fn(&Node) -> Option<String> = match rest[..] {
        ["ports"] => port_key,
        ["volumes"] => |node| text(node, "target"),
        ["devices"] => |node| text(node, "target").or_else(|| text(node, "source")),
        ["configs"] => {
            |node| text(node, "target").or_else(|| text(node, "source").map(|name| format!("/{name}")))
        }
        ["secrets"] => |node| {
            text(node, "target").or_else(|| text(node, "source")).map(|target| {
                match target.starts_with('/') {
                    true => target,
                    false => format!("/run/secrets/{target}"),
                }
            })
        },
        ["env_file"] => |node| text(node, "path"),
        [
            "cap_add"
            | "cap_drop"
            | "dns"
            | "dns_opt"
            | "dns_search"
            | "expose"
            | "tmpfs"
            | "security_opt"
            | "group_add"
            | "profiles"
            | "links"
            | "label_file"
            | "external_links"
            | "device_cgroup_rules"
            | "volumes_from",
        ] => Node::scalar_text,
        ["extra_hosts", _] | ["networks", _, "aliases"] => Node::scalar_text,
        _ => return,
    };
    let mut kept: IndexMap<String, Node> = IndexMap::new();
    for (index, node) in std::mem::take(list).into_iter().enumerate() {
        let key = key_of(&node).unwrap_or_else(|| format!("\0{index}"));
        kept.insert(key, node);
    }
    list.extend(kept.into_values());
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.scalar_text()
}

fn port_key(node: &Node) -> Option<String> {
    let part = |key: &str| text(node, key).unwrap_or_default();
    let protocol = text(node, "protocol").unwrap_or_else(|| "tcp".to_owned());
    Some(format!("{}:{}:{}/{protocol}", part("host_ip"), part("published"), part("target")))
}
