//! Short forms of volumes (`[SOURCE:]TARGET[:OPTIONS]`) and devices (`SOURCE[:TARGET[:MODE]]`).

use crate::diagnostics::Sink;
use crate::paths::clean_text;
use crate::tree::{Node, Value};

/// The place a volume in the short form is mounted at.
pub(crate) fn target(text: &str) -> Option<String> {
    match sections(text)[..] {
        [target] | [_, target, ..] => Some(target.to_owned()),
        [] => None,
    }
}

pub(super) fn volume(item: Node, sink: &mut Sink) -> Node {
    let Some(text) = item.as_text() else { return item };
    let pos = item.pos;
    let fail = |sink: &mut Sink, reason: &str| {
        let message = format!("the volume `{text}` is not valid: {reason}");
        sink.error_hint(pos, message, "write [SOURCE:]TARGET[:ro|rw]");
        Node::new(pos, Value::Invalid)
    };
    let parts = sections(text);
    if parts.iter().any(|part| part.is_empty()) {
        return fail(sink, "a part is empty");
    }
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return fail(sink, "it has too many colons"),
    };
    let node_text = |text: &str| Node::text(pos, text);
    let is_bind = source.is_some_and(is_path);
    let kind = if is_bind { "bind" } else { "volume" };
    let mut node = Node::map(pos, [("type", node_text(kind)), ("target", node_text(&clean_text(target)))]);
    if let Some(source) = source {
        node.set("source", node_text(source));
    }
    let flag = || Node::new(pos, Value::Bool(true));
    // The reference implementation takes so short a text as it is.
    if text.len() > 2 {
        node.set(kind, Node::map(pos, []));
    }
    if is_bind {
        set_in(&mut node, "bind", "create_host_path", flag());
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => node.set("read_only", flag()),
            "rw" => node.set("read_only", Node::new(pos, Value::Bool(false))),
            "z" | "Z" => set_in(&mut node, "bind", "selinux", node_text(option)),
            "nocopy" => set_in(&mut node, "volume", "nocopy", flag()),
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
                set_in(&mut node, "bind", "propagation", node_text(option));
            }
            other => {
                sink.warning(
                    pos,
                    format!("the option `{other}` of the volume `{text}` is not known and has no effect"),
                );
            }
        }
    }
    node
}

/// What stands between the colons. A colon after a single letter is that of a drive, as in the
/// reference implementation, wherever it stands; one inside of `${…}` is none.
fn sections(text: &str) -> Vec<&str> {
    let mut sections = Vec::new();
    let (mut start, mut open) = (0, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '$' if text[at..].starts_with("${") => open += 1,
            '}' => open = open.saturating_sub(1),
            _ => {}
        }
        if c != ':' || open > 0 {
            continue;
        }
        let section = &text[start..at];
        if section.chars().count() == 1 && section.chars().all(char::is_alphabetic) {
            continue;
        }
        sections.push(section);
        start = at + 1;
    }
    sections.push(&text[start..]);
    sections
}

/// Sets a key of a mapping below `node`, which is made where it is missing.
fn set_in(node: &mut Node, key: &str, inner: &str, value: Node) {
    if node.get(key).is_none() {
        node.set(key, Node::map(value.pos, []));
    }
    if let Some(map) = node.get_mut(key) {
        map.set(inner, value);
    }
}

/// A source that starts like a path, or a drive, is one; anything else names a volume.
fn is_path(source: &str) -> bool {
    let mut chars = source.chars();
    let drive = chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':');
    drive || source.starts_with(['.', '/', '~']) || source.starts_with("\\\\")
}

pub(super) fn device(item: Node, sink: &mut Sink) -> Node {
    let Some(text) = item.as_text() else { return item };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, target] => (source, target, "rwm"),
        [source, target, permissions] => (source, target, permissions),
        _ => {
            let message = format!("the device `{text}` has too many colons");
            sink.error_hint(item.pos, message, "write SOURCE[:TARGET[:PERMISSIONS]]");
            return Node::new(item.pos, Value::Invalid);
        }
    };
    let text = |text: &str| Node::text(item.pos, text);
    Node::map(
        item.pos,
        [("source", text(source)), ("target", text(target)), ("permissions", text(permissions))],
    )
}
