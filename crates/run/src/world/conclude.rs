//! How a change ends: kept, unchanged or failed, with its reason and what to do next.

use super::stack::{STEP_TRIES, StackState};
use super::{Message, World, tell};
use crate::control::{Address, Conclusion, Progress, ServiceLine};
use crate::engine::LogQuery;
use model::{ErrorKind, InstanceId, Release, Report, ServiceName, StackName};
use plan::Failure;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::record::v1::{Event, Intent, Outcome};

/// Log lines shown of an instance that failed.
const LAST_LINES: usize = 12;

/// What stands between a change and its end.
enum Standing {
    UnderWay,
    Settled,
    Failed { report: Report, instance: Option<InstanceId>, undo: bool },
}

impl World {
    /// Ends the pending change if it can be ended now; says whether it was undone.
    pub async fn conclude(&mut self, name: &StackName) -> bool {
        let instances_left = self.observed.iter().any(|o| o.spec.stack == *name);
        let Some(state) = self.stacks.get(name) else { return false };
        let Some(pending) = &state.view.pending else { return false };
        if state.measuring || state.making.is_some() {
            return false;
        }
        let standing = match pending.intent {
            Intent::Down { .. } => removal_standing(state, instances_left),
            Intent::Up | Intent::Deploy if pending.release.is_none() => Standing::UnderWay,
            _ => standing(state),
        };
        match standing {
            Standing::UnderWay => {}
            Standing::Failed { report, instance, undo } => {
                if undo {
                    self.undo(name).await;
                }
                self.fail(name, report, instance).await;
                return undo;
            }
            Standing::Settled if matches!(pending.intent, Intent::Up | Intent::Deploy | Intent::Start) => {
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
        let release = state.view.active;
        let outcome = match pending.intent {
            Intent::Up | Intent::Deploy if !state.acted => Outcome::Unchanged,
            _ => Outcome::Kept,
        };
        let reason = match pending.intent {
            Intent::Up | Intent::Deploy if !state.acted => "everything is as declared",
            Intent::Up | Intent::Deploy | Intent::Start | Intent::Restart { .. } => "every service is ready",
            Intent::Stop => "stopped",
            Intent::Down { .. } => "removed",
            Intent::Rollback { .. } => "the release serves again",
            Intent::Promote { .. } => "every service is ready",
        };
        let active = state.active.clone();
        let conclusion = Conclusion {
            change: pending.change,
            outcome,
            reason: reason.to_owned(),
            release,
            took: self.now().since(pending.at),
            addresses,
            report: None,
            last_lines: Vec::new(),
            before: None,
            warm_until: None,
            figures: Vec::new(),
        };
        if self.write_conclusion(name, &conclusion).await {
            if let Some(state) = self.stacks.get_mut(name) {
                state.kept = active;
                state.measured = conclusion.addresses.clone();
            }
            // Who hears of the end finds what is shown to agree with it.
            self.publish();
            self.stories.say(pending.change, Progress::Concluded(conclusion));
            self.collect_images();
        }
    }

    /// Ends the pending change as failed.
    pub async fn fail(&mut self, name: &StackName, report: Report, instance: Option<InstanceId>) {
        let Some(state) = self.stacks.get(name) else { return };
        let Some(pending) = state.view.pending.clone() else { return };
        let last_lines = match instance {
            Some(id) => self.last_lines(&id).await,
            None => Vec::new(),
        };
        let conclusion = Conclusion {
            change: pending.change,
            outcome: Outcome::Failed,
            reason: report.error.clone(),
            release: self.stacks.get(name).and_then(|s| s.view.active),
            took: self.now().since(pending.at),
            addresses: Vec::new(),
            report: Some(report),
            last_lines,
            before: None,
            warm_until: None,
            figures: Vec::new(),
        };
        if self.write_conclusion(name, &conclusion).await {
            self.publish();
            self.stories.say(pending.change, Progress::Concluded(conclusion));
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
        match self.record(name, "juchu", vec![(event, Vec::new())]).await {
            Ok(_) => true,
            Err(report) => {
                tell(&report.to_string());
                false
            }
        }
    }

    /// Goes back to the last kept release, or to nothing when there was none.
    async fn undo(&mut self, name: &StackName) {
        let Some(state) = self.stacks.get(name) else { return };
        let Some(change) = state.change() else { return };
        let kept = state.kept.clone();
        let release = kept.as_ref().map(|r| r.id);
        let reason = "the change failed".to_owned();
        let event = Event::ReleaseActivated { release, change, reason };
        match self.record(name, "juchu", vec![(event, Vec::new())]).await {
            Ok(_) => {
                if let Some(state) = self.stacks.get_mut(name) {
                    state.active = kept;
                    state.step_errors.clear();
                }
            }
            Err(report) => tell(&report.to_string()),
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

    /// Images that no remembered release needs may go; beside the loop, because removing takes long.
    fn collect_images(&self) {
        let mut used: Vec<model::image::BuiltImage> = Vec::new();
        for state in self.stacks.values() {
            used.extend(state.view.images.values().map(|(_, image)| image.clone()));
            for digest in state.view.releases.values() {
                if let Ok(release) = self.blob::<Release>(digest) {
                    used.extend(release.images.into_values());
                }
            }
        }
        used.sort_by(|a, b| a.manifest.cmp(&b.manifest));
        used.dedup_by(|a, b| a.manifest == b.manifest);
        let images = Arc::clone(&self.parts.images);
        tokio::spawn(async move { images.keep_only(used).await });
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
        return Standing::Failed { report, instance: None, undo: true };
    }
    let broken = state
        .step_errors
        .values()
        .find(|e| (e.lasting || e.tries >= STEP_TRIES) && e.service.as_ref().is_none_or(&concerns));
    if let Some(error) = broken {
        let service = error.service.as_ref().map(|s| format!("service {s}: ")).unwrap_or_default();
        let report =
            Report::new(ErrorKind::Unhealthy, format!("{service}{}", error.text)).hint("juchu doctor");
        return Standing::Failed { report, instance: None, undo: true };
    }
    if let Some(failure) = state.last_plan.failures.iter().find(|f| concerns(&f.service)) {
        return failed(state, failure);
    }
    let unsettled = state.last_plan.unsettled.iter().any(&concerns);
    let steps = state.last_plan.steps.iter().any(|s| s.service().is_none_or(&concerns));
    if unsettled || steps || !state.in_flight.is_empty() { Standing::UnderWay } else { Standing::Settled }
}

fn failed(state: &StackState, failure: &Failure) -> Standing {
    let mut report =
        Report::new(ErrorKind::Unhealthy, format!("service {}: {}", failure.service, failure.reason))
            .hint(format!("juchu logs {}", failure.service));
    // A service that is the same in the kept release is not mended by going back to it.
    let is_new = |release: &Arc<Release>, kept: &Arc<Release>| {
        let hash = |r: &Release| r.stack.services.get(&failure.service).map(|s| plan::spec::spec_hash(r, s));
        hash(release) != hash(kept)
    };
    let undo = match (&state.active, &state.kept) {
        (Some(active), Some(kept)) => is_new(active, kept),
        _ => false,
    };
    if let (true, Some(kept)) = (undo, &state.kept) {
        report = report
            .hint(format!("release {} goes on; `juchu why {}` tells what changed", kept.id, failure.service));
    }
    Standing::Failed { report, instance: failure.instance.clone(), undo }
}

/// The services whose state decides over the pending change.
fn scope(state: &StackState) -> BTreeSet<ServiceName> {
    let Some(active) = &state.active else { return BTreeSet::new() };
    let named = state.view.pending.as_ref().map(|p| p.services.as_slice()).unwrap_or_default();
    if named.is_empty() {
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
