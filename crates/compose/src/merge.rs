//! Lays one tree over another: mappings by key, lists appended, commands replaced, and what may be
//! written as a list or a mapping brought to one of both first.

use crate::diagnostics::Sink;
use crate::rules::Rules;
use crate::tree::{Entry, Map, Node, Value};
use std::sync::LazyLock;

/// How the values of a key are laid over each other where it is not by their kind.
#[derive(Clone, Copy)]
enum How {
    /// The later one counts.
    Replace,
    /// Both as lists of `KEY=VALUE`, appended.
    Lines,
    /// The same, without lines that are there already.
    NewLines,
    /// Both as mappings; of a list each item is a key.
    Names,
    /// The same for `depends_on`, where each key has a condition.
    Dependencies,
    /// Both as mappings; a text is the context.
    Build,
    /// Mappings of one driver are merged, of two drivers the later one counts.
    Logging,
    /// Lists of address ranges, one for each subnet.
    Subnets,
}

static RULES: LazyLock<Rules<How>> = LazyLock::new(|| {
    Rules::new([
        ("networks.*.ipam.config", How::Subnets),
        ("networks.*.labels", How::Lines),
        ("volumes.*.labels", How::Lines),
        ("services.*.annotations", How::Lines),
        ("services.*.build", How::Build),
        ("services.*.build.args", How::Lines),
        ("services.*.build.additional_contexts", How::Lines),
        ("services.*.build.extra_hosts", How::NewLines),
        ("services.*.build.labels", How::Lines),
        ("services.*.command", How::Replace),
        ("services.*.depends_on", How::Dependencies),
        ("services.*.deploy.labels", How::Lines),
        ("services.*.dns", How::Lines),
        ("services.*.dns_opt", How::Lines),
        ("services.*.dns_search", How::Lines),
        ("services.*.entrypoint", How::Replace),
        ("services.*.env_file", How::Lines),
        ("services.*.label_file", How::Lines),
        ("services.*.environment", How::Lines),
        ("services.*.extra_hosts", How::NewLines),
        ("services.*.healthcheck.test", How::Replace),
        ("services.*.labels", How::Lines),
        ("services.*.volumes.*.volume.labels", How::Lines),
        ("services.*.logging", How::Logging),
        ("services.*.models", How::Names),
        ("services.*.networks", How::Names),
        ("services.*.sysctls", How::Lines),
        ("services.*.tmpfs", How::Lines),
        ("services.*.ulimits.*", How::Replace),
    ])
});

/// Lays `over` onto `base`.
pub(crate) fn merge(base: &mut Node, over: Node, sink: &mut Sink) {
    Merger { sink, path: String::new() }.value(base, over, Some(&RULES));
}

/// Lays one service onto another.
pub(crate) fn merge_service(base: &mut Node, over: Node, sink: &mut Sink) {
    let rules = RULES.child("services").and_then(|rules| rules.child(""));
    Merger { sink, path: String::new() }.value(base, over, rules);
}

struct Merger<'a> {
    sink: &'a mut Sink,
    /// For messages.
    path: String,
}

type At = Option<&'static Rules<How>>;

