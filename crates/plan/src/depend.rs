//! Whether a service's dependencies let it be created, and in which order services stop.

use crate::input::{Input, InstanceView};
use crate::ready::{Readiness, readiness};
use crate::replace::{has_failed, is_stopped};
use crate::spec::spec_hash;
use model::instance::InstanceState;
use model::service::{Condition, RestartPolicy};
use model::{Release, Service, ServiceName};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// What is awaited.
    Waits(String),
    /// It does not open unless something is mended: why.
    Shut(String),
}

/// How long a chain of dependencies is followed to find out why nothing comes of them.
const CHAIN: usize = 64;

/// May `service` be created now?
pub fn gate(input: &Input<'_>, release: &Release, service: &Service) -> Gate {
    gate_of(input, release, service, CHAIN)
}

fn gate_of(input: &Input<'_>, release: &Release, service: &Service, chain: usize) -> Gate {
    for (name, dependency) in &service.depends_on {
        let Some(target) = release.stack.services.get(name) else { continue };
        match condition(input, release, target, dependency.condition, chain) {
            Gate::Open => {}
            Gate::Shut(_) if !dependency.required => {}
            closed => return closed,
        }
    }
    Gate::Open
}

fn condition(
    input: &Input<'_>,
    release: &Release,
    target: &Service,
    condition: Condition,
    chain: usize,
) -> Gate {
    let hash = spec_hash(release, target);
    let instances: Vec<&InstanceView> = input
        .instances
        .iter()
        .filter(|i| *i.service() == target.name && i.observed.spec.spec_hash == hash)
        .collect();
    let is =
        |wanted: &[Readiness]| instances.iter().any(|i| wanted.contains(&readiness(target, i, input.now)));
    let met = match condition {
        Condition::ServiceStarted => {
            instances.iter().any(|i| i.is_running() && !i.observed.is_preparing)
                || is(&[Readiness::Completed])
        }
        Condition::ServiceHealthy => is(&[Readiness::Ready]),
        Condition::ServiceCompletedSuccessfully => is(&[Readiness::Completed]),
    };
    if met || target.replicas == 0 {
        return Gate::Open;
    }
    let failed_for_good = instances.iter().find_map(|i| match &i.observed.state {
        InstanceState::Exited(exit)
            if !exit.requested
                && (exit.code != 0 || exit.start_error.is_some())
                && target.restart == RestartPolicy::No =>
        {
            Some(exit.describe())
        }
        _ => None,
    });
    // What was stopped on purpose is started again.
    let fails = |i: &&InstanceView| !is_stopped(i) && has_failed(target, i, input.now);
    let all_fail = !instances.is_empty() && instances.iter().all(fails);
    let word = match condition {
        Condition::ServiceStarted => "started",
        Condition::ServiceHealthy => "healthy",
        Condition::ServiceCompletedSuccessfully => "completed",
    };
    let waits = || Gate::Waits(format!("{} to be {word}", target.name));
    match failed_for_good {
        Some(reason) => Gate::Shut(format!("its dependency {} {reason}", target.name)),
        None if input.stopped.contains(&target.name) => {
            Gate::Shut(format!("its dependency {} is stopped", target.name))
        }
        None if all_fail => Gate::Shut(format!("its dependency {} does not become {word}", target.name)),
        None if instances.is_empty() && chain > 0 => match gate_of(input, release, target, chain - 1) {
            Gate::Shut(reason) => Gate::Shut(format!("its dependency {} waits: {reason}", target.name)),
            _ => waits(),
        },
        None => waits(),
    }
}

/// These services, and those that are to be restarted whenever one of them is (`depends_on.restart`).
pub fn restarted_with(
    services: Option<&BTreeMap<ServiceName, Service>>,
    named: Vec<ServiceName>,
) -> Vec<ServiceName> {
    let mut all = named;
    let mut next = 0;
    // Each service is added once, so this ends.
    while let Some(name) = all.get(next).cloned() {
        next += 1;
        for service in services.into_iter().flat_map(|services| services.values()) {
            let follows = service.depends_on.get(&name).is_some_and(|dependency| dependency.restart);
            if follows && !all.contains(&service.name) {
                all.push(service.name.clone());
            }
        }
    }
    all
}

/// The services that depend on `name`, directly.
pub fn dependents<'a>(release: &'a Release, name: &'a ServiceName) -> impl Iterator<Item = &'a ServiceName> {
    release.stack.services.values().filter(move |s| s.depends_on.contains_key(name)).map(|s| &s.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::service::Dependency;

    #[test]
    fn a_restart_goes_on_to_those_that_ask_for_it() {
        let text = include_str!("../tests/data/release-v1.json");
        let release: Release = serde_json::from_str(text).expect("it reads");
        let name = |text: &str| ServiceName::new(text).expect("a name");
        let service = |own: &str, on: &[(&str, bool)]| {
            let condition = Condition::ServiceStarted;
            let depends_on = on
                .iter()
                .map(|(on, restart)| (name(on), Dependency { condition, required: true, restart: *restart }));
            let depends_on = depends_on.collect();
            let service = release.stack.services["web"].clone();
            (name(own), Service { name: name(own), depends_on, ..service })
        };
        let services = BTreeMap::from([
            service("db", &[("web", true)]),
            service("api", &[("db", true), ("cache", false)]),
            service("web", &[("api", true)]),
            service("cache", &[]),
            service("job", &[("db", false)]),
        ]);
        let with = |named: &str| {
            let all = restarted_with(Some(&services), vec![name(named)]);
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        // Also in a circle, which no file can have.
        assert_eq!(with("db"), "db api web");
        assert_eq!(with("cache"), "cache");
        assert_eq!(restarted_with(None, vec![name("gone")]), [name("gone")]);
    }
}
