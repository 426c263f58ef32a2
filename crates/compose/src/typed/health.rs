//! `healthcheck`, and `x-juchu.health`, which checks from the host and wins over it.

use super::{count, duration, flag, port_number, text, text_list};
use crate::diagnostics::Sink;
use crate::suggest;
use crate::tree::Node;
use model::service::{HealthTest, Healthcheck};

/// Where an HTTP check without a path looks.
const DEFAULT_PATH: &str = "/";

pub(super) fn healthcheck(node: &Node, sink: &mut Sink) -> Option<Healthcheck> {
    let ours = node.get("x-juchu").and_then(|policy| policy.get("health"));
    if let Some(ours) = ours
        && let Some(test) = host_test(ours, sink)
    {
        return Some(timed(test, ours, sink));
    }
    let check = node.get("healthcheck")?;
    if flag(check, "disable") {
        return Some(timed(HealthTest::None, check, sink));
    }
    if !check.has("test") || check.get("test").is_some_and(|test| test.items().is_empty()) {
        if check.as_map().is_some_and(|map| map.values().any(|entry| entry.node.is_given())) {
            let message = "a health check without `test` has no effect; the image's own keeps its timings";
            sink.warning_hint(check.pos, message, "add `test: [CMD, …]`");
        }
        return None;
    }
    let test = declared_test(check.get("test")?, sink)?;
    Some(timed(test, check, sink))
}

fn timed(test: HealthTest, node: &Node, sink: &mut Sink) -> Healthcheck {
    Healthcheck {
        test,
        interval: duration(node, "interval"),
        timeout: duration(node, "timeout"),
        retries: count(node, "retries", sink),
        start_period: duration(node, "start_period"),
        start_interval: duration(node, "start_interval"),
    }
}

fn declared_test(test: &Node, sink: &mut Sink) -> Option<HealthTest> {
    let words = text_list(Some(test));
    let (kind, rest) = words.split_first()?;
    match (kind.as_str(), rest) {
        ("NONE", _) => Some(HealthTest::None),
        ("CMD", [_, ..]) => Some(HealthTest::Exec { argv: rest.to_vec() }),
        ("CMD-SHELL", [script]) => Some(HealthTest::Shell { script: script.clone() }),
        ("CMD-SHELL", [_, ..]) => Some(HealthTest::Shell { script: rest.join(" ") }),
        ("CMD" | "CMD-SHELL", []) => {
            sink.error(test.pos, format!("the health check has no command after `{kind}`"));
            None
        }
        (other, _) => {
            let hint = suggest::hint(other, ["CMD", "CMD-SHELL", "NONE"])
                .unwrap_or_else(|| format!("write `[CMD, {other}, …]`, or the command as one text"));
            let message =
                format!("the health check starts with `{other}` instead of `CMD`, `CMD-SHELL` or `NONE`");
            sink.error_hint(test.pos, message, hint);
            None
        }
    }
}

fn host_test(health: &Node, sink: &mut Sink) -> Option<HealthTest> {
    match (health.get("http"), health.get("tcp")) {
        (Some(http), None) => http_test(http, sink),
        (None, Some(tcp)) => Some(HealthTest::Tcp { port: port_number(tcp, sink)? }),
        (Some(http), Some(_)) => {
            sink.error_hint(http.pos, "`health` has both `http` and `tcp`", "keep one of the two");
            None
        }
        (None, None) => {
            if !health.has("http") && !health.has("tcp") {
                let hint = "write `http: 8080/healthz` or `tcp: 5432`";
                sink.error_hint(health.pos, "`x-juchu.health` says neither `http` nor `tcp`", hint);
            }
            None
        }
    }
}

/// `PORT`, `PORT/path` or `{port, path}`.
fn http_test(http: &Node, sink: &mut Sink) -> Option<HealthTest> {
    if http.as_map().is_some() {
        let port = port_number(http.get("port")?, sink)?;
        let path = text(http, "path").unwrap_or_else(|| DEFAULT_PATH.to_owned());
        return Some(HealthTest::Http { port, path: rooted(path) });
    }
    let all = http.as_text()?;
    let (port, path) = all.split_at(all.find('/').unwrap_or(all.len()));
    let port = port_number(&Node::text(http.pos, port), sink)?;
    Some(HealthTest::Http { port, path: rooted(path.to_owned()) })
}

fn rooted(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}