impl Merger<'_> {
    fn value(&mut self, base: &mut Node, over: Node, rules: At) {
        match rules.and_then(|rules| rules.rule) {
            None => self.by_kind(base, over, rules),
            Some(How::Replace) => *base = over,
            Some(How::Lines) => append(base, lines(over), |_, _| true),
            Some(How::NewLines) => append(base, lines(over), |list, item| {
                !list.iter().any(|known| known.as_text().is_some() && known.as_text() == item.as_text())
            }),
            Some(How::Names) => self.mappings(base, over, rules, names),
            Some(How::Dependencies) => self.mappings(base, over, rules, dependencies),
            Some(How::Build) => self.mappings(base, over, rules, build),
            Some(How::Logging) => self.logging(base, over, rules),
            Some(How::Subnets) => self.subnets(base, over),
        }
    }

    fn by_kind(&mut self, base: &mut Node, over: Node, rules: At) {
        match (&mut base.value, over.value) {
            (_, Value::Null) => {}
            (Value::Map(map), Value::Map(entries)) => self.entries(map, entries, rules),
            (Value::List(list), Value::List(items)) => list.extend(items),
            (
                Value::Map(_) | Value::List(_),
                value @ (Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_)),
            )
            | (Value::Map(_), value @ Value::List(_))
            | (Value::List(_), value @ Value::Map(_)) => {
                let over = Node::new(over.pos, value);
                let before = self.sink.place(base.pos);
                let message = format!(
                    "{} is {} here and {} {before}: it cannot be laid over it",
                    self.shown(),
                    over.kind(),
                    base.kind(),
                );
                let hint = "write both in the same form, or replace the earlier one with `!override`";
                self.sink.error_hint(over.pos, message, hint);
            }
            (_, value) => *base = Node::new(over.pos, value),
        }
    }

    fn entries(&mut self, map: &mut Map, entries: Map, rules: At) {
        for (key, entry) in entries {
            let Some(present) = map.get_mut(&key) else {
                map.insert(key, entry);
                continue;
            };
            let length = self.path.len();
            self.path.push('.');
            self.path.push_str(&key);
            self.value(&mut present.node, entry.node, rules.and_then(|rules| rules.child(&key)));
            self.path.truncate(length);
        }
    }

    fn mappings(&mut self, base: &mut Node, over: Node, rules: At, convert: fn(&mut Node)) {
        let mut over = over;
        convert(base);
        convert(&mut over);
        match (&mut base.value, over.value) {
            (Value::Map(map), Value::Map(entries)) => self.entries(map, entries, rules),
            (_, Value::Null) => {}
            (_, value) => *base = Node::new(over.pos, value),
        }
    }

    fn logging(&mut self, base: &mut Node, over: Node, rules: At) {
        let driver =
            |node: &Node| node.as_map().and_then(|map| map.get("driver")).map(|e| e.node.value.clone());
        match (driver(base), driver(&over)) {
            (Some(before), Some(after)) if before != after => *base = over,
            _ => self.by_kind(base, over, rules),
        }
    }

    /// Each earlier range is completed by the later one of its subnet; later ones of other subnets
    /// are added.
    fn subnets(&mut self, base: &mut Node, over: Node) {
        let (Value::List(before), Value::List(after)) = (&base.value, &over.value) else {
            return self.by_kind(base, over, None);
        };
        let subnet =
            |node: &Node| node.as_map().and_then(|map| map.get("subnet")).map(|e| e.node.value.clone());
        let mut merged: Vec<Node> = Vec::new();
        for original in before {
            let mut original = original.clone();
            for later in after {
                if subnet(later) != subnet(&original)
                    && !merged.iter().any(|known| subnet(known) == subnet(later))
                {
                    merged.push(later.clone());
                    continue;
                }
                self.by_kind(&mut original, later.clone(), None);
                let place = merged.iter().position(|known| subnet(known) == subnet(&original));
                match place {
                    Some(index) => merged[index] = original.clone(),
                    None => merged.push(original.clone()),
                }
            }
        }
        base.value = Value::List(merged);
    }

    fn shown(&self) -> String {
        match self.path.strip_prefix('.') {
            Some(path) => format!("`{path}`"),
            None => "the file".to_owned(),
        }
    }
}

/// Appends the wanted items to `base`, which becomes a list of lines.
fn append(base: &mut Node, items: Node, wanted: impl Fn(&[Node], &Node) -> bool) {
    let pos = if base.is_null() { items.pos } else { base.pos };
    let mut node = lines(std::mem::replace(base, Node::null(pos)));
    let (Value::List(list), Value::List(items)) = (&mut node.value, items.value) else { return };
    let known = list.len();
    for item in items {
        if wanted(&list[..known], &item) {
            list.push(item);
        }
    }
    *base = Node { pos, ..node };
}

/// A mapping as sorted `KEY=VALUE` lines, a text as a list of it; what is neither as no lines.
fn lines(node: Node) -> Node {
    let pos = node.pos;
    let list = match node.value {
        Value::List(list) => list,
        Value::Text(text) => vec![Node::text(pos, text)],
        Value::Map(mut map) => {
            map.sort_keys();
            map.into_iter().flat_map(|(key, entry)| entry_lines(&key, entry)).collect()
        }
        _ => Vec::new(),
    };
    Node::new(pos, Value::List(list))
}

fn entry_lines(key: &str, entry: Entry) -> Vec<Node> {
    let line = |node: &Node| {
        let value = node.scalar_text().unwrap_or_else(|| node.to_json().to_string());
        Node::text(node.pos, format!("{key}={value}"))
    };
    match &entry.node.value {
        Value::Null => vec![Node::text(entry.key, key)],
        Value::Invalid => vec![entry.node],
        Value::List(list) => list.iter().map(line).collect(),
        _ => vec![line(&entry.node)],
    }
}

fn names(node: &mut Node) {
    keyed(node, Node::null);
}

fn dependencies(node: &mut Node) {
    keyed(node, |pos| {
        let required = Node::new(pos, Value::Bool(true));
        Node::map(pos, [("condition", Node::text(pos, "service_started")), ("required", required)])
    });
}

fn build(node: &mut Node) {
    if let Value::Text(text) = &node.value {
        let context = Node::text(node.pos, text.clone());
        node.value = Node::map(node.pos, [("context", context)]).value;
    }
}

/// A list of names → a mapping from each name.
pub(crate) fn keyed(node: &mut Node, value: impl Fn(crate::diagnostics::Pos) -> Node) {
    let Value::List(list) = &node.value else { return };
    let mut map = Map::new();
    for item in list {
        if let Some(name) = item.as_text() {
            map.insert(name.to_owned(), Entry { key: item.pos, node: value(item.pos) });
        }
    }
    node.value = Value::Map(map);
}
