//! What only one instance can hold at a time: whoever may still hold it lets go before the next one
//! starts. After a daemon was killed nobody remembers which starts were under way, so an instance
//! counts as a holder until it is seen to have ended.

use crate::input::{Input, InstanceView};
use crate::planner::Plan;
use crate::removal::retire;
use crate::spec::update_order;
use crate::step::Step;
use model::instance::{InstanceSpec, InstanceState};
use model::mount::MountSource;
use model::service::UpdateOrder;
use model::{Release, Service, ServiceName};

/// Puts the end of the present holders in the place of starts that need what they hold.
pub(crate) fn make_way(input: &Input<'_>, release: &Release, plan: &mut Plan) {
    for step in std::mem::take(&mut plan.steps) {
        let holders = holders(input, release, &step);
        let waits = !holders.is_empty() || is_being_taken(input, release, &step);
        for holder in holders {
            let planned = plan.steps.len();
            retire(plan, holder, "its successor needs what it holds");
            let key = plan.steps[planned].key();
            if plan.steps[..planned].iter().any(|s| s.key() == key) {
                plan.steps.pop();
            }
        }
        match (waits, step.service()) {
            (true, Some(service)) if !plan.unsettled.contains(service) => {
                plan.unsettled.push(service.clone());
            }
            (true, _) => {}
            _ if plan.steps.iter().any(|s| s.key() == step.key()) => {}
            _ => plan.steps.push(step),
        }
    }
}

/// The service of a step that starts something which can have one holder only.
fn exclusive<'a>(release: &'a Release, step: &'a Step) -> Option<(&'a Service, u32)> {
    let (name, slot) = match step {
        Step::Create(spec) => (&spec.service, spec.slot),
        Step::Start { service, slot, .. } => (service, *slot),
        _ => return None,
    };
    let service = release.stack.services.get(name)?;
    (update_order(service) == UpdateOrder::StopFirst).then_some((service, slot))
}

/// Instances that hold, or may come to hold, what this step starts an instance for.
fn holders<'a>(input: &Input<'a>, release: &Release, step: &Step) -> Vec<&'a InstanceView> {
    let Some((service, slot)) = exclusive(release, step) else { return Vec::new() };
    let is_itself = |i: &InstanceView| match step {
        Step::Start { id, .. } => *id == i.observed.spec.id,
        _ => false,
    };
    let is_in_the_way = |i: &&InstanceView| {
        let same_place = *i.service() == service.name && i.slot() == slot;
        same_place || takes_from(release, service, &i.observed.spec)
    };
    let others = input.instances.iter().filter(|i| !is_itself(i) && may_run(input, i));
    others.filter(is_in_the_way).collect()
}

/// It runs, or may be starting.
fn may_run(input: &Input<'_>, instance: &InstanceView) -> bool {
    let has_ended = matches!(instance.observed.state, InstanceState::Exited(_));
    !has_ended || input.in_flight.contains_key(&Step::instance_key(&instance.observed.spec.id))
}

/// Whether an instance of another service writes to what `service` writes to, although its own
/// service, as it is declared now, does not: the volume has moved on.
fn takes_from(release: &Release, service: &Service, other: &InstanceSpec) -> bool {
    let owner = release.stack.services.get(&other.service);
    let written = other.mounts.iter().filter(|m| !m.read_only).map(|m| &m.source);
    other.service != service.name
        && written
            .into_iter()
            .any(|source| writes(service, source) && !owner.is_some_and(|declared| writes(declared, source)))
}

fn writes(service: &Service, source: &MountSource) -> bool {
    service.mounts.iter().any(|m| !m.read_only && is_same(&m.source, source))
}

/// The same content, by whatever path or part of it.
fn is_same(one: &MountSource, other: &MountSource) -> bool {
    match (one, other) {
        (MountSource::Volume { name, .. }, MountSource::Volume { name: of_other, .. }) => name == of_other,
        (MountSource::Bind { path, .. }, MountSource::Bind { path: of_other, .. }) => path == of_other,
        _ => false,
    }
}

/// A step under way changes who holds it: in the same place, or by making an instance, not yet seen,
/// of a service that had it before.
fn is_being_taken(input: &Input<'_>, release: &Release, step: &Step) -> bool {
    let Some((service, slot)) = exclusive(release, step) else { return false };
    let before = |name: &ServiceName| input.fallback.and_then(|f| f.release.stack.services.get(name));
    let written = || service.mounts.iter().filter(|m| !m.read_only).map(|m| &m.source);
    let had_it = |name: &ServiceName| match (release.stack.services.get(name), before(name)) {
        (Some(_), Some(before)) => written().any(|source| writes(before, source)),
        (Some(_), None) => false,
        (None, _) => written().next().is_some(),
    };
    input.in_flight.iter().any(|(key, flight)| match &flight.place {
        Some((name, of)) if *name == service.name => *of == slot,
        Some((name, _)) => key.starts_with(Step::CREATES) && had_it(name),
        None => false,
    })
}
