//! Variables in values: `$NAME`, `${NAME}`, `${NAME:-default}`, `-`, `:?`, `?`, `:+`, `+`, nested,
//! and `$$` for a dollar sign. Works on text and on whole trees; keys are never interpolated.

use crate::diagnostics::{Pos, Sink};
use crate::tree::{Node, Value};
use std::cell::RefCell;

/// Substitutions within the default of a substitution.
pub(crate) const MAX_NESTING: usize = 16;
/// Bytes one value may have after substitution.
pub(crate) const MAX_VALUE_BYTES: usize = 1 << 20;

/// Why a text could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("invalid substitution in `{0}`")]
    Syntax(String),
    #[error("required variable {name} is missing a value{}", reason(.message))]
    Required { name: String, message: String },
    #[error("substitutions are nested deeper than {MAX_NESTING} levels")]
    TooDeep,
    #[error("the value is longer than {MAX_VALUE_BYTES} bytes after substitution")]
    TooLong,
}

fn reason(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl TemplateError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            TemplateError::Syntax(_) => Some("write `$$` for a dollar sign, or close `${NAME}`".to_owned()),
            TemplateError::Required { name, .. } => Some(format!("set {name} in the environment or in .env")),
            TemplateError::TooDeep | TemplateError::TooLong => None,
        }
    }
}

/// Gives values to names and remembers which had none.
pub(crate) struct Expander<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: RefCell<Vec<String>>,
}

impl<'a> Expander<'a> {
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, unset: RefCell::new(Vec::new()) }
    }

    /// Names that had no value and no default since the last call.
    pub fn take_unset(&self) -> Vec<String> {
        std::mem::take(&mut self.unset.borrow_mut())
    }

    pub fn expand(&self, text: &str) -> Result<String, TemplateError> {
        self.expand_at(text, 0)
    }

    fn expand_at(&self, text: &str, nesting: usize) -> Result<String, TemplateError> {
        if nesting > MAX_NESTING {
            return Err(TemplateError::TooDeep);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = self.dollar(&rest[at + 1..], text, nesting, &mut out)?;
            if out.len() > MAX_VALUE_BYTES {
                return Err(TemplateError::TooLong);
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Expands what follows a dollar sign and returns what is left.
    fn dollar<'t>(
        &self,
        rest: &'t str,
        whole: &str,
        nesting: usize,
        out: &mut String,
    ) -> Result<&'t str, TemplateError> {
        if let Some(rest) = rest.strip_prefix('$') {
            out.push('$');
            return Ok(rest);
        }
        if let Some(inner) = rest.strip_prefix('{') {
            let end = closing_brace(inner).ok_or_else(|| TemplateError::Syntax(excerpt(whole)))?;
            out.push_str(&self.braced(&inner[..end], whole, nesting)?);
            return Ok(&inner[end + 1..]);
        }
        let (name, rest) = split_name(rest);
        match name {
            "" => out.push('$'),
            name => out.push_str(&self.value_or_empty(name)),
        }
        Ok(rest)
    }

    fn braced(&self, inner: &str, whole: &str, nesting: usize) -> Result<String, TemplateError> {
        let (name, operation) = split_name(inner);
        if name.is_empty() {
            return Err(TemplateError::Syntax(excerpt(whole)));
        }
        let value = (self.lookup)(name);
        let filled = value.clone().filter(|value| !value.is_empty());
        let word = |word: &str| self.expand_at(word, nesting + 1);
        let required =
            |message: &str| TemplateError::Required { name: name.to_owned(), message: message.to_owned() };
        if operation.is_empty() {
            return Ok(self.value_or_empty(name));
        }
        if let Some(default) = operation.strip_prefix(":-") {
            return filled.map_or_else(|| word(default), Ok);
        }
        if let Some(default) = operation.strip_prefix('-') {
            return value.map_or_else(|| word(default), Ok);
        }
        if let Some(message) = operation.strip_prefix(":?") {
            return filled.map_or_else(|| Err(required(&word(message)?)), Ok);
        }
        if let Some(message) = operation.strip_prefix('?') {
            return value.map_or_else(|| Err(required(&word(message)?)), Ok);
        }
        if let Some(replacement) = operation.strip_prefix(":+") {
            return filled.map_or_else(|| Ok(String::new()), |_| word(replacement));
        }
        if let Some(replacement) = operation.strip_prefix('+') {
            return value.map_or_else(|| Ok(String::new()), |_| word(replacement));
        }
        Err(TemplateError::Syntax(excerpt(whole)))
    }

    fn value_or_empty(&self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            self.unset.borrow_mut().push(name.to_owned());
            String::new()
        })
    }
}

/// The start of a text, for messages.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 60;
    let line = text.lines().find(|line| line.contains('$')).unwrap_or(text);
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// Where the brace opened before `text` closes; `${` inside opens another.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open += 1;
                at += 1;
            }
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

fn split_name(text: &str) -> (&str, &str) {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return ("", text);
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

/// Expands every value of a tree in place.
pub(crate) fn tree(node: &mut Node, lookup: &dyn Fn(&str) -> Option<String>, sink: &mut Sink) {
    walk(node, &Expander::new(lookup), sink);
}

fn walk(node: &mut Node, expander: &Expander<'_>, sink: &mut Sink) {
    let pos = node.pos;
    match &mut node.value {
        Value::Text(text) if text.contains('$') => match expander.expand(text) {
            Ok(expanded) => *text = expanded,
            Err(error) => {
                report(&error, pos, sink);
                node.value = Value::Invalid;
            }
        },
        Value::List(list) => list.iter_mut().for_each(|item| walk(item, expander, sink)),
        Value::Map(map) => map.values_mut().for_each(|entry| walk(&mut entry.node, expander, sink)),
        _ => {}
    }
    for name in expander.take_unset() {
        sink.warning_hint(
            pos,
            format!("the variable {name} is not set, an empty text is used"),
            format!("set {name} in the environment or in .env, or give a default: ${{{name}:-value}}"),
        );
    }
}

pub(crate) fn report(error: &TemplateError, pos: Pos, sink: &mut Sink) {
    match error.hint() {
        Some(hint) => sink.error_hint(pos, error.to_string(), hint),
        None => sink.error(pos, error.to_string()),
    }
}
