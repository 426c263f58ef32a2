//! Releases that are judged by their traffic: both are looked at beside the loop, again and again.
//!
//! Nothing of it outlives the daemon but what was decided: a daemon that begins anew judges anew.

use super::asked::Asker;
use super::trial::Trial;
use super::{Message, World, earliest, tell};
use crate::engine::Engine;
use crate::ports::Router;
use model::service::WithoutTraffic;
use model::{Digest, InstanceId, ServiceName, StackName, Timestamp};
use plan::serving::Arms;
use signals::release::{Decision, Judgement, Learner, Seen, Usual, add};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::record::v1::{Event, Verdict};

/// How long gateway and engine may take to say what they have counted.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// The services of one change that are compared.
#[derive(Default)]
pub(crate) struct Trials {
    open: BTreeMap<ServiceName, Trial>,
    /// For the planner.
    standings: plan::Trials,
    told: BTreeMap<ServiceName, String>,
    refused: BTreeMap<ServiceName, Refused>,
}

/// A release that was not let through.
pub(crate) struct Refused {
    pub text: String,
    pub instance: Option<InstanceId>,
    /// People decide.
    pub halts: bool,
}

impl Trials {
    pub fn standings(&self) -> &plan::Trials {
        &self.standings
    }

    /// What came of it, for people.
    pub fn told(&self, service: &ServiceName) -> Option<String> {
        self.told.get(service).cloned()
    }

    pub fn refused(&self) -> Option<(&ServiceName, &Refused)> {
        self.refused.first_key_value()
    }

    /// Follows who serves beside whom.
    fn follow(
        &mut self,
        service: &model::Service,
        arms: Arms,
        noise: impl FnOnce() -> Learner,
        engine: &Arc<dyn Engine>,
        place: impl Fn(&InstanceId) -> Option<IpAddr>,
    ) {
        if self.told.contains_key(&service.name) {
            return;
        }
        match self.open.get_mut(&service.name) {
            Some(trial) => {
                trial.arms = arms;
                trial.set_places(place);
            }
            None => {
                let ask = service.policy.rollout.trial().map(|judge| judge.ask.clone()).unwrap_or_default();
                let asker = (!ask.is_empty()).then(|| Asker::start(Arc::clone(engine), ask));
                let trial = Trial::of(service, arms, &noise(), asker);
                trial.set_places(place);
                self.standings.insert(service.name.clone(), plan::Trial { share: trial.share(), over: None });
                self.open.insert(service.name.clone(), trial);
            }
        }
    }

    /// Whether somebody who has all the traffic is still judged.
    pub fn is_open_after(&self) -> bool {
        self.open.values().any(|trial| trial.is_after() && !trial.is_overdue)
    }

    /// Judges the instances of a service that has all the traffic, unless it was judged beside others.
    fn follow_alone(
        &mut self,
        service: &model::Service,
        new: Vec<InstanceId>,
        now: Timestamp,
        known: impl FnOnce() -> (Learner, Option<Usual>),
    ) {
        if self.told.contains_key(&service.name) {
            return;
        }
        match self.open.get_mut(&service.name) {
            Some(trial) if trial.is_after() => {
                trial.arms.new = new;
                trial.is_overdue |= trial.waited_until.is_some_and(|until| now >= until);
            }
            // It serves beside others, which are away for the moment.
            Some(_) => {}
            None => {
                let (noise, usual) = known();
                self.open.insert(service.name.clone(), Trial::after(service, new, now, &noise, usual));
            }
        }
    }

    /// Of those that no longer serve beside others: the ones whose time was over.
    fn leave(
        &mut self,
        beside: &BTreeSet<ServiceName>,
        ready: impl Fn(&InstanceId) -> bool,
    ) -> Vec<ServiceName> {
        let mut over = Vec::new();
        let others = self.open.iter_mut().filter(|(service, _)| !beside.contains(*service));
        for (service, trial) in others.filter(|(_, trial)| !trial.is_after()) {
            // Else it is away for the moment, or failed.
            if !trial.arms.new.is_empty() && trial.arms.new.iter().all(&ready) && trial.close() {
                over.push(service.clone());
            }
            trial.arms = Arms::default();
        }
        over
    }
}

