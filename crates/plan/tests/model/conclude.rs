//! How a change ends, as the crate `run` has it: kept, gone back from, failed, halted; and how a kept
//! release that turns out bad is found.

use crate::daemon::Daemon;
use crate::journal::{BY_ITSELF, Event, Intent, Outcome, Pending};
use crate::schedule::Point;
use crate::world::{Occurrence, World};
use model::service::OnUnhealthy;
use model::{Release, ReleaseId, ServiceName, Timestamp};
use plan::failure::{Consequence, failing_services};
use plan::{Direction, Failure, Phase};
use std::collections::BTreeSet;

/// Failures of one step before the change that wants it fails.
const STEP_TRIES: u32 = 3;

/// How often the world is looked at when nothing was heard.
const IDLE_LOOK_MS: u64 = 5_000;

/// What stands between a change and its end.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    UnderWay,
    Settled,
    Failed { undo: bool },
    Paused,
}

impl World {
    /// Ends the pending change if it can be ended now; says whether what is steered to has changed.
    pub fn conclude(&mut self) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        let Some(pending) = daemon.pending().cloned() else { return self.take_back() };
        if daemon.measuring || daemon.making {
            return false;
        }
        let standing = match pending.release {
            None if pending.makes_release() => Standing::UnderWay,
            _ => daemon.standing(),
        };
        match standing {
            Standing::UnderWay => {}
            Standing::Failed { undo: true } => return self.go_back(&pending),
            Standing::Failed { undo: false } => self.end(&pending, Outcome::Failed),
            Standing::Paused => self.end(&pending, Outcome::Undecided),
            Standing::Settled if pending.is_going_back => self.end(&pending, Outcome::RolledBack),
            Standing::Settled if pending.makes_release() || pending.intent == Intent::Start => {
                let (ms, epoch) = (self.random.between(1, 300), self.epoch);
                self.occurs_in(ms, Occurrence::Measured { epoch, change: pending.change });
                if let Some(daemon) = &mut self.daemon {
                    daemon.measuring = true;
                }
            }
            Standing::Settled => self.end(&pending, Outcome::Kept),
        }
        false
    }

    /// The published addresses were measured: the change is kept.
    pub fn measured(&mut self, change: u64) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        let Some(pending) = daemon.pending().filter(|p| p.change == change).cloned() else { return false };
        let is_kept = daemon.view.active == daemon.view.kept;
        let unchanged = pending.makes_release() && !daemon.acted && is_kept;
        self.end(&pending, if unchanged { Outcome::Unchanged } else { Outcome::Kept });
        true
    }

    fn end(&mut self, pending: &Pending, outcome: Outcome) {
        let Some(daemon) = &self.daemon else { return };
        let release = daemon.view.active;
        self.tell(|| {
            let failures =
                daemon.last_plan.failures.iter().map(|f| format!(" ({}: {})", f.service, f.reason));
            let failures = failures.collect::<String>();
            let serves = release.map_or("nothing".to_owned(), |r| r.to_string());
            format!("=== {:?} {outcome:?}, {serves} is in force{failures}", pending.intent)
        });
        self.record(Event::Concluded { change: pending.change, outcome, release });
        let epoch = self.epoch;
        self.occurs_in(IDLE_LOOK_MS, Occurrence::Look { epoch });
        self.dies_at(Point::Concluded);
    }

    /// What was to be made cannot be.
    pub fn fail_pending(&mut self) {
        if let Some(pending) = self.daemon.as_ref().and_then(|d| d.pending()).cloned() {
            self.end(&pending, Outcome::Failed);
        }
    }

    /// Steers back to the last kept release, or to nothing when there was none.
    fn go_back(&mut self, pending: &Pending) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        let change = pending.change;
        let kept = daemon.view.kept;
        self.tell(|| {
            let failures = daemon.last_plan.failures.iter().map(|f| format!(" {}: {}", f.service, f.reason));
            format!("going back to {kept:?}:{}", failures.collect::<String>())
        });
        match kept {
            Some(release) => {
                self.record(Event::GoingBack { release, change });
                if let Some(daemon) = &mut self.daemon {
                    daemon.step_errors.clear();
                }
            }
            None => {
                self.record(Event::Activated { release: None, change });
                if let Some(daemon) = &mut self.daemon {
                    daemon.step_errors.clear();
                }
                self.end(pending, Outcome::Failed);
            }
        }
        true
    }
}

