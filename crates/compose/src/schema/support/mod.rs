//! Says of every valid key that is not acted on that it is not, and why: nothing is dropped in
//! silence. What is done with a key stands in [`table`]; the pages for people are made from it.

#[cfg(test)]
mod reference;
mod table;

use super::{Field, Object, ROOT, Shape};
use crate::diagnostics::Sink;
use crate::tree::{Entry, Node, Value};
use std::collections::HashMap;
use std::sync::LazyLock;
use table::TABLE;

/// What is done with a valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// As Docker Compose does; the text, for the docs, may add to it.
    Honoured(&'static str),
    /// Acted on, but not quite as there: how.
    Differs(&'static str),
    /// Without effect, with a warning: why.
    Ignored(&'static str),
    /// An error before anything happens: why.
    Refused(&'static str),
}

static BY_PATH: LazyLock<HashMap<&str, Support>> = LazyLock::new(|| TABLE.iter().copied().collect());

/// What is done with the key at this path of the schema; below a key without rows of its own as there.
fn support(path: &str) -> Support {
    BY_PATH.get(path).copied().unwrap_or(Support::Honoured(""))
}

/// Walks the merged tree; services without an active profile are gone from it by then.
pub(crate) fn report(root: &Node, sink: &mut Sink) {
    Walk { sink, path: String::new() }.value(root, &ROOT);
}

struct Walk<'a> {
    sink: &'a mut Sink,
    /// As the table names it.
    path: String,
}

impl Walk<'_> {
    fn value(&mut self, node: &Node, shape: &'static Shape) {
        match shape {
            Shape::Nullable(inner) => self.value(node, inner),
            Shape::Either(shapes) => {
                if let Some(shape) = shapes.iter().find(|shape| is_container_of(shape, node)) {
                    self.value(node, shape);
                }
            }
            Shape::List(item) | Shape::Unique(item) => {
                node.items().iter().for_each(|node| self.value(node, item))
            }
            Shape::Named(item) | Shape::Keyed(_, item) => {
                for (name, entry) in node.entries() {
                    let is_owner = self.sink.owner().is_empty();
                    if is_owner {
                        self.sink.about(name);
                    }
                    self.value(&entry.node, item);
                    if is_owner {
                        self.sink.about("");
                    }
                }
            }
            Shape::Object(object) => self.fields(node, object),
            _ => {}
        }
    }

    fn fields(&mut self, node: &Node, object: &'static Object) {
        for (key, entry) in node.entries() {
            let Some(field) = object.fields.iter().find(|field| field.key == key) else { continue };
            let length = self.path.len();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(key);
            self.field(key, entry, field);
            self.path.truncate(length);
        }
    }

    fn field(&mut self, key: &str, entry: &Entry, field: &'static Field) {
        // What is said of a service needs no word for where services are.
        let shown = self.path.strip_prefix("services.").unwrap_or(&self.path);
        match support(&self.path) {
            Support::Honoured(_) | Support::Differs(_) => self.value(&entry.node, &field.shape),
            _ if is_harmless(key, &entry.node) => {}
            Support::Ignored(why) => self.sink.no_effect(entry.key, shown, why),
            Support::Refused(why) => {
                let owner = self.sink.owner();
                let whose = if owner.is_empty() { String::new() } else { format!(" of `{owner}`") };
                self.sink.error_hint(entry.key, format!("`{shown}`{whose} cannot be honoured"), why);
            }
        }
    }
}

/// Values that ask for what is done anyway.
fn is_harmless(key: &str, node: &Node) -> bool {
    match (key, &node.value) {
        (_, Value::Null | Value::Invalid | Value::Bool(false)) => true,
        (_, Value::List(list)) => list.is_empty(),
        (_, Value::Map(map)) if map.is_empty() => true,
        ("driver", Value::Text(driver)) => matches!(driver.as_str(), "" | "bridge" | "local" | "default"),
        ("enable_ipv4" | "attach", Value::Bool(_)) => true,
        ("endpoint_mode", Value::Text(mode)) => mode == "vip",
        (_, Value::Text(text)) => text.is_empty(),
        _ => false,
    }
}

fn is_container_of(shape: &Shape, node: &Node) -> bool {
    match shape {
        Shape::List(_) | Shape::Unique(_) => node.as_list().is_some(),
        Shape::Named(_) | Shape::Keyed(..) | Shape::Object(_) => node.as_map().is_some(),
        Shape::Either(shapes) => shapes.iter().any(|shape| is_container_of(shape, node)),
        Shape::Nullable(inner) => is_container_of(inner, node),
        _ => false,
    }
}
