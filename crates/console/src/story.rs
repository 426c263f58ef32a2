//! The journal as people tell it: changes with their outcome, and what happened to instances.
//!
//! Pure folds over entries, shared by the pages, `juchu history` and `juchu why`.

use model::range::Level;
use model::{Digest, DurationMs, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::Entry;
use store::record::v1::{Difference, Event, IncidentStep, Intent, Outcome, Seen, ServiceFigures, Verdict};

/// One change from the moment it was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub number: u64,
    pub at: Timestamp,
    pub stack: Option<StackName>,
    pub actor: String,
    #[serde(flatten)]
    pub intent: Intent,
    /// All when empty.
    pub services: Vec<ServiceName>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The stack whose images are promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StackName>,
    pub differences: Vec<Difference>,
    /// The release made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<ReleaseId>,
    /// The release in force when it ended; until then the one made for it.
    pub release: Option<ReleaseId>,
    /// What came of comparing its services with those of the release before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Judged>,
    /// It failed and was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub going_back: Option<GoingBack>,
    /// Absent while it is carried out.
    pub ending: Option<Ending>,
}

/// One service of a release beside that of the release before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub at: Timestamp,
    pub service: ServiceName,
    pub verdict: Verdict,
    pub text: String,
    /// The test that found most, beside what it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// By what it was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// Settings and looks from which the verdict follows, in the journal's contents.
    pub judgement: Digest,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoingBack {
    pub at: Timestamp,
    /// Absent when there was nothing to go back to.
    pub release: Option<ReleaseId>,
    pub cause: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub at: Timestamp,
    pub outcome: Outcome,
    pub reason: String,
    pub took: DurationMs,
    /// What was measured of the services that were touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<ServiceFigures>,
}

/// Releases that can no longer be gone back to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    pub at: Timestamp,
    pub stack: Option<StackName>,
    pub releases: Vec<ReleaseId>,
    pub reason: String,
}

/// Something that happened to an instance without anybody asking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub at: Timestamp,
    pub service: ServiceName,
    pub instance: InstanceId,
    pub what: Seen,
    pub detail: String,
}

/// A signal that left its normal range, or what somebody said of that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub at: Timestamp,
    pub incident: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    pub service: Option<ServiceName>,
    pub what: IncidentStep,
    pub level: Level,
    pub text: String,
    pub actor: String,
}

/// Changes, incidents and collections, each oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub changes: Vec<Change>,
    pub incidents: Vec<Incident>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Alarm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<Collection>,
}

impl Story {
    /// Entries oldest first. Endings of changes that began before the first entry are left out.
    pub fn of(entries: &[Entry]) -> Self {
        let mut story = Story::default();
        let mut place = BTreeMap::new();
        for entry in entries {
            story.add(entry, &mut place);
        }
        story
    }

    fn add(&mut self, entry: &Entry, place: &mut BTreeMap<u64, usize>) {
        match &entry.event {
            Event::ChangeAccepted { intent, services, why, from, .. } => {
                place.insert(entry.seq, self.changes.len());
                let from = from.clone();
                self.changes.push(Change { from, ..accepted(entry, *intent, services, why) });
            }
            Event::ReleaseMade { change, .. }
            | Event::Judged { change, .. }
            | Event::GoingBack { change, .. }
            | Event::Concluded { change, .. } => {
                if let Some(change) = place.get(change).map(|at| &mut self.changes[*at]) {
                    change.goes_on(entry);
                }
            }
            Event::ReleasesCollected { releases, reason } => self.collections.push(Collection {
                at: entry.at,
                stack: entry.stack.clone(),
                releases: releases.clone(),
                reason: reason.clone(),
            }),
            Event::Incident { incident, service, what, level, text } => self.alarms.push(Alarm {
                at: entry.at,
                incident: *incident,
                stack: entry.stack.clone(),
                service: service.clone(),
                what: *what,
                level: *level,
                text: text.clone(),
                actor: entry.actor.clone(),
            }),
            Event::InstanceSeen { service, instance, what, detail } if is_incident(*what) => {
                self.incidents.push(Incident {
                    at: entry.at,
                    service: service.clone(),
                    instance: instance.clone(),
                    what: *what,
                    detail: detail.clone(),
                });
            }
            _ => {}
        }
    }

    /// The last change that touched this service: one of its differences, or all services, or it by name.
    pub fn last_change_of(&self, service: &ServiceName) -> Option<&Change> {
        let touches = |change: &&Change| change.touches(service);
        let effective = |change: &&Change| change.differs_in(service) || change.intent_is_motion();
        self.changes
            .iter()
            .rev()
            .filter(touches)
            .find(effective)
            .or_else(|| self.changes.iter().rev().find(touches))
    }

