//! Text from elsewhere (programs, files) made safe to show.

use std::borrow::Cow;

/// The text without terminal control: escape sequences are left out, other control characters but
/// the tab become `�`. With `colours`, sequences that only colour are kept.
pub fn without_controls(text: &str, colours: bool) -> Cow<'_, str> {
    if !text.chars().any(is_control) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_control) {
        clean.push_str(&rest[..at]);
        rest = &rest[at..];
        match sequence_length(rest) {
            Some(length) => {
                let (sequence, after) = rest.split_at(length);
                if colours && is_colour(sequence) {
                    clean.push_str(sequence);
                }
                rest = after;
            }
            None => {
                let control = rest.chars().next().expect("found above");
                if control != '\r' {
                    clean.push('\u{fffd}');
                }
                rest = &rest[control.len_utf8()..];
            }
        }
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// What a text says beyond the word that stands beside it.
pub fn beyond<'a>(word: &str, text: &'a str) -> &'a str {
    if text.eq_ignore_ascii_case(word) { "" } else { text }
}

/// At most so many characters, with an ellipsis where it was cut.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
            Cow::Owned(kept + "…")
        }
    }
}

/// The identifier of the trace that a row says it belongs to, in lower case: 32 hexadecimal digits behind a
/// name such as `trace_id`, `traceId`, `trace.id` or `trace`, or within a `traceparent`.
pub fn trace_of(text: &str) -> Option<String> {
    const DIGITS: usize = 32;
    const NEAR: usize = 8;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + DIGITS <= bytes.len() {
        let run = bytes[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if run != DIGITS {
            at += run.max(1);
            continue;
        }
        let before = &bytes[..at];
        let near = before.iter().rev().take_while(|byte| !byte.is_ascii_alphabetic()).count();
        // `traceparent` has its version in between.
        let name_end = before.len() - near;
        let name = &before[name_end.saturating_sub(11)..name_end];
        let name = name.to_ascii_lowercase();
        let is_named = [&b"trace_id"[..], b"traceid", b"trace.id", b"trace-id", b"trace", b"traceparent"]
            .iter()
            .any(|known| name.ends_with(known));
        let id = &text[at..at + DIGITS];
        if is_named && near <= NEAR && id.bytes().any(|byte| byte != b'0') {
            return Some(id.to_ascii_lowercase());
        }
        at += DIGITS;
    }
    None
}

/// Controls, and the characters that turn the direction of what follows.
fn is_control(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Length of a `CSI` or `OSC` sequence at the start.
fn sequence_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes {
        [0x1b, b'[', ..] => {
            let end = bytes[2..].iter().position(|b| (0x40..=0x7e).contains(b))?;
            bytes[2..2 + end].iter().all(|b| (0x20..0x40).contains(b)).then_some(end + 3)
        }
        [0x1b, b']', ..] => {
            let bell = text.find('\u{7}').map(|at| at + 1);
            let terminator = text.find("\u{1b}\\").map(|at| at + 2);
            [bell, terminator].into_iter().flatten().min()
        }
        _ => None,
    }
}

fn is_colour(sequence: &str) -> bool {
    sequence.starts_with("\u{1b}[") && sequence.ends_with('m')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn traces_are_found_by_their_names() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (text, expect) in [
            (format!(r#"{{"level":"info","trace_id":"{ID}","span_id":"00f067aa0ba902b7"}}"#), true),
            (format!("took 3 ms traceId={}", ID.to_uppercase()), true),
            (format!("trace.id: {ID}"), true),
            (format!("traceparent: 00-{ID}-00f067aa0ba902b7-01"), true),
            (format!("md5 {ID}"), false),
            (format!("trace_id={ID}0"), false),
            (format!("trace_id={}", "0".repeat(32)), false),
            (format!("trace and then ü nothing for a while {ID}"), false),
            (String::new(), false),
        ] {
            assert_eq!(trace_of(&text), expect.then(|| ID.to_owned()), "{text}");
        }
    }

    #[test]
    fn colours_stay_where_they_may() {
        let text = "\u{1b}[31mred\u{1b}[0m \u{1b}[2Jcleared \u{1b}]0;title\u{7}titled a\rb \u{1b}c";
        assert_eq!(without_controls(text, false), "red cleared titled ab \u{fffd}c");
        assert_eq!(without_controls(text, true), "\u{1b}[31mred\u{1b}[0m cleared titled ab \u{fffd}c");
        assert_eq!(without_controls("plain\ttext", false), "plain\ttext");
        assert_eq!(without_controls("abc\u{202e}def", false), "abc\u{fffd}def");
    }

    #[test]
    fn long_text_is_cut_at_the_limit() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }

    proptest! {
        #[test]
        fn no_control_is_left(text in ".{0,80}|(\u{1b}|\\[|\\]|[0-9;m]|\u{7}|a){0,30}") {
            let clean = without_controls(&text, false);
            prop_assert!(!clean.chars().any(is_control), "{:?}", clean);
        }
    }
}
