//! One replica's place: which instance holds it, and what is to be done with it next.

use crate::depend::{Gate, gate};
use crate::input::{Input, InstanceView, Phase};
use crate::planner::{Failure, Plan, Waiting};
use crate::ready::{Readiness, deadline, readiness};
use crate::replace::{Replacements, has_place_still, is_stopped, is_stopping};
use crate::restart::{CRASH_LOOP, Next, TRIAL_STARTS, after_exit, pause};
use crate::spec::{Seat, instance_id, instance_spec, spec_hash};
use crate::step::Step;
use crate::takeover::{Stage, Takeover};
use crate::warm;
use model::instance::{Exit, Health, InstanceNetwork, InstanceState};
use model::service::{NetworkMode, OnUnhealthy};
use model::{DurationMs, InstanceId, Release, Service, ServiceName, Timestamp};

/// Restarts in a row for being unhealthy, after which the pause between them is at its longest.
const UNHEALTHY_PAUSE_SHIFT: u32 = 6;

/// The planner's working place for one service.
pub(crate) struct Rollout<'a, 'p> {
    pub input: &'a Input<'a>,
    pub release: &'a Release,
    pub service: &'a Service,
    pub plan: &'p mut Plan,
    pub takeover: Takeover<'a>,
    pub replacements: Replacements,
}

