//! What is told: one message for each piece of news about an incident.

use model::range::Level;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Opened,
    Worse,
    Again,
    Over,
    /// Nothing is wrong: somebody tries whether messages arrive.
    Test,
}

/// Version 1 of what webhooks get; fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub what: What,
    /// 0 for a test.
    pub incident: u64,
    pub level: Level,
    /// The name of this machine.
    pub machine: String,
    /// `shop/web`, or `machine`.
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    pub signal: String,
    /// With their units.
    pub value: String,
    pub range: String,
    /// One sentence.
    pub text: String,
    /// What changed just before, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub changed: String,
    /// The likeliest causes, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<String>,
    /// The command that says more.
    pub command: String,
    pub opened_ms: i64,
    pub at_ms: i64,
}

impl Message {
    /// `urgent: shop/web: p95 is 1.4 s, normal is 20 ms to 60 ms`.
    pub fn title(&self) -> String {
        match self.what {
            What::Opened | What::Worse => format!("{}: {}", self.level.word(), self.text),
            What::Again => format!("{}, again: {}", self.level.word(), self.text),
            What::Over => format!("over: {}", self.text),
            What::Test => format!("test from {}: {}", self.machine, self.text),
        }
    }

    /// The lines below the title.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.changed.is_empty() {
            lines.push(format!("changed before: {}", self.changed));
        }
        if self.suspects.len() > 1 {
            lines.push(format!("likely cause: {}", self.suspects.join(", then ")));
        }
        if self.what != What::Test {
            lines.push(format!("incident {} on {}; {}", self.incident, self.machine, self.command));
        }
        lines
    }

    /// Such as `2026-11-23T07:00:00Z`; empty for a time that no calendar has.
    pub fn rfc3339(at_ms: i64) -> String {
        jiff::Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.0}")).unwrap_or_default()
    }
}
