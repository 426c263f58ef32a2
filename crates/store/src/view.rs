//! What follows from the journal for one stack: a fold over its events, without I/O.

use crate::record::v1::{Event, Intent, Outcome};
use model::image::BuiltImage;
use model::{Digest, ReleaseId, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How many releases a stack's view remembers; older ones are found in the journal.
pub const RELEASES_REMEMBERED: usize = 50;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackView {
    pub name: StackName,
    /// The change being carried out, if any.
    pub pending: Option<Pending>,
    /// What the stack is steered to.
    pub active: Option<ReleaseId>,
    /// The last release that was kept.
    pub kept: Option<ReleaseId>,
    /// Number of the newest release ever made.
    pub newest: u64,
    /// The newest releases and their bundles.
    pub releases: BTreeMap<ReleaseId, Digest>,
    /// The newest image of each service and what it was a function of.
    pub images: BTreeMap<ServiceName, (Digest, BuiltImage)>,
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
    pub at: Timestamp,
    /// The release made for it, once there is one.
    pub release: Option<ReleaseId>,
}

impl StackView {
    pub fn new(name: StackName) -> Self {
        Self {
            name,
            pending: None,
            active: None,
            kept: None,
            newest: 0,
            releases: BTreeMap::new(),
            images: BTreeMap::new(),
            stopped: BTreeSet::new(),
            restart_before: BTreeMap::new(),
            last_plan: 0,
            last_outcome: None,
        }
    }

    /// Folds one event in. `None` means the stack is gone.
    pub fn apply(mut self, seq: u64, at: Timestamp, actor: &str, event: &Event) -> Option<Self> {
        match event {
            Event::ChangeAccepted { intent, stack, services, .. } => {
                self.hold_or_release(*intent, services);
                self.pending = Some(Pending {
                    change: seq,
                    intent: *intent,
                    stack: stack.clone(),
                    services: services.clone(),
                    actor: actor.to_owned(),
                    at,
                    release: None,
                });
            }
            Event::ImageBuilt { service, inputs, image } => {
                self.images.insert(service.clone(), (inputs.clone(), image.clone()));
            }
            Event::ReleaseMade { release, change, bundle, .. } => {
                self.newest = self.newest.max(release.0);
                self.releases.insert(*release, bundle.clone());
                self.forget_old_releases();
                if let Some(pending) = self.pending.as_mut().filter(|p| p.change == *change) {
                    pending.release = Some(*release);
                }
            }
            Event::ReleaseActivated { release, change, .. } => {
                self.active = *release;
                if let Some(pending) = self.pending.as_mut().filter(|p| p.change == *change) {
                    pending.release = *release;
                }
            }
            Event::PlanAccepted { plan, .. } => self.last_plan = *plan,
            Event::Concluded { change, outcome, release, reason, .. } => {
                return self.conclude(*change, *outcome, *release, reason);
            }
            Event::StepDone { .. } | Event::InstanceSeen { .. } | Event::DaemonStarted { .. } => {}
        }
        Some(self)
    }

    fn hold_or_release(&mut self, intent: Intent, services: &[ServiceName]) {
        match intent {
            Intent::Stop => self.stopped.extend(services.iter().cloned()),
            Intent::Start | Intent::Up | Intent::Deploy if services.is_empty() => self.stopped.clear(),
            Intent::Start | Intent::Up | Intent::Deploy => {
                services.iter().for_each(|s| {
                    self.stopped.remove(s);
                });
            }
            Intent::Restart { at } => {
                for service in services {
                    self.stopped.remove(service);
                    self.restart_before.insert(service.clone(), at);
                }
            }
            Intent::Down { .. } => {}
        }
    }

    fn forget_old_releases(&mut self) {
        while self.releases.len() > RELEASES_REMEMBERED {
            let oldest =
                self.releases.keys().copied().find(|r| Some(*r) != self.active && Some(*r) != self.kept);
            match oldest {
                Some(release) => self.releases.remove(&release),
                None => break,
            };
        }
    }

    fn conclude(
        mut self,
        change: u64,
        outcome: Outcome,
        release: Option<ReleaseId>,
        reason: &str,
    ) -> Option<Self> {
        let ended = self.pending.take_if(|p| p.change == change);
        let removed =
            ended.is_some_and(|p| matches!(p.intent, Intent::Down { .. })) && outcome == Outcome::Kept;
        if removed {
            return None;
        }
        if outcome == Outcome::Kept && release.is_some() {
            self.kept = release;
        }
        self.last_outcome = Some((change, outcome, reason.to_owned()));
        Some(self)
    }
}