/// What was counted of those that are compared.
pub(crate) struct Look {
    at: Timestamp,
    seen: BTreeMap<InstanceId, Seen>,
}

impl World {
    /// Notes who serves beside whom, and has them looked at when it is time.
    pub async fn look_at_trials(&mut self) {
        let now = self.now();
        for name in self.stacks.keys().cloned().collect::<Vec<_>>() {
            for over in self.follow_trials(&name, now) {
                self.end_trial(&name, &over).await;
            }
        }
        let wanted: BTreeSet<InstanceId> = self
            .stacks
            .values()
            .flat_map(|state| state.trials.open.values())
            .flat_map(|trial| trial.arms.new.iter().chain(&trial.arms.old).cloned())
            .collect();
        match self.next_look {
            _ if wanted.is_empty() => self.next_look = None,
            Some(at) if at > now => {}
            _ => self.look(wanted, now),
        }
    }

    /// The services whose time beside the old release is over.
    fn follow_trials(&mut self, name: &StackName, now: Timestamp) -> Vec<ServiceName> {
        let instances = self.instances_of(name);
        let Some(state) = self.stacks.get(name).filter(|state| state.change().is_some()) else {
            return Vec::new();
        };
        let Some(routed) = state.routed(&instances, now) else { return Vec::new() };
        let services = routed.release.stack.services.values();
        let found: Vec<_> = services
            .filter_map(|service| Some((service.clone(), plan::serving::arms(&routed, service)?)))
            .collect();
        let alone: Vec<_> = routed
            .release
            .stack
            .services
            .values()
            .filter_map(|service| Some((service.clone(), plan::serving::alone(&routed, service)?)))
            .collect();
        let Some(state) = self.stacks.get_mut(name) else { return Vec::new() };
        let beside = found.iter().map(|(service, _)| service.name.clone()).collect();
        let place = |id: &InstanceId| {
            let network = |id: &InstanceId| {
                self.observed.iter().find(|one| one.spec.id == *id).map(|one| &one.spec.network)
            };
            network(id)?.address(network)
        };
        for (service, arms) in found {
            let noise = || self.noise.of(name, &service.name);
            state.trials.follow(&service, arms, noise, &self.parts.engine, place);
        }
        let clock = self.parts.machine.now();
        for (service, new) in alone {
            let known = || (self.noise.of(name, &service.name), self.noise.usual(name, &service.name, clock));
            state.trials.follow_alone(&service, new, now, known);
        }
        let (trials, ready) = (&mut state.trials, &state.ready);
        trials.leave(&beside, |id| ready.contains_key(id))
    }

    /// Asks beside the loop; the next look waits for the answer.
    fn look(&mut self, wanted: BTreeSet<InstanceId>, now: Timestamp) {
        let Some(messages) = self.messages.upgrade() else { return };
        let (router, engine) = (Arc::clone(&self.parts.router), Arc::clone(&self.parts.engine));
        self.next_look = Some(now.plus(model::DurationMs(LOOK_LIMIT.as_millis() as u64 * 2)));
        tokio::spawn(async move {
            let counted = count(router.as_ref(), engine.as_ref(), &wanted);
            let seen = match tokio::time::timeout(LOOK_LIMIT, counted).await {
                Ok(Ok(seen)) => seen,
                Ok(Err(report)) => return tell(&format!("a release cannot be judged: {report}")),
                Err(_) => return tell("a release cannot be judged: the gateway does not answer"),
            };
            // The loop has ended; the next one begins anew.
            let _ = messages.send(Message::Looked(Box::new(Look { at: now, seen }))).await;
        });
    }

    pub async fn looked(&mut self, look: Look) {
        let mut ended = Vec::new();
        let mut next = None;
        for (name, state) in &mut self.stacks {
            let trials = &mut state.trials;
            for (service, trial) in trials.open.iter_mut().filter(|(_, trial)| !trial.arms.new.is_empty()) {
                let decision = trial.observe(look.at, &look.seen);
                if !trial.is_after() {
                    let standing = plan::Trial { share: trial.share(), over: None };
                    trials.standings.insert(service.clone(), standing);
                }
                next = earliest(next, Some(look.at.plus(model::DurationMs(trial.look_ms()))));
                if decision != Decision::GoOn {
                    ended.push((name.clone(), service.clone()));
                }
            }
        }
        self.next_look = next;
        for (stack, service) in ended {
            self.end_trial(&stack, &service).await;
        }
    }

