//! What is valid Compose and cannot be run by this program whatever the rest says: refusals of the
//! second stage that need no types.

use crate::diagnostics::Sink;
use crate::quantity::MAX_MODE;
use crate::schema::{ROOT, Shape};
use crate::tree::{Map, Node, Value};
use model::{Bytes, DurationMs, UnitError};

/// Puts a refusal into the sink for each reason not to run what `root` says.
pub(crate) fn check(root: &Node, inactive: usize, sink: &mut Sink) {
    let empty = Map::new();
    let services = root.get("services").and_then(Node::as_map).unwrap_or(&empty);
    if services.is_empty() && inactive == 0 {
        let hint = "add `services:` with at least one service";
        sink.error_hint(root.pos, "the file declares no services", hint);
    }
    for (name, entry) in services {
        if let Err(error) = model::ServiceName::new(name.as_str()) {
            sink.error(entry.key, error.to_string());
        }
        for volume in entry.node.get("volumes").map(Node::items).unwrap_or_default() {
            volume_type(volume, sink);
        }
    }
    quantities(root, &ROOT, sink);
}

/// Durations and sizes that are valid and mean nothing here, such as negative ones.
fn quantities(node: &Node, shape: &'static Shape, sink: &mut Sink) {
    match (shape, &node.value) {
        (Shape::Nullable(inner), _) => quantities(node, inner, sink),
        (Shape::Either(shapes), _) => shapes.iter().for_each(|shape| quantities(node, shape, sink)),
        (Shape::List(item) | Shape::Unique(item), Value::List(list)) => {
            list.iter().for_each(|node| quantities(node, item, sink));
        }
        (Shape::Named(item) | Shape::Keyed(_, item), Value::Map(map)) => {
            map.values().for_each(|entry| quantities(&entry.node, item, sink));
        }
        (Shape::Object(object), Value::Map(map)) => {
            for (key, entry) in map {
                if let Some(field) = object.fields.iter().find(|field| field.key == key) {
                    quantities(&entry.node, &field.shape, sink);
                }
            }
        }
        (Shape::Duration, Value::Text(text)) => unit(node, DurationMs::parse(text).err(), sink),
        (Shape::Size | Shape::WholeSize | Shape::SizeFromZero | Shape::SizeText, Value::Text(text))
            if text != "-1" =>
        {
            unit(node, Bytes::parse(text).err(), sink);
        }
        (Shape::Mode, Value::Int(mode)) if !(0..=i64::from(MAX_MODE)).contains(mode) => {
            let message = format!("`{mode}` cannot be used: permission bits are at most 0{MAX_MODE:o}");
            sink.error_hint(node.pos, message, "write octal digits, such as `0440`");
        }
        _ => {}
    }
}

fn unit(node: &Node, error: Option<UnitError>, sink: &mut Sink) {
    if let Some(error) = error {
        let message = format!("`{}` cannot be used: it is not a {}", error.value, error.what);
        sink.error_hint(node.pos, message, format!("write {}", error.expected));
    }
}

fn volume_type(volume: &Node, sink: &mut Sink) {
    let Some(kind) = volume.get("type") else { return };
    if let Some(text @ ("cluster" | "npipe" | "image")) = kind.as_text() {
        let message = format!("volumes of the type `{text}` are not supported");
        sink.error_hint(kind.pos, message, "use `bind`, `volume` or `tmpfs`");
    }
}
