//! The file's own `x-juchu.notify`: who is told about incidents of this stack. Addresses are secrets,
//! so each receiver names one of `secrets`.

use crate::diagnostics::Sink;
use crate::suggest;
use crate::tree::Node;
use model::notify::{NAME_MAX, RECEIVERS_MAX};
use std::collections::BTreeSet;

/// The secrets that hold addresses; what makes no sense is told.
pub(super) fn secrets(root: &Node, sink: &mut Sink) -> BTreeSet<String> {
    let Some(declared) = root.get("x-juchu").and_then(|policy| policy.get("notify")) else {
        return BTreeSet::new();
    };
    let known: Vec<&str> =
        root.get("secrets").into_iter().flat_map(Node::entries).map(|(key, _)| key.as_str()).collect();
    let mut used = BTreeSet::new();
    for (name, entry) in declared.entries() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_name) {
            let message = format!("a receiver's name has up to {NAME_MAX} letters, digits, `-` and `_`");
            sink.error(entry.key, message);
        }
        let Some(secret) = entry.node.get("secret") else { continue };
        let text = secret.scalar_text().unwrap_or_default();
        if known.contains(&text.as_str()) {
            used.insert(text);
            continue;
        }
        let shown: String = text.chars().take(NAME_MAX).collect();
        let hint = match suggest::nearest(&text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("secrets: {{{}: {{file: ./address.txt}}}}", shown.escape_debug()),
        };
        sink.error_hint(secret.pos, format!("there is no secret `{}`", shown.escape_debug()), hint);
    }
    if declared.entries().count() > RECEIVERS_MAX {
        sink.error(declared.pos, format!("`notify` can have {RECEIVERS_MAX} receivers at most"));
    }
    used
}
