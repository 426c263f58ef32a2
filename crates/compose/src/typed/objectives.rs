//! `x-juchu.objectives`: which share of requests is to be answered, and how quickly.

use super::duration;
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::objective::{Objectives, Quickness, Target, WITHIN_MAX, WITHIN_MIN};

pub(super) fn objectives(node: &Node, sink: &mut Sink) -> Objectives {
    let declared = node.get("x-juchu").and_then(|policy| policy.get("objectives"));
    let Some(declared) = declared else { return Objectives::default() };
    let availability = declared.get("availability").and_then(|node| target(node, sink));
    let latency = declared.get("latency").and_then(|node| latency(node, sink));
    Objectives { availability, latency }
}

fn latency(node: &Node, sink: &mut Sink) -> Option<Quickness> {
    let target = target(node.get("target")?, sink)?;
    let within = duration(node, "within")?;
    if !(WITHIN_MIN..=WITHIN_MAX).contains(&within) {
        let pos = node.get("within").map(|node| node.pos);
        sink.error(pos, format!("`within` must be between {WITHIN_MIN} and {WITHIN_MAX}, {within} is not"));
        return None;
    }
    Some(Quickness { target, within })
}

fn target(node: &Node, sink: &mut Sink) -> Option<Target> {
    let text = node.scalar_text().unwrap_or_default();
    match Target::parse(&text) {
        Ok(target) => Some(target),
        Err(error) => {
            let shown: String = text.chars().take(40).collect();
            let message = format!("`{}` is none: {error}", shown.escape_debug());
            sink.error_hint(node.pos, message, "such as 99.9%; 100% would leave nothing to measure by");
            None
        }
    }
}
