//! Which instances get what is new, and with which share: decided here, carried out by the gateway.
//!
//! ```text
//! place 1:  new, not ready      + old, ready   →  old
//!           new, ready a moment + old, ready   →  old
//!           new, canary         + old, ready   →  both, by share
//!           new, in its place   + old, ready   →  new; old is warm
//!           new, died           + old, warm    →  old
//! ```

use crate::input::{Direction, Fallback, InstanceView};
use crate::takeover::{Stage, Takeover};
use model::instance::Health;
use model::route::DEFAULT_WEIGHT;
use model::{InstanceId, Release, Service, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// One stack as far as its traffic is concerned.
#[derive(Clone, Copy)]
pub struct Routed<'a> {
    pub release: &'a Release,
    pub fallback: Option<Fallback<'a>>,
    pub direction: Direction,
    pub instances: &'a [InstanceView],
    /// Are being stopped: finish what they have and get nothing new.
    pub draining: &'a BTreeSet<InstanceId>,
    pub now: Timestamp,
}

/// An instance that gets what is new.
pub struct Serving<'a> {
    pub instance: &'a InstanceView,
    /// Its part, against the others of its service.
    pub weight: u32,
}

#[derive(Default)]
struct Places<'a> {
    new: Vec<&'a InstanceView>,
    canaries: Vec<&'a InstanceView>,
    old: Vec<&'a InstanceView>,
}

/// Instances of the new release and of the one before that serve side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arms {
    pub new: Vec<InstanceId>,
    pub old: Vec<InstanceId>,
}

/// Whose requests are to be compared, while the new release of `service` has its share.
pub fn arms(stack: &Routed<'_>, service: &Service) -> Option<Arms> {
    if !service.policy.rollout.is_compared() {
        return None;
    }
    let usable = usable(stack, service);
    let takeover = Takeover::new(stack.release, stack.fallback, stack.direction, service, stack.now);
    let places = places(&takeover, &usable);
    let of = |instances: &[&InstanceView]| instances.iter().map(|i| i.observed.spec.id.clone()).collect();
    let arms = Arms { new: of(&places.canaries), old: of(&places.old) };
    (!arms.new.is_empty() && !arms.old.is_empty()).then_some(arms)
}

/// The new instances of `service` that have taken the place of the old ones without having served
/// beside them, where they are to be judged all the same.
pub fn alone(stack: &Routed<'_>, service: &Service) -> Option<Vec<InstanceId>> {
    let takeover = Takeover::new(stack.release, stack.fallback, stack.direction, service, stack.now);
    let is_judged = service.policy.rollout.trial().is_some() && stack.direction == Direction::Forward;
    if !is_judged || !takeover.is_under_way() {
        return None;
    }
    let places = places(&takeover, &usable(stack, service));
    let is_whole = places.new.len() >= service.replicas.max(1) as usize;
    let is_alone = places.canaries.is_empty() && places.old.is_empty();
    (is_whole && is_alone).then(|| places.new.iter().map(|i| i.observed.spec.id.clone()).collect())
}

/// The instances of `service` that get what is new.
pub fn serving<'a>(stack: &Routed<'a>, service: &Service) -> Vec<Serving<'a>> {
    let usable = usable(stack, service);
    let takeover = Takeover::new(stack.release, stack.fallback, stack.direction, service, stack.now);
    let places = places(&takeover, &usable);
    let mut chosen = shares(&takeover, &places);
    if chosen.is_empty() {
        chosen = better_than_nothing(service, &takeover, usable);
    }
    chosen
}

fn usable<'a>(stack: &Routed<'a>, service: &Service) -> Vec<&'a InstanceView> {
    let of_service = stack.instances.iter().filter(|i| *i.service() == service.name && i.is_running());
    of_service.filter(|i| !stack.draining.contains(&i.observed.spec.id)).collect()
}

