//! What follows from the journal for one stack: a fold over its events, without I/O.

use crate::record::v1::{Event, Intent, Outcome, Seen, Verdict};
use model::image::BuiltImage;
use model::{Digest, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How many bundles a stack's view holds at most, whatever is declared.
pub const RELEASES_HELD: usize = 50;
/// How many releases a stack's view tells about; older ones are found in the journal.
pub const RELEASES_REMEMBERED: usize = 200;

/// Healthy instances remembered of a stack.
pub const HEALTHY_REMEMBERED: usize = 4096;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackView {
    pub name: StackName,
    /// The change being carried out, if any.
    pub pending: Option<Pending>,
    /// What the stack is steered to.
    pub active: Option<ReleaseId>,
    /// The last release that was kept.
    pub kept: Option<ReleaseId>,
    /// The release that was kept before that one, and since when it no longer is in force.
    pub previous: Option<ReleaseId>,
    pub kept_at: Timestamp,
    /// Number of the newest release ever made.
    pub newest: u64,
    /// The bundles of the releases that can be gone back to.
    pub releases: BTreeMap<ReleaseId, Digest>,
    /// How the newest releases came about and ended.
    pub results: BTreeMap<ReleaseId, ReleaseResult>,
    /// The newest image of each service and what it was a function of.
    pub images: BTreeMap<ServiceName, (Digest, BuiltImage)>,
    /// Instances that were found healthy and nothing was seen on since.
    pub healthy: BTreeSet<InstanceId>,
    /// Stopped on purpose.
    pub stopped: BTreeSet<ServiceName>,
    /// Instances of these that started earlier are started again.
    pub restart_before: BTreeMap<ServiceName, Timestamp>,
    pub last_plan: u64,
    /// The last change ended so.
    pub last_outcome: Option<(u64, Outcome, String)>,
}

/// A change that was accepted and has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Number of its journal entry.
    pub change: u64,
    pub intent: Intent,
    pub stack: Option<Digest>,
    pub services: Vec<ServiceName>,
    pub actor: String,
    pub why: String,
    /// The stack whose release is promoted.
    pub from: Option<StackName>,
    pub at: Timestamp,
    /// Even if its release is one again that was rolled back.
    pub again: bool,
    /// The release made for it, once there is one.
    pub release: Option<ReleaseId>,
    /// The release that was in force when it was accepted.
    pub before: Option<ReleaseId>,
    /// It failed and the stack is being steered back.
    pub going_back: Option<GoingBack>,
}

/// Why a change is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoingBack {
    pub cause: String,
    pub instance: Option<InstanceId>,
}

/// How a release came about and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseResult {
    pub made: Timestamp,
    pub change: u64,
    pub intent: Intent,
    pub actor: String,
    pub why: String,
    pub outcome: Option<Outcome>,
    pub reason: String,
    /// Services that differ from the release before.
    pub changed: BTreeSet<ServiceName>,
    /// Equal for releases that are made of the same.
    pub made_of: Option<Digest>,
    /// Nobody asked it enough to judge it.
    pub is_undecided: bool,
    /// Entry of the journal by which it was in force last.
    pub in_force: Option<u64>,
    pub collected: bool,
}

impl ReleaseResult {
    /// It was rolled back, and not for want of traffic.
    pub fn was_found_bad(&self) -> bool {
        self.outcome == Some(Outcome::RolledBack) && !self.is_undecided
    }
}

impl StackView {
    pub fn new(name: StackName) -> Self {
        Self {
            name,
            pending: None,
            active: None,
            kept: None,
            previous: None,
            kept_at: Timestamp(0),
            newest: 0,
            releases: BTreeMap::new(),
            results: BTreeMap::new(),
            images: BTreeMap::new(),
            healthy: BTreeSet::new(),
            stopped: BTreeSet::new(),
            restart_before: BTreeMap::new(),
            last_plan: 0,
            last_outcome: None,
        }
    }

    /// A rollout was halted half way, as `failure_action: pause` asks for.
    pub fn is_paused(&self) -> bool {
        let undecided = matches!(self.last_outcome, Some((_, Outcome::Undecided, _)));
        self.pending.is_none() && undecided && self.active != self.kept
    }

