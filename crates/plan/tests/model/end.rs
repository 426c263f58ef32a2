//! What must hold when nothing has happened from outside for long enough.

use crate::daemon::Daemon;
use crate::journal::{Event, Outcome};
use crate::shop;
use crate::watch::Violation;
use crate::world::World;
use model::instance::InstanceState;
use model::service::{FailureAction, RestartPolicy};
use model::{DurationMs, Release, Service, Timestamp};
use plan::InstanceView;

/// How long after the last disturbance everything must have come to its end: a change and its way
/// back, every wait at its longest, and what is kept warm.
pub const BOUND: DurationMs = DurationMs::from_secs(2_400);
/// At the end of it nothing may have been done for so long.
const QUIET: DurationMs = DurationMs::from_secs(300);

impl World {
    pub fn check_end(&self) -> Result<(), Violation> {
        let Some(daemon) = &self.daemon else {
            return Err(Violation::new("every change ends in time", "no daemon runs".to_owned()));
        };
        if let Some(pending) = daemon.pending() {
            let flights: Vec<&String> = daemon.in_flight.keys().collect();
            let plan = &daemon.last_plan;
            let (waiting, unsettled) = (&plan.waiting, &plan.unsettled);
            let text = format!(
                "{:?} is still under way: {flights:?} {waiting:?} {unsettled:?} {:?}",
                pending.intent, plan.failures
            );
            return Err(Violation::new("every change ends in time", text));
        }
        self.check_journal()?;
        if let Some((at, step)) = &self.watch.last_step
            && self.now.since(*at) < QUIET
        {
            return Err(Violation::new("the loop rests", format!("{step} at the very end")));
        }
        self.check_declared(daemon)?;
        self.check_left_over(daemon)
    }

    /// What was acknowledged is written down, and everything written down has one end.
    fn check_journal(&self) -> Result<(), Violation> {
        let ends = |change: u64| {
            let is_end = |e: &&crate::journal::Entry| matches!(&e.event, Event::Concluded { change: of, .. } if *of == change);
            self.journal.iter().filter(is_end).count()
        };
        for change in &self.watch.acknowledged {
            let entry = self.journal.get(*change as usize - 1);
            if !entry.is_some_and(|e| matches!(e.event, Event::Accepted { .. })) {
                return Err(Violation::new("what is acknowledged is in the journal", change.to_string()));
            }
        }
        for (index, entry) in self.journal.iter().enumerate() {
            if let Event::Accepted { intent, .. } = &entry.event
                && ends(index as u64 + 1) != 1
            {
                let text = format!("{intent:?} has {} ends", ends(index as u64 + 1));
                return Err(Violation::new("every change ends in time", text));
            }
        }
        Ok(())
    }

    /// What is in force is the last declaration, or what it was taken back to.
    fn check_declared(&self, daemon: &Daemon) -> Result<(), Violation> {
        let last = self.journal.iter().enumerate().rev().find_map(|(index, e)| match &e.event {
            Event::Accepted { declared, intent, .. }
                if declared.is_some() || matches!(intent, crate::journal::Intent::Rollback { .. }) =>
            {
                Some((index as u64 + 1, declared.clone(), intent.clone()))
            }
            _ => None,
        });
        let Some((change, declared, intent)) = last else { return Ok(()) };
        let outcome = self.journal.iter().find_map(|e| match &e.event {
            Event::Concluded { change: of, outcome, .. } if *of == change => Some(*outcome),
            _ => None,
        });
        let wrong =
            |text: String| Err(Violation::new("the end is the last declaration or its rollback", text));
        let active = daemon.active.as_deref();
        match outcome {
            Some(Outcome::Kept | Outcome::Unchanged | Outcome::Undecided) => {
                if let (Some(declared), Some(active)) = (&declared, active)
                    && active.stack.services != **declared
                    && !(outcome == Some(Outcome::Undecided) && daemon.view.active == daemon.view.kept)
                {
                    return wrong(format!("{} is not what was declared", active.id));
                }
                if outcome == Some(Outcome::Kept) && daemon.view.active != daemon.view.kept {
                    return wrong(format!("{intent:?} was kept, {:?} is in force", daemon.view.active));
                }
            }
            Some(Outcome::RolledBack) if daemon.view.active != daemon.view.kept => {
                return wrong(format!(
                    "{:?} is in force after {intent:?} was rolled back",
                    daemon.view.active
                ));
            }
            _ => {}
        }
        let Some(active) = active else { return Ok(()) };
        for service in active.stack.services.values() {
            self.check_service(daemon, active, service)?;
        }
        Ok(())
    }

