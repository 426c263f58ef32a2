//! How a change ends: kept, unchanged or failed, with its reason and what to do next.

use super::stack::{STEP_TRIES, StackState};
use super::{Message, World, tell};
use crate::control::{Address, Conclusion, Progress, ServiceLine};
use crate::engine::LogQuery;
use model::service::FailureAction;
use model::{DurationMs, ErrorKind, InstanceId, Release, Report, ServiceName, StackName, Timestamp};
use plan::Failure;
use plan::failure::Consequence;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::record::v1::{Event, Intent, Outcome};

/// Log lines shown of an instance that failed.
const LAST_LINES: usize = 12;

/// What stands between a change and its end.
enum Standing {
    UnderWay,
    Settled,
    Failed {
        report: Report,
        instance: Option<InstanceId>,
        undo: bool,
    },
    /// Halted half way, as declared.
    Paused {
        report: Report,
        instance: Option<InstanceId>,
    },
}

impl World {
    /// Ends the pending change if it can be ended now; says whether what is steered to has changed.
    pub async fn conclude(&mut self, name: &StackName) -> bool {
        let instances_left = self.observed.iter().any(|o| o.spec.stack == *name);
        let Some(state) = self.stacks.get(name) else { return false };
        let Some(pending) = &state.view.pending else { return self.take_back(name).await };
        if state.measuring || state.making.is_some() {
            return false;
        }
        let standing = match pending.intent {
            Intent::Down { .. } => removal_standing(state, instances_left),
            _ if pending.release.is_none() && makes_release(pending.intent) => Standing::UnderWay,
            _ => standing(state),
        };
        match standing {
            Standing::UnderWay => {}
            Standing::Failed { report, instance, undo: true } => {
                return self.go_back(name, report, instance).await;
            }
            Standing::Failed { report, instance, undo: false } => {
                self.end_badly(name, Outcome::Failed, report, instance).await;
            }
            Standing::Paused { report, instance } => {
                self.end_badly(name, Outcome::Undecided, report, instance).await;
            }
            Standing::Settled if pending.going_back.is_some() => self.rolled_back(name).await,
            Standing::Settled if makes_release(pending.intent) || pending.intent == Intent::Start => {
                self.measure(name);
            }
            Standing::Settled => self.keep(name, Vec::new()).await,
        }
        false
    }

    /// Measures the published addresses beside the loop, then the change is kept.
    fn measure(&mut self, name: &StackName) {
        let addresses = self.addresses_of(name);
        let Some(state) = self.stacks.get_mut(name) else { return };
        let Some(change) = state.change() else { return };
        let Some(messages) = self.messages.upgrade() else { return };
        state.measuring = true;
        let stack = name.clone();
        tokio::spawn(async move {
            let addresses = crate::measure::measure(addresses).await;
            // The loop has ended; the next one measures again.
            let _ = messages.send(Message::Measured { stack, change, addresses }).await;
        });
    }

    pub async fn measured(&mut self, name: &StackName, change: u64, addresses: Vec<Address>) {
        if self.stacks.get(name).and_then(StackState::change) == Some(change) {
            self.keep(name, addresses).await;
        }
    }

    async fn keep(&mut self, name: &StackName, addresses: Vec<Address>) {
        let Some(state) = self.stacks.get(name) else { return };
        let Some(pending) = state.view.pending.clone() else { return };
        let unchanged = makes_release(pending.intent) && !state.acted;
        let outcome = if unchanged { Outcome::Unchanged } else { Outcome::Kept };
        let reason = match pending.intent {
            _ if unchanged => "everything is as declared",
            Intent::Rollback { .. } => "the earlier release serves again",
            Intent::Stop => "stopped",
            Intent::Down { .. } => "removed",
            _ => "every service is ready",
        };
        let conclusion = Conclusion {
            addresses,
            figures: self.figures(name),
            warm_until: self.warm_until(name),
            ..self.conclusion(name, outcome, reason.to_owned())
        };
        if self.write_conclusion(name, &conclusion).await {
            self.note_kept(name, conclusion.addresses.clone());
            // Who hears of the end finds what is shown to agree with it.
            self.publish();
            self.stories.say(pending.change, Progress::Concluded(conclusion));
            self.collect(name).await;
        }
    }