    /// Releases that are never collected: in force, the last kept ones, and that of a change under way.
    pub fn is_needed(&self, release: ReleaseId) -> bool {
        let pending = self.pending.as_ref();
        [self.active, self.kept, self.previous, pending.and_then(|p| p.release)].contains(&Some(release))
    }

    /// It was kept, and nothing was found against it since.
    pub fn is_good(&self, release: ReleaseId) -> bool {
        self.results.get(&release).is_some_and(|r| r.outcome == Some(Outcome::Kept))
    }

    /// The release made of the same that was rolled back, unless one of them was kept since.
    pub fn rolled_back_as(&self, made_of: &Digest) -> Option<(ReleaseId, &ReleaseResult)> {
        let (id, result) = self.results.iter().rev().find(|(_, r)| r.made_of.as_ref() == Some(made_of))?;
        result.was_found_bad().then_some((*id, result))
    }

    /// The newest release, if it was rolled back.
    pub fn newest_rolled_back(&self) -> Option<ReleaseId> {
        let newest = ReleaseId(self.newest);
        let result = self.results.get(&newest).filter(|_| self.active != Some(newest))?;
        result.was_found_bad().then_some(newest)
    }

    /// Folds one event in. `None` means the stack is gone.
    pub fn apply(mut self, seq: u64, at: Timestamp, actor: &str, event: &Event) -> Option<Self> {
        match event {
            Event::ChangeAccepted { intent, stack, services, why, from, again } => {
                self.hold_or_release(*intent, services);
                self.pending = Some(Pending {
                    change: seq,
                    intent: *intent,
                    stack: stack.clone(),
                    services: services.clone(),
                    actor: actor.to_owned(),
                    why: why.clone(),
                    from: from.clone(),
                    at,
                    again: *again,
                    release: None,
                    before: self.active,
                    going_back: None,
                });
            }
            Event::ImageBuilt { service, inputs, image } => {
                self.images.insert(service.clone(), (inputs.clone(), image.clone()));
            }
            Event::ReleaseMade { release, change, bundle, differences, made_of } => {
                self.newest = self.newest.max(release.0);
                self.releases.insert(*release, bundle.clone());
                let changed = differences.iter().filter_map(|d| d.service.clone()).collect();
                self.remember(*release, *change, at, changed, made_of.clone());
                self.forget_old_releases();
            }
            Event::ReleaseActivated { release, change, .. } => {
                self.activate(seq, *release);
                if let Some(pending) = self.pending.as_mut().filter(|p| p.change == *change) {
                    // Nothing in force any more: the release that failed is still that of the change.
                    pending.release = release.or(pending.release);
                }
            }
            Event::GoingBack { release, change, cause, instance } => {
                self.activate(seq, *release);
                if let Some(pending) = self.pending.as_mut().filter(|p| p.change == *change) {
                    pending.going_back = Some(GoingBack { cause: cause.clone(), instance: instance.clone() });
                    let failed = pending.release;
                    self.judge(failed, Outcome::RolledBack, cause);
                }
            }
            Event::ReleasesCollected { releases, .. } => releases.iter().for_each(|r| self.collect(*r)),
            Event::PlanAccepted { plan, .. } => self.last_plan = *plan,
            Event::Concluded { change, outcome, release, reason, .. } => {
                return self.conclude(at, *change, *outcome, *release, reason);
            }
            Event::InstanceSeen { instance, what: Seen::Healthy, .. } => {
                self.healthy.insert(instance.clone());
                while self.healthy.len() > HEALTHY_REMEMBERED {
                    self.healthy.pop_first();
                }
            }
            Event::InstanceSeen { instance, .. } => {
                self.healthy.remove(instance);
            }
            Event::Judged { release, verdict, .. } => {
                if let Some(result) = self.results.get_mut(release) {
                    result.is_undecided |= *verdict == Verdict::Undecided;
                }
            }
            Event::StepDone { .. }
            | Event::DaemonStarted { .. }
            | Event::Incident { .. }
            | Event::RangeChanged { .. } => {}
        }
        Some(self)
    }

