//! The plan for one stack: every service in turn, then what is no longer declared.

use crate::address::AddressBook;
use crate::input::Input;
use crate::removal::{remove_stack, retire};
use crate::slot::{Rollout, replacements_left};
use crate::spec::network_spec;
use crate::step::Step;
use model::{InstanceId, Release, Service, ServiceName, Timestamp};

/// What to do next, and what is awaited.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be carried out now, side by side: none waits for another of the same plan.
    pub steps: Vec<Step>,
    pub waiting: Vec<Waiting>,
    pub failures: Vec<Failure>,
    /// When to look again though nothing was heard of.
    pub wake_at: Option<Timestamp>,
    /// Services of which something is missing, too much, or not ready.
    pub unsettled: Vec<ServiceName>,
    /// Counts the slots found as declared while a service is looked at.
    pub(crate) in_place: u32,
    pub(crate) addresses: AddressBook,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub service: ServiceName,
    pub what: String,
    pub until: Option<Timestamp>,
}

/// Something that keeps a service from being as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub service: ServiceName,
    pub instance: Option<InstanceId>,
    pub reason: String,
}

impl Plan {
    /// Everything is as declared and nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty() && self.unsettled.is_empty()
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) {
        if let Some(until) = waiting.until {
            self.wake_at = Some(self.wake_at.map_or(until, |at| at.min(until)));
        }
        self.waiting.push(waiting);
    }
}

/// Computes the next steps. Carried out or not, the next plan follows from what is seen then.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan { addresses: AddressBook::of(input.instances), ..Plan::default() };
    let Some(release) = input.desired else {
        remove_stack(input, &mut plan);
        return plan;
    };
    let missing = missing_networks(input, release);
    let networks_stand = missing.is_empty();
    for service in release.stack.services.values() {
        plan_service(input, release, service, &mut plan);
    }
    retire_undeclared(input, release, &mut plan);
    if !networks_stand {
        // Nothing starts on a network that is not there.
        plan.steps.retain(|step| !matches!(step, Step::Create(_) | Step::Start { .. }));
        plan.steps.extend(missing);
    }
    plan
}

fn missing_networks(input: &Input<'_>, release: &Release) -> Vec<Step> {
    let wanted = release.addresses.values().map(network_spec);
    wanted.filter(|spec| input.networks.get(&spec.bridge) != Some(spec)).map(Step::EnsureNetwork).collect()
}

fn plan_service(input: &Input<'_>, release: &Release, service: &Service, plan: &mut Plan) {
    if input.stopped.contains(&service.name) {
        stop_service(input, service, plan);
        return;
    }
    let steps_before = plan.steps.len();
    plan.in_place = 0;
    let replacements_left = replacements_left(input, release, service);
    let mut rollout = Rollout { input, release, service, plan, replacements_left };
    for slot in 1..=service.replicas {
        rollout.slot(slot);
    }
    let of_service = input.instances.iter().filter(|i| *i.service() == service.name);
    for surplus in of_service.filter(|i| i.slot() > service.replicas) {
        retire(plan, surplus, "fewer replicas are declared");
    }
    if plan.in_place < service.replicas || plan.steps.len() > steps_before {
        plan.unsettled.push(service.name.clone());
    }
}

/// Stopped on purpose: what runs is stopped and kept.
fn stop_service(input: &Input<'_>, service: &Service, plan: &mut Plan) {
    for instance in input.instances.iter().filter(|i| *i.service() == service.name && i.is_running()) {
        retire(plan, instance, "stop was asked for");
        plan.unsettled.push(service.name.clone());
    }
}

fn retire_undeclared(input: &Input<'_>, release: &Release, plan: &mut Plan) {
    for instance in input.instances {
        if !release.stack.services.contains_key(instance.service()) {
            retire(plan, instance, "no longer declared");
            plan.unsettled.push(instance.service().clone());
        }
    }
}
