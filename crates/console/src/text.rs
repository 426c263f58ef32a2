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
