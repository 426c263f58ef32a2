//! What somebody does not want to be told for a while.

use super::finding::Subject;
use serde::{Deserialize, Serialize};

pub const SILENCES_MAX: usize = 100;

/// Matches what is about this subject (anything when absent) and this signal (any when absent).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    pub until_ms: i64,
    pub by: String,
    #[serde(default)]
    pub why: String,
}

impl Silence {
    pub fn covers(&self, subject: &Subject, signal: &str, now_ms: i64) -> bool {
        let of_subject = self.subject.as_ref().is_none_or(|wanted| {
            wanted == subject
                || wanted.service.is_none() && wanted.stack.is_some() && wanted.stack == subject.stack
        });
        now_ms < self.until_ms && of_subject && self.signal.as_ref().is_none_or(|wanted| wanted == signal)
    }
}
