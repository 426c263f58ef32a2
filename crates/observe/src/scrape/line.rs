//! The parts of one line: names, labels, values, times.

use std::borrow::Cow;

/// What of a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("a name is expected, not {0:?}")]
    Name(String),
    #[error("the label {0:?} has no value in quotes")]
    LabelValue(String),
    #[error("a comma or a closing brace is expected after the label {0:?}")]
    LabelEnd(String),
    #[error("the label {0:?} is there twice")]
    LabelTwice(String),
    #[error("a sample has more than {0} labels")]
    Labels(usize),
    #[error("{0:?} is not a number")]
    Value(String),
    #[error("{0:?} is not a time")]
    Time(String),
    #[error("{0:?} comes after what a line may have")]
    Rest(String),
    #[error("the type of {name} cannot be {word:?}")]
    Type { name: String, word: String },
    #[error("an exemplar is expected after the #")]
    Exemplar,
    #[error("the text goes on after its # EOF")]
    AfterEnd,
    #[error("the text ends without # EOF, so a part of it may be missing")]
    NoEnd,
}

/// How much of a wrong text is shown.
const SHOWN_CHARS: usize = 40;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

impl Wrong {
    pub fn type_of(name: &str, word: &str) -> Self {
        Self::Type { name: shown(name), word: shown(word) }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What is left of a line.
pub struct Line<'t>(&'t str);

impl<'t> Line<'t> {
    pub fn new(line: &'t str) -> Self {
        Self(line)
    }

    pub fn peek(&self) -> Option<u8> {
        self.0.as_bytes().first().copied()
    }

    /// Only over bytes that were looked at and are ASCII.
    pub fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }

    pub fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    pub fn skip_one_blank(&mut self) {
        self.0 = self.0.strip_prefix([' ', '\t']).unwrap_or(self.0);
    }

    /// Up to the next blank.
    pub fn word(&mut self) -> &'t str {
        let end = self.0.bytes().position(is_blank).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    pub fn metric_name(&mut self) -> Result<&'t str, Wrong> {
        self.skip_blanks();
        self.name(|byte| byte == b':')
    }

    fn name(&mut self, also: impl Fn(u8) -> bool) -> Result<&'t str, Wrong> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte);
        let end = self.0.bytes().position(|byte| !fits(byte)).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return Err(Wrong::Name(shown(self.0)));
        }
        self.0 = rest;
        Ok(name)
    }

    /// The rest, of a `HELP`.
    pub fn help(&mut self) -> Cow<'t, str> {
        unescaped(std::mem::take(&mut self.0))
    }

    /// `{a="b",c="d"}`.
    pub fn labels(&mut self, limit: usize, into: &mut Vec<(&'t str, Cow<'t, str>)>) -> Result<(), Wrong> {
        let start = into.len();
        self.skip(1);
        loop {
            self.skip_blanks();
            if self.peek() == Some(b'}') {
                self.skip(1);
                return Ok(());
            }
            let name = self.name(|_| false)?;
            let value = self.quoted().ok_or_else(|| Wrong::LabelValue(shown(name)))?;
            // The name of the metric is said before the brace.
            if name == crate::NAME || into[start..].iter().any(|(known, _)| *known == name) {
                return Err(Wrong::LabelTwice(shown(name)));
            }
            if into.len() - start == limit {
                return Err(Wrong::Labels(limit));
            }
            into.push((name, value));
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.skip(1),
                Some(b'}') => {}
                _ => return Err(Wrong::LabelEnd(shown(name))),
            }
        }
    }

    /// `="text"`.
    fn quoted(&mut self) -> Option<Cow<'t, str>> {
        self.skip_blanks();
        self.0 = self.0.strip_prefix('=')?;
        self.skip_blanks();
        self.0 = self.0.strip_prefix('"')?;
        let bytes = self.0.as_bytes();
        let mut end = 0;
        loop {
            match bytes.get(end)? {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        let inside = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(unescaped(inside))
    }

    pub fn value(&mut self) -> Result<f64, Wrong> {
        self.skip_blanks();
        let word = self.word();
        word.parse().map_err(|_| Wrong::Value(shown(word)))
    }

    /// Milliseconds since 1970, or nothing.
    pub fn time_ms(&mut self) -> Result<(), Wrong> {
        self.skip_blanks();
        let word = self.word();
        if !word.is_empty() && word.parse::<i64>().is_err() {
            return Err(Wrong::Time(shown(word)));
        }
        self.ends()
    }

    /// Seconds since 1970, or nothing; then ` # {labels} value time`, or nothing.
    pub fn time_and_exemplar(&mut self) -> Result<(), Wrong> {
        self.skip_blanks();
        if self.peek() != Some(b'#') {
            self.time_s()?;
            self.skip_blanks();
        }
        if self.peek() != Some(b'#') {
            return self.ends();
        }
        self.skip(1);
        self.skip_blanks();
        if self.peek() != Some(b'{') {
            return Err(Wrong::Exemplar);
        }
        self.labels(EXEMPLAR_LABELS_MAX, &mut Vec::new())?;
        self.value()?;
        self.skip_blanks();
        self.time_s()?;
        self.ends()
    }

    fn time_s(&mut self) -> Result<(), Wrong> {
        let word = self.word();
        match word.is_empty() || word.parse::<f64>().is_ok_and(f64::is_finite) {
            true => Ok(()),
            false => Err(Wrong::Time(shown(word))),
        }
    }

    fn ends(&mut self) -> Result<(), Wrong> {
        self.skip_blanks();
        if self.0.is_empty() { Ok(()) } else { Err(Wrong::Rest(shown(self.0))) }
    }
}

const EXEMPLAR_LABELS_MAX: usize = 64;

/// `\\`, `\"` and `\n` are what they stand for; any other stays.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some(escaped @ ('\\' | '"')) => plain.push(escaped),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Cow::Owned(plain)
}