    /// Each place of a service whose program is as it should be has its instance, ready and served.
    fn check_service(&self, daemon: &Daemon, active: &Release, service: &Service) -> Result<(), Violation> {
        let hash = plan::spec::spec_hash(active, service);
        let is_stopped = daemon.view.stopped.contains(&service.name);
        let is_halted = daemon.view.active != daemon.view.kept;
        for slot in 1..=service.replicas {
            let held = self.machine.views.iter().filter(|v| *v.service() == service.name && v.slot() == slot);
            let held: Vec<&InstanceView> = held.collect();
            let wrong = |text: String| {
                let text = format!("{}#{slot} {text}", service.name);
                Err(Violation::new("the end is the last declaration or its rollback", text))
            };
            if is_stopped {
                if held.iter().any(|v| v.is_running()) {
                    return wrong("runs though it was stopped".to_owned());
                }
                continue;
            }
            let current = held.iter().copied().find(|v| v.observed.spec.spec_hash == hash);
            let usable = |v: &&InstanceView| match shop::is_job(&service.name) {
                true => matches!(&v.observed.state, InstanceState::Exited(exit) if exit.code == 0),
                false => v.is_running() && v.ready_since.is_some(),
            };
            let serves = match is_halted {
                true => held.iter().copied().find(usable),
                false => current.filter(|v| usable(v)),
            };
            // One replica that stays down holds up the others.
            let of_service = self.machine.views.iter().filter(|v| *v.service() == service.name);
            let of_service: Vec<&InstanceView> = of_service.collect();
            if serves.is_none() && !self.may_be_missing(active, service, &of_service) {
                let text = current.map_or("is empty".to_owned(), |v| format!("is {:?}", v.observed.state));
                return wrong(text);
            }
        }
        Ok(())
    }

    /// Its program, or one that it waits for, cannot do its work; or it ended and stays so.
    fn may_be_missing(&self, release: &Release, service: &Service, held: &[&InstanceView]) -> bool {
        let image = &release.images[&service.name].manifest;
        let is_good = self.programs.of_service(service, image).is_good();
        let others_good = held.iter().all(|v| self.programs.of(&v.observed.spec).is_good());
        let stays_down = held.iter().any(|v| match &v.observed.state {
            InstanceState::Exited(exit) => service.restart == RestartPolicy::No && !exit.requested,
            _ => false,
        });
        let is_paused = self.daemon.as_ref().is_some_and(|d| d.view.is_paused());
        let needs = service.depends_on.keys().filter_map(|name| release.stack.services.get(name));
        let waits = needs.into_iter().any(|s| {
            let hash = plan::spec::spec_hash(release, s);
            let of = self
                .machine
                .views
                .iter()
                .filter(|v| *v.service() == s.name && v.observed.spec.spec_hash == hash);
            let held: Vec<&InstanceView> = of.collect();
            let is_ready = held.iter().any(|v| v.ready_since.is_some());
            let is_stopped = self.daemon.as_ref().is_some_and(|d| d.view.stopped.contains(&s.name));
            !is_ready && (is_paused || is_stopped || self.may_be_missing(release, s, &held))
        });
        let given_up = service.update.failure_action == Some(FailureAction::Continue) && !others_good;
        !is_good || stays_down || waits || given_up || is_paused && !others_good
    }

    /// Nothing is there beyond what is in force, and the kept release while nothing is decided.
    fn check_left_over(&self, daemon: &Daemon) -> Result<(), Violation> {
        let releases: Vec<&Release> = match daemon.view.active == daemon.view.kept {
            true => daemon.active.as_deref().into_iter().collect(),
            false => daemon.active.as_deref().into_iter().chain(daemon.kept.as_deref()).collect(),
        };
        let mut found = std::collections::BTreeSet::new();
        for view in &self.machine.views {
            let spec = &view.observed.spec;
            let fits = |r: &&&Release| {
                r.stack
                    .services
                    .get(&spec.service)
                    .is_some_and(|s| spec.slot <= s.replicas && plan::spec::spec_hash(r, s) == spec.spec_hash)
            };
            let is_wanted = releases.iter().any(|r| fits(&r)) || self.is_needed(daemon, view);
            if !is_wanted || !found.insert((spec.service.clone(), spec.slot, spec.spec_hash.clone())) {
                let text = format!("{} is {:?}", self.name_of(&spec.id), view.observed.state);
                return Err(Violation::new("nothing is left over", text));
            }
        }
        Ok(())
    }
}

impl World {
    /// It serves, because what is in force cannot.
    fn is_needed(&self, daemon: &Daemon, view: &InstanceView) -> bool {
        let Some(active) = daemon.active.as_deref().filter(|_| view.ready_since.is_some()) else {
            return false;
        };
        let Some(service) = active.stack.services.get(view.service()) else {
            // It may be gone back to.
            return daemon.view.is_paused();
        };
        let hash = plan::spec::spec_hash(active, service);
        let in_place =
            self.machine.views.iter().filter(|v| v.service() == view.service() && v.slot() == view.slot());
        let in_place: Vec<&InstanceView> = in_place.collect();
        let can_serve = in_place.iter().any(|v| v.observed.spec.spec_hash == hash && v.ready_since.is_some());
        // A place that is no longer declared serves while one that is declared cannot.
        let others = self.machine.views.iter().filter(|v| v.service() == view.service());
        let others: Vec<&InstanceView> = others.filter(|v| v.slot() <= service.replicas).collect();
        if view.slot() > service.replicas {
            return others.iter().any(|v| v.ready_since.is_none())
                && self.may_be_missing(active, service, &others);
        }
        // Nothing further is replaced in a halted rollout.
        let of_service =
            self.machine.views.iter().filter(|v| v.service() == view.service()).collect::<Vec<_>>();
        !can_serve && daemon.view.is_paused() || self.may_be_missing(active, service, &of_service)
    }
}

/// When the end of a case is looked at.
pub fn end_after(last: Timestamp) -> Timestamp {
    last.plus(BOUND)
}