    fn conclusion(&self, name: &StackName, outcome: Outcome, reason: String) -> Conclusion {
        let state = &self.stacks[name];
        let pending = state.view.pending.as_ref();
        Conclusion {
            change: pending.map_or(0, |p| p.change),
            outcome,
            reason,
            release: state.view.active,
            took: pending.map_or(DurationMs(0), |p| self.parts.machine.now().since(p.at)),
            addresses: Vec::new(),
            report: None,
            last_lines: Vec::new(),
            before: pending.and_then(|p| p.before),
            warm_until: None,
            figures: Vec::new(),
        }
    }

    /// Until when the release that was replaced is there to go back to at once.
    fn warm_until(&self, name: &StackName) -> Option<Timestamp> {
        let state = &self.stacks[name];
        let fallback = state.fallback().filter(|f| f.phase == plan::Phase::TakingOver)?;
        plan::warm::until(fallback.release, state.active.as_deref()?, self.parts.machine.now())
    }

    /// The view says which releases were kept; what is held in memory follows it.
    fn note_kept(&mut self, name: &StackName, addresses: Vec<Address>) {
        let now = self.now();
        let Some(state) = self.stacks.get_mut(name) else { return };
        state.measured = addresses;
        if state.kept.as_ref().map(|r| r.id) != state.view.kept {
            let before = std::mem::replace(&mut state.kept, state.active.clone());
            state.previous = before.filter(|r| state.view.is_good(r.id));
            state.kept_at = now;
        }
    }

    /// Ends the pending change as failed, with nothing to go back to or nothing touched.
    pub async fn fail(&mut self, name: &StackName, report: Report, instance: Option<InstanceId>) {
        self.end_badly(name, Outcome::Failed, report, instance).await;
    }

    async fn end_badly(
        &mut self,
        name: &StackName,
        outcome: Outcome,
        report: Report,
        instance: Option<InstanceId>,
    ) {
        let Some(change) = self.stacks.get(name).and_then(StackState::change) else { return };
        let last_lines = match instance {
            Some(id) => self.last_lines(&id).await,
            None => Vec::new(),
        };
        let conclusion = Conclusion {
            report: Some(report.clone()),
            last_lines,
            figures: self.figures(name),
            ..self.conclusion(name, outcome, report.error)
        };
        if self.write_conclusion(name, &conclusion).await {
            let now = self.now();
            if let Some(state) = self.stacks.get_mut(name)
                && state.active.as_ref().map(|r| r.id) != state.kept.as_ref().map(|r| r.id)
            {
                state.kept_at = now;
            }
            self.publish();
            self.stories.say(change, Progress::Concluded(conclusion));
        }
    }

    async fn write_conclusion(&mut self, name: &StackName, conclusion: &Conclusion) -> bool {
        let event = Event::Concluded {
            change: conclusion.change,
            outcome: conclusion.outcome,
            release: conclusion.release,
            reason: conclusion.reason.clone(),
            took_ms: conclusion.took.0,
            figures: conclusion.figures.clone(),
        };
        match self.record(name, store::BY_ITSELF, vec![(event, Vec::new())]).await {
            Ok(_) => true,
            Err(report) => {
                self.cannot_write(name, report);
                false
            }
        }
    }

    /// Steers back to the last kept release, or to nothing when there was none; the change ends when
    /// that is reached. Says whether it was begun.
    async fn go_back(&mut self, name: &StackName, report: Report, instance: Option<InstanceId>) -> bool {
        let Some(state) = self.stacks.get(name) else { return false };
        let Some(change) = state.change() else { return false };
        let kept = state.kept.clone();
        let Some(release) = kept.as_ref().map(|r| r.id) else {
            self.remove_first_try(name, change, &report.error).await;
            self.end_badly(name, Outcome::Failed, report, instance).await;
            return true;
        };
        let last_lines = match &instance {
            Some(id) => self.last_lines(id).await,
            None => Vec::new(),
        };
        let cause = report.error.clone();
        let event = Event::GoingBack { release: Some(release), change, cause: cause.clone(), instance };
        match self.record(name, store::BY_ITSELF, vec![(event, Vec::new())]).await {
            Ok(_) => {
                if let Some(state) = self.stacks.get_mut(name) {
                    state.active = kept;
                    state.forget_step_errors();
                    state.bind_failure = None;
                    state.failure = Some((report, last_lines));
                }
                self.stories.say(change, Progress::GoingBack { release: Some(release), cause });
                true
            }
            Err(report) => {
                self.cannot_write(name, report);
                false
            }
        }
    }