impl Rollout<'_, '_> {
    /// Plans for one slot.
    pub fn slot(&mut self, slot: u32) {
        let held: Vec<&InstanceView> = self
            .input
            .instances
            .iter()
            .filter(|i| *i.service() == self.service.name && i.slot() == slot)
            .collect();
        let (mut current, old): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|i| self.takeover.is_current(i) && !self.joins_another(i));
        current.retain(|i| !self.is_leaving(i));
        current.sort_by_key(|i| (liveliness(i), i.observed.starts, i.observed.spec.id.clone()));
        let newest = current.pop();
        self.retire(&current, "a second instance in the same place");
        let old = self.retire_passed_over(old);
        match newest {
            Some(instance) if is_stopped(instance) && self.has_place_still(&old) => {
                self.begin(slot, &old, |rollout| rollout.tend(slot, instance, &old));
            }
            Some(instance) => self.tend(slot, instance, &old),
            None if old.is_empty() => self.create(slot),
            None if !self.input.is_paused && old.iter().all(|i| is_stopped(i) || self.is_stopping(i)) => {
                self.create(slot);
            }
            None => self.begin(slot, &old, |rollout| rollout.create(slot)),
        }
    }

    /// In a rollout one of `old` serves, or is started again, until its turn to be replaced comes.
    fn has_place_still(&self, old: &[&InstanceView]) -> bool {
        self.takeover.is_under_way()
            && old.iter().any(|i| !self.is_stopping(i) && has_place_still(&self.takeover, i))
    }

    /// It was to go, and its release is wanted again before it has gone: its place is filled anew.
    fn is_leaving(&self, instance: &InstanceView) -> bool {
        let asked = self.input.restart_before.get(&self.service.name);
        let restarts =
            asked.is_some_and(|before| instance.running_since().is_some_and(|since| since < *before));
        self.is_stopping(instance) && instance.ready_since.is_some() && !restarts
    }

    /// Lets go of what nobody will need again: what has ended or does not work and is not gone back
    /// to, and, with an instance of the release before ready, everything older. Gives those that stay.
    fn retire_passed_over<'v>(&mut self, old: Vec<&'v InstanceView>) -> Vec<&'v InstanceView> {
        let is_before = |i: &InstanceView| self.takeover.is_before(i);
        let is_there = |i: &InstanceView| i.ready_since.is_some() && !self.is_stopping(i);
        let before_is_ready = old.iter().any(|i| is_before(i) && is_there(i));
        let is_of_use = |i: &InstanceView| i.ready_since.is_some() || self.warm_until(i).is_some();
        let stays = |i: &&InstanceView| {
            self.takeover.may_return(i) || is_of_use(i) && (is_before(i) || !before_is_ready)
        };
        let (stay, passed_over): (Vec<_>, Vec<_>) = old.into_iter().partition(stays);
        let until: Vec<_> = stay.iter().filter_map(|i| self.warm_until(i)).collect();
        until.into_iter().for_each(|until| self.plan.look_again(until));
        self.retire(&passed_over, "replaced before");
        stay
    }

    /// What it shares with an instance of another service went away with that.
    fn joins_another(&self, instance: &InstanceView) -> bool {
        let spec = &instance.observed.spec;
        let network = match &spec.network {
            InstanceNetwork::Instance { id } => Some(id),
            _ => None,
        };
        let has = [network, spec.ipc_of.as_ref(), spec.pid_of.as_ref()];
        let of = shared_services(self.service);
        has.into_iter().zip(of).any(|(id, service)| {
            id.is_some() && service.and_then(|service| self.joined_instance(service)) != id
        })
    }

    fn joined_instance(&self, service: &ServiceName) -> Option<&InstanceId> {
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
            Readiness::Ready => self.take_over(instance, old),
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

    /// A ready instance on its way into its place.
    fn take_over(&mut self, instance: &InstanceView, old: &[&InstanceView]) {
        let other = old.iter().any(|i| i.ready_since.is_some() && !self.is_stopping(i));
        match self.takeover.stage(instance, other, self.plan.in_place == 0) {
            // Its readiness was not noted yet.
            Stage::Unready => self.wait("a second look at it", None),
            Stage::Settling { until } => self.wait("having been ready for a moment", Some(until)),
            Stage::Canary { until } => {
                let share = self.takeover.share();
                let what = match self.service.policy.rollout.trial() {
                    Some(_) => format!("a verdict on it, with {share}\u{a0}% of the traffic"),
                    None => format!("the end of its time with {share}\u{a0}% of the traffic"),
                };
                self.wait(what, Some(until));
            }
            Stage::InPlace { since } => {
                self.plan.in_place += 1;
                if let Some(until) = self.takeover.watched_until(since) {
                    self.plan.watched += 1;
                    self.wait("the end of the time it is watched", Some(until));
                }
                self.release_places(old);
            }
        }
    }

    fn is_stopping(&self, instance: &InstanceView) -> bool {
        is_stopping(self.input, instance)
    }

    /// The place is filled anew: who had it is kept warm, or goes.
    fn release_places(&mut self, old: &[&InstanceView]) {
        for instance in old {
            match self.warm_until(instance) {
                Some(until) => self.plan.look_again(until),
                None => self.retire(&[instance], "replaced"),
            }
        }
    }

    /// Until when a replaced instance is kept; nothing is kept that could not serve at once.
    fn warm_until(&self, instance: &InstanceView) -> Option<Option<Timestamp>> {
        let fallback = self.input.fallback?;
        let before = fallback.release.stack.services.get(&self.service.name)?;
        let time = warm::time(fallback.release, before);
        let kept = self.takeover.is_before(instance) && instance.is_running() && time.0 > 0;
        match fallback.phase {
            _ if !kept || instance.health == Health::Unhealthy => None,
            Phase::TakingOver => Some(None),
            Phase::Kept(at) => Some(Some(at.plus(time))).filter(|_| self.input.now < at.plus(time)),
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
        if self.input.restart_before.get(&self.service.name).is_some_and(|before| exit.finished < *before) {
            return self.start(slot, instance, "restart was asked for");
        }
        let observed = &instance.observed;
        // The engine counts a start before the program runs.
        let ended = observed.starts - u32::from(self.is_busy(instance)).min(observed.starts);
        if observed.quick_failures >= CRASH_LOOP {
            self.fail(instance, format!("crash loop, {} starts, {}", observed.starts, exit.describe()));
        }
        match after_exit(self.service.restart, exit, observed.starts, observed.quick_failures) {
            Next::Done => {
                self.plan.in_place += 1;
                self.release_places(old);
            }
            Next::Failed => self.fail(instance, exit.describe()),
            Next::StartAt(at) => {
                if self.is_on_trial() && ended > TRIAL_STARTS {
                    self.fail(
                        instance,
                        format!("ended {ended} times since its release, {}", exit.describe()),
                    );
                }
                if self.input.now >= at {
                    return self.start(slot, instance, &exit.describe());
                }
                let text = format!("restart in {}, {}", at.since(self.input.now), exit.describe());
                self.wait(text, Some(at));
            }
        }
    }

    /// A step about it is under way.
    fn is_busy(&self, instance: &InstanceView) -> bool {
        self.input.in_flight.contains_key(&Step::instance_key(&instance.observed.spec.id))
    }

    /// Its release may still be taken back, because the one before is there to go back to. One that
    /// was gone back to has stood its trial.
    fn is_on_trial(&self) -> bool {
        let differs = self.takeover.before.is_some();
        let fallback = self.input.fallback.filter(|f| differs && f.release.id < self.release.id);
        let Some(fallback) = fallback else { return false };
        match fallback.phase {
            Phase::TakingOver => true,
            Phase::Kept(at) => {
                let before = fallback.release.stack.services.get(&self.service.name);
                let time = before.map_or(DurationMs(0), |b| warm::time(fallback.release, b));
                self.input.now < at.plus(time)
            }
        }
    }

    /// Fills a place that instances of another specification hold, if it may be begun now.
    fn begin(&mut self, slot: u32, old: &[&InstanceView], fill: impl FnOnce(&mut Self)) {
        if self.replacements.left == 0 {
            self.tend_before(slot, old);
            return self.wait("other replicas to be replaced first", self.replacements.again_at);
        }
        self.replacements.left -= 1;
        fill(self);
    }

    /// Until its turn comes, or while the rollout is halted, what has the place is looked after as its
    /// own release declares. It decides over the new release only when that is halted.
    fn tend_before(&mut self, slot: u32, old: &[&InstanceView]) {
        let before = self.input.fallback;
        let before =
            before.and_then(|f| Some((f.release, f.release.stack.services.get(&self.service.name)?)));
        let Some((release, service)) = before else {
            // Nobody knows how it is declared; as long as it serves it is left alone.
            let serves = old.iter().any(|i| i.ready_since.is_some());
            self.plan.held += u32::from(self.input.is_paused && serves);
            return;
        };
        let stays = |i: &&InstanceView| self.takeover.is_before(i) && !self.is_stopping(i);
        let Some(instance) = old.iter().copied().filter(stays).max_by_key(|i| liveliness(i)) else { return };
        let (in_place, watched, failures) = (self.plan.in_place, self.plan.watched, self.plan.failures.len());
        let takeover = Takeover::new(release, None, self.input.direction, service, self.input.now);
        let (input, replacements) = (self.input, self.replacements);
        Rollout { input, release, service, plan: self.plan, takeover, replacements }.tend(
            slot,
            instance,
            &[],
        );
        if input.is_paused {
            self.plan.held += u32::from(self.plan.in_place > in_place);
        } else {
            self.plan.failures.truncate(failures);
        }
        (self.plan.in_place, self.plan.watched) = (in_place, watched);
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
        let shared = shared_services(self.service);
        let found = shared.map(|service| self.joined_instance(service?).cloned());
        if let Some((Some(service), _)) =
            shared.into_iter().zip(&found).find(|(s, id)| s.is_some() && id.is_none())
        {
            return self.wait(format!("{service}, with which it shares"), None);
        }
        let [joins, ipc_of, pid_of] = found;
        let Some(addresses) = self.plan.addresses.take(self.release, self.service, slot) else {
            return self.wait("a free address on its network", None);
        };
        let input = self.input;
        let id = instance_id(input.stack, self.service, slot, input.number, self.release.made.0);
        let seat = Seat { id, slot, addresses, joins, ipc_of, pid_of };
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

/// The services whose network, memory and processes it shares.
fn shared_services(service: &Service) -> [Option<&ServiceName>; 3] {
    let network = match &service.network_mode {
        NetworkMode::Service { service } => Some(service),
        _ => None,
    };
    [network, service.process.ipc_of.as_ref(), service.process.pid_of.as_ref()]
}

/// Which of several instances in one place is to stay.
fn liveliness(instance: &InstanceView) -> u8 {
    match instance.observed.state {
        InstanceState::Running { .. } => 2 + u8::from(instance.ready_since.is_some()),
        InstanceState::Created | InstanceState::Lost => 1,
        InstanceState::Exited(_) => 0,
    }
}
