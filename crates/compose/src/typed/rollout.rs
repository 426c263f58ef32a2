//! How a new release takes over: `deploy.update_config`, `deploy.rollback_config` and
//! `x-juchu.rollout`.

use super::{count, duration, port_number};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::Percent;
use model::service::{
    Asked, FailureAction, JudgePolicy, RolloutPolicy, UpdateConfig, UpdateOrder, WithoutTraffic,
};

/// Addresses that may be asked in turn, and characters of a path.
const ASKED_MOST: usize = 20;
const PATH_MOST: usize = 2_000;

/// `deploy.update_config`.
pub(super) fn update(node: &Node, sink: &mut Sink) -> UpdateConfig {
    let config = node.get("deploy").and_then(|deploy| deploy.get("update_config"));
    config.map(|config| update_config(config, sink)).unwrap_or_default()
}

/// `deploy.rollback_config`.
pub(super) fn rollback(node: &Node, sink: &mut Sink) -> Option<UpdateConfig> {
    let config = node.get("deploy").and_then(|deploy| deploy.get("rollback_config"));
    config.map(|config| update_config(config, sink))
}

fn update_config(config: &Node, sink: &mut Sink) -> UpdateConfig {
    let order = match config.get("order").and_then(Node::as_text) {
        Some("start-first") => Some(UpdateOrder::StartFirst),
        Some("stop-first") => Some(UpdateOrder::StopFirst),
        _ => None,
    };
    let action = config.get("failure_action");
    let failure_action = action.and_then(|action| match action.as_text().unwrap_or_default() {
        "continue" => Some(FailureAction::Continue),
        "rollback" => Some(FailureAction::Rollback),
        "pause" => Some(FailureAction::Pause),
        other => {
            let message = format!("`failure_action` cannot be `{other}`");
            sink.error_hint(action.pos, message, "use continue, rollback or pause");
            None
        }
    });
    let ratio = config.get("max_failure_ratio").and_then(|node| match node.value {
        crate::tree::Value::Int(value) => Some(value as f64),
        crate::tree::Value::Float(value) => Some(value),
        _ => None,
    });
    if let (Some(node), Some(value)) = (config.get("max_failure_ratio"), ratio)
        && !(0.0..=1.0).contains(&value)
    {
        let message = format!("`max_failure_ratio` cannot be {value}");
        sink.error_hint(node.pos, message, "use a share between 0 and 1");
    }
    UpdateConfig {
        order,
        parallelism: count(config, "parallelism", sink),
        delay: duration(config, "delay"),
        monitor: duration(config, "monitor"),
        failure_action,
        max_failure_ratio: ratio,
    }
}

/// `x-juchu.rollout`.
pub(super) fn policy(node: &Node, sink: &mut Sink) -> RolloutPolicy {
    RolloutPolicy {
        canary: super::parsed(node, "canary", sink, Percent::parse),
        canary_time: duration(node, "canary_time"),
        probes: count(node, "probes", sink),
        min_healthy: duration(node, "min_healthy"),
        warm: duration(node, "warm"),
        drain: duration(node, "drain"),
        judge: node.get("judge").and_then(|node| judge(node, sink)),
    }
}

/// `true`, `false`, or what is different from the usual.
fn judge(node: &Node, sink: &mut Sink) -> Option<JudgePolicy> {
    if let Some(is_on) = node.as_bool() {
        return Some(JudgePolicy { off: !is_on, ..JudgePolicy::default() });
    }
    let without_traffic = match node.get("without_traffic").and_then(Node::as_text) {
        Some("wait") => WithoutTraffic::Wait,
        Some("rollback") => WithoutTraffic::Rollback,
        Some("pause") => WithoutTraffic::Pause,
        _ => WithoutTraffic::Keep,
    };
    Some(JudgePolicy {
        off: false,
        limit: duration(node, "limit"),
        cold_start: duration(node, "cold_start"),
        without_traffic,
        ask: asked(node, sink),
    })
}

/// What is asked where people ask too little: `8080/cart`, or several of them.
fn asked(node: &Node, sink: &mut Sink) -> Vec<Asked> {
    let Some(ask) = node.get("ask") else { return Vec::new() };
    let all: Vec<&Node> = if ask.as_text().is_some() { vec![ask] } else { ask.items().iter().collect() };
    if all.len() > ASKED_MOST {
        let message = format!("`ask` has {} addresses and may have {ASKED_MOST}", all.len());
        sink.error_hint(ask.pos, message, "keep those that tell most of the service");
    }
    all.into_iter().filter_map(|node| one_asked(node, sink)).collect()
}

fn one_asked(node: &Node, sink: &mut Sink) -> Option<Asked> {
    let text = node.as_text()?.trim();
    let (port, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    if path.is_empty() || path.len() > PATH_MOST || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("`{text}` is no address that both releases can be asked for");
        sink.error_hint(node.pos, message, "write the port and the path, `8080/cart`");
        return None;
    }
    let port = port_number(&Node::text(node.pos, port), sink)?;
    Some(Asked { port, path: path.to_owned() })
}
