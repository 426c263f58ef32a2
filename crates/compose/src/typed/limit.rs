//! `x-juchu.gateway`: how many requests an instance has at a time, where others wait, who goes first.

use super::traffic::{at_least_one, time};
use super::{count, gateway::is_field_name, text};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::DurationMs;
use model::traffic::{Limit, Priority, PriorityFrom, Queue};

/// Requests that may wait for one service, at most: each holds what it has sent so far.
const MAX_QUEUE: u32 = 10_000;
/// Longest wait.
const MAX_WAIT: DurationMs = DurationMs::from_secs(300);

/// `50`, `adaptive`, or the bounds of one that finds itself.
pub(super) fn limit(node: &Node, sink: &mut Sink) -> Option<Limit> {
    if let Some(shown) = node.scalar_text() {
        let limit = shown.parse().ok().filter(|limit| *limit > 0).map(Limit::Fixed);
        let limit = limit.or((shown == "adaptive").then_some(Limit::Adaptive { min: None, max: None }));
        if limit.is_none() {
            let hint = "write how many requests an instance may have at a time, or adaptive";
            sink.error_hint(node.pos, format!("`limit` cannot be `{shown}`"), hint);
        }
        return limit;
    }
    let (min, max) = (at_least_one(node, "min", sink), at_least_one(node, "max", sink));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        sink.error(node.get("min").map(|node| node.pos), format!("`min` is {min} and `max` only {max}"));
    }
    Some(Limit::Adaptive { min, max })
}

/// `queue` of what is under `x-juchu.gateway`.
pub(super) fn queue(gateway: &Node, sink: &mut Sink) -> Queue {
    let Some(node) = gateway.get("queue") else { return Queue::default() };
    if !gateway.has("limit") {
        let hint = "give the service a `limit`, such as limit: 50";
        sink.error_hint(node.pos, "a `queue` without a `limit` has nobody who waits", hint);
    }
    if node.as_text() == Some("off") {
        return Queue { size: Some(0), timeout: None };
    }
    let size = count(node, "size", sink);
    if size.is_some_and(|size| size > MAX_QUEUE) {
        let pos = node.get("size").map(|node| node.pos);
        sink.error(pos, format!("the `size` of a queue can be {MAX_QUEUE} at most"));
    }
    let timeout = time(node, "timeout", sink);
    if timeout.is_some_and(|timeout| timeout > MAX_WAIT) {
        sink.error(node.get("timeout").map(|node| node.pos), "nobody can wait for longer than 5m");
    }
    Queue { size, timeout }
}

/// A word, or the field that has it.
pub(super) fn priority(node: &Node, sink: &mut Sink) -> Option<PriorityFrom> {
    if let Some(word) = node.as_text() {
        return Priority::parse(word.as_bytes()).map(PriorityFrom::Fixed);
    }
    let name = text(node, "header")?;
    if !is_field_name(&name) {
        let pos = node.get("header").map(|node| node.pos);
        sink.error(pos, format!("`{name}` is not the name of a header field"));
        return None;
    }
    Some(PriorityFrom::Header(name.to_ascii_lowercase()))
}
