//! What the planner is told.

use crate::address::addresses_of;
use crate::step::Step;
use model::instance::{Health, InstanceState, NetworkSpec, Observed};
use model::{InstanceId, Release, ServiceName, StackName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Everything a plan for one stack follows from.
pub struct Input<'a> {
    pub stack: &'a StackName,
    /// What the stack shall be; `None` removes everything.
    pub desired: Option<&'a Release>,
    /// What it was when it is being removed: tells the order and the volumes.
    pub last: Option<&'a Release>,
    pub remove_volumes: bool,
    /// Stopped on purpose.
    pub stopped: &'a BTreeSet<ServiceName>,
    /// Instances that started earlier are started again.
    pub restart_before: &'a BTreeMap<ServiceName, Timestamp>,
    /// The release that `desired` takes the place of, or took it of.
    pub fallback: Option<Fallback<'a>>,
    /// Towards a newer release, or back to an earlier one.
    pub direction: Direction,
    /// A rollout was halted half way: nothing further is replaced.
    pub is_paused: bool,
    /// Steps under way, by key.
    pub in_flight: &'a BTreeMap<String, InFlight>,
    /// Every instance of this stack, of whatever release.
    pub instances: &'a [InstanceView],
    /// What other stacks have on networks that may be this one's too.
    pub foreign: &'a Foreign,
    /// Networks known to be as they should, by bridge.
    pub networks: &'a BTreeMap<String, NetworkSpec>,
    pub now: Timestamp,
    /// Number of the plan to be made; new instance ids follow from it.
    pub number: u64,
    pub settings: &'a Settings,
}

/// What the other stacks of this host have on their networks, by bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Virtual addresses of their services; a bridge without any is in it too.
    pub virtual_addresses: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Addresses of their instances.
    pub instances: BTreeSet<Ipv4Addr>,
}

impl Foreign {
    /// Whether another stack is on the network.
    pub fn uses(&self, bridge: &str) -> bool {
        self.virtual_addresses.contains_key(bridge)
    }

    /// Takes note of a release of another stack.
    pub fn add(&mut self, release: &Release) {
        for network in release.addresses.values() {
            let known = self.virtual_addresses.entry(network.bridge.clone()).or_default();
            known.extend(network.services.values().copied());
        }
    }
}

/// The release before the desired one, whose instances can still take traffic.
#[derive(Debug, Clone, Copy)]
pub struct Fallback<'a> {
    pub release: &'a Release,
    pub phase: Phase,
    /// Services of the desired release that are being compared with those of this one.
    pub trials: &'a Trials,
}

/// By service; one that was not looked at yet is not in it.
pub type Trials = BTreeMap<ServiceName, Trial>;
/// Nothing is compared.
pub static NO_TRIALS: Trials = Trials::new();

/// How far a comparison has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Percent of what is new that the new release has.
    pub share: u32,
    /// Since when it is over and the new release may take the place.
    pub over: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The desired release is taking over and was not judged yet.
    TakingOver,
    /// It was kept at this time.
    Kept(Timestamp),
}

/// Which of `update_config` and `rollback_config` rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    Forward,
    Back,
}

/// A step that was begun and has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InFlight {
    /// The place it is about, if any.
    pub place: Option<(ServiceName, u32)>,
    /// The instance that is being stopped, if any.
    pub stops: Option<InstanceId>,
    /// Addresses of the instance that is being created: nothing shows them yet.
    pub addresses: Vec<IpAddr>,
}

impl InFlight {
    /// What is to be remembered of a step while it is under way.
    pub fn of(step: &Step) -> Self {
        let place = |service: &ServiceName, slot: u32| Some((service.clone(), slot));
        match step {
            Step::Create(spec) => Self {
                place: place(&spec.service, spec.slot),
                stops: None,
                addresses: addresses_of(spec).collect(),
            },
            Step::Start { service, slot, .. } | Step::Remove { service, slot, .. } => {
                Self { place: place(service, *slot), ..Self::default() }
            }
            Step::Stop { id, service, slot, .. } => {
                Self { place: place(service, *slot), stops: Some(id.clone()), ..Self::default() }
            }
            Step::EnsureNetwork(_) | Step::RemoveNetwork { .. } | Step::RemoveVolume { .. } => {
                Self::default()
            }
        }
    }
}

/// What is the same for all stacks of this machine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of config and secret contents, each named by its digest's hexadecimal digits.
    pub files: PathBuf,
}

/// One instance as engine and health checks see it.
#[derive(Debug, Clone)]
pub struct InstanceView {
    pub observed: Observed,
    pub health: Health,
    /// How often in a row it was restarted for being unhealthy.
    pub unhealthy_restarts: u32,
    /// Since when it is ready without a break; absent while it is not.
    pub ready_since: Option<Timestamp>,
}

impl InstanceView {
    pub fn running_since(&self) -> Option<Timestamp> {
        match self.observed.state {
            InstanceState::Running { since, .. } => Some(since),
            _ => None,
        }
    }
    pub fn is_running(&self) -> bool {
        self.running_since().is_some()
    }
    pub fn service(&self) -> &ServiceName {
        &self.observed.spec.service
    }
    pub fn slot(&self) -> u32 {
        self.observed.spec.slot
    }
}
