//! The error a person is shown: one sentence, what kind, and the next command.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Kinds of failure; each has its own exit code, documented in `docs/reference/exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The command line, the Compose file or another input is wrong.
    Usage,
    /// An image could not be built or fetched.
    Build,
    /// A check refused the change.
    Check,
    /// What was started did not become healthy; what ran before goes on.
    Unhealthy,
    /// Judged worse than before and rolled back.
    RolledBack,
    /// Could not be judged.
    Undecided,
    /// Somebody else holds the stack.
    Conflict,
    /// This machine lacks something (permission, disk, kernel feature, daemon).
    Environment,
    /// A fault of Juchu's own.
    Internal,
}

impl ErrorKind {
    /// All kinds, by exit code.
    pub const ALL: [Self; 9] = [
        Self::Usage,
        Self::Build,
        Self::Check,
        Self::Unhealthy,
        Self::RolledBack,
        Self::Undecided,
        Self::Conflict,
        Self::Environment,
        Self::Internal,
    ];

    /// The process exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Usage => 1,
            ErrorKind::Build => 2,
            ErrorKind::Check => 3,
            ErrorKind::Unhealthy => 4,
            ErrorKind::RolledBack => 5,
            ErrorKind::Undecided => 6,
            ErrorKind::Conflict => 7,
            ErrorKind::Environment => 8,
            ErrorKind::Internal => 70,
        }
    }
}

/// One failure as it is printed: `error: …`, then each `hint: …`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub kind: ErrorKind,
    pub error: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Report {
    pub fn new(kind: ErrorKind, error: impl Into<String>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new() }
    }
    pub fn usage(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, error)
    }
    pub fn environment(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Environment, error)
    }
    pub fn internal(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, error)
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
    /// An error and its chain of sources as one sentence: `a: b: c`.
    pub fn from_error(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(kind, text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
