//! Booleans, whole numbers, modes and byte sizes as they may be written.

use crate::diagnostics::{Pos, Sink};
use model::Bytes;

/// A boolean in words, with a warning where YAML 1.2 does not know the word.
pub(crate) fn flag(text: &str, at: Pos, sink: &mut Sink) -> Option<bool> {
    let (value, old) = boolean(text)?;
    if old {
        let message = format!("`{text}` is not a boolean of YAML 1.2");
        sink.warning_hint(at, message, format!("write `{value}`"));
    }
    Some(value)
}

/// A boolean in words; the second part is set when YAML 1.2 does not know the word.
pub(crate) fn boolean(text: &str) -> Option<(bool, bool)> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some((true, false)),
        "false" => Some((false, false)),
        "y" | "yes" | "on" => Some((true, true)),
        "n" | "no" | "off" => Some((false, true)),
        _ => None,
    }
}

/// A size that may also be `-1` for "unlimited".
pub(crate) fn size_or_unlimited(text: &str) -> Result<i64, model::UnitError> {
    match text.trim() {
        "-1" => Ok(-1),
        other => Bytes::parse(other).map(|bytes| i64::try_from(bytes.0).unwrap_or(i64::MAX)),
    }
}

/// Permission bits in octal digits.
pub(crate) fn octal_mode(text: &str) -> Option<i64> {
    i64::from_str_radix(text, 8).ok()
}

/// All permission bits set.
pub(crate) const MAX_MODE: u32 = 0o7777;

/// A number of bytes with a unit or without, as the reference implementation reads it: a fraction, a
/// blank, `k`, `kb` or `kib` up to `p`; every unit is a power of 1024.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' ')).map_or(0, |at| at + 1);
    let (number, unit) = text.split_at(end);
    let unit = unit.to_ascii_lowercase();
    let power = match unit.as_bytes() {
        [] | [b'b'] => 0,
        [letter] | [letter, b'b'] | [letter, b'i', b'b'] => {
            b"kmgtp".iter().position(|known| known == letter)? as i32 + 1
        }
        _ => return None,
    };
    let number: f64 = number.strip_suffix(' ').unwrap_or(number).parse().ok()?;
    (number.is_finite() && number >= 0.0).then(|| (number * 1024f64.powi(power)) as i64)
}

/// Whether a text is one duration after another, each a number with a unit from `ns` to `w`.
pub(crate) fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 9] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h", "d"];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let unit =
            unit.strip_prefix('.').map_or(unit, |f| f.trim_start_matches(|c: char| c.is_ascii_digit()));
        let number = &rest[..rest.len() - unit.len()];
        let end = unit.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(unit.len());
        let known = UNITS.contains(&&unit[..end]) || &unit[..end] == "w";
        if !known || !number.contains(|c: char| c.is_ascii_digit()) {
            return false;
        }
        rest = &unit[end..];
    }
    true
}
