//! The plan for one stack: every service in turn, then what is no longer declared.

use crate::address::AddressBook;
use crate::holder::make_way;
use crate::input::{Input, InstanceView, Phase};
use crate::removal::{remove_stack, retire};
use crate::replace::{failing, replacements};
use crate::slot::Rollout;
use crate::spec::{network_spec, spec_hash};
use crate::step::Step;
use crate::takeover::Takeover;
use model::instance::InstanceState;
use model::{InstanceId, Release, Service, ServiceName, Timestamp};
use std::collections::BTreeMap;

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
    /// How many replicas of each service are in their place.
    pub in_place_of: BTreeMap<ServiceName, u32>,
    /// How many replicas of each service fail, counting those that are just being tried again.
    pub failing_of: BTreeMap<ServiceName, u32>,
    /// Counts the slots found as declared while a service is looked at, and those still watched.
    pub(crate) in_place: u32,
    pub(crate) watched: u32,
    /// Counts the slots that keep what they have, because the rollout is halted.
    pub(crate) held: u32,
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
        self.look_again(waiting.until);
        self.waiting.push(waiting);
    }

    pub(crate) fn look_again(&mut self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
    }
}

/// Computes the next steps. Carried out or not, the next plan follows from what is seen then.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan { addresses: AddressBook::of(input), ..Plan::default() };
    let Some(release) = input.desired else {
        remove_stack(input, &mut plan);
        leave_out_begun(input, &mut plan);
        return plan;
    };
    let missing = missing_networks(input, release);
    let networks_stand = missing.is_empty();
    for service in release.stack.services.values() {
        plan_service(input, release, service, &mut plan);
    }
    retire_undeclared(input, release, &mut plan);
    if !networks_stand {
        // Nothing starts on a network that is not there, and nothing is stopped for it yet.
        plan.steps.retain(|step| !matches!(step, Step::Create(_) | Step::Start { .. }));
        plan.steps.extend(missing);
    }
    make_way(input, release, &mut plan);
    leave_out_begun(input, &mut plan);
    plan
}

/// What is under way already is not begun again, and whoever is being made is made before it goes: it
/// may run, and serve, by then.
fn leave_out_begun(input: &Input<'_>, plan: &mut Plan) {
    let is_created =
        |service: &ServiceName, slot: u32| input.in_flight.contains_key(&Step::creation_key(service, slot));
    let is_new = |id: &InstanceId| {
        let mut instances = input.instances.iter();
        let found = instances.find(|i| i.observed.spec.id == *id);
        found.is_some_and(|i| i.observed.state == InstanceState::Created)
    };
    plan.steps.retain(|step| {
        let is_being_made = match step {
            Step::Start { service, slot, .. } => is_created(service, *slot),
            Step::Remove { id, service, slot } => is_created(service, *slot) && is_new(id),
            _ => false,
        };
        !is_being_made && !input.in_flight.contains_key(&step.key())
    });
}

fn missing_networks(input: &Input<'_>, release: &Release) -> Vec<Step> {
    let wanted = release.addresses.values().map(|network| network_spec(network, input.foreign));
    wanted.filter(|spec| input.networks.get(&spec.bridge) != Some(spec)).map(Step::EnsureNetwork).collect()
}

fn plan_service(input: &Input<'_>, release: &Release, service: &Service, plan: &mut Plan) {
    if input.stopped.contains(&service.name) {
        stop_service(input, release, service, plan);
        return;
    }
    (plan.in_place, plan.watched, plan.held) = (0, 0, 0);
    let takeover = Takeover::of(input, release, service);
    let replacements = replacements(input, &takeover);
    plan.failing_of.insert(service.name.clone(), failing(input, &takeover));
    let mut rollout = Rollout { input, release, service, plan, takeover, replacements };
    for slot in 1..=service.replicas {
        rollout.slot(slot);
    }
    let is_under_way = rollout.takeover.is_under_way();
    let complete = plan.in_place >= service.replicas;
    let of_service = input.instances.iter().filter(|i| *i.service() == service.name);
    for surplus in of_service.filter(|i| i.slot() > service.replicas) {
        // It serves until all that are declared do.
        if complete || !is_under_way && surplus.ready_since.is_none() {
            retire(plan, surplus, "fewer replicas are declared");
        }
    }
    plan.in_place_of.insert(service.name.clone(), plan.in_place);
    // Once all are in their places, nobody waits for the end of what was replaced.
    if plan.in_place + plan.held < service.replicas || plan.watched > 0 {
        plan.unsettled.push(service.name.clone());
    }
}

/// Stopped on purpose: what runs is stopped, and kept unless it was replaced.
fn stop_service(input: &Input<'_>, release: &Release, service: &Service, plan: &mut Plan) {
    let takeover = Takeover::of(input, release, service);
    let of_service = || input.instances.iter().filter(|i| *i.service() == service.name);
    // A place has one instance to be started again.
    let is_spare = |instance: &InstanceView| {
        let mut others = of_service().filter(|o| o.slot() == instance.slot() && takeover.is_current(o));
        takeover.is_current(instance) && others.any(|o| o.observed.spec.id > instance.observed.spec.id)
    };
    for instance in of_service() {
        let may_start_again = takeover.is_current(instance) || takeover.may_return(instance);
        if instance.is_running() {
            retire(plan, instance, "stop was asked for");
            plan.unsettled.push(service.name.clone());
        } else if !may_start_again || is_spare(instance) || instance.slot() > service.replicas {
            retire(plan, instance, "replaced before");
        }
    }
}

/// What is no longer declared goes last: until the rest is there, it may have to serve again.
fn retire_undeclared(input: &Input<'_>, release: &Release, plan: &mut Plan) {
    let before = input.fallback.filter(|f| f.phase == Phase::TakingOver);
    let is_settled = plan.unsettled.is_empty();
    for instance in input.instances {
        if release.stack.services.contains_key(instance.service()) {
            continue;
        }
        let service =
            before.and_then(|f| f.release.stack.services.get(instance.service()).map(|s| (f.release, s)));
        let may_return = service.is_some_and(|(release, service)| {
            instance.ready_since.is_some() || spec_hash(release, service) == instance.observed.spec.spec_hash
        });
        if is_settled || !may_return {
            retire(plan, instance, "no longer declared");
        }
        plan.unsettled.push(instance.service().clone());
    }
}
