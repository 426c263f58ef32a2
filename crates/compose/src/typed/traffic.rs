//! `x-juchu.gateway` beside its routes: times, repetitions, breaker, rates, disturbances; how much at
//! a time is in `limit`.

use super::{count, duration, gateway::is_field_name, limit, parsed, text};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::traffic::{Breaker, Compression, Fault, Rate, RateKey, Retries, Timeouts, Trace, Traffic};
use model::{Bytes, DurationMs, Percent};

/// Attempts for one request beyond the first, at most.
const MAX_ATTEMPTS: u32 = 5;
/// Longest delay on purpose.
const MAX_DELAY: DurationMs = DurationMs::from_secs(60);

pub(super) fn traffic(node: &Node, sink: &mut Sink) -> Traffic {
    let items = |key: &str| node.get(key).map(Node::items).unwrap_or_default();
    Traffic {
        timeouts: node.get("timeouts").map(|node| timeouts(node, sink)).unwrap_or_default(),
        retries: node.get("retries").map(|node| retries(node, sink)).unwrap_or_default(),
        breaker: node.get("breaker").map(|node| breaker(node, sink)).unwrap_or_default(),
        rates: items("rates").iter().filter_map(|node| rate(node, sink)).collect(),
        faults: items("faults").iter().filter_map(|node| fault(node, sink)).collect(),
        limit: node.get("limit").and_then(|node| limit::limit(node, sink)),
        queue: limit::queue(node, sink),
        http2: matches!(text(node, "protocol").as_deref(), Some("h2c" | "grpc")),
        priority: node.get("priority").and_then(|node| limit::priority(node, sink)),
        // By port, which the route table knows.
        proxy: None,
        // By service, of which the route table knows the ports.
        mirror: None,
        compression: node.get("compression").and_then(|node| compression(node, sink)),
        trace: node.get("trace").map(|node| trace(node, sink)).unwrap_or_default(),
    }
}

/// A time that is not nothing.
pub(super) fn time(node: &Node, key: &str, sink: &mut Sink) -> Option<DurationMs> {
    let time = duration(node, key)?;
    if time.0 > 0 {
        return Some(time);
    }
    let pos = node.get(key).map(|node| node.pos);
    sink.error_hint(pos, format!("`{key}` cannot be no time at all"), "leave it away for the default");
    None
}

fn timeouts(node: &Node, sink: &mut Sink) -> Timeouts {
    Timeouts {
        connect: time(node, "connect", sink),
        response: time(node, "response", sink),
        idle: time(node, "idle", sink),
    }
}

fn retries(node: &Node, sink: &mut Sink) -> Retries {
    let attempts = count(node, "attempts", sink);
    if attempts.is_some_and(|attempts| attempts > MAX_ATTEMPTS) {
        let pos = node.get("attempts").map(|node| node.pos);
        sink.error(pos, format!("`attempts` can be {MAX_ATTEMPTS} at most"));
    }
    let on = node.get("on").map(|node| {
        node.items().iter().filter_map(|node| status(node, 500..=599, sink)).collect::<Vec<u16>>()
    });
    Retries { attempts, on, budget: parsed(node, "budget", sink, Percent::parse) }
}

fn status(node: &Node, range: std::ops::RangeInclusive<u16>, sink: &mut Sink) -> Option<u16> {
    let status = node.as_int().and_then(|status| u16::try_from(status).ok());
    let found = status.filter(|status| range.contains(status));
    if found.is_none() {
        let shown = node.scalar_text().unwrap_or_default();
        let hint = format!("use {} to {}", range.start(), range.end());
        sink.error_hint(node.pos, format!("the status cannot be {shown} here"), hint);
    }
    found
}

fn breaker(node: &Node, sink: &mut Sink) -> Breaker {
    Breaker {
        off: node.as_text() == Some("off"),
        failures: at_least_one(node, "failures", sink),
        pause: time(node, "pause", sink),
        stall: time(node, "stall", sink),
    }
}

pub(super) fn at_least_one(node: &Node, key: &str, sink: &mut Sink) -> Option<u32> {
    let value = count(node, key, sink)?;
    if value == 0 {
        sink.error(node.get(key).map(|node| node.pos), format!("`{key}` must be 1 at least"));
    }
    Some(value)
}

fn rate(node: &Node, sink: &mut Sink) -> Option<Rate> {
    let (requests, per) = parsed(node, "limit", sink, often)?;
    let key = match node.get("key") {
        Some(key) if key.as_map().is_some() => {
            let name = text(key, "header").unwrap_or_default();
            if !is_field_name(&name) {
                sink.error(key.pos, format!("`{name}` is not the name of a header field"));
            }
            RateKey::Header(name.to_ascii_lowercase())
        }
        Some(key) if key.as_text() == Some("all") => RateKey::All,
        _ => RateKey::Client,
    };
    let burst = at_least_one(node, "burst", sink).unwrap_or(requests);
    Some(Rate { key, requests, per, burst })
}

/// `100/s`, `1000/m`, `5000/h` or `1/d`.
fn often(text: &str) -> Result<(u32, DurationMs), String> {
    let wrong = || format!("`{text}` is not a rate; write it as 100/s, 1000/m, 5000/h or 10000/d");
    let (requests, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let requests = requests.trim().parse().ok().filter(|requests| *requests > 0).ok_or_else(wrong)?;
    Ok((requests, DurationMs::from_secs(seconds)))
}

fn compression(node: &Node, sink: &mut Sink) -> Option<Compression> {
    if node.scalar_text().as_deref() == Some("false") {
        return None;
    }
    let types = node.get("types");
    let types = types.map(|node| node.as_list().unwrap_or(std::slice::from_ref(node))).unwrap_or_default();
    let types = types.iter().filter_map(|node| content_type(node, sink)).collect();
    Some(Compression { types, min_size: parsed(node, "min_size", sink, Bytes::parse) })
}

/// `text/html`, or `text/*` for all below.
fn content_type(node: &Node, sink: &mut Sink) -> Option<String> {
    let text = node.scalar_text()?;
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let found =
        text.split_once('/').is_some_and(|(kind, below)| is_token(kind) && (below == "*" || is_token(below)));
    if !found {
        let message = format!("`{text}` is not a type of content");
        sink.error_hint(node.pos, message, "write text/html, or text/* for all below");
    }
    found.then(|| text.to_ascii_lowercase())
}

fn trace(node: &Node, sink: &mut Sink) -> Trace {
    let off = node.scalar_text().as_deref() == Some("false");
    Trace { off, sampled: parsed(node, "sampled", sink, Percent::parse) }
}

fn fault(node: &Node, sink: &mut Sink) -> Option<Fault> {
    let share = parsed(node, "share", sink, Percent::parse)?;
    let delay = time(node, "delay", sink);
    if delay.is_some_and(|delay| delay > MAX_DELAY) {
        sink.error(node.get("delay").map(|node| node.pos), "a `delay` can be 60s at most");
    }
    let status = node.get("status").and_then(|node| status(node, 400..=599, sink));
    if delay.is_none() && status.is_none() {
        sink.error_hint(node.pos, "this disturbance does nothing", "give it a `delay` or a `status`");
        return None;
    }
    Some(Fault { share, delay, status })
}
