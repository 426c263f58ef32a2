//! One idempotent action of a plan.

use model::instance::{InstanceSpec, NetworkSpec};
use model::{DurationMs, InstanceId, ServiceName, VolumeName};

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    EnsureNetwork(NetworkSpec),
    Create(Box<InstanceSpec>),
    Start {
        id: InstanceId,
        service: ServiceName,
        slot: u32,
        reason: String,
    },
    /// Out of traffic first, then the stop signal, then force.
    Stop {
        id: InstanceId,
        service: ServiceName,
        slot: u32,
        grace: DurationMs,
        reason: String,
    },
    Remove {
        id: InstanceId,
        service: ServiceName,
        slot: u32,
    },
    RemoveNetwork {
        bridge: String,
    },
    RemoveVolume {
        name: VolumeName,
    },
}

impl Step {
    /// How the key of a step begins that makes an instance.
    pub(crate) const CREATES: &str = "slot:";

    /// The key of the step that makes an instance in this place.
    pub(crate) fn creation_key(service: &ServiceName, slot: u32) -> String {
        format!("{}{service}/{slot}", Self::CREATES)
    }

    /// The key of a step about this instance.
    pub(crate) fn instance_key(id: &InstanceId) -> String {
        format!("instance:{id}")
    }

    /// Two steps with the same key never run at the same time; a plan made meanwhile that wants
    /// the same again is waiting for the first.
    pub fn key(&self) -> String {
        match self {
            Step::EnsureNetwork(network) => format!("network:{}", network.bridge),
            Step::RemoveNetwork { bridge } => format!("network:{bridge}"),
            Step::Create(spec) => Self::creation_key(&spec.service, spec.slot),
            Step::Start { id, .. } | Step::Stop { id, .. } | Step::Remove { id, .. } => {
                Self::instance_key(id)
            }
            Step::RemoveVolume { name } => format!("volume:{name}"),
        }
    }

    /// What its failures are counted under: creating and starting are one attempt at one place,
    /// whichever of them is still to do.
    pub fn attempt(&self) -> String {
        match self {
            Step::Start { service, slot, .. } => Self::creation_key(service, *slot),
            other => other.key(),
        }
    }

    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Step::Create(spec) => Some(&spec.service),
            Step::Start { service, .. } | Step::Stop { service, .. } | Step::Remove { service, .. } => {
                Some(service)
            }
            Step::EnsureNetwork(_) | Step::RemoveNetwork { .. } | Step::RemoveVolume { .. } => None,
        }
    }

    /// One sentence for people and for the journal.
    pub fn describe(&self) -> String {
        match self {
            Step::EnsureNetwork(network) => {
                format!("make network {} ({}/{})", network.bridge, network.gateway, network.prefix_len)
            }
            Step::Create(spec) => format!(
                "create {}#{} as {} from image {}",
                spec.service,
                spec.slot,
                spec.id,
                spec.image.short()
            ),
            Step::Start { id, service, slot, reason } => format!("start {service}#{slot} ({id}): {reason}"),
            Step::Stop { id, service, slot, reason, .. } => format!("stop {service}#{slot} ({id}): {reason}"),
            Step::Remove { id, service, slot } => format!("remove {service}#{slot} ({id})"),
            Step::RemoveNetwork { bridge } => format!("remove network {bridge}"),
            Step::RemoveVolume { name } => format!("remove volume {name}"),
        }
    }
}
