//! Warns of every valid key that has no effect, so that nothing is dropped in silence.

use super::{Object, ROOT, Shape, Support};
use crate::diagnostics::Sink;
use crate::tree::{Node, Value};

/// Walks the merged tree; services without an active profile are gone from it by then.
pub(crate) fn warn_unsupported(root: &Node, sink: &mut Sink) {
    walk(root, &ROOT, "", sink);
}

fn walk(node: &Node, shape: &'static Shape, path: &str, sink: &mut Sink) {
    match shape {
        Shape::Nullable(inner) => walk(node, inner, path, sink),
        Shape::Either(shapes) => {
            let fitting = shapes.iter().find(|shape| is_container_of(shape, node));
            if let Some(shape) = fitting {
                walk(node, shape, path, sink);
            }
        }
        Shape::List(item) => {
            for (index, node) in node.items().iter().enumerate() {
                walk(node, item, &format!("{path}[{index}]"), sink);
            }
        }
        Shape::Named(item) => {
            for (key, entry) in node.entries() {
                walk(&entry.node, item, &format!("{path}.{key}"), sink);
            }
        }
        Shape::Object(object) => fields(node, object, path, sink),
        _ => {}
    }
}

fn fields(node: &Node, object: &'static Object, path: &str, sink: &mut Sink) {
    for (key, entry) in node.entries() {
        let Some(field) = object.fields.iter().find(|field| field.key == key) else { continue };
        let path = format!("{path}.{key}");
        match field.support {
            Support::Honoured => walk(&entry.node, &field.shape, &path, sink),
            Support::Ignored(_) if is_harmless(key, &entry.node) => {}
            Support::Ignored(why) => {
                let message = format!("`{}` is not supported and has no effect", &path[1..]);
                match why {
                    "" => sink.warning(entry.key, message),
                    why => sink.warning_hint(entry.key, message, why),
                }
            }
        }
    }
}

/// Values that ask for what is done anyway.
fn is_harmless(key: &str, node: &Node) -> bool {
    match (key, &node.value) {
        (_, Value::Null | Value::Bool(false)) => true,
        (_, Value::List(list)) => list.is_empty(),
        (_, Value::Map(map)) if map.is_empty() => true,
        ("driver", Value::Text(driver)) => matches!(driver.as_str(), "bridge" | "local" | "default"),
        ("enable_ipv4" | "attach", Value::Bool(_)) => true,
        ("uts" | "userns_mode" | "runtime", Value::Text(text)) => text.is_empty(),
        _ => false,
    }
}

fn is_container_of(shape: &Shape, node: &Node) -> bool {
    match shape {
        Shape::List(_) => node.as_list().is_some(),
        Shape::Named(_) | Shape::Object(_) => node.as_map().is_some(),
        _ => false,
    }
}
