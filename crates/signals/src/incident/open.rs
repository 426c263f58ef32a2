//! One incident, from its first signal to its end, and what is told of it.

use super::finding::{Finding, Subject};
use model::ReleaseId;
use model::range::Level;
use serde::{Deserialize, Serialize};

/// Signals that one incident lists; more are counted.
pub const SIGNALS_MAX: usize = 50;
/// Services that are named as possible causes.
const SUSPECTS: usize = 3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub number: u64,
    /// Where it comes from, as far as is known.
    pub subject: Subject,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    pub level: Level,
    pub opened_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_ms: Option<i64>,
    /// Every signal that was outside, in the order they came.
    pub signals: Vec<Affected>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_signals: u64,
    /// What changed just before, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub changed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Note>,
    /// How often it came again shortly after it was over.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub flaps: u32,
    /// The incident that it turned out to be part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<u64>,
    /// Since when nothing of it is outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) calm_since_ms: Option<i64>,
}

/// A signal of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Affected {
    #[serde(flatten)]
    pub finding: Finding,
    /// When it came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_ms: Option<i64>,
}

/// Somebody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub by: String,
    pub at_ms: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewsKind {
    Opened,
    /// It became more urgent.
    Worse,
    /// It was over and is there again.
    Again,
    Over,
}

/// Something to be told, with the incident as it is then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct News {
    pub kind: NewsKind,
    pub incident: Incident,
    /// Somebody does not want to hear of it; it is written down all the same.
    pub is_silenced: bool,
}

const fn is_zero(value: &u64) -> bool {
    *value == 0
}

const fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

impl NewsKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worse => "worse",
            Self::Again => "again",
            Self::Over => "over",
        }
    }
}

impl Incident {
    pub(super) fn new(number: u64, subject: Subject, finding: &Finding, now_ms: i64) -> Self {
        Self {
            number,
            subject,
            release: finding.release,
            level: finding.level,
            opened_ms: now_ms,
            closed_ms: None,
            signals: Vec::new(),
            more_signals: 0,
            changed: String::new(),
            acknowledged: None,
            flaps: 0,
            part_of: None,
            calm_since_ms: None,
        }
    }

    pub const fn is_open(&self) -> bool {
        self.closed_ms.is_none()
    }

    pub fn is_outside_now(&self) -> bool {
        self.signals.iter().any(|affected| affected.back_ms.is_none())
    }

    /// Takes a finding in, or refreshes it.
    pub(super) fn take(&mut self, finding: &Finding) {
        self.level = self.level.max(finding.level);
        self.calm_since_ms = None;
        let same = |affected: &&mut Affected| {
            affected.finding.subject == finding.subject && affected.finding.signal == finding.signal
        };
        if let Some(affected) = self.signals.iter_mut().find(same) {
            let since_ms = affected.finding.since_ms;
            affected.finding = Finding { since_ms, ..finding.clone() };
            affected.back_ms = None;
        } else if self.signals.len() < SIGNALS_MAX {
            self.signals.push(Affected { finding: finding.clone(), back_ms: None });
        } else {
            self.more_signals += 1;
        }
    }

    /// The services it may come from, the likeliest first: the dependency at the bottom, then who
    /// left first and farthest.
    pub fn suspects(&self) -> Vec<&Subject> {
        let mut by_service: Vec<&Affected> = self.signals.iter().collect();
        by_service.sort_by(|a, b| {
            let (a, b) = (&a.finding, &b.finding);
            let farther = b.beyond.abs().total_cmp(&a.beyond.abs());
            (b.level, a.since_ms).cmp(&(a.level, b.since_ms)).then(farther)
        });
        let mut suspects = vec![&self.subject];
        for affected in by_service {
            if !suspects.contains(&&affected.finding.subject) {
                suspects.push(&affected.finding.subject);
            }
        }
        suspects.truncate(SUSPECTS);
        suspects
    }

    /// The signal to name first: of the subject itself if there is one, the most urgent, then the
    /// farthest outside.
    pub fn leading(&self) -> Option<&Finding> {
        let all = self.signals.iter().map(|affected| &affected.finding);
        all.max_by(|a, b| {
            let rank = |finding: &Finding| (finding.subject == self.subject, finding.level);
            rank(a).cmp(&rank(b)).then(a.beyond.abs().total_cmp(&b.beyond.abs()))
        })
    }

    /// One sentence without its number: `shop/web: p95 is 1.4 s, normal is 20 ms to 60 ms`.
    pub fn sentence(&self) -> String {
        match self.leading() {
            Some(finding) if finding.subject == self.subject => {
                format!("{}: {}", self.subject, finding.sentence())
            }
            Some(finding) => format!("{}: {} of {}", self.subject, finding.sentence(), finding.subject),
            None => format!("{}: outside its range", self.subject),
        }
    }
}
