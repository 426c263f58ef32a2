//! When a text needs quotes in YAML, and in which order keys chosen by people stand.

use std::cmp::Ordering;
use std::fmt::Write;

/// Whether a text is written as a literal block.
pub(super) fn is_block(text: &str) -> bool {
    let shape = Shape::of(text);
    text.contains('\n') && !shape.trailing_space && !shape.space_break && !shape.special
}

/// A text on one line: plain where it means itself, else in quotes.
pub(super) fn one_line(text: &str) -> String {
    let shape = Shape::of(text);
    if text.contains('\n') || means_something_else(text) {
        return double_quoted(text);
    }
    let bare = !shape.leading_space && !shape.trailing_space && !shape.indicators;
    match (bare, shape.tab || shape.special) {
        (_, true) => double_quoted(text),
        (true, false) => text.to_owned(),
        (false, false) => format!("'{}'", text.replace('\'', "''")),
    }
}

/// What of a text matters for its quotes.
#[derive(Default)]
struct Shape {
    leading_space: bool,
    trailing_space: bool,
    /// A space at the end of a line.
    space_break: bool,
    tab: bool,
    /// Characters that are only written as escapes.
    special: bool,
    /// Characters of YAML in places where they count.
    indicators: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut shape = Self {
            leading_space: text.starts_with(' '),
            trailing_space: text.ends_with(' '),
            indicators: text.starts_with("---") || text.starts_with("..."),
            ..Self::default()
        };
        let chars: Vec<char> = text.chars().collect();
        let is_blank = |c: Option<&char>| matches!(c, None | Some(' ' | '\t'));
        for (index, c) in chars.iter().enumerate() {
            let next_is_blank = is_blank(chars.get(index + 1));
            let after_blank = index == 0
                || matches!(chars[index - 1], ' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
            shape.indicators |= match c {
                '#' => after_blank,
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    index == 0
                }
                '?' | '-' => index == 0 && next_is_blank,
                ':' => next_is_blank,
                _ => false,
            };
            shape.tab |= *c == '\t';
            shape.special |= *c != '\t' && !is_printable(*c);
            shape.space_break |= *c == ' ' && chars.get(index + 1) == Some(&'\n');
        }
        shape
    }
}

fn is_printable(c: char) -> bool {
    match c {
        '\n' | ' '..='~' => true,
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        c => ('\u{a0}'..='\u{ffff}').contains(&c),
    }
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            c => escape(&mut out, u32::from(c)),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, code: u32) {
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02X}"),
        0x100..=0xffff => write!(out, "\\u{code:04X}"),
        _ => write!(out, "\\U{code:08X}"),
    };
}

/// Whether a plain text would be read as null, a boolean, a number or a time, by old readers too.
fn means_something_else(text: &str) -> bool {
    const WORDS: [&str; 22] = [
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", ".nan", ".NaN",
        ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf",
    ];
    const OLD_BOOLEANS: [&str; 16] =
        ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"];
    WORDS.contains(&text)
        || text == "-.INF"
        || OLD_BOOLEANS.contains(&text)
        || is_number(text)
        || is_sexagesimal(text)
        || is_time(text)
}

fn is_number(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    if first == '.' {
        return is_float(text) && !text.contains('_');
    }
    if !first.is_ascii_digit() && !matches!(first, '+' | '-') {
        return false;
    }
    let plain = text.replace('_', "");
    is_integer(&plain) || is_float(&plain)
}

fn is_integer(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    digits.starts_with(|c: char| c.is_ascii_alphanumeric()) && u64::from_str_radix(digits, radix).is_ok()
}

/// Digits with a point, an exponent or both; not the words that Rust reads as well.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent_is_right = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    all_digits(whole) && all_digits(rest) && !(whole.is_empty() && rest.is_empty()) && exponent_is_right
}

/// `1:30` and `1:30:00.5`, which are numbers to base 60 for old readers.
fn is_sexagesimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    if !first.starts_with(|c: char| c.is_ascii_digit()) || !digits(first) {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    let minute = |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    let Some((last, middle)) = rest.split_last() else { return false };
    let (whole, fraction) = last.split_once('.').unwrap_or((last, ""));
    middle.iter().all(|part| minute(part)) && minute(whole) && digits(fraction)
}

/// `2020-1-31`, with a time of day after `T`, `t` or a space.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((&text[at..=at], &text[at + 1..]))),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let number = |text: &str, from: u32, to: u32, most: usize| {
        let digits = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits && text.parse().is_ok_and(|value: u32| (from..=to).contains(&value))
    };
    let last_day = match month.parse::<u32>().unwrap_or_default() {
        2 if is_leap_year(year.parse().unwrap_or_default()) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year.len() != 4
        || !number(year, 0, 9999, 4)
        || !number(month, 1, 12, 2)
        || !number(day, 1, last_day, 2)
    {
        return false;
    }
    let Some((separator, time)) = time else { return true };
    let zone_at = time.find(['Z', '+', '-']);
    let (clock, zone) = time.split_at(zone_at.unwrap_or(time.len()));
    let zone_is_right = match separator {
        " " => zone.is_empty(),
        _ => {
            zone == "Z"
                || zone.get(1..).and_then(|zone| zone.split_once(':')).is_some_and(|(hours, minutes)| {
                    hours.len() == 2
                        && minutes.len() == 2
                        && number(hours, 0, 24, 2)
                        && number(minutes, 0, 60, 2)
                })
        }
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let [hours, minutes, seconds] = parts[..] else { return false };
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    zone_is_right
        && number(hours, 0, 23, 2)
        && number(minutes, 0, 59, 2)
        && number(seconds, 0, 59, 2)
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit())
}

fn is_leap_year(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Letters after other characters, numbers by their value: `a1`, `a2`, `a10`, `ab`.
pub(super) fn natural_order(a: &str, b: &str) -> Ordering {
    let (left, right): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = left.iter().zip(&right).position(|(a, b)| a != b) else {
        return left.len().cmp(&right.len());
    };
    let (x, y) = (left[at], right[at]);
    let after_digit = at > 0 && left[at - 1].is_numeric();
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return if after_digit { Ordering::Less } else { Ordering::Greater },
        (false, true) => return if after_digit { Ordering::Greater } else { Ordering::Less },
        (false, false) => {}
    }
    // A zero inside a number counts, one at its start does not.
    let before = left[..at].iter().rev().take_while(|c| c.is_ascii_digit());
    let inside = (x == '0' || y == '0') && before.clone().any(|c| *c != '0');
    let number = |text: &[char]| -> (u128, usize) {
        let digits = text[at..].iter().take_while(|c| c.is_ascii_digit());
        let start = u128::from(inside);
        let value = digits.clone().fold(start, |value, c| {
            value.wrapping_mul(10).wrapping_add(u128::from(c.to_digit(10).unwrap_or_default()))
        });
        (value, digits.count())
    };
    number(&left).cmp(&number(&right)).then(x.cmp(&y))
}