impl Daemon {
    fn standing(&self) -> Standing {
        let scope = self.scope();
        let concerns = |service: &ServiceName| scope.contains(service);
        let is_broken = self
            .step_errors
            .values()
            .any(|e| (e.is_lasting || e.tries >= STEP_TRIES) && e.service.as_ref().is_none_or(concerns));
        if is_broken {
            return Standing::Failed { undo: !self.gives_up() };
        }
        let mut complete = BTreeSet::new();
        for name in failing_services(&self.last_plan) {
            match self.consequence(name).filter(|_| concerns(name)) {
                Some(Consequence::GoOn { is_complete: true }) => {
                    complete.insert(name.clone());
                }
                Some(Consequence::GoOn { is_complete: false }) | None => {}
                Some(Consequence::Pause(_)) => return Standing::Paused,
                Some(Consequence::GoBack(_)) => return self.failed(),
            }
        }
        let awaited = self.awaited();
        let is_open = |service: &ServiceName| awaited.contains(service) && !complete.contains(service);
        let unsettled = self.last_plan.unsettled.iter().any(is_open);
        let steps = self.last_plan.steps.iter().any(|s| s.service().is_none_or(is_open));
        // What is being stopped has been replaced: nobody has to wait for the end of its connections.
        let is_awaited = |flight: &plan::InFlight| match (&flight.stops, &flight.place) {
            (Some(_), Some((service, _))) => self.view.stopped.contains(service),
            _ => true,
        };
        match unsettled || steps || self.in_flight.values().any(is_awaited) {
            true => Standing::UnderWay,
            false => Standing::Settled,
        }
    }

    fn consequence(&self, name: &ServiceName) -> Option<Consequence> {
        let service = self.active.as_deref()?.stack.services.get(name)?;
        let config = plan::config(service, self.direction());
        plan::failure::consequence(&self.last_plan, service, &config)
    }

    /// Nobody is sent to and fro between two releases that both fail.
    fn gives_up(&self) -> bool {
        self.pending().is_some_and(|p| p.is_going_back || p.actor == BY_ITSELF)
    }

    /// The change cannot be completed: what is half done is gone back from, whoever is to blame.
    fn failed(&self) -> Standing {
        let differs = self.kept.is_some() && self.view.active != self.view.kept;
        Standing::Failed { undo: differs && !self.gives_up() }
    }

    /// The services whose state decides over the pending change.
    fn scope(&self) -> BTreeSet<ServiceName> {
        let Some(active) = self.active.as_deref() else { return BTreeSet::new() };
        let named = self.pending().map(|p| p.services.clone()).unwrap_or_default();
        if self.pending().is_some_and(|p| !p.makes_release()) {
            return named.into_iter().collect();
        }
        if named.is_empty() && self.direction() == Direction::Forward {
            return active.stack.services.keys().cloned().collect();
        }
        let other = self.fallback().filter(|f| f.phase == Phase::TakingOver).map(|f| f.release);
        let changed = active.stack.services.keys().filter(|name| match other.or(self.kept.as_deref()) {
            Some(other) => differs(active, other, name),
            None => true,
        });
        changed.cloned().chain(named).collect()
    }

    /// The services that must be in their places before the change ends: what was as it is now before
    /// may be in trouble for ever.
    fn awaited(&self) -> BTreeSet<ServiceName> {
        let mut scope = self.scope();
        let named = self.pending().map(|p| p.services.clone()).unwrap_or_default();
        if let (Some(active), Some(kept)) = (self.active.as_deref(), self.kept.as_deref())
            && self.direction() == Direction::Forward
        {
            let replicas = |r: &Release, name: &ServiceName| r.stack.services.get(name).map(|s| s.replicas);
            scope.retain(|name| {
                let is_same = !differs(active, kept, name) && replicas(active, name) == replicas(kept, name);
                !is_same || named.contains(name)
            });
        }
        scope
    }

    /// The release to take back to, when the kept one has turned out bad in time.
    pub fn found_bad(&self, now: Timestamp) -> Option<ReleaseId> {
        let (active, fallback) = (self.active.as_deref()?, self.fallback()?);
        let Phase::Kept(at) = fallback.phase else { return None };
        if self.view.active != self.view.kept || active.id < fallback.release.id {
            // Somebody went back from that one, or it was found bad: nobody is sent to and fro.
            return None;
        }
        let in_time = plan::warm::until(fallback.release, active, at).is_some_and(|until| now < until);
        let is_reason = |failure: &&Failure| {
            let service = active.stack.services.get(&failure.service);
            let asked = service.and_then(|s| s.policy.on_unhealthy);
            let may = in_time && asked != Some(OnUnhealthy::None);
            let always = asked == Some(OnUnhealthy::Rollback);
            (may || always) && differs(active, fallback.release, &failure.service)
        };
        self.last_plan.failures.iter().find(is_reason).map(|_| fallback.release.id)
    }
}

fn differs(a: &Release, b: &Release, service: &ServiceName) -> bool {
    let hash = |r: &Release| r.stack.services.get(service).map(|s| plan::spec::spec_hash(r, s));
    hash(a) != hash(b)
}
