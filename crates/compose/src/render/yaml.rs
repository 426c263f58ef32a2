//! YAML in the reference implementation's way: block style, two spaces, quotes only where a text
//! would otherwise mean something else, several lines as a literal block.

use super::printed::{Language, Printed};
use super::scalar;
use std::fmt::Write;

/// Longer keys are written after a `?`.
const KEY_MAX_BYTES: usize = 128;

/// The document.
pub(super) fn text(value: &Printed) -> String {
    let mut out = String::new();
    match value {
        value if is_container(value) => block(&mut out, value, 0, false),
        value => scalar_line(&mut out, value, 0),
    }
    out
}

/// A container with something in it: the others fit on one line.
fn is_container(value: &Printed) -> bool {
    match value {
        Printed::List(list) => !list.is_empty(),
        Printed::Record(_) | Printed::Named(_) => !value.entries(Language::Yaml).is_empty(),
        _ => false,
    }
}

/// Writes a container; `inline` is whether its first line has begun already.
fn block(out: &mut String, value: &Printed, indent: usize, mut inline: bool) {
    let mut begin = |out: &mut String| {
        if !std::mem::take(&mut inline) {
            out.push_str(&" ".repeat(indent));
        }
    };
    if let Printed::List(list) = value {
        for item in list {
            begin(out);
            out.push_str("- ");
            nested(out, item, indent + 2, true);
        }
        return;
    }
    let mut entries = value.entries(Language::Yaml);
    if matches!(value, Printed::Named(_)) {
        entries.sort_by(|(a, _), (b, _)| scalar::natural_order(a, b));
    }
    for (key, value) in entries {
        begin(out);
        let key_text = scalar::one_line(key);
        if key.len() > KEY_MAX_BYTES {
            let _ = write!(out, "? {key_text}\n{}: ", " ".repeat(indent));
            nested(out, value, indent + 2, true);
            continue;
        }
        let _ = write!(out, "{key_text}:");
        if is_container(value) {
            out.push('\n');
            block(out, value, indent + 2, false);
        } else {
            out.push(' ');
            scalar_line(out, value, indent + 2);
        }
    }
}

fn nested(out: &mut String, value: &Printed, indent: usize, inline: bool) {
    match is_container(value) {
        true => block(out, value, indent, inline),
        false => scalar_line(out, value, indent),
    }
}

/// Writes what is not a container, to the end of its line; further lines stand at `indent`.
fn scalar_line(out: &mut String, value: &Printed, indent: usize) {
    match value {
        Printed::Null => out.push_str("null"),
        Printed::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Printed::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Printed::Fraction(value) => {
            out.push_str(&number(&format!("{value:e}"), &value.to_string()));
        }
        Printed::Float(value) => out.push_str(&float(*value)),
        Printed::Text(text) if scalar::is_block(text) => return literal(out, text, indent),
        Printed::Text(text) => out.push_str(&scalar::one_line(text)),
        Printed::List(_) => out.push_str("[]"),
        Printed::Record(_) | Printed::Named(_) => out.push_str("{}"),
    }
    out.push('\n');
}

/// `|` and the lines of the text.
fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    match text.strip_suffix('\n') {
        None => out.push('-'),
        Some(before) if before.is_empty() || before.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    out.push('\n');
    for line in text.split_inclusive('\n') {
        if line != "\n" {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(line);
    }
    if !text.ends_with('\n') {
        out.push('\n');
    }
}

fn float(value: f64) -> String {
    match value {
        value if value.is_nan() => ".nan".to_owned(),
        f64::INFINITY => ".inf".to_owned(),
        f64::NEG_INFINITY => "-.inf".to_owned(),
        value => number(&format!("{value:e}"), &value.to_string()),
    }
}

/// The shortest decimal; from a million, and below a ten thousandth, with an exponent.
fn number(scientific: &str, plain: &str) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return plain.to_owned() };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => plain.to_owned(),
    }
}