    fn hold_or_release(&mut self, intent: Intent, services: &[ServiceName]) {
        match intent {
            Intent::Stop => self.stopped.extend(services.iter().cloned()),
            Intent::Start
            | Intent::Up
            | Intent::Deploy
            | Intent::Rollback { .. }
            | Intent::Promote { .. } => match services {
                [] => self.stopped.clear(),
                named => self.stopped.retain(|s| !named.contains(s)),
            },
            Intent::Restart { at } => {
                for service in services {
                    self.stopped.remove(service);
                    self.restart_before.insert(service.clone(), at);
                }
            }
            Intent::Down { .. } => {}
        }
    }

    fn remember(
        &mut self,
        release: ReleaseId,
        change: u64,
        made: Timestamp,
        changed: BTreeSet<ServiceName>,
        made_of: Option<Digest>,
    ) {
        let pending = self.pending.as_mut().filter(|p| p.change == change);
        let (intent, actor, why) = match pending {
            Some(pending) => {
                pending.release = Some(release);
                (pending.intent, pending.actor.clone(), pending.why.clone())
            }
            None => (Intent::Up, String::new(), String::new()),
        };
        let result = ReleaseResult {
            made,
            change,
            intent,
            actor,
            why,
            outcome: None,
            reason: String::new(),
            changed,
            made_of,
            is_undecided: false,
            in_force: None,
            collected: false,
        };
        self.results.insert(release, result);
        while self.results.len() > RELEASES_REMEMBERED {
            let oldest = self.results.keys().copied().find(|r| !self.releases.contains_key(r));
            match oldest {
                Some(oldest) => self.results.remove(&oldest),
                None => break,
            };
        }
    }

    fn activate(&mut self, seq: u64, release: Option<ReleaseId>) {
        self.active = release;
        if let Some(result) = release.and_then(|r| self.results.get_mut(&r)) {
            result.in_force = Some(seq);
        }
    }

    fn judge(&mut self, release: Option<ReleaseId>, outcome: Outcome, reason: &str) {
        if let Some(result) = release.and_then(|r| self.results.get_mut(&r)) {
            result.outcome = Some(outcome);
            result.reason = reason.to_owned();
        }
    }

    fn forget_old_releases(&mut self) {
        while self.releases.len() > RELEASES_HELD {
            match self.releases.keys().copied().find(|r| !self.is_needed(*r)) {
                Some(release) => self.collect(release),
                None => break,
            }
        }
    }

    fn collect(&mut self, release: ReleaseId) {
        self.releases.remove(&release);
        if let Some(result) = self.results.get_mut(&release) {
            result.collected = true;
        }
    }

    fn conclude(
        mut self,
        at: Timestamp,
        change: u64,
        outcome: Outcome,
        release: Option<ReleaseId>,
        reason: &str,
    ) -> Option<Self> {
        self.last_outcome = Some((change, outcome, reason.to_owned()));
        let Some(ended) = self.pending.take_if(|p| p.change == change) else { return Some(self) };
        if matches!(ended.intent, Intent::Down { .. }) && outcome == Outcome::Kept {
            return None;
        }
        match outcome {
            Outcome::Kept if release.is_some() && ended.release.is_some() => {
                self.keep(at, &ended, release, reason)
            }
            Outcome::Kept | Outcome::Unchanged | Outcome::Superseded => {}
            Outcome::Failed | Outcome::RolledBack | Outcome::Undecided => {
                self.judge(ended.release, outcome, reason);
            }
        }
        Some(self)
    }

    fn keep(&mut self, at: Timestamp, ended: &Pending, release: Option<ReleaseId>, reason: &str) {
        if self.kept == release {
            return;
        }
        self.previous = self.kept;
        self.kept = release;
        self.kept_at = at;
        if release.is_some_and(|r| !self.is_good(r)) {
            self.judge(release, Outcome::Kept, reason);
        }
        if matches!(ended.intent, Intent::Rollback { .. }) && ended.actor == crate::BY_ITSELF {
            // Nobody asked: the release before was found bad.
            self.judge(ended.before, Outcome::RolledBack, &ended.why);
        }
    }
}
