//! One replica's place: which instance holds it, and what is to be done with it next.

use crate::depend::{Gate, gate};
use crate::input::{Input, InstanceView};
use crate::planner::{Failure, Plan, Waiting};
use crate::ready::{Readiness, deadline, readiness};
use crate::restart::{CRASH_LOOP, Next, after_exit, pause};
use crate::spec::{Seat, instance_id, instance_spec, spec_hash, update_order};
use crate::step::Step;
use model::instance::{Exit, InstanceNetwork, InstanceState};
use model::service::{NetworkMode, OnUnhealthy, UpdateOrder};
use model::{DurationMs, InstanceId, Release, Service, Timestamp};

/// Restarts in a row for being unhealthy, after which the pause between them is at its longest.
const UNHEALTHY_PAUSE_SHIFT: u32 = 6;

/// The planner's working place for one service.
pub(crate) struct Rollout<'a, 'p> {
    pub input: &'a Input<'a>,
    pub release: &'a Release,
    pub service: &'a Service,
    pub plan: &'p mut Plan,
    /// Replacements that may still be begun in this plan.
    pub replacements_left: u32,
}

impl Rollout<'_, '_> {
    /// Plans for one slot.
    pub fn slot(&mut self, slot: u32) {
        let hash = spec_hash(self.release, self.service);
        let held: Vec<&InstanceView> = self
            .input
            .instances
            .iter()
            .filter(|i| *i.service() == self.service.name && i.slot() == slot)
            .collect();
        let (mut current, old): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|i| i.observed.spec.spec_hash == hash && !self.joins_another(i));
        current.sort_by_key(|i| (i.is_running(), i.observed.starts, i.observed.spec.id.clone()));
        let newest = current.pop();
        self.retire(&current, "a second instance in the same place");
        match newest {
            Some(instance) if !instance.is_running() && self.must_stop_first(slot, &old) => {}
            Some(instance) => self.tend(slot, instance, &old),
            None if old.is_empty() => self.create(slot),
            None => self.replace(slot, &old),
        }
    }

    /// What the instance of this slot may only hold alone is still held by another: stop that.
    fn must_stop_first(&mut self, slot: u32, old: &[&InstanceView]) -> bool {
        let running: Vec<_> = old.iter().copied().filter(|i| i.is_running()).collect();
        let first = update_order(self.service) == UpdateOrder::StopFirst && !running.is_empty();
        if first {
            running.iter().for_each(|i| self.stop(slot, i, "its successor needs what it holds"));
        }
        first
    }

    /// For `network_mode: service`: its network went away with the instance it joined.
    fn joins_another(&self, instance: &InstanceView) -> bool {
        match &instance.observed.spec.network {
            InstanceNetwork::Instance { id } => self.joined_instance() != Some(id),
            _ => false,
        }
    }

    fn joined_instance(&self) -> Option<&InstanceId> {
        let NetworkMode::Service { service } = &self.service.network_mode else { return None };
        let target = self.release.stack.services.get(service)?;
        let hash = spec_hash(self.release, target);
        let fits =
            |i: &&InstanceView| i.service() == service && i.observed.spec.spec_hash == hash && i.is_running();
        self.input.instances.iter().find(fits).map(|i| &i.observed.spec.id)
    }

    /// Looks after the instance that is as declared.
    fn tend(&mut self, slot: u32, instance: &InstanceView, old: &[&InstanceView]) {
        match &instance.observed.state {
            InstanceState::Created => self.start(slot, instance, "created"),
            InstanceState::Lost => self.start(slot, instance, "its supervisor vanished"),
            InstanceState::Running { since, .. } => self.tend_running(slot, instance, *since, old),
            InstanceState::Exited(exit) => self.tend_exited(slot, instance, exit, old),
        }
    }

    fn tend_running(&mut self, slot: u32, instance: &InstanceView, since: Timestamp, old: &[&InstanceView]) {
        let restart = self.input.restart_before.get(&self.service.name);
        if restart.is_some_and(|before| since < *before) {
            return self.stop(slot, instance, "restart was asked for");
        }
        match readiness(self.service, instance, self.input.now) {
            Readiness::Ready => {
                self.plan.in_place += 1;
                self.retire(old, "replaced");
            }
            Readiness::Unhealthy => self.tend_unhealthy(slot, instance, since),
            Readiness::Pending { awaits, look_at } => {
                let last = deadline(self.service, instance, since);
                if self.input.now >= last {
                    let limit = last.since(since);
                    self.fail(instance, format!("did not become ready within {limit}: waiting for {awaits}"));
                } else {
                    self.wait(awaits, Some(look_at.unwrap_or(last).min(last)));
                }
            }
            Readiness::Completed | Readiness::NotRunning => {}
        }
    }

    fn tend_unhealthy(&mut self, slot: u32, instance: &InstanceView, since: Timestamp) {
        self.fail(instance, "its health check fails".to_owned());
        let on_unhealthy = self.service.policy.on_unhealthy.unwrap_or(OnUnhealthy::Restart);
        if on_unhealthy != OnUnhealthy::Restart {
            return;
        }
        let at = since.plus(pause(instance.unhealthy_restarts.min(UNHEALTHY_PAUSE_SHIFT) * 2));
        if self.input.now >= at {
            self.stop(slot, instance, "unhealthy");
        } else {
            self.wait("the pause before a restart", Some(at));
        }
    }

    fn tend_exited(&mut self, slot: u32, instance: &InstanceView, exit: &Exit, old: &[&InstanceView]) {
        if exit.requested {
            return self.start(slot, instance, "stopped and wanted again");
        }
        let observed = &instance.observed;
        if observed.quick_failures >= CRASH_LOOP {
            self.fail(instance, format!("crash loop, {} starts, {}", observed.starts, exit.describe()));
        }
        match after_exit(self.service.restart, exit, observed.starts, observed.quick_failures) {
            Next::Done => {
                self.plan.in_place += 1;
                self.retire(old, "replaced");
            }
            Next::Failed => self.fail(instance, exit.describe()),
            Next::StartAt(at) if self.input.now >= at => self.start(slot, instance, &exit.describe()),
            Next::StartAt(at) => {
                let text = format!("restart in {}, {}", at.since(self.input.now), exit.describe());
                self.wait(text, Some(at));
            }
        }
    }

    /// The slot is held only by instances of another specification.
    fn replace(&mut self, slot: u32, old: &[&InstanceView]) {
        if self.replacements_left == 0 {
            return self.wait("other replicas to be replaced first", None);
        }
        self.replacements_left -= 1;
        // Nothing is stopped for a successor that may not be made yet.
        if self.gate_is_open() && !self.must_stop_first(slot, old) {
            self.create(slot);
        }
    }

    fn gate_is_open(&mut self) -> bool {
        match gate(self.input, self.release, self.service) {
            Gate::Open => true,
            Gate::Waits(what) => {
                self.wait(what, None);
                false
            }
            Gate::Shut(why) => {
                let failure = Failure { service: self.service.name.clone(), instance: None, reason: why };
                self.plan.failures.push(failure);
                false
            }
        }
    }

    fn create(&mut self, slot: u32) {
        if !self.gate_is_open() {
            return;
        }
        let joins = self.joined_instance().cloned();
        if matches!(self.service.network_mode, NetworkMode::Service { .. }) && joins.is_none() {
            return self.wait("the service whose network it shares", None);
        }
        let Some(addresses) = self.plan.addresses.take(self.release, self.service, slot) else {
            return self.wait("a free address on its network", None);
        };
        let input = self.input;
        let id = instance_id(input.stack, self.service, slot, input.number, self.release.made.0);
        let seat = Seat { id, slot, addresses, joins };
        let spec = instance_spec(self.release, self.service, seat, input.settings);
        self.plan.steps.push(Step::Create(Box::new(spec)));
    }

    fn start(&mut self, slot: u32, instance: &InstanceView, reason: &str) {
        let id = instance.observed.spec.id.clone();
        let service = self.service.name.clone();
        self.plan.steps.push(Step::Start { id, service, slot, reason: reason.to_owned() });
    }

    fn stop(&mut self, slot: u32, instance: &InstanceView, reason: &str) {
        let id = instance.observed.spec.id.clone();
        let service = self.service.name.clone();
        let grace = self.service.stop_grace;
        self.plan.steps.push(Step::Stop { id, service, slot, grace, reason: reason.to_owned() });
    }

    fn retire(&mut self, instances: &[&InstanceView], reason: &str) {
        for instance in instances {
            crate::removal::retire(self.plan, instance, reason);
        }
    }

    fn wait(&mut self, what: impl Into<String>, until: Option<Timestamp>) {
        self.plan.wait(Waiting { service: self.service.name.clone(), what: what.into(), until });
    }

    fn fail(&mut self, instance: &InstanceView, reason: String) {
        let instance = Some(instance.observed.spec.id.clone());
        self.plan.failures.push(Failure { service: self.service.name.clone(), instance, reason });
    }
}

/// How many replicas of a service may be replaced at the same time.
pub(crate) fn replacements_left(input: &Input<'_>, release: &Release, service: &Service) -> u32 {
    let hash = spec_hash(release, service);
    let of_service = || input.instances.iter().filter(|i| *i.service() == service.name);
    let underway = of_service()
        .filter(|i| i.observed.spec.spec_hash == hash)
        .filter(|i| {
            let beside_old = of_service().any(|o| o.slot() == i.slot() && o.observed.spec.spec_hash != hash);
            let ready = matches!(readiness(service, i, input.now), Readiness::Ready | Readiness::Completed);
            beside_old && !ready
        })
        .count() as u32;
    let delay = service.update.delay.unwrap_or(DurationMs(0));
    let newest = of_service()
        .filter(|i| i.observed.spec.spec_hash == hash)
        .filter_map(InstanceView::running_since)
        .max();
    if newest.is_some_and(|since| delay.0 > 0 && input.now < since.plus(delay)) {
        return 0;
    }
    // Zero means all at once.
    match service.update.parallelism.unwrap_or(1) {
        0 => u32::MAX,
        n => n.saturating_sub(underway),
    }
}
