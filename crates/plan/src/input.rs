//! What the planner is told.

use model::instance::{Health, InstanceState, NetworkSpec, Observed};
use model::{Release, ServiceName, StackName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Every instance of this stack, of whatever release.
    pub instances: &'a [InstanceView],
    /// Networks known to be as they should, by bridge.
    pub networks: &'a BTreeMap<String, NetworkSpec>,
    pub now: Timestamp,
    /// Number of the plan to be made; new instance ids follow from it.
    pub number: u64,
    pub settings: &'a Settings,
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
