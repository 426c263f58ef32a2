//! The four measures of delivery after DORA, from the journal: how often is deployed, how long that
//! takes, how much of it fails, how long until it is mended. A pure fold over its story.
//!
//! | measure | from |
//! | --- | --- |
//! | deployments | `up`, `deploy` and `promote` that made a release which came into force |
//! | lead time | from being asked for to being in force; when it was committed is not in the journal |
//! | failures | of all that made a release: what failed or went back by itself, was rolled back before the next, or had an urgent incident of a service it touched within an hour |
//! | time to restore | urgent incidents from their beginning to their end, and changes from going back to being back |

use crate::story::{Alarm, Change, Story};
use model::range::Level;
use model::{DurationMs, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use store::Entry;
use store::record::v1::{IncidentStep, Intent, Outcome};

const DAY_MS: i64 = 86_400_000;
/// An urgent incident so long after a change counts as its failure.
pub const BLAMED_MS: i64 = 3_600_000;
/// Failed changes that are named.
const NAMED_MAX: usize = 20;

/// The measures of everything, of a stack or of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dora {
    /// `all stacks`, `shop`, `shop/web`.
    pub what: String,
    /// Days that the journal knows of those that were asked for.
    pub days: f64,
    pub deployments: u64,
    pub per_day: f64,
    /// The median; absent without deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_time: Option<DurationMs>,
    /// Changes that made a release, in force or not.
    pub attempts: u64,
    pub failures: u64,
    /// Absent without attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_share: Option<f64>,
    /// Numbers of the changes that failed, the newest ones.
    pub failed: Vec<u64>,
    pub restored: u64,
    /// The median; absent when nothing had to be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_restore: Option<DurationMs>,
    /// Urgent incidents that are not over.
    pub not_restored: u64,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// Of whom: everything when neither is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Of {
    pub stack: Option<StackName>,
    pub service: Option<ServiceName>,
}

/// The whole first, then each stack, or each service where a stack was asked for. Entries are oldest
/// first; ones before the span are welcome: what they began counts when it ends within.
pub fn measure(entries: &[Entry], span: &Span, of: &Of) -> Vec<Dora> {
    let story = Story::of(entries);
    let known_from = entries.first().map_or(span.to, |entry| entry.at).max(span.from);
    let days = (span.to.0 - known_from.0).max(0) as f64 / DAY_MS as f64;
    let one = |of: &Of| Fold { story: &story, span, of }.measured(days);
    let mut all = vec![one(of)];
    all.extend(parts(&story, span, of).iter().map(one));
    all
}

fn parts(story: &Story, span: &Span, of: &Of) -> BTreeSet<Of> {
    let within = story.changes.iter().filter(|change| change.at >= span.from && makes(change));
    match (&of.stack, &of.service) {
        (_, Some(_)) => BTreeSet::new(),
        (None, None) => within
            .filter_map(|change| Some(Of { stack: Some(change.stack.clone()?), service: None }))
            .collect(),
        (Some(stack), None) => {
            let mine = within.filter(|change| change.stack.as_ref() == Some(stack));
            let services =
                mine.flat_map(|change| change.differences.iter().filter_map(|d| d.service.clone()));
            services.map(|service| Of { stack: Some(stack.clone()), service: Some(service) }).collect()
        }
    }
}

/// Whether it is meant to bring something new.
fn makes(change: &Change) -> bool {
    matches!(change.intent, Intent::Up | Intent::Deploy | Intent::Promote { .. })
}

struct Fold<'a> {
    story: &'a Story,
    span: &'a Span,
    of: &'a Of,
}

