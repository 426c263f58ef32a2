//! All incidents: which findings belong to which, when one is over, what is told.

use super::calls::Calls;
use super::finding::{Finding, Subject};
use super::open::{Incident, News, NewsKind, Note};
use super::silence::{SILENCES_MAX, Silence};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Incidents that are open at a time; findings beyond wait.
pub const OPEN_MAX: usize = 200;
/// Those that are over and still listed.
pub const CLOSED_KEPT: usize = 500;
/// What comes again so soon after it was over is the same incident.
const SAME_MS: i64 = 30 * 60_000;
/// How long one that came again must be calm to be over: doubled each time, up to the last.
const CALM_MS: i64 = 60_000;
const CALM_MAX_MS: i64 = 30 * 60_000;

/// What is known beside the findings.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub calls: Calls,
    /// The last change of a service, in a sentence, where it was just before.
    pub changed: BTreeMap<Subject, String>,
    /// Too little was seen yet to say that something is over.
    pub is_settling: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    newest: u64,
    /// By number, open ones and the last that are over.
    incidents: BTreeMap<u64, Incident>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    silences: Vec<Silence>,
}

impl Book {
    /// Takes all that is outside now, and says what is new.
    pub fn update(&mut self, now_ms: i64, findings: &[Finding], context: &Context) -> Vec<News> {
        let failing: BTreeSet<&Subject> = findings.iter().map(|finding| &finding.subject).collect();
        let mut news: Vec<(NewsKind, u64)> = Vec::new();
        for finding in in_order(findings, &failing, context) {
            let root = context.calls.root(&finding.subject, &|subject| failing.contains(subject));
            self.place(now_ms, finding, root, context, &mut news);
        }
        self.merge(context);
        if !context.is_settling {
            self.mark_back(now_ms, findings);
            self.close(now_ms, &mut news);
        }
        self.forget();
        news.into_iter().filter_map(|(kind, number)| self.news(kind, number, now_ms)).collect()
    }

    /// Puts a finding where it belongs.
    fn place(
        &mut self,
        now_ms: i64,
        finding: &Finding,
        root: &Subject,
        context: &Context,
        news: &mut Vec<(NewsKind, u64)>,
    ) {
        let Some(number) = self.home_of(finding, root, now_ms) else {
            if self.open().count() < OPEN_MAX {
                self.newest += 1;
                let mut incident = Incident::new(self.newest, root.clone(), finding, now_ms);
                incident.changed = context.changed.get(root).cloned().unwrap_or_default();
                incident.take(finding);
                self.incidents.insert(self.newest, incident);
                news.push((NewsKind::Opened, self.newest));
            }
            return;
        };
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        let before = incident.level;
        if incident.closed_ms.take().is_some() {
            incident.flaps += 1;
            news.push((NewsKind::Again, number));
        }
        incident.take(finding);
        let is_told = news.iter().any(|(_, told)| *told == number);
        if incident.level > before && !is_told {
            news.push((NewsKind::Worse, number));
        }
    }

    /// The incident that a finding is part of: one that has it already, that of the same service and
    /// release, that of the dependency; one that was over a moment ago counts.
    fn home_of(&self, finding: &Finding, root: &Subject, now_ms: i64) -> Option<u64> {
        let recent = |incident: &&Incident| {
            incident.part_of.is_none() && incident.closed_ms.is_none_or(|closed| now_ms - closed < SAME_MS)
        };
        let has = |incident: &&Incident| {
            incident.is_open()
                && incident.signals.iter().any(|affected| {
                    affected.back_ms.is_none()
                        && affected.finding.subject == finding.subject
                        && affected.finding.signal == finding.signal
                })
        };
        let is_of = |incident: &&Incident, subject: &Subject| {
            incident.subject == *subject
                && (subject != &finding.subject || incident.release == finding.release)
        };
        let all = || self.incidents.values().rev().filter(recent);
        // The dependency counts before what the service has of its own.
        let found = all().find(|i| i.is_open() && root != &finding.subject && is_of(i, root));
        let found = found.or_else(|| all().find(has));
        let found = found.or_else(|| all().find(|i| is_of(i, root)));
        found.map(|incident| incident.number)
    }

    /// Incidents of services whose dependency turned out to fail become part of that one.
    fn merge(&mut self, context: &Context) {
        let open: Vec<(u64, Subject, i64)> =
            self.open().map(|i| (i.number, i.subject.clone(), i.opened_ms)).collect();
        for (number, subject, opened_ms) in &open {
            let cause = open.iter().find(|(other, called, since)| {
                other != number
                    && context.calls.depends(subject, called)
                    && !context.calls.depends(called, subject)
                    && (since - opened_ms).abs() <= SAME_MS
                    && self.incidents[other].is_outside_now()
            });
            let Some((cause, ..)) = cause else { continue };
            let Some(mut part) = self.incidents.remove(number) else { continue };
            if let Some(cause) = self.incidents.get_mut(cause) {
                let flaps = cause.flaps;
                part.signals.iter().filter(|a| a.back_ms.is_none()).for_each(|a| cause.take(&a.finding));
                cause.flaps = flaps;
            }
            (part.part_of, part.closed_ms) = (Some(*cause), Some(*opened_ms));
            self.incidents.insert(*number, part);
        }
    }

