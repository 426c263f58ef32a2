//! `post_start` and `pre_stop`.

use super::{flag, text_list, texts_of, word};
use crate::tree::Node;
use model::service::{Hook, Hooks};

pub(super) fn hooks(node: &Node) -> Hooks {
    let of = |key: &str| node.get(key).map(Node::items).unwrap_or_default().iter().map(hook).collect();
    Hooks { post_start: of("post_start"), pre_stop: of("pre_stop") }
}

fn hook(node: &Node) -> Hook {
    Hook {
        command: text_list(node.get("command")),
        user: word(node, "user"),
        privileged: flag(node, "privileged"),
        working_dir: word(node, "working_dir"),
        environment: texts_of(node.get("environment")),
    }
}
