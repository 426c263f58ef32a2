//! Booleans, whole numbers, modes and byte sizes as they may be written.

use model::Bytes;

/// A boolean in words; the second part is set when YAML 1.2 does not know the word.
pub(crate) fn boolean(text: &str) -> Option<(bool, bool)> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some((true, false)),
        "false" => Some((false, false)),
        "1" | "t" | "y" | "yes" | "on" => Some((true, true)),
        "0" | "f" | "n" | "no" | "off" => Some((false, true)),
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
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= MAX_MODE).map(i64::from)
}

/// All permission bits set.
pub(crate) const MAX_MODE: u32 = 0o7777;
