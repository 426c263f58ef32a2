//! What is completed in a file whose variables stay: names without a value, where the environment
//! has one.

use super::About;
use crate::tree::{Node, Value};

/// `environment` and build arguments, in whichever form they are written.
pub(super) fn environment(tree: &mut Node, about: &About) {
    if about.skip.normalization {
        return;
    }
    for (_, entry) in tree.get_mut("services").into_iter().flat_map(Node::entries_mut) {
        complete(entry.node.get_mut("environment"), about, true);
        complete(entry.node.get_mut("build").and_then(|build| build.get_mut("args")), about, false);
    }
}

/// `keep` is whether a name stays when the environment has nothing for it either.
fn complete(node: Option<&mut Node>, about: &About, keep: bool) {
    let value = |name: &str| about.environment.get(name);
    match node.map(|node| &mut node.value) {
        Some(Value::List(list)) => list.retain_mut(|item| {
            let Some(name) = item.as_text().filter(|text| !text.contains('=')) else { return true };
            match value(name).map(|value| format!("{name}={value}")) {
                Some(text) => item.value = Value::Text(text),
                None => return keep,
            }
            true
        }),
        Some(Value::Map(map)) => map.retain(|name, entry| {
            match value(name).filter(|_| entry.node.is_null()) {
                Some(value) => entry.node.value = Value::Text(value.clone()),
                None => return keep || !entry.node.is_null(),
            }
            true
        }),
        _ => {}
    }
}