    async fn end_trial(&mut self, name: &StackName, service: &ServiceName) {
        let now = self.now();
        let Some(state) = self.stacks.get_mut(name) else { return };
        let (Some(change), Some(release)) = (state.change(), state.view.active) else { return };
        let Some(trial) = state.trials.open.remove(service) else { return };
        let judgement = trial.judgement();
        let verdict = verdict(&judgement);
        let instance = trial.arms.new.first().cloned();
        let text = judgement.sentence();
        let evidence = judgement.evidence();
        let basis = judgement.basis();
        let told = told(verdict, trial.without_traffic(), &text, evidence.as_deref(), &basis);
        state.trials.told.insert(service.clone(), told.clone());
        match (verdict, trial.without_traffic()) {
            (Verdict::Worse, _) | (Verdict::Undecided, WithoutTraffic::Rollback | WithoutTraffic::Pause) => {
                let halts = verdict == Verdict::Undecided && trial.without_traffic() == WithoutTraffic::Pause;
                state.trials.refused.insert(service.clone(), Refused { text: told, instance, halts });
            }
            (Verdict::Kept | Verdict::Undecided, _) => {
                let over = plan::Trial { share: trial.share(), over: Some(now) };
                state.trials.standings.insert(service.clone(), over);
            }
        }
        let written = serde_json::to_vec(&judgement).expect("plain data always serialises");
        let judgement = Digest::of(&written);
        let service = service.clone();
        let basis = Some(basis);
        let event = Event::Judged { release, change, service, verdict, text, evidence, basis, judgement };
        if let Err(report) = self.record(name, store::BY_ITSELF, vec![(event, vec![written])]).await {
            self.cannot_write(name, report);
        }
    }
}

fn verdict(judgement: &Judgement) -> Verdict {
    match judgement.decision {
        Decision::GoBack(_) => Verdict::Worse,
        Decision::Keep(_) => Verdict::Kept,
        Decision::Undecided | Decision::GoOn => Verdict::Undecided,
    }
}

/// `it was shown …; errors 1.2 : 1 (333 : 1 needed)`
fn told(verdict: Verdict, policy: WithoutTraffic, text: &str, evidence: Option<&str>, basis: &str) -> String {
    let evidence = evidence.map(|evidence| format!("; evidence against it: {evidence}")).unwrap_or_default();
    match (verdict, policy) {
        (Verdict::Undecided, WithoutTraffic::Keep | WithoutTraffic::Wait) => {
            format!("undecided, {text}; it is kept, as `without_traffic` says")
        }
        (Verdict::Undecided, _) => format!("undecided, {text}"),
        _ => format!("{text}{evidence}; judged {basis}"),
    }
}

/// What gateway and engine have counted of these.
async fn count(
    router: &dyn Router,
    engine: &dyn Engine,
    wanted: &BTreeSet<InstanceId>,
) -> Result<BTreeMap<InstanceId, Seen>, model::Report> {
    let status = router.traffic().await?;
    let mut seen: BTreeMap<InstanceId, Seen> =
        wanted.iter().map(|id| (id.clone(), Seen::default())).collect();
    for endpoint in status.backends.iter().flat_map(|backend| &backend.endpoints) {
        let known = seen.iter_mut().find(|(id, _)| id.as_str() == endpoint.instance);
        if let Some((_, seen)) = known {
            add(&mut seen.counts, &endpoint.counts);
        }
    }
    for (id, seen) in &mut seen {
        // What is not known is not compared.
        if let Ok(usage) = engine.usage(id).await {
            seen.cpu_us = usage.cpu_us.unwrap_or_default();
            seen.memory_bytes = usage.memory_bytes.unwrap_or_default();
        }
    }
    Ok(seen)
}
