//! `develop.watch`.

use super::{flag, text_list, texts_of, word};
use crate::tree::Node;
use model::watch::{WatchAction, WatchExec, WatchRule};
use std::path::PathBuf;

pub(super) fn rules(node: &Node) -> Vec<WatchRule> {
    let listed = node.get("develop").and_then(|develop| develop.get("watch")).map(Node::items);
    listed.unwrap_or_default().iter().filter_map(rule).collect()
}

/// What is missing was reported where the file was validated.
fn rule(node: &Node) -> Option<WatchRule> {
    let text = |key| node.get(key).and_then(Node::as_text);
    let action = WatchAction::ALL.into_iter().find(|action| Some(action.word()) == text("action"))?;
    Some(WatchRule {
        path: PathBuf::from(text("path")?),
        action,
        target: word(node, "target").unwrap_or_default(),
        ignore: text_list(node.get("ignore")),
        include: text_list(node.get("include")),
        initial_sync: flag(node, "initial_sync"),
        exec: node.get("exec").map(exec),
    })
}

fn exec(node: &Node) -> WatchExec {
    WatchExec {
        command: text_list(node.get("command")),
        user: word(node, "user"),
        working_dir: word(node, "working_dir"),
        environment: texts_of(node.get("environment")),
        privileged: flag(node, "privileged"),
    }
}
