//! Names that only one service may have.

use crate::diagnostics::Sink;
use crate::tree::Node;
use std::collections::HashMap;

/// Two services cannot call their containers the same.
pub(crate) fn unique_container_names(root: &Node, sink: &mut Sink) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (name, entry) in root.get("services").into_iter().flat_map(Node::entries) {
        let Some(node) = entry.node.get("container_name") else { continue };
        let Some(text) = node.as_text().filter(|text| !text.is_empty()) else { continue };
        if let Some(other) = seen.insert(text, name) {
            let message =
                format!("the services `{other}` and `{name}` have the same `container_name` `{text}`");
            sink.error_hint(node.pos, message, "give each its own, or remove the key");
        }
    }
}
