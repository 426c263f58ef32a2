//! Looking for words in a text, without regard to the case of ASCII.

use crate::logs::tokens::{is_of_word, tokens_of};
use regex::bytes::{Regex, RegexBuilder};

/// Words as they were written one after the other; what stands at their ends must end there.
#[derive(Debug)]
pub struct TextMatch {
    finder: Regex,
    starts_word: bool,
    ends_word: bool,
    /// Words that a row with it has.
    pub tokens: Vec<u32>,
}

impl TextMatch {
    pub fn new(text: &str, is_prefix: bool) -> Self {
        let whole =
            if is_prefix { text.rfind(|c: char| !is_letter(c)).map_or("", |at| &text[..at]) } else { text };
        Self {
            finder: finder(text),
            starts_word: text.bytes().next().is_some_and(is_of_word),
            ends_word: !is_prefix && text.bytes().last().is_some_and(is_of_word),
            tokens: tokens_of(whole),
        }
    }

    /// Whether it may be in one of many rows.
    pub fn may_be_in(&self, rows: &[u8]) -> bool {
        self.finder.is_match(rows)
    }

    pub fn is_in(&self, row: &[u8]) -> bool {
        self.find(row, 0).is_some()
    }

    pub fn find(&self, row: &[u8], from: usize) -> Option<(usize, usize)> {
        let mut from = from;
        while let Some(found) = self.finder.find_at(row, from) {
            let begins = !self.starts_word || found.start() == 0 || !is_of_word(row[found.start() - 1]);
            let ends = !self.ends_word || row.get(found.end()).is_none_or(|next| !is_of_word(*next));
            if begins && ends {
                return Some((found.start(), found.end()));
            }
            from = found.start() + 1;
        }
        None
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || !c.is_ascii()
}

/// Looks for a text as it is.
pub fn finder(text: &str) -> Regex {
    let mut builder = RegexBuilder::new(&regex::escape(text));
    // Without Unicode the case of letters beyond ASCII counts, as in the words of filters.
    builder.case_insensitive(true).unicode(false).size_limit(16 << 20);
    builder.build().expect("an escaped text of a bounded query is a small expression")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_and_phrases_as_written() {
        let is_in = |text: &str, row: &str| TextMatch::new(text, false).is_in(row.as_bytes());
        assert!(is_in("refused", "connection REFUSED: 10.0.0.7:80"));
        assert!(!is_in("refuse", "connection refused"));
        assert!(is_in("refuse", "refused, did refuse"), "a later one counts");
        assert!(is_in("10.0.0.7:80", "connection refused: 10.0.0.7:80"));
        assert!(!is_in("10.0.0.7", "10.0.0.71"));
        assert!(is_in("[x]", "[x]y"), "only words end");
        assert!(is_in("größe", "die größe"));
        assert!(TextMatch::new("conn", true).is_in(b"a Connection"));
        assert!(!TextMatch::new("conn", true).is_in(b"reconnect"));
        assert_eq!(TextMatch::new("a-connec", true).tokens, tokens_of("a"));
    }
}