impl Fold<'_> {
    fn measured(&self, days: f64) -> Dora {
        let ended: Vec<&Change> = self.changes().filter(|change| self.ends_within(change)).collect();
        let came = |change: &&&Change| outcome(change).is_some_and(is_in_force);
        let deployments: Vec<&&Change> = ended.iter().filter(came).collect();
        let failed: Vec<u64> =
            ended.iter().filter(|change| self.has_failed(change)).map(|change| change.number).collect();
        let (attempts, failures) = (ended.len() as u64, failed.len() as u64);
        let (restored, not_restored) = self.restored(&ended);
        Dora {
            what: self.of.to_string(),
            days,
            deployments: deployments.len() as u64,
            per_day: deployments.len() as f64 / days.max(1.0),
            lead_time: median(deployments.iter().filter_map(|change| lead(change)).collect()),
            attempts,
            failures,
            failure_share: (attempts > 0).then(|| failures as f64 / attempts as f64),
            failed: failed.into_iter().rev().take(NAMED_MAX).collect(),
            restored: restored.len() as u64,
            time_to_restore: median(restored),
            not_restored,
        }
    }

    /// Those that made a release and are about this.
    fn changes(&self) -> impl Iterator<Item = &Change> {
        self.story.changes.iter().filter(|change| {
            let is_mine = self.of.stack.as_ref().is_none_or(|stack| change.stack.as_ref() == Some(stack));
            let touches = self.of.service.as_ref().is_none_or(|service| change.differs_in(service));
            is_mine && touches && makes(change) && change.made.is_some()
        })
    }

    fn ends_within(&self, change: &Change) -> bool {
        let counts = outcome(change).is_some_and(|outcome| {
            is_in_force(outcome) || matches!(outcome, Outcome::Failed | Outcome::RolledBack)
        });
        counts && change.ending.as_ref().is_some_and(|ending| ending.at >= self.span.from)
    }

    fn has_failed(&self, change: &Change) -> bool {
        let Some(outcome) = outcome(change) else { return false };
        !is_in_force(outcome) || self.was_taken_back(change) || self.was_followed_by_trouble(change)
    }

    /// Somebody, or the daemon, went back before anything else was deployed.
    fn was_taken_back(&self, change: &Change) -> bool {
        let of_stack = |other: &&Change| other.stack == change.stack && other.number > change.number;
        let mut later = self.story.changes.iter().filter(of_stack);
        let next = later.find(|other| {
            matches!(other.intent, Intent::Rollback { .. }) || makes(other) && other.made.is_some()
        });
        next.is_some_and(|next| {
            matches!(next.intent, Intent::Rollback { .. }) && outcome(next).is_some_and(is_in_force)
        })
    }

    fn was_followed_by_trouble(&self, change: &Change) -> bool {
        let Some(ending) = &change.ending else { return false };
        let after = |alarm: &Alarm| (0..=BLAMED_MS).contains(&(alarm.at.0 - ending.at.0));
        self.urgent().any(|alarm| {
            alarm.what == IncidentStep::Opened
                && alarm.stack == change.stack
                && after(alarm)
                && alarm.service.as_ref().is_some_and(|service| change.differs_in(service))
        })
    }

    fn urgent(&self) -> impl Iterator<Item = &Alarm> {
        self.story.alarms.iter().filter(|alarm| alarm.level == Level::Urgent)
    }

    /// How long each took to be mended, and how many are not.
    fn restored(&self, ended: &[&Change]) -> (Vec<DurationMs>, u64) {
        let back = ended.iter().filter_map(|change| {
            let (back, ending) = (change.going_back.as_ref()?, change.ending.as_ref()?);
            duration(back.at, ending.at)
        });
        let mut restored: Vec<DurationMs> = back.collect();
        let mut open: BTreeMap<u64, Timestamp> = BTreeMap::new();
        for alarm in self.urgent().filter(|alarm| self.is_about(alarm)) {
            match alarm.what {
                IncidentStep::Opened | IncidentStep::Worse | IncidentStep::Again => {
                    open.entry(alarm.incident).or_insert(alarm.at);
                }
                IncidentStep::Over => {
                    let began = open.remove(&alarm.incident).filter(|_| alarm.at >= self.span.from);
                    restored.extend(began.and_then(|began| duration(began, alarm.at)));
                }
                IncidentStep::Acknowledged | IncidentStep::Silenced => {}
            }
        }
        (restored, open.len() as u64)
    }

    fn is_about(&self, alarm: &Alarm) -> bool {
        self.of.stack.as_ref().is_none_or(|of| alarm.stack.as_ref() == Some(of))
            && self.of.service.as_ref().is_none_or(|of| alarm.service.as_ref() == Some(of))
    }
}

fn outcome(change: &Change) -> Option<Outcome> {
    change.ending.as_ref().map(|ending| ending.outcome)
}

const fn is_in_force(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Kept | Outcome::Undecided)
}

fn lead(change: &Change) -> Option<DurationMs> {
    duration(change.at, change.ending.as_ref()?.at)
}

/// None where the clock was set back between.
fn duration(from: Timestamp, to: Timestamp) -> Option<DurationMs> {
    u64::try_from(to.0 - from.0).ok().map(DurationMs)
}

/// Of an even number the lower of the middle two.
fn median(mut all: Vec<DurationMs>) -> Option<DurationMs> {
    all.sort_unstable();
    all.get(all.len().checked_sub(1)? / 2).copied()
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.stack, &self.service) {
            (None, _) => f.write_str("all stacks"),
            (Some(stack), None) => write!(f, "{stack}"),
            (Some(stack), Some(service)) => write!(f, "{stack}/{service}"),
        }
    }
}

#[cfg(test)]
mod tests;
