//! The journal as people tell it: changes with their outcome, and what happened to instances.
//!
//! Pure folds over entries, shared by the pages, `juchu history` and `juchu why`.

use model::{DurationMs, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::Entry;
use store::record::v1::{Difference, Event, Intent, Outcome, Seen};

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
    pub differences: Vec<Difference>,
    pub release: Option<ReleaseId>,
    /// Absent while it is carried out.
    pub ending: Option<Ending>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub at: Timestamp,
    pub outcome: Outcome,
    pub reason: String,
    pub took: DurationMs,
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

/// Changes and incidents, each oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub changes: Vec<Change>,
    pub incidents: Vec<Incident>,
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
            Event::ChangeAccepted { intent, services, why, .. } => {
                place.insert(entry.seq, self.changes.len());
                self.changes.push(accepted(entry, *intent, services, why));
            }
            Event::ReleaseMade { release, change, differences, .. } => {
                if let Some(change) = place.get(change).map(|at| &mut self.changes[*at]) {
                    change.release = Some(*release);
                    change.differences = differences.clone();
                }
            }
            Event::Concluded { change, outcome, release, reason, took_ms, .. } => {
                if let Some(change) = place.get(change).map(|at| &mut self.changes[*at]) {
                    change.release = release.or(change.release);
                    let (reason, took) = (reason.clone(), DurationMs(*took_ms));
                    change.ending = Some(Ending { at: entry.at, outcome: *outcome, reason, took });
                }
            }
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
    pub fn touches(&self, service: &ServiceName) -> bool {
        self.services.is_empty() || self.services.contains(service) || self.differs_in(service)
    }

    pub fn differs_in(&self, service: &ServiceName) -> bool {
        self.differences.iter().any(|d| d.service.as_ref() == Some(service))
    }

    /// It starts, stops or removes without a new release.
    fn intent_is_motion(&self) -> bool {
        !matches!(self.intent, Intent::Up | Intent::Deploy)
    }

    /// `deploy web, db`, `down with its volumes`.
    pub fn what(&self) -> String {
        let mut text = self.intent.word().to_owned();
        for (position, service) in self.services.iter().enumerate() {
            text.push_str(if position == 0 { " " } else { ", " });
            text.push_str(service.as_str());
        }
        if self.intent == (Intent::Down { volumes: true }) {
            text.push_str(" with its volumes");
        }
        text
    }

    /// `kept`, `failed`, or `under way`.
    pub fn outcome_word(&self) -> &'static str {
        self.ending.as_ref().map_or("under way", |ending| ending.outcome.word())
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
        differences: Vec::new(),
        release: None,
        ending: None,
    }
}
