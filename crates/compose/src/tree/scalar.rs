//! What a plain scalar means, and how numbers read as text. Both follow the reference
//! implementation's YAML library: core schema, with `0755` and `1_000` as numbers.

use super::Value;

/// The value of a plain (unquoted, untagged) scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let may_be_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !may_be_number {
        return Value::Text(text.to_owned());
    }
    let time = || timestamp(text).map(Value::Time);
    time().or_else(|| number(text)).unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// A date, or a date with a time, as RFC 3339 has it: `2001-12-14`, `2001-12-14t21:59:43.10-05:00`,
/// `2001-12-14 21:59:43`.
pub(super) fn timestamp(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(text.find(['t', 'T', ' ']).unwrap_or(text.len()))?;
    let fields: Vec<&str> = date.split('-').collect();
    let [year, month, day] = fields[..] else { return None };
    let number = |text: &str, high: u32| {
        let value = text.parse::<u32>().ok().filter(|value| *value <= high)?;
        (text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit())).then_some(value)
    };
    let is_year = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
    let (month, day) = (number(month, 12).filter(|m| *m > 0)?, number(day, 31).filter(|d| *d > 0)?);
    let year: u32 = year.parse().ok().filter(|_| is_year)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
    if day > last {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some(time) = rest.get(1..).filter(|time| !time.is_empty()) else {
        return rest.is_empty().then(|| format!("{date}T00:00:00Z"));
    };
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    // With a blank there is no zone, with a `t` there is one.
    if zone.is_empty() != rest.starts_with(' ') {
        return None;
    }
    let parts: Vec<&str> = clock.split(':').collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes, whole) = (number(hours, 23)?, number(minutes, 59)?, number(whole, 59)?);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let zone = if zone.is_empty() { "Z" } else { zone };
    Some(format!("{date}T{hours:02}:{minutes:02}:{whole:02}{point}{fraction}{zone}"))
}

/// The text that is written in base 64.
pub(super) fn base64(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace()) {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The number a text is.
pub(super) fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    integer(&plain).map(Value::Int).or_else(|| float(&plain).map(Value::Float))
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let shaped = text.len() - unsigned.len() <= 1
        && unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && unsigned.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    if shaped { text.parse().ok().filter(|value: &f64| value.is_finite()) } else { None }
}

/// Powers of ten from which an exponent is written.
const EXPONENT_FROM: i32 = 6;

/// A number as the reference implementation writes it where text is wanted.
pub(crate) fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a decimal exponent");
    if value == 0.0 || (-4..EXPONENT_FROM).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
