//! JSON in the reference implementation's way: two spaces, `<`, `>` and `&` escaped.

use super::printed::{Language, Printed};
use std::fmt::Write;

/// The document; indented, or on one line without spaces.
pub(super) fn text(value: &Printed, indented: bool) -> String {
    let mut out = String::new();
    write(&mut out, value, indented.then_some(0));
    out
}

/// The value as other programs in this process read it.
pub(super) fn value(printed: &Printed) -> serde_json::Value {
    use serde_json::Value as Json;
    match printed {
        Printed::Null => Json::Null,
        Printed::Bool(value) => Json::Bool(*value),
        Printed::Int(value) => Json::from(*value),
        Printed::Fraction(value) => value.to_string().parse::<f64>().map_or(Json::Null, Json::from),
        Printed::Float(value) => Json::from(*value),
        Printed::Text(text) => Json::String(text.clone()),
        Printed::List(list) => Json::Array(list.iter().map(self::value).collect()),
        Printed::Record(_) | Printed::Named(_) => {
            let entries = printed.entries(Language::Json).into_iter();
            entries.map(|(key, value)| (key.to_owned(), self::value(value))).collect()
        }
    }
}

fn write(out: &mut String, value: &Printed, depth: Option<usize>) {
    match value {
        Printed::Null => out.push_str("null"),
        Printed::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Printed::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Printed::Fraction(value) => out.push_str(&number(&value.to_string(), &format!("{value:e}"))),
        Printed::Float(value) => out.push_str(&number(&value.to_string(), &format!("{value:e}"))),
        Printed::Text(text) => quote(out, text),
        Printed::List(list) => {
            let items: Vec<_> = list.iter().map(|item| (None, item)).collect();
            container(out, ['[', ']'], &items, depth);
        }
        Printed::Record(_) | Printed::Named(_) => {
            let entries = value.entries(Language::Json).into_iter();
            let items: Vec<_> = entries.map(|(key, value)| (Some(key), value)).collect();
            container(out, ['{', '}'], &items, depth);
        }
    }
}

fn container(
    out: &mut String,
    [open, close]: [char; 2],
    items: &[(Option<&str>, &Printed)],
    depth: Option<usize>,
) {
    out.push(open);
    let inner = depth.map(|depth| depth + 1);
    for (index, (key, value)) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        new_line(out, inner);
        if let Some(key) = key {
            quote(out, key);
            out.push_str(if depth.is_some() { ": " } else { ":" });
        }
        write(out, value, inner);
    }
    if !items.is_empty() {
        new_line(out, depth);
    }
    out.push(close);
}

fn new_line(out: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    }
}

/// The shortest decimal; very small and very large numbers with an exponent.
fn number(plain: &str, scientific: &str) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return "null".to_owned() };
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent < -6 => format!("{mantissa}e-{:02}", -exponent),
        Ok(exponent) if exponent >= 21 => format!("{mantissa}e+{exponent}"),
        _ => plain.to_owned(),
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
