//! Taking away what is no longer declared: dependents before what they depend on.

use crate::depend::dependents;
use crate::input::{Input, InstanceView};
use crate::planner::Plan;
use crate::step::Step;
use crate::volume;
use model::DurationMs;

/// Stops what runs, removes what has stopped.
pub(crate) fn retire(plan: &mut Plan, instance: &InstanceView, reason: &str) {
    let spec = &instance.observed.spec;
    let (id, service, slot) = (spec.id.clone(), spec.service.clone(), spec.slot);
    plan.steps.push(if instance.is_running() {
        let grace = DurationMs(spec.stop_grace_ms);
        Step::Stop { id, service, slot, grace, reason: reason.to_owned() }
    } else {
        Step::Remove { id, service, slot }
    });
}

/// The stack is going away as a whole.
pub(crate) fn remove_stack(input: &Input<'_>, plan: &mut Plan) {
    for instance in input.instances {
        if instance.is_running() && has_running_dependents(input, instance) {
            continue;
        }
        retire(plan, instance, "the stack is removed");
    }
    if !input.instances.is_empty() {
        return;
    }
    let bridges = input.last.iter().flat_map(|r| r.addresses.values()).map(|a| a.bridge.clone());
    // The last stack on a network takes it along.
    let bridges = bridges.filter(|bridge| !input.foreign.uses(bridge));
    plan.steps.extend(bridges.map(|bridge| Step::RemoveNetwork { bridge }));
    if input.remove_volumes {
        let volumes = input.last.into_iter().flat_map(volume::owned);
        plan.steps.extend(volumes.map(|name| Step::RemoveVolume { name }));
    }
}

fn has_running_dependents(input: &Input<'_>, instance: &InstanceView) -> bool {
    let Some(last) = input.last else { return false };
    let running =
        |name: &model::ServiceName| input.instances.iter().any(|i| i.service() == name && i.is_running());
    dependents(last, instance.service()).any(running)
}
