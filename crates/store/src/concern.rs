//! What an event is called, whom it concerns, and whether people want to read it.
//!
//! The answers are kept as columns and index rows beside the journal; changing one means another
//! `VIEW_FORM` in `sqlite::schema`, so that they are made again.

use crate::record::v1::{Event, Seen};
use std::collections::BTreeSet;

/// Stands for "the whole stack" where services are listed.
pub const WHOLE_STACK: &str = "";

/// All kinds of events.
pub const KINDS: [&str; 14] = [
    "change_accepted",
    "image_built",
    "release_made",
    "release_activated",
    "plan_accepted",
    "step_done",
    "concluded",
    "instance_seen",
    "daemon_started",
    "going_back",
    "releases_collected",
    "judged",
    "incident",
    "range_changed",
];

/// The event's type as in its JSON, one of [`KINDS`].
pub const fn kind(event: &Event) -> &'static str {
    match event {
        Event::ChangeAccepted { .. } => "change_accepted",
        Event::ImageBuilt { .. } => "image_built",
        Event::ReleaseMade { .. } => "release_made",
        Event::ReleaseActivated { .. } => "release_activated",
        Event::PlanAccepted { .. } => "plan_accepted",
        Event::StepDone { .. } => "step_done",
        Event::Concluded { .. } => "concluded",
        Event::InstanceSeen { .. } => "instance_seen",
        Event::DaemonStarted { .. } => "daemon_started",
        Event::GoingBack { .. } => "going_back",
        Event::ReleasesCollected { .. } => "releases_collected",
        Event::Judged { .. } => "judged",
        Event::Incident { .. } => "incident",
        Event::RangeChanged { .. } => "range_changed",
    }
}

/// Changes, releases, outcomes and what went wrong with instances; not the steps between.
pub const fn is_change(event: &Event) -> bool {
    match event {
        Event::ChangeAccepted { .. }
        | Event::ReleaseMade { .. }
        | Event::ReleaseActivated { .. }
        | Event::GoingBack { .. }
        | Event::Judged { .. }
        | Event::Concluded { .. }
        | Event::Incident { .. }
        | Event::RangeChanged { .. } => true,
        Event::InstanceSeen { what, .. } => {
            matches!(what, Seen::Exited | Seen::CrashLoop | Seen::Unhealthy | Seen::Lost)
        }
        Event::ImageBuilt { .. }
        | Event::PlanAccepted { .. }
        | Event::StepDone { .. }
        | Event::ReleasesCollected { .. }
        | Event::DaemonStarted { .. } => false,
    }
}

/// The services an event is about; [`WHOLE_STACK`] when it is about all. Never empty.
pub fn services(event: &Event) -> BTreeSet<&str> {
    let named: BTreeSet<&str> = match event {
        Event::ChangeAccepted { services, .. } => services.iter().map(|s| s.as_str()).collect(),
        Event::ImageBuilt { service, .. }
        | Event::InstanceSeen { service, .. }
        | Event::Judged { service, .. } => BTreeSet::from([service.as_str()]),
        Event::Incident { service: Some(service), .. }
        | Event::RangeChanged { service: Some(service), .. } => BTreeSet::from([service.as_str()]),
        Event::ReleaseMade { differences, .. } => {
            differences.iter().map(|d| d.service.as_ref().map_or(WHOLE_STACK, |s| s.as_str())).collect()
        }
        _ => BTreeSet::new(),
    };
    if named.is_empty() { BTreeSet::from([WHOLE_STACK]) } else { named }
}
