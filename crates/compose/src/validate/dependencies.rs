//! Dependencies that follow from other keys, and circles of dependencies.

use crate::diagnostics::{Pos, Sink};
use crate::tree::{Entry, Map, Node, Value};

/// `links`, `volumes_from` and the modes that share with a service make it a dependency.
pub(crate) fn imply(root: &mut Node) {
    for (_, entry) in root.get_mut("services").into_iter().flat_map(Node::entries_mut) {
        let service = &mut entry.node;
        let implied = implied(service);
        let Some(first) = implied.first() else { continue };
        if service.get("depends_on").is_none() {
            service.set("depends_on", Node::map(first.pos, []));
        }
        let Some(map) = service.get_mut("depends_on").and_then(Node::as_map_mut) else { continue };
        for Implied { name, pos, restart } in implied {
            let restart = Node::new(pos, Value::Bool(restart));
            let required = Node::new(pos, Value::Bool(true));
            let condition = Node::text(pos, "service_started");
            let value =
                Node::map(pos, [("condition", condition), ("restart", restart), ("required", required)]);
            map.entry(name).or_insert(Entry { key: pos, node: value });
        }
    }
}

/// A dependency that follows from another key.
struct Implied {
    name: String,
    pos: Pos,
    /// Restarted together with it.
    restart: bool,
}

fn implied(service: &Node) -> Vec<Implied> {
    let first_part = |text: &str| text.split_once(':').map_or(text, |(name, _)| name).to_owned();
    let mut all = Vec::new();
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let Some(node) = service.get(key) else { continue };
        let name = node.as_text().and_then(|text| text.strip_prefix("service:"));
        all.extend(name.map(|name| Implied { name: name.to_owned(), pos: node.pos, restart: true }));
    }
    for (key, restart) in [("links", true), ("volumes_from", false)] {
        for item in service.get(key).map(Node::items).unwrap_or_default() {
            let text = item.as_text().filter(|text| !text.starts_with("container:"));
            all.extend(text.map(|text| Implied { name: first_part(text), pos: item.pos, restart }));
        }
    }
    all
}

/// Reports each circle of `depends_on` once. The stack is explicit: files choose its depth.
pub(super) fn circles(services: &Map, sink: &mut Sink) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let targets: Vec<Vec<(usize, Pos)>> = services
        .values()
        .map(|entry| {
            let dependencies = entry.node.get("depends_on").into_iter().flat_map(Node::entries);
            dependencies.filter_map(|(name, entry)| Some((services.get_index_of(name)?, entry.key))).collect()
        })
        .collect();
    let mut marks = vec![Mark::New; services.len()];
    for start in 0..services.len() {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::Open;
        let mut stack = vec![(start, 0)];
        while let Some((index, next)) = stack.last_mut() {
            let Some((target, pos)) = targets[*index].get(*next).copied() else {
                marks[*index] = Mark::Done;
                stack.pop();
                continue;
            };
            *next += 1;
            match marks[target] {
                Mark::New => {
                    marks[target] = Mark::Open;
                    stack.push((target, 0));
                }
                // On itself is reported where the dependency is checked.
                Mark::Open if stack.last().is_some_and(|(index, _)| *index != target) => {
                    let names = stack.iter().map(|(index, _)| *index).skip_while(|index| *index != target);
                    let circle: Vec<&str> = names
                        .chain([target])
                        .map(|i| services.get_index(i).map_or("", |(n, _)| n.as_str()))
                        .collect();
                    let message = format!("services depend on each other: {}", circle.join(" → "));
                    sink.error_hint(pos, message, "remove one of these dependencies");
                }
                Mark::Open | Mark::Done => {}
            }
        }
    }
}
