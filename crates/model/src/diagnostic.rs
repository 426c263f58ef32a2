//! What a parser or a check has to say about a place in a file.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in a file; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// Characters that are meant, all on that line; 0 where only the start is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub length: u32,
}

fn is_zero(length: &u32) -> bool {
    *length == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    Error,
}

/// One problem: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    pub span: Option<Span>,
    pub hint: Option<String>,
    /// Set where something valid is not acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_effect: Option<NoEffect>,
}

/// Something valid that is not acted on: enough to say what is alike once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoEffect {
    /// The key without whose it is, such as `deploy.placement`.
    pub key: String,
    /// Whose it is, such as the service `web`; empty for the file itself.
    pub owner: String,
    pub why: String,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>, span: Option<Span>) -> Self {
        Self { severity: Severity::Error, message: message.into(), span, hint: None, no_effect: None }
    }
    pub fn warning(message: impl Into<String>, span: Option<Span>) -> Self {
        Self { severity: Severity::Warning, message: message.into(), span, hint: None, no_effect: None }
    }
    /// Warns that a valid key or value is not acted on, and why.
    pub fn no_effect(key: &str, owner: &str, why: &str, span: Option<Span>) -> Self {
        let whose = if owner.is_empty() { String::new() } else { format!(" of `{owner}`") };
        let no_effect = NoEffect { key: key.to_owned(), owner: owner.to_owned(), why: why.to_owned() };
        let warning = Self::warning(format!("`{key}`{whose} has no effect: {why}"), span);
        Self { no_effect: Some(no_effect), ..warning }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