    pub fn incidents_since(&self, at: Timestamp) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(move |incident| incident.at >= at)
    }
}

impl Change {
    fn goes_on(&mut self, entry: &Entry) {
        match &entry.event {
            Event::ReleaseMade { release, differences, .. } => {
                (self.made, self.release) = (Some(*release), Some(*release));
                self.differences = differences.clone();
            }
            Event::Judged { service, verdict, text, evidence, basis, judgement, .. } => {
                self.verdicts.push(Judged {
                    at: entry.at,
                    service: service.clone(),
                    verdict: *verdict,
                    text: text.clone(),
                    evidence: evidence.clone(),
                    basis: basis.clone(),
                    judgement: judgement.clone(),
                });
            }
            Event::GoingBack { release, cause, .. } => {
                self.going_back = Some(GoingBack { at: entry.at, release: *release, cause: cause.clone() });
            }
            Event::Concluded { outcome, release, reason, took_ms, figures, .. } => {
                self.release = release.or(self.release);
                self.ending = Some(Ending {
                    at: entry.at,
                    outcome: *outcome,
                    reason: reason.clone(),
                    took: DurationMs(*took_ms),
                    figures: figures.clone(),
                });
            }
            _ => {}
        }
    }

    pub fn touches(&self, service: &ServiceName) -> bool {
        self.services.is_empty() || self.services.contains(service) || self.differs_in(service)
    }

    pub fn differs_in(&self, service: &ServiceName) -> bool {
        self.differences.iter().any(|d| d.service.as_ref() == Some(service))
    }

    /// It starts, stops, removes or goes back without a new release.
    fn intent_is_motion(&self) -> bool {
        !matches!(self.intent, Intent::Up | Intent::Deploy | Intent::Promote { .. })
    }

    /// `deploy web, db`, `down with its volumes`, `rollback web to r3`, `promote web from staging r5`.
    pub fn what(&self) -> String {
        let mut text = self.intent.word().to_owned();
        for (position, service) in self.services.iter().enumerate() {
            text.push_str(if position == 0 { " " } else { ", " });
            text.push_str(service.as_str());
        }
        match self.intent {
            Intent::Down { volumes: true } => text.push_str(" with its volumes"),
            Intent::Rollback { to: Some(release) } => text += &format!(" to {release}"),
            Intent::Promote { release } => {
                text += &self.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
                text += &release.map(|release| format!(" {release}")).unwrap_or_default();
            }
            _ => {}
        }
        text
    }

    /// `kept`, `failed`, or `under way`.
    pub fn outcome_word(&self) -> &'static str {
        match (&self.ending, &self.going_back) {
            (Some(ending), _) => ending.outcome.word(),
            (None, Some(_)) => "going back",
            (None, None) => "under way",
        }
    }

    /// `r3`, or `r3 → r2` when it did not stay in force.
    pub fn release_text(&self) -> String {
        match (self.made, self.release) {
            (Some(made), Some(release)) if made != release => format!("{made} → {release}"),
            (made, release) => release.or(made).map(|release| release.to_string()).unwrap_or_default(),
        }
    }
}

/// `web environment.DEBUG`, or the field alone when it is the stack's.
pub fn place_of(difference: &Difference) -> String {
    match &difference.service {
        Some(service) if difference.field == "service" => service.to_string(),
        Some(service) => format!("{service} {}", difference.field),
        None => difference.field.clone(),
    }
}

pub const fn incident_word(what: Seen) -> &'static str {
    match what {
        Seen::Started => "started",
        Seen::Exited => "exited",
        Seen::CrashLoop => "crash loop",
        Seen::Healthy => "healthy",
        Seen::Unhealthy => "unhealthy",
        Seen::Lost => "lost",
        Seen::Removed => "removed",
    }
}

const fn is_incident(what: Seen) -> bool {
    matches!(what, Seen::Exited | Seen::CrashLoop | Seen::Unhealthy | Seen::Lost)
}

fn accepted(entry: &Entry, intent: Intent, services: &[ServiceName], why: &str) -> Change {
    Change {
        number: entry.seq,
        at: entry.at,
        stack: entry.stack.clone(),
        actor: entry.actor.clone(),
        intent,
        services: services.to_vec(),
        why: why.to_owned(),
        from: None,
        made: None,
        verdicts: Vec::new(),
        going_back: None,
        differences: Vec::new(),
        release: None,
        ending: None,
    }
}
