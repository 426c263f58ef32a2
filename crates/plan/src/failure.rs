//! What follows when instances of a new release fail: `failure_action` and `max_failure_ratio`.

use crate::planner::{Failure, Plan};
use model::service::{FailureAction, UpdateConfig};
use model::{Service, ServiceName};
use std::collections::BTreeSet;

/// What a failing service means for the change under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// Few enough fail, or failures are to be ignored; `is_complete` when nothing else is awaited.
    GoOn {
        is_complete: bool,
    },
    Pause(Failure),
    GoBack(Failure),
}

/// Judges the failures of one service; `None` when there are none.
pub fn consequence(plan: &Plan, service: &Service, config: &UpdateConfig) -> Option<Consequence> {
    let failures: Vec<&Failure> = plan.failures.iter().filter(|f| f.service == service.name).collect();
    let first = (*failures.first()?).clone();
    let again = plan.failing_of.get(&service.name).copied().unwrap_or(0);
    let failing = failing(&failures, service.replicas).max(again);
    let allowed = config.max_failure_ratio.unwrap_or(0.0) * f64::from(service.replicas);
    let action = config.failure_action.unwrap_or(FailureAction::Rollback);
    if action == FailureAction::Continue || f64::from(failing) <= allowed {
        let in_place = plan.in_place_of.get(&service.name).copied().unwrap_or(0);
        let steps = plan.steps.iter().any(|s| s.service() == Some(&service.name));
        return Some(Consequence::GoOn { is_complete: !steps && in_place + failing >= service.replicas });
    }
    Some(match action {
        FailureAction::Pause => Consequence::Pause(first),
        _ => Consequence::GoBack(first),
    })
}

/// How many replicas fail; all when what fails is not one of them.
fn failing(failures: &[&Failure], replicas: u32) -> u32 {
    let instances: BTreeSet<_> = failures.iter().filter_map(|f| f.instance.as_ref()).collect();
    let all = failures.iter().any(|f| f.instance.is_none());
    if all { replicas } else { instances.len() as u32 }
}

/// The services with failures, each once.
pub fn failing_services(plan: &Plan) -> BTreeSet<&ServiceName> {
    plan.failures.iter().map(|f| &f.service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The functions need no more of a service than its name and its replicas: the rest of a story
    // is told in tests/sim/failures.rs.
    #[test]
    fn a_failure_without_an_instance_concerns_all_replicas() {
        let service = ServiceName::new("web").expect("valid");
        let failure = |instance: Option<&str>| Failure {
            service: service.clone(),
            instance: instance.map(|id| model::InstanceId::new(id).expect("valid")),
            reason: "it fails".to_owned(),
        };
        let (one, again, all) = (failure(Some("a1")), failure(Some("a1")), failure(None));
        assert_eq!(failing(&[&one, &again], 3), 1);
        assert_eq!(failing(&[&one, &all], 3), 3);
    }
}
