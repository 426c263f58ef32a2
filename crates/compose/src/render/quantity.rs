//! Numbers, sizes and durations as the reference implementation reads and prints them.

use crate::tree::{Node, Value};
use std::fmt::Write;

pub(super) fn int(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Int(value) => Some(*value),
        Value::Float(value) if value.fract() == 0.0 => Some(*value as i64),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(super) fn fraction(node: &Node) -> Option<f32> {
    match &node.value {
        Value::Int(value) => Some(*value as f32),
        Value::Float(value) => Some(*value as f32),
        Value::Text(text) => text.trim().parse::<f64>().ok().map(|value| value as f32),
        _ => None,
    }
}

/// Permission bits: a number, or octal digits as text.
pub(super) fn mode(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Int(value) => Some(*value),
        Value::Text(text) => i64::from_str_radix(text, 8).ok(),
        _ => None,
    }
}

/// A number of devices; `all` is -1.
pub(super) fn count(node: &Node) -> Option<i64> {
    match node.as_text() {
        Some(text) if text.eq_ignore_ascii_case("all") => Some(-1),
        _ => int(node),
    }
}

/// A size in bytes: `64m`, `1.5 GiB`; every unit is a power of 1024.
pub(super) fn bytes(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let number: f64 = text[..end].trim().parse().ok()?;
    let unit = text[end..].trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * 1024f64.powi(power)) as i64)
}

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A duration such as `1m30s`, in nanoseconds.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => MICROSECOND,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            "d" => 24 * HOUR,
            "w" => 7 * 24 * HOUR,
            _ => return None,
        };
        total += number * unit as f64;
        rest = &rest[unit_end..];
    }
    let total = total.round() as i64;
    Some(if negative { -total } else { total })
}

/// `1h2m3.5s`; below a second `1.5ms`, `2µs`, `3ns`.
pub(super) fn go_duration(nanoseconds: i64) -> String {
    let mut out = String::new();
    if nanoseconds < 0 {
        out.push('-');
    }
    let value = nanoseconds.unsigned_abs() as i64;
    match value {
        0 => out.push_str("0s"),
        1..MICROSECOND => out.push_str(&format!("{value}ns")),
        MICROSECOND..MILLISECOND => out.push_str(&format!("{}µs", decimal(value, MICROSECOND))),
        MILLISECOND..SECOND => out.push_str(&format!("{}ms", decimal(value, MILLISECOND))),
        _ => {
            let (hours, minutes) = (value / HOUR, value % HOUR / MINUTE);
            if hours > 0 {
                let _ = write!(out, "{hours}h");
            }
            if hours > 0 || minutes > 0 {
                let _ = write!(out, "{minutes}m");
            }
            let _ = write!(out, "{}s", decimal(value % MINUTE, SECOND));
        }
    }
    out
}

/// `value / unit` without zeros at its end.
fn decimal(value: i64, unit: i64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{rest:0width$}").trim_end_matches('0').to_owned()
}
