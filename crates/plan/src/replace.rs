//! How many replicas of a service are replaced at the same time: `parallelism`, `delay`, the canary.

use crate::input::{Direction, Input, InstanceView};
use crate::ready::{Readiness, deadline, readiness};
use crate::restart::{CRASH_LOOP, Next, TRIAL_STARTS, after_exit};
use crate::takeover::{Stage, Takeover};
use model::instance::InstanceState;
use model::service::{FailureAction, UpdateConfig};
use model::{Service, Timestamp};

/// Replacements that may still be begun in this plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replacements {
    pub left: u32,
    /// When there may be more of them.
    pub again_at: Option<Timestamp>,
}

/// How many replicas of a service may be replaced now.
pub(crate) fn replacements(input: &Input<'_>, takeover: &Takeover<'_>) -> Replacements {
    let of = |left| Replacements { left, again_at: None };
    if input.is_paused {
        return of(0);
    }
    let service = takeover.service;
    let config = takeover.config();
    let current = input.instances.iter().filter(|i| *i.service() == service.name && takeover.is_current(i));
    let newest = current.filter_map(InstanceView::running_since).max();
    let delayed = newest.map(|since| since.plus(config.delay.unwrap_or_default()));
    if let Some(again_at) = delayed.filter(|at| input.now < *at) {
        return Replacements { left: 0, again_at: Some(again_at) };
    }
    let (in_place, underway) = progress(input, takeover, &config);
    let canary_first = service.policy.rollout.serves_beside()
        && takeover.is_under_way()
        && input.direction == Direction::Forward;
    match config.parallelism.unwrap_or(1) {
        _ if canary_first && in_place == 0 => of(1 - underway.min(1)),
        // Zero means all at once.
        0 => of(u32::MAX),
        n => of(n.saturating_sub(underway)),
    }
}

/// How many places are filled anew, and how many are begun and not filled: whether their old
/// instance still runs or was stopped first.
fn progress(input: &Input<'_>, takeover: &Takeover<'_>, config: &UpdateConfig) -> (u32, u32) {
    let service = takeover.service;
    // What fails decides over a rollout; where none is under way, nobody waits for it.
    let given_up = !takeover.is_under_way() || given_up(input, takeover, config);
    let (mut in_place, mut underway) = (0, 0);
    for slot in 1..=service.replicas {
        let held = input.instances.iter().filter(|i| *i.service() == service.name && i.slot() == slot);
        let stay = held.filter(|i| !is_stopping(input, i));
        let (current, old): (Vec<&InstanceView>, Vec<_>) = stay.partition(|i| takeover.is_current(i));
        let begun = !current.is_empty() && !takeover.is_under_way() || current.iter().any(|i| !is_stopped(i));
        if !begun && old.iter().any(|i| has_place_still(takeover, i)) {
            continue;
        }
        let other = old.iter().any(|i| i.ready_since.is_some());
        let is_completed = |i: &&InstanceView| readiness(service, i, input.now) == Readiness::Completed;
        let has_place =
            |i: &&InstanceView| matches!(takeover.stage(i, other, in_place == 0), Stage::InPlace { .. });
        let is_filled = current.iter().any(|i| has_place(i) || is_completed(i));
        let is_given_up = given_up && current.iter().any(|i| fails(input, takeover, i));
        in_place += u32::from(is_filled);
        underway += u32::from(!is_filled && !is_given_up);
    }
    (in_place, underway)
}

/// It is being told to go.
pub(crate) fn is_stopping(input: &Input<'_>, instance: &InstanceView) -> bool {
    input.in_flight.values().any(|f| f.stops.as_ref() == Some(&instance.observed.spec.id))
}

/// It was told to go: its successor comes next.
pub(crate) fn is_stopped(instance: &InstanceView) -> bool {
    matches!(&instance.observed.state, InstanceState::Exited(exit) if exit.requested)
}

/// An instance of another release has the place until its turn comes: it serves, or is started again.
pub(crate) fn has_place_still(takeover: &Takeover<'_>, old: &InstanceView) -> bool {
    !is_stopped(old) && (old.ready_since.is_some() || takeover.may_return(old))
}

/// Whether the replicas that fail are few enough to go on without them.
fn given_up(input: &Input<'_>, takeover: &Takeover<'_>, config: &UpdateConfig) -> bool {
    let allowed = config.max_failure_ratio.unwrap_or(0.0) * f64::from(takeover.service.replicas);
    let failing = failing(input, takeover);
    config.failure_action == Some(FailureAction::Continue) || f64::from(failing) <= allowed
}

/// How many replicas fail, counting those that are just being tried again.
pub(crate) fn failing(input: &Input<'_>, takeover: &Takeover<'_>) -> u32 {
    let of_service = input.instances.iter().filter(|i| *i.service() == takeover.service.name);
    let current = of_service.filter(|i| takeover.is_current(i) && i.slot() <= takeover.service.replicas);
    current.filter(|i| fails(input, takeover, i)).count() as u32
}

/// It fails now, or is started again and again.
fn fails(input: &Input<'_>, takeover: &Takeover<'_>, instance: &InstanceView) -> bool {
    let is_new = takeover.before.is_some() && instance.ready_since.is_none();
    has_failed(takeover.service, instance, input.now) || is_new && instance.observed.starts > TRIAL_STARTS + 1
}

/// Waiting for it longer is of no use.
pub(crate) fn has_failed(service: &Service, instance: &InstanceView, now: Timestamp) -> bool {
    if instance.observed.quick_failures >= CRASH_LOOP && instance.ready_since.is_none() {
        return true;
    }
    match &instance.observed.state {
        InstanceState::Running { since, .. } => match readiness(service, instance, now) {
            Readiness::Unhealthy => true,
            Readiness::Pending { .. } => {
                instance.unhealthy_restarts > 0 || now >= deadline(service, instance, *since)
            }
            _ => false,
        },
        InstanceState::Exited(exit) => {
            let observed = &instance.observed;
            let next = after_exit(service.restart, exit, observed.starts, observed.quick_failures);
            next == Next::Failed
        }
        InstanceState::Created | InstanceState::Lost => false,
    }
}