fn places<'a>(takeover: &Takeover<'_>, usable: &[&'a InstanceView]) -> Places<'a> {
    let mut by_slot: BTreeMap<u32, Vec<&InstanceView>> = BTreeMap::new();
    usable.iter().for_each(|i| by_slot.entry(i.slot()).or_default().push(i));
    let mut places = Places::default();
    let (inner, surplus): (Vec<_>, Vec<_>) =
        by_slot.into_iter().partition(|(slot, _)| *slot <= takeover.service.replicas);
    for (_, held) in inner {
        place(takeover, &held, &mut places);
    }
    // Places that are no longer declared serve until all others are filled anew.
    if places.new.len() < takeover.service.replicas as usize {
        surplus.into_iter().for_each(|(_, held)| places.old.extend(best(takeover, &held)));
    }
    places
}

fn place<'a>(takeover: &Takeover<'_>, held: &[&'a InstanceView], places: &mut Places<'a>) {
    let current = held
        .iter()
        .copied()
        .filter(|i| takeover.is_current(i))
        .max_by_key(|i| (i.ready_since.is_some(), i.observed.starts, &i.observed.spec.id));
    let other = best_other(takeover, held);
    let stage = current.map(|i| (i, takeover.stage(i, other.is_some(), places.new.is_empty())));
    match (stage, other) {
        (Some((current, Stage::InPlace { .. })), _) => places.new.push(current),
        (Some((current, Stage::Canary { .. })), Some(other)) => {
            places.canaries.push(current);
            places.old.push(other);
        }
        (_, Some(other)) => places.old.push(other),
        (_, None) => {}
    }
}

/// The ready instance of another release that has the place: of the one before, else the newest.
fn best_other<'a>(takeover: &Takeover<'_>, held: &[&'a InstanceView]) -> Option<&'a InstanceView> {
    let others = held.iter().copied().filter(|i| !takeover.is_current(i) && i.ready_since.is_some());
    others.max_by_key(|i| (takeover.is_before(i), i.observed.spec.release, &i.observed.spec.id))
}

/// The ready instance of a place that is no longer declared.
fn best<'a>(takeover: &Takeover<'_>, held: &[&'a InstanceView]) -> Option<&'a InstanceView> {
    let current = || held.iter().copied().find(|i| takeover.is_current(i) && i.ready_since.is_some());
    best_other(takeover, held).or_else(current)
}

fn shares<'a>(takeover: &Takeover<'_>, places: &Places<'a>) -> Vec<Serving<'a>> {
    let share = takeover.share();
    let full = places.new.iter().chain(&places.old);
    if places.canaries.is_empty() {
        return full.map(|instance| Serving { instance, weight: DEFAULT_WEIGHT }).collect();
    }
    // All canaries together have their share, whatever the number of the others.
    let (canaries, others) = (places.canaries.len() as u32, full.clone().count() as u32);
    let canary = places.canaries.iter().map(|i| Serving { instance: i, weight: share * others });
    full.map(|i| Serving { instance: i, weight: (100 - share) * canaries }).chain(canary).collect()
}

/// While nothing is in its place: what is ready, else, unless requests can be held, what may be soon.
fn better_than_nothing<'a>(
    service: &Service,
    takeover: &Takeover<'_>,
    usable: Vec<&'a InstanceView>,
) -> Vec<Serving<'a>> {
    let ready: Vec<&InstanceView> = usable.iter().copied().filter(|i| i.ready_since.is_some()).collect();
    let hold = service.policy.hold.is_some_and(|hold| hold.0 > 0);
    let chosen = match (ready.is_empty(), hold) {
        (false, _) => ready,
        (true, true) => Vec::new(),
        (true, false) => {
            usable.into_iter().filter(|i| takeover.is_current(i) && i.health != Health::Unhealthy).collect()
        }
    };
    chosen.into_iter().map(|instance| Serving { instance, weight: DEFAULT_WEIGHT }).collect()
}