    /// A first release that failed leaves nothing in force.
    async fn remove_first_try(&mut self, name: &StackName, change: u64, reason: &str) {
        let event = Event::ReleaseActivated { release: None, change, reason: reason.to_owned() };
        match self.record(name, store::BY_ITSELF, vec![(event, Vec::new())]).await {
            Ok(_) => {
                if let Some(state) = self.stacks.get_mut(name) {
                    state.active = None;
                    state.forget_step_errors();
                }
            }
            Err(report) => tell(&report.to_string()),
        }
    }

    /// The earlier release is in force again; why, and what failed, is told.
    async fn rolled_back(&mut self, name: &StackName) {
        let Some(state) = self.stacks.get_mut(name) else { return };
        let Some(pending) = state.view.pending.clone() else { return };
        let Some(going_back) = pending.going_back else { return };
        let (report, last_lines) = match state.failure.take() {
            Some((report, lines)) => (report, lines),
            // The daemon was started again in the meantime.
            None => (Report::new(ErrorKind::RolledBack, going_back.cause), Vec::new()),
        };
        let active = state.view.active.map(|r| r.to_string()).unwrap_or_default();
        let mut report = Report { kind: ErrorKind::RolledBack, ..report };
        report.hints.push(match pending.release {
            Some(failed) => {
                format!("{active} serves; `juchu diff {active} {failed}` shows what {failed} changed")
            }
            None => format!("{active} serves"),
        });
        let conclusion = Conclusion {
            report: Some(report.clone()),
            last_lines,
            figures: self.figures(name),
            ..self.conclusion(name, Outcome::RolledBack, report.error)
        };
        if self.write_conclusion(name, &conclusion).await {
            self.publish();
            self.stories.say(pending.change, Progress::Concluded(conclusion));
        } else if let (Some(state), Some(report)) = (self.stacks.get_mut(name), conclusion.report) {
            state.failure = Some((report, conclusion.last_lines));
        }
    }

    async fn last_lines(&self, id: &InstanceId) -> Vec<ServiceLine> {
        let Some(observed) = self.observed.iter().find(|o| o.spec.id == *id) else { return Vec::new() };
        let query = LogQuery { tail: Some(LAST_LINES), ..LogQuery::default() };
        let Ok(mut lines) = self.parts.engine.logs(id, query).await else { return Vec::new() };
        let mut all = Vec::new();
        while let Some(line) = lines.recv().await {
            all.push(ServiceLine { service: observed.spec.service.clone(), slot: observed.spec.slot, line });
        }
        all
    }
}

fn removal_standing(state: &StackState, instances_left: bool) -> Standing {
    let stuck = state.step_errors.values().find(|e| e.tries >= STEP_TRIES);
    if let Some(error) = stuck {
        let report = Report::new(ErrorKind::Environment, error.text.clone()).hint("juchu down");
        return Standing::Failed { report, instance: None, undo: false };
    }
    let left = state.last_plan.steps.iter().any(|s| !state.swept.contains(&s.key()));
    if instances_left || left || !state.in_flight.is_empty() { Standing::UnderWay } else { Standing::Settled }
}

fn standing(state: &StackState) -> Standing {
    let scope = scope(state);
    let concerns = |service: &ServiceName| scope.contains(service);
    if let Some(text) = &state.bind_failure {
        let report =
            Report::new(ErrorKind::Environment, text.clone()).hint("publish another port under `ports`");
        return Standing::Failed { report, instance: None, undo: !gives_up(state) };
    }
    let broken = state
        .step_errors
        .values()
        .find(|e| (e.lasting || e.tries >= STEP_TRIES) && e.service.as_ref().is_none_or(&concerns));
    if let Some(error) = broken {
        let service = error.service.as_ref().map(|s| format!("service {s}: ")).unwrap_or_default();
        let report =
            Report::new(ErrorKind::Unhealthy, format!("{service}{}", error.text)).hint("juchu doctor");
        return Standing::Failed { report, instance: None, undo: !gives_up(state) };
    }
    if let Some(standing) = judged(state).filter(|_| !gives_up(state)) {
        return standing;
    }
    let mut complete = BTreeSet::new();
    for name in plan::failure::failing_services(&state.last_plan) {
        match consequence(state, name).filter(|_| concerns(name)) {
            Some(Consequence::GoOn { is_complete: true }) => {
                complete.insert(name.clone());
            }
            Some(Consequence::GoOn { is_complete: false }) | None => {}
            Some(Consequence::Pause(failure)) => return paused(state, &failure),
            Some(Consequence::GoBack(failure)) => return failed(state, &failure),
        }
    }
    let is_open = |service: &ServiceName| concerns(service) && !complete.contains(service);
    let unsettled = state.last_plan.unsettled.iter().any(is_open);
    let steps = state.last_plan.steps.iter().any(|s| s.service().is_none_or(is_open));
    // What is being stopped has been replaced: nobody has to wait for the end of its connections.
    let awaited = |flight: &plan::InFlight| match (&flight.stops, &flight.place) {
        (Some(_), Some((service, _))) => state.view.stopped.contains(service),
        _ => true,
    };
    let in_flight = state.in_flight.values().any(awaited);
    if unsettled || steps || in_flight || state.trials.is_open_after() {
        Standing::UnderWay
    } else {
        Standing::Settled
    }
}

