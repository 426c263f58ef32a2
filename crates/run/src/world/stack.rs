//! One stack in the loop: its view, its plan, its steps on the way.

use super::figures::Figures;
use super::trials::Trials;
use super::{Message, World, tell};
use crate::control::{Phase, Progress};
use crate::engine::{Engine, EngineError};
use crate::ports::Router;
use model::instance::{InstanceNetwork, Observed};
use model::{DurationMs, InstanceId, Release, ServiceName, StackName, Timestamp};
use plan::routes::Routed;
use plan::{Direction, Fallback, InFlight, InstanceView, Plan, Readiness, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use store::record::v1::Event;
use store::{Entry, StackView};

/// Failures of one step before the change that wants it fails.
pub(crate) const STEP_TRIES: u32 = 3;
/// Pause after a step failed, doubled each time.
const STEP_PAUSE: DurationMs = DurationMs(500);
/// Longest pause between two tries of a step.
const STEP_PAUSE_MAX: DurationMs = DurationMs::from_secs(60);

pub(crate) struct StackState {
    pub view: StackView,
    pub active: Option<Arc<Release>>,
    /// The last kept release, which a failed change goes back to.
    pub kept: Option<Arc<Release>>,
    /// The release that was kept before that one, if nothing was found against it.
    pub previous: Option<Arc<Release>>,
    /// When the last kept release was kept.
    pub kept_at: Timestamp,
    pub making: Option<Arc<AtomicBool>>,
    pub in_flight: BTreeMap<String, InFlight>,
    /// Since when each instance is ready, with the run it is about.
    pub ready: BTreeMap<InstanceId, (u32, Timestamp)>,
    /// The last warning that followers of the pending change were given about the journal.
    pub warned: Option<String>,
    /// Why the pending change is being taken back, as it is told in the end.
    pub failure: Option<(model::Report, Vec<crate::control::ServiceLine>)>,
    /// What is measured of the pending change.
    pub figures: Figures,
    /// Services of the pending change that are compared with those of the release before.
    pub trials: Trials,
    pub step_errors: BTreeMap<String, StepError>,
    /// The last plan before what is steered to changed: what its steps come to is held against
    /// nothing that was begun later.
    pub stale_plan: u64,
    /// Steps of a removal that are done and leave nothing to observe.
    pub swept: BTreeSet<String>,
    pub draining: BTreeSet<InstanceId>,
    pub last_plan: Plan,
    /// Something was done for the pending change.
    pub acted: bool,
    /// The pending change has ended and its addresses are being measured.
    pub measuring: bool,
    pub is_becoming_ready: bool,
    /// What the published addresses took when they were measured last.
    pub measured: Vec<crate::control::Address>,
    /// A published port that the gateway could not listen on.
    pub bind_failure: Option<String>,
}

pub(crate) struct StepError {
    pub tries: u32,
    pub text: String,
    pub service: Option<ServiceName>,
    /// Trying again cannot help.
    pub lasting: bool,
    pub retry_at: Timestamp,
}

/// A step that is journaled and waits for the routes before it is carried out.
pub(crate) struct ReadyStep {
    pub stack: StackName,
    pub plan: u64,
    pub number: u32,
    pub step: Step,
    pub drain_limit: DurationMs,
}

#[derive(Default)]
pub(crate) struct Turned {
    pub steps: Vec<ReadyStep>,
    pub wake_at: Option<Timestamp>,
}

impl StackState {
    pub fn new(name: StackName) -> Self {
        Self::from_view(StackView::new(name))
    }

    pub fn from_view(view: StackView) -> Self {
        Self {
            view,
            active: None,
            kept: None,
            previous: None,
            kept_at: Timestamp(0),
            making: None,
            in_flight: BTreeMap::new(),
            ready: BTreeMap::new(),
            warned: None,
            failure: None,
            figures: Figures::default(),
            trials: Trials::default(),
            step_errors: BTreeMap::new(),
            stale_plan: 0,
            swept: BTreeSet::new(),
            draining: BTreeSet::new(),
            last_plan: Plan::default(),
            acted: false,
            measuring: false,
            is_becoming_ready: false,
            measured: Vec::new(),
            bind_failure: None,
        }
    }

    /// With one entry folded into its view; `None` when the stack is gone.
    pub fn folded(mut self, entry: &Entry) -> Option<Self> {
        if matches!(entry.event, Event::ChangeAccepted { .. }) {
            self.acted = false;
            self.measuring = false;
            self.figures = Figures::default();
            self.trials = Trials::default();
            self.failure = None;
            self.warned = None;
            self.forget_step_errors();
            self.swept.clear();
            self.bind_failure = None;
        }
        self.view = self.view.apply(entry.seq, entry.at, &entry.actor, &entry.event)?;
        Some(self)
    }

    /// Something else is steered to: the errors so far, and those of steps still under way, say
    /// nothing about it.
    pub fn forget_step_errors(&mut self) {
        self.step_errors.clear();
        self.stale_plan = self.view.last_plan;
    }

    pub fn is_being_removed(&self) -> bool {
        self.view.pending.as_ref().is_some_and(|p| matches!(p.intent, store::Intent::Down { .. }))
    }

    /// The release that the active one takes the place of, or took it of.
    pub fn fallback(&self) -> Option<Fallback<'_>> {
        let (active, kept) = (self.active.as_deref()?, self.kept.as_deref()?);
        if active.id != kept.id {
            let is_open = self.view.pending.is_some() || self.view.is_paused();
            // One that ended without being kept or taken back is left to people, for as long as one
            // that was kept.
            let phase = if is_open { plan::Phase::TakingOver } else { plan::Phase::Kept(self.kept_at) };
            return Some(Fallback { release: kept, phase, trials: self.trials.standings() });
        }
        let release = self.previous.as_deref()?;
        Some(Fallback { release, phase: plan::Phase::Kept(self.kept_at), trials: self.trials.standings() })
    }

    pub fn direction(&self) -> Direction {
        let back =
            self.view.pending.as_ref().is_some_and(|p| {
                p.going_back.is_some() || matches!(p.intent, store::Intent::Rollback { .. })
            });
        if back { Direction::Back } else { Direction::Forward }
    }

    /// What decides who gets its traffic.
    pub fn routed<'a>(&'a self, instances: &'a [InstanceView], now: Timestamp) -> Option<Routed<'a>> {
        let is_wanted = !self.is_being_removed() || !instances.is_empty();
        let release = self.active.as_deref().filter(|_| is_wanted)?;
        let (fallback, direction) = (self.fallback(), self.direction());
        Some(Routed { release, fallback, direction, instances, draining: &self.draining, now })
    }

    /// The pending change, when one is.
    pub fn change(&self) -> Option<u64> {
        self.view.pending.as_ref().map(|p| p.change)
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

impl World {
    /// This stack's instances as the planner sees them.
    pub fn instances_of(&self, stack: &StackName) -> Vec<InstanceView> {
        let of_stack = self.observed.iter().filter(|o| o.spec.stack == *stack);
        of_stack.map(|o| self.with_health(o)).collect()
    }

    fn with_health(&self, observed: &Observed) -> InstanceView {
        let watched = self.health.get(&observed.spec.id);
        InstanceView {
            observed: observed.clone(),
            health: watched.map(|w| w.health_of(observed)).unwrap_or_default(),
            unhealthy_restarts: watched.map_or(0, |w| w.unhealthy_restarts),
            ready_since: self.ready_since(observed),
        }
    }

    fn ready_since(&self, observed: &Observed) -> Option<Timestamp> {
        let (starts, since) = self.stacks.get(&observed.spec.stack)?.ready.get(&observed.spec.id)?;
        (*starts == observed.starts).then_some(*since)
    }

    /// Notes since when each instance is ready, by what its own release declares.
    fn note_ready(&mut self, name: &StackName) {
        let now = self.now();
        let instances = self.instances_of(name);
        let first = self.is_first_look;
        let Some(state) = self.stacks.get_mut(name) else { return };
        let mut ready = BTreeMap::new();
        for view in &instances {
            let observed = &view.observed;
            let declared = [&state.active, &state.kept, &state.previous]
                .into_iter()
                .flatten()
                .find(|r| r.id == observed.spec.release)
                .or(state.active.as_ref())
                .and_then(|r| r.stack.services.get(view.service()));
            if declared.is_none_or(|s| plan::readiness(s, view, now) != Readiness::Ready) {
                continue;
            }
            let known = state.ready.get(&observed.spec.id).filter(|(starts, _)| *starts == observed.starts);
            // What this daemon finds ready was ready before it began.
            let since = known.map_or_else(
                || if first { view.running_since().unwrap_or(now) } else { now },
                |(_, since)| *since,
            );
            ready.insert(observed.spec.id.clone(), (observed.starts, since));
        }
        state.ready = ready;
    }

    /// Plans for one stack, writes the plan down, and gives the steps to be carried out.
    pub async fn turn_stack(&mut self, name: &StackName) -> Turned {
        self.begin_making(name);
        self.begin_rollback(name).await;
        self.note_ready(name);
        let now = self.now();
        let instances = self.instances_of(name);
        let Some(state) = self.stacks.get(name) else { return Turned::default() };
        let removing = state.is_being_removed();
        let desired = if removing { None } else { state.active.clone() };
        let last = state.active.clone().or_else(|| state.kept.clone());
        let number = state.view.last_plan + 1;
        let foreign = self.foreign(name);
        let plan = plan::plan(&plan::Input {
            foreign: &foreign,
            stack: name,
            desired: desired.as_deref(),
            last: last.as_deref(),
            remove_volumes: state
                .view
                .pending
                .as_ref()
                .is_some_and(|p| matches!(p.intent, store::Intent::Down { volumes: true })),
            stopped: &state.view.stopped,
            restart_before: &state.view.restart_before,
            fallback: state.fallback(),
            direction: state.direction(),
            is_paused: state.view.is_paused(),
            in_flight: &state.in_flight,
            instances: &instances,
            networks: &self.networks,
            now,
            number,
            settings: &self.parts.settings,
        });
        let mut wake_at = plan.wake_at;
        let mut wanted = Vec::new();
        for step in &plan.steps {
            let key = step.key();
            match state.step_errors.get(&step.attempt()) {
                _ if state.swept.contains(&key) => {}
                Some(error) if error.retry_at > now => {
                    wake_at = super::earliest(wake_at, Some(error.retry_at))
                }
                _ => wanted.push(step.clone()),
            }
        }
        let is_ready =
            |i: &InstanceView| match desired.as_ref().and_then(|r| r.stack.services.get(i.service())) {
                Some(service) => plan::readiness(service, i, now) == Readiness::Ready,
                None => true,
            };
        let becoming = instances.iter().any(|i| i.is_running() && !is_ready(i));
        let drains = self.drain_limits(&instances, &wanted);
        let state = self.stacks.get_mut(name).expect("it was there a moment ago");
        state.is_becoming_ready = becoming;
        state.last_plan = plan;
        self.note_figures(name, &instances, &wanted, now);
        self.tell_progress(name, &instances, now);
        if wanted.is_empty() {
            return Turned { steps: Vec::new(), wake_at };
        }
        let steps = self.accept_plan(name, number, wanted, drains).await;
        Turned { steps, wake_at }
    }

    /// Journals the plan against its parent; only then its steps exist.
    async fn accept_plan(
        &mut self,
        name: &StackName,
        number: u64,
        wanted: Vec<Step>,
        drains: Vec<DurationMs>,
    ) -> Vec<ReadyStep> {
        let steps = wanted.iter().map(Step::describe).collect();
        let event = Event::PlanAccepted { plan: number, parent: number - 1, steps };
        if let Err(report) = self.record(name, "juchu", vec![(event, Vec::new())]).await {
            // Nothing is done that is not written down.
            self.cannot_write(name, report);
            return Vec::new();
        }
        let Some(state) = self.stacks.get_mut(name) else { return Vec::new() };
        state.acted = true;
        let mut ready = Vec::with_capacity(wanted.len());
        for (index, (step, drain_limit)) in wanted.into_iter().zip(drains).enumerate() {
            state.in_flight.insert(step.key(), InFlight::of(&step));
            if let Step::Stop { id, .. } = &step {
                state.draining.insert(id.clone());
            }
            ready.push(ReadyStep {
                stack: name.clone(),
                plan: number,
                number: index as u32,
                step,
                drain_limit,
            });
        }
        ready
    }

    /// The journal cannot be written: whoever follows the pending change hears of it, once.
    pub fn cannot_write(&mut self, name: &StackName, report: model::Report) {
        tell(&format!("{name}: {report}"));
        let Some(state) = self.stacks.get_mut(name) else { return };
        let text = format!("{}; it goes on when that is mended", report.error);
        if let Some(change) = state.change().filter(|_| state.warned.as_ref() != Some(&text)) {
            self.stories.say(change, Progress::Warning { text: text.clone() });
            state.warned = Some(text);
        }
    }

    /// Whoever is stopped may finish its connections, for longer when others can take new ones.
    fn drain_limits(&self, instances: &[InstanceView], steps: &[Step]) -> Vec<DurationMs> {
        let stopping: BTreeSet<&InstanceId> = steps
            .iter()
            .filter_map(|s| if let Step::Stop { id, .. } = s { Some(id) } else { None })
            .collect();
        let limit = |name: &ServiceName| {
            let others = instances
                .iter()
                .any(|i| i.service() == name && i.is_running() && !stopping.contains(&i.observed.spec.id));
            let stack = instances.first().and_then(|i| self.stacks.get(&i.observed.spec.stack));
            let declared = stack.and_then(|s| s.active.as_ref()?.stack.services.get(name));
            match declared {
                Some(service) => plan::routes::drain(service, others),
                None => plan::routes::DRAIN_ALONE,
            }
        };
        steps.iter().map(|s| s.service().map_or(plan::routes::DRAIN_ALONE, limit)).collect()
    }

    /// Runs a step beside the loop.
    pub fn carry_out(&self, ready: ReadyStep) {
        let Some(messages) = self.messages.upgrade() else { return };
        let parts = Arc::clone(&self.parts);
        tokio::spawn(async move {
            let result = execute(parts.engine.as_ref(), parts.router.as_ref(), &ready).await;
            let ended = Message::StepEnded { done: Box::new(ready), result };
            // The loop has ended: the step is found done, or done again, by the next one.
            let _ = messages.send(ended).await;
        });
    }

    pub async fn step_ended(&mut self, done: &ReadyStep, result: Result<(), EngineError>) {
        let ReadyStep { stack, plan, number, step, .. } = done;
        let (now, key) = (self.now(), step.key());
        let error = result.as_ref().err().map(full_text);
        if let Err(EngineError::Network { .. }) = &result {
            // What was known of the networks no longer holds: they are looked at again.
            self.networks.clear();
        }
        if let (Ok(()), Some(bridge)) = (&result, key.strip_prefix("network:")) {
            self.note_network(stack, bridge);
        }
        let Some(state) = self.stacks.get_mut(stack) else { return };
        state.in_flight.remove(&key);
        if let Some(id) = key.strip_prefix("instance:") {
            state.draining.retain(|d| d.as_str() != id);
        }
        match &result {
            Ok(()) => {
                state.step_errors.remove(&step.attempt());
                if key.starts_with("volume:") || (key.starts_with("network:") && state.is_being_removed()) {
                    state.swept.insert(key);
                }
            }
            Err(_) if *plan <= state.stale_plan => {}
            Err(error) => note_step_error(state, step, error, now),
        }
        let event = Event::StepDone { plan: *plan, step: *number, error };
        if let Err(report) = self.record(stack, "juchu", vec![(event, Vec::new())]).await {
            tell(&report.to_string());
        }
    }

    /// What the other stacks have on networks that may be shared.
    fn foreign(&self, name: &StackName) -> plan::Foreign {
        let mut foreign = plan::Foreign::default();
        for (_, other) in self.stacks.iter().filter(|(other, _)| *other != name) {
            let is_gone =
                other.is_being_removed() && !self.observed.iter().any(|o| o.spec.stack == other.view.name);
            other.active.iter().filter(|_| !is_gone).for_each(|release| foreign.add(release));
            let coming = other.in_flight.values().flat_map(|f| f.addresses.iter().copied());
            foreign.instances.extend(coming.filter_map(v4));
        }
        let others = self.observed.iter().filter(|o| o.spec.stack != *name);
        for observed in others {
            let InstanceNetwork::Links { links, .. } = &observed.spec.network else { continue };
            foreign.instances.extend(links.iter().filter_map(|link| v4(link.address)));
            // As long as somebody is on it, it stays.
            for link in links {
                foreign.virtual_addresses.entry(link.network.bridge.clone()).or_default();
            }
        }
        foreign
    }

    /// A network was made or removed: remember what is known of it.
    fn note_network(&mut self, stack: &StackName, bridge: &str) {
        let foreign = self.foreign(stack);
        let Some(state) = self.stacks.get(stack) else { return };
        let wanted = state.active.as_ref().filter(|_| !state.is_being_removed());
        let spec = wanted.and_then(|r| r.addresses.values().find(|a| a.bridge == bridge));
        match spec {
            Some(addresses) => {
                let spec = plan::spec::network_spec(addresses, &foreign);
                self.networks.insert(bridge.to_owned(), spec);
            }
            None => {
                self.networks.remove(bridge);
            }
        }
    }

    /// Tells followers of the pending change where each service stands.
    fn tell_progress(&self, name: &StackName, instances: &[InstanceView], now: Timestamp) {
        let Some(state) = self.stacks.get(name) else { return };
        let (Some(change), Some(release)) = (state.change(), &state.active) else { return };
        if state.making.is_some() {
            return;
        }
        for service in release.stack.services.values() {
            let (mut phase, mut text) =
                crate::status::phase_of(service, release, instances, &state.last_plan, now);
            let mut waiting = state.last_plan.waiting.iter();
            if let Some(waiting) = waiting.find(|w| phase == Phase::Ready && w.service == service.name) {
                (phase, text) = (Phase::Checking, format!("ready, waiting for {}", waiting.what));
            }
            let hash = plan::spec::spec_hash(release, service);
            let is_ending = |i: &InstanceView| {
                i.observed.spec.spec_hash == hash && state.draining.contains(&i.observed.spec.id)
            };
            if instances.iter().any(|i| *i.service() == service.name && is_ending(i)) {
                (phase, text) = (Phase::Stopping, "stopping".to_owned());
            }
            let is_gone = !instances.iter().any(|i| *i.service() == service.name);
            if state.is_being_removed() && is_gone {
                (phase, text) = (Phase::Stopped, "removed".to_owned());
            }
            if phase != Phase::Waiting || state.acted {
                self.stories.say_service(change, &service.name, phase, text, now);
            }
        }
        for error in state.step_errors.values() {
            let service = error.service.as_ref().map(|s| format!("{s}: ")).unwrap_or_default();
            if error.tries == 1 {
                self.stories.say(change, Progress::Warning { text: format!("{service}{}", error.text) });
            }
        }
    }
}

fn note_step_error(state: &mut StackState, step: &Step, error: &EngineError, now: Timestamp) {
    let attempt = step.attempt();
    let tries = state.step_errors.get(&attempt).map_or(0, |e| e.tries) + 1;
    let pause = DurationMs((STEP_PAUSE.0 << (tries - 1).min(10)).min(STEP_PAUSE_MAX.0));
    let service = step.service().cloned();
    let lasting = matches!(
        error,
        EngineError::Mount { .. }
            | EngineError::Limit(..)
            | EngineError::MissingLayer(_)
            | EngineError::Start { .. }
    );
    let entry = StepError { tries, text: full_text(error), service, lasting, retry_at: now.plus(pause) };
    state.step_errors.insert(attempt, entry);
}

pub(crate) fn full_text(error: &EngineError) -> String {
    model::Report::from_error(model::ErrorKind::Internal, error).error
}

/// Carries out one step; doing it twice is the same as once.
async fn execute(engine: &dyn Engine, router: &dyn Router, ready: &ReadyStep) -> Result<(), EngineError> {
    match &ready.step {
        Step::EnsureNetwork(network) => engine.ensure_network(network).await,
        Step::RemoveNetwork { bridge } => engine.remove_network(bridge).await,
        Step::Create(spec) => {
            engine.create(spec).await?;
            engine.start(&spec.id).await
        }
        Step::Start { id, .. } => engine.start(id).await,
        Step::Stop { id, grace, .. } => {
            router.drained(id, ready.drain_limit).await;
            engine.stop(id, Some(*grace)).await
        }
        Step::Remove { id, .. } => match engine.remove(id).await {
            Err(EngineError::UnknownInstance(_)) => Ok(()),
            other => other,
        },
        Step::RemoveVolume { name } => engine.remove_volume(name).await,
    }
}
