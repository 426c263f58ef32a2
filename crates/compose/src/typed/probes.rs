//! `x-juchu.probes`: addresses that the daemon asks again and again.

use super::{duration, flag};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::DurationMs;
use model::probe::{INTERVAL_MAX, INTERVAL_MIN, PROBES_MAX, Probe};
use std::collections::BTreeSet;

/// Bytes of an address.
const URL_MAX: usize = 2048;

pub(super) fn probes(node: &Node, sink: &mut Sink) -> Vec<Probe> {
    let Some(declared) = node.get("x-juchu").and_then(|policy| policy.get("probes")) else {
        return Vec::new();
    };
    let all = declared.as_list().unwrap_or(std::slice::from_ref(declared));
    if all.len() > PROBES_MAX {
        sink.error(declared.pos, format!("`probes` can have {PROBES_MAX} addresses at most"));
        return Vec::new();
    }
    let mut known = BTreeSet::new();
    let mut probes = Vec::new();
    for node in all {
        let Some(probe) = probe(node, sink) else { continue };
        if !known.insert(probe.url.clone()) {
            sink.error(node.pos, format!("{} is probed twice", probe.url));
        }
        probes.push(probe);
    }
    probes
}

/// An address, or an object with one.
fn probe(node: &Node, sink: &mut Sink) -> Option<Probe> {
    if node.as_map().is_none() {
        return Some(Probe { url: url(node, sink)?, interval: None, timeout: None, insecure: false });
    }
    let probe = Probe {
        url: url(node.get("url")?, sink)?,
        interval: interval(node, sink),
        timeout: duration(node, "timeout"),
        insecure: flag(node, "insecure"),
    };
    if let Some(timeout) = probe.timeout
        && (timeout.0 == 0 || timeout > probe.interval())
    {
        let pos = node.get("timeout").map(|node| node.pos);
        let most = probe.interval();
        sink.error(pos, format!("`timeout` must be more than nothing and at most the interval, {most}"));
    }
    Some(probe)
}

fn interval(node: &Node, sink: &mut Sink) -> Option<DurationMs> {
    let interval = duration(node, "interval")?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) && interval.0 % 1000 == 0 {
        return Some(interval);
    }
    let pos = node.get("interval").map(|node| node.pos);
    sink.error(pos, "`interval` must be whole seconds between 5s and 2m".to_owned());
    None
}

fn url(node: &Node, sink: &mut Sink) -> Option<String> {
    let text = node.scalar_text()?;
    if is_url(&text) {
        return Some(text);
    }
    let shown: String = text.chars().take(60).collect();
    let message = format!("`{}` is not an address that can be probed", shown.escape_debug());
    sink.error_hint(node.pos, message, "write it as https://example.org/page, without a user");
    None
}

fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    text.len() <= URL_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !host.is_empty()
        && !authority.contains('@')
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}
