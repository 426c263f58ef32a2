//! What becomes of news: the journal, the disk, and those who want to know.

use super::{Vigil, now_ms};
use alerts::{Message, What};
use console::story::{Change, Story};
use model::range::Level;
use signals::incident::{Incident, News, NewsKind, Subject};
use std::collections::{BTreeMap, BTreeSet};
use store::record::v1::{Event, IncidentStep};
use store::{BY_ITSELF, HistoryQuery};

/// A change so long before may be the cause.
const BEFORE_MS: i64 = 60 * 60 * 1000;
/// Entries of the journal that are read for it.
const ENTRIES: usize = 300;

impl Vigil {
    /// Writes news down and tells whoever wants to know.
    pub(super) async fn told(&self, news: Vec<News>) {
        self.write_book();
        for news in news {
            self.note(&news.incident, step(news.kind), news.incident.sentence(), BY_ITSELF).await;
            let is_wanted = match news.kind {
                // Somebody knows already.
                NewsKind::Again => news.incident.acknowledged.is_none(),
                NewsKind::Opened | NewsKind::Worse | NewsKind::Over => true,
            };
            if is_wanted && !news.is_silenced && news.incident.level > Level::Information {
                let message = self.message(what(news.kind), &news.incident);
                if let Err(error) = self.alerts.tell(&message) {
                    eprintln!("nobody is told: {error}");
                }
            }
        }
    }

    pub(super) async fn note(&self, incident: &Incident, what: IncidentStep, text: String, actor: &str) {
        let event = Event::Incident {
            incident: incident.number,
            service: incident.subject.service.clone(),
            what,
            level: incident.level,
            text,
        };
        self.write_down(incident.subject.stack.clone(), actor, event).await;
    }

    pub(super) async fn write_down(&self, stack: Option<model::StackName>, actor: &str, event: Event) {
        let Some(control) = self.control.upgrade() else { return };
        if let Err(report) = control.note(stack, actor, event).await {
            eprintln!("not in the journal: {}", report.error);
        }
    }

    pub(super) fn message(&self, what: What, incident: &Incident) -> Message {
        let leading = incident.leading();
        Message {
            what,
            incident: incident.number,
            level: incident.level,
            machine: self.machine.clone(),
            subject: incident.subject.to_string(),
            stack: incident.subject.stack.as_ref().map(ToString::to_string),
            service: incident.subject.service.as_ref().map(ToString::to_string),
            release: incident.release.map(|release| release.to_string()),
            signal: leading.map(|finding| finding.signal.clone()).unwrap_or_default(),
            value: leading.map(|finding| finding.value.clone()).unwrap_or_default(),
            range: leading.map(|finding| finding.range.clone()).unwrap_or_default(),
            text: incident.sentence(),
            changed: incident.changed.clone(),
            suspects: incident.suspects().iter().map(|subject| subject.to_string()).collect(),
            command: format!("juchu incidents {}", incident.number),
            opened_ms: incident.opened_ms,
            at_ms: now_ms(),
        }
    }

    /// What changed shortly before, for those who have no incident yet.
    pub(super) async fn changed_before(
        &self,
        newly: BTreeSet<Subject>,
        now_ms: i64,
    ) -> BTreeMap<Subject, String> {
        let mut changed = BTreeMap::new();
        let Some(control) = self.control.upgrade() else { return changed };
        for subject in newly {
            let (Some(stack), Some(service)) = (&subject.stack, &subject.service) else { continue };
            let query = HistoryQuery {
                stack: Some(stack.clone()),
                service: Some(service.clone()),
                after: None,
                changes_only: true,
                limit: ENTRIES,
            };
            let Ok(entries) = control.history(query).await else { continue };
            let story = Story::of(&entries);
            let last = story.last_change_of(service).filter(|change| now_ms - change.at.0 < BEFORE_MS);
            if let Some(change) = last {
                changed.insert(subject.clone(), sentence(change, now_ms));
            }
        }
        changed
    }
}

/// `deploy web by ada (cli) 2 min before (r4, kept)`.
fn sentence(change: &Change, now_ms: i64) -> String {
    let minutes = ((now_ms - change.at.0) / 60_000).max(0);
    let release = change.release_text();
    let release = if release.is_empty() { release } else { format!("{release}, ") };
    format!("{} by {} {minutes} min before ({release}{})", change.what(), change.actor, change.outcome_word())
}

const fn what(kind: NewsKind) -> What {
    match kind {
        NewsKind::Opened => What::Opened,
        NewsKind::Worse => What::Worse,
        NewsKind::Again => What::Again,
        NewsKind::Over => What::Over,
    }
}

const fn step(kind: NewsKind) -> IncidentStep {
    match kind {
        NewsKind::Opened => IncidentStep::Opened,
        NewsKind::Worse => IncidentStep::Worse,
        NewsKind::Again => IncidentStep::Again,
        NewsKind::Over => IncidentStep::Over,
    }
}