    fn mark_back(&mut self, now_ms: i64, findings: &[Finding]) {
        let outside: BTreeSet<(&Subject, &str)> =
            findings.iter().map(|f| (&f.subject, f.signal.as_str())).collect();
        for incident in self.incidents.values_mut().filter(|incident| incident.is_open()) {
            for affected in incident.signals.iter_mut().filter(|affected| affected.back_ms.is_none()) {
                let finding = &affected.finding;
                if !outside.contains(&(&finding.subject, finding.signal.as_str())) {
                    affected.back_ms = Some(now_ms);
                }
            }
            if !incident.is_outside_now() {
                incident.calm_since_ms.get_or_insert(now_ms);
            }
        }
    }

    fn close(&mut self, now_ms: i64, news: &mut Vec<(NewsKind, u64)>) {
        for incident in self.incidents.values_mut().filter(|incident| incident.is_open()) {
            let needed = match incident.flaps {
                0 => 0,
                flaps => (CALM_MS << flaps.min(10)).min(CALM_MAX_MS),
            };
            // A clock that was set back makes no calm longer.
            let calm = incident.calm_since_ms.map(|since| (now_ms - since).max(0));
            if calm.is_some_and(|calm| calm >= needed) {
                incident.closed_ms = Some(now_ms);
                news.push((NewsKind::Over, incident.number));
            }
        }
    }

    fn forget(&mut self) {
        let closed: Vec<u64> = self.incidents.values().filter(|i| !i.is_open()).map(|i| i.number).collect();
        for number in closed.iter().take(closed.len().saturating_sub(CLOSED_KEPT)) {
            self.incidents.remove(number);
        }
    }

    fn news(&self, kind: NewsKind, number: u64, now_ms: i64) -> Option<News> {
        let incident = self.incidents.get(&number).filter(|incident| incident.part_of.is_none())?.clone();
        let is_silenced = self.is_silenced(&incident, now_ms);
        Some(News { kind, incident, is_silenced })
    }

    /// Whether all of it is covered by what somebody does not want to be told.
    pub fn is_silenced(&self, incident: &Incident, now_ms: i64) -> bool {
        let covered = |subject: &Subject, signal: &str| {
            self.silences.iter().any(|silence| silence.covers(subject, signal, now_ms))
        };
        !incident.signals.is_empty()
            && incident.signals.iter().all(|affected| {
                covered(&affected.finding.subject, &affected.finding.signal)
                    || covered(&incident.subject, &affected.finding.signal)
            })
    }

    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values().filter(|incident| incident.is_open())
    }

    /// Oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Incident> {
        self.incidents.values()
    }

    pub fn get(&self, number: u64) -> Option<&Incident> {
        self.incidents.get(&number)
    }

    /// Somebody knows; false where there is no such incident.
    pub fn acknowledge(&mut self, number: u64, note: Note) -> bool {
        let found = self.incidents.get_mut(&number);
        found.map(|incident| incident.acknowledged = Some(note)).is_some()
    }

    /// False when there are too many.
    pub fn silence(&mut self, silence: Silence, now_ms: i64) -> bool {
        self.silences.retain(|one| {
            one.until_ms > now_ms && (&one.subject, &one.signal) != (&silence.subject, &silence.signal)
        });
        let has_room = self.silences.len() < SILENCES_MAX;
        if has_room && silence.until_ms > now_ms {
            self.silences.push(silence);
        }
        has_room
    }

    pub fn silences(&self, now_ms: i64) -> impl Iterator<Item = &Silence> {
        self.silences.iter().filter(move |silence| silence.until_ms > now_ms)
    }
}

/// Those first that depend on nothing that fails, so that others find their incident there.
fn in_order<'a>(
    findings: &'a [Finding],
    failing: &BTreeSet<&Subject>,
    context: &Context,
) -> Vec<&'a Finding> {
    let mut all: Vec<&Finding> = findings.iter().collect();
    let is_root = |finding: &Finding| {
        context.calls.root(&finding.subject, &|subject| failing.contains(subject)) == &finding.subject
    };
    all.sort_by_cached_key(|finding| (!is_root(finding), std::cmp::Reverse(finding.level), finding.since_ms));
    all
}
