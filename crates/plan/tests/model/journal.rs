//! The journal as far as the loop's decisions follow from it, and the view folded from it. What a
//! daemon knows after it was killed is this and nothing else.

use model::{InstanceId, Release, ReleaseId, Service, ServiceName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The actor of what nobody asked for.
pub const BY_ITSELF: &str = "juchu";

pub type Declared = BTreeMap<ServiceName, Service>;

#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    Up,
    Stop,
    Start,
    Restart { at: Timestamp },
    Rollback { to: ReleaseId },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Kept,
    Unchanged,
    Failed,
    RolledBack,
    Undecided,
}

#[derive(Debug, Clone)]
pub enum Event {
    Accepted {
        intent: Intent,
        services: Vec<ServiceName>,
        declared: Option<Rc<Declared>>,
        actor: &'static str,
    },
    Made {
        release: Rc<Release>,
    },
    Activated {
        release: Option<ReleaseId>,
        change: u64,
    },
    GoingBack {
        release: ReleaseId,
        change: u64,
    },
    Plan {
        number: u64,
    },
    Concluded {
        change: u64,
        outcome: Outcome,
        release: Option<ReleaseId>,
    },
    Healthy(InstanceId),
    NotHealthy(InstanceId),
}

pub struct Entry {
    pub at: Timestamp,
    pub event: Event,
}

#[derive(Debug, Clone)]
pub struct Pending {
    pub change: u64,
    pub intent: Intent,
    pub services: Vec<ServiceName>,
    pub declared: Option<Rc<Declared>>,
    pub actor: &'static str,
    pub release: Option<ReleaseId>,
    pub before: Option<ReleaseId>,
    pub is_going_back: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Verdict {
    pub outcome: Option<Outcome>,
    pub in_force: Option<u64>,
}

#[derive(Default)]
pub struct View {
    pub pending: Option<Pending>,
    pub active: Option<ReleaseId>,
    pub kept: Option<ReleaseId>,
    pub previous: Option<ReleaseId>,
    pub kept_at: Timestamp,
    pub newest: u64,
    pub releases: BTreeMap<ReleaseId, Rc<Release>>,
    pub verdicts: BTreeMap<ReleaseId, Verdict>,
    pub healthy: BTreeSet<InstanceId>,
    pub stopped: BTreeSet<ServiceName>,
    pub restart_before: BTreeMap<ServiceName, Timestamp>,
    pub last_plan: u64,
    /// A rollout was halted half way, and no release was put in force since.
    pub is_halted: bool,
}

impl Pending {
    pub fn makes_release(&self) -> bool {
        matches!(self.intent, Intent::Up | Intent::Rollback { .. })
    }
}

impl View {
    pub fn of(journal: &[Entry]) -> Self {
        let mut view = Self::default();
        for (index, entry) in journal.iter().enumerate() {
            view.apply(index as u64 + 1, entry);
        }
        view
    }

    pub fn release(&self, id: Option<ReleaseId>) -> Option<Rc<Release>> {
        id.and_then(|id| self.releases.get(&id)).cloned()
    }

    /// It was kept, and nothing was found against it since.
    pub fn is_good(&self, release: ReleaseId) -> bool {
        self.verdicts.get(&release).is_some_and(|v| v.outcome == Some(Outcome::Kept))
    }

    pub fn is_paused(&self) -> bool {
        self.is_halted && self.active != self.kept
    }

    pub fn apply(&mut self, number: u64, entry: &Entry) {
        match &entry.event {
            Event::Accepted { intent, services, declared, actor } => {
                self.hold_or_release(intent, services);
                self.pending = Some(Pending {
                    change: number,
                    intent: intent.clone(),
                    services: services.clone(),
                    declared: declared.clone(),
                    actor,
                    release: None,
                    before: self.active,
                    is_going_back: false,
                });
            }
            Event::Made { release } => {
                self.newest = self.newest.max(release.id.0);
                self.releases.insert(release.id, Rc::clone(release));
                self.verdicts.insert(release.id, Verdict::default());
            }
            Event::Activated { release, change } => {
                self.activate(number, *release);
                if let Some(pending) = self.pending.as_mut().filter(|p| p.change == *change) {
                    pending.release = *release;
                }
            }
            Event::GoingBack { release, change } => {
                self.activate(number, Some(*release));
                if let Some(pending) = self.pending.as_mut().filter(|p| p.change == *change) {
                    pending.is_going_back = true;
                    let failed = pending.release;
                    self.judge(failed, Outcome::RolledBack);
                }
            }
            Event::Plan { number } => self.last_plan = *number,
            Event::Concluded { change, outcome, release } => {
                self.conclude(entry.at, *change, *outcome, *release);
            }
            Event::Healthy(id) => {
                self.healthy.insert(id.clone());
            }
            Event::NotHealthy(id) => {
                self.healthy.remove(id);
            }
        }
    }

    fn hold_or_release(&mut self, intent: &Intent, services: &[ServiceName]) {
        match intent {
            Intent::Stop => self.stopped.extend(services.iter().cloned()),
            Intent::Start | Intent::Up | Intent::Rollback { .. } => match services {
                [] => self.stopped.clear(),
                named => self.stopped.retain(|s| !named.contains(s)),
            },
            Intent::Restart { at } => {
                for service in services {
                    self.stopped.remove(service);
                    self.restart_before.insert(service.clone(), *at);
                }
            }
        }
    }

    fn activate(&mut self, number: u64, release: Option<ReleaseId>) {
        if self.active != release {
            // A restart concerned what was in force then.
            self.restart_before.clear();
        }
        self.active = release;
        self.is_halted = false;
        if let Some(verdict) = release.and_then(|r| self.verdicts.get_mut(&r)) {
            verdict.in_force = Some(number);
        }
    }

    fn judge(&mut self, release: Option<ReleaseId>, outcome: Outcome) {
        if let Some(verdict) = release.and_then(|r| self.verdicts.get_mut(&r)) {
            verdict.outcome = Some(outcome);
        }
    }

    fn conclude(&mut self, at: Timestamp, change: u64, outcome: Outcome, release: Option<ReleaseId>) {
        self.is_halted |= outcome == Outcome::Undecided;
        let Some(ended) = self.pending.take_if(|p| p.change == change) else { return };
        match outcome {
            Outcome::Kept if release.is_some() && ended.release.is_some() => self.keep(at, &ended, release),
            Outcome::Kept | Outcome::Unchanged => {}
            Outcome::Failed | Outcome::RolledBack | Outcome::Undecided => self.judge(ended.release, outcome),
        }
    }

    fn keep(&mut self, at: Timestamp, ended: &Pending, release: Option<ReleaseId>) {
        if self.kept == release {
            return;
        }
        self.previous = self.kept;
        self.kept = release;
        self.kept_at = at;
        self.judge(release, Outcome::Kept);
        if matches!(ended.intent, Intent::Rollback { .. }) && ended.actor == BY_ITSELF {
            // Nobody asked: the release before was found bad.
            self.judge(ended.before, Outcome::RolledBack);
        }
    }
}