/// What follows from a service that was found worse than that of the release before.
fn judged(state: &StackState) -> Option<Standing> {
    let (service, refused) = state.trials.refused()?;
    let declared = state.active.as_deref()?.stack.services.get(service)?;
    let text = format!("service {service}: {}", refused.text);
    let halts = plan::config(declared, state.direction()).failure_action == Some(FailureAction::Pause);
    let instance = refused.instance.clone();
    if halts || refused.halts {
        let report = Report::new(ErrorKind::Undecided, format!("{text}; the rollout is halted"))
            .hint(format!("juchu why {service}"))
            .hint("`juchu rollback` goes back, `juchu deploy` tries again");
        return Some(Standing::Paused { report, instance });
    }
    let report = Report::new(ErrorKind::Unhealthy, text).hint(format!("juchu logs {service}"));
    Some(Standing::Failed { report, instance, undo: true })
}

fn consequence(state: &StackState, name: &ServiceName) -> Option<Consequence> {
    let service = state.active.as_deref()?.stack.services.get(name)?;
    let config = plan::config(service, state.direction());
    plan::failure::consequence(&state.last_plan, service, &config)
}

/// A change that puts a release in force.
fn makes_release(intent: Intent) -> bool {
    matches!(intent, Intent::Up | Intent::Deploy | Intent::Rollback { .. } | Intent::Promote { .. })
}

fn paused(state: &StackState, failure: &Failure) -> Standing {
    let in_place = state.last_plan.in_place_of.get(&failure.service).copied().unwrap_or(0);
    let text = format!(
        "service {}: {}; the rollout is halted with {in_place} replaced",
        failure.service, failure.reason
    );
    let report = Report::new(ErrorKind::Undecided, text)
        .hint(format!("juchu logs {}", failure.service))
        .hint("`juchu rollback` goes back, `juchu deploy` tries again");
    Standing::Paused { report, instance: failure.instance.clone() }
}

/// Nobody is sent to and fro between two releases that both fail.
fn gives_up(state: &StackState) -> bool {
    let pending = state.view.pending.as_ref();
    pending.is_some_and(|p| p.going_back.is_some() || p.actor == store::BY_ITSELF)
}

fn failed(state: &StackState, failure: &Failure) -> Standing {
    let report =
        Report::new(ErrorKind::Unhealthy, format!("service {}: {}", failure.service, failure.reason))
            .hint(format!("juchu logs {}", failure.service));
    // A service that is the same in the kept release is not mended by going back to it.
    let is_new = |release: &Arc<Release>, kept: &Arc<Release>| {
        let hash = |r: &Release| r.stack.services.get(&failure.service).map(|s| plan::spec::spec_hash(r, s));
        hash(release) != hash(kept)
    };
    let undo = match (&state.active, &state.kept) {
        (Some(active), Some(kept)) => !gives_up(state) && is_new(active, kept),
        _ => false,
    };
    Standing::Failed { report, instance: failure.instance.clone(), undo }
}

/// The services whose state decides over the pending change.
fn scope(state: &StackState) -> BTreeSet<ServiceName> {
    let Some(active) = &state.active else { return BTreeSet::new() };
    let named = state.view.pending.as_ref().map(|p| p.services.as_slice()).unwrap_or_default();
    let back = state.direction() == plan::Direction::Back;
    if named.is_empty() && !back {
        return active.stack.services.keys().cloned().collect();
    }
    let changed = active.stack.services.values().filter(|service| {
        let before = state
            .kept
            .as_ref()
            .and_then(|k| k.stack.services.get(&service.name).map(|s| plan::spec::spec_hash(k, s)));
        before != Some(plan::spec::spec_hash(active, service))
    });
    changed.map(|s| s.name.clone()).chain(named.iter().cloned()).collect()
}
