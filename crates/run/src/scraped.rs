//! Which instances show metrics of their own, and where; which addresses are to be probed. Pure.

use crate::control::State;
use crate::world::Snapshot;
use model::instance::{InstanceNetwork, InstanceState, Observed};
use model::metrics::MetricsEndpoint;
use model::probe::Probe;
use model::{InstanceId, ServiceName, StackName};
use std::net::{IpAddr, SocketAddr};

/// One place of one instance that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scraped {
    pub id: InstanceId,
    pub stack: StackName,
    pub service: ServiceName,
    pub address: SocketAddr,
    pub endpoint: MetricsEndpoint,
}

/// Of the services as they are in force now.
pub fn scraped(snapshot: &Snapshot) -> Vec<Scraped> {
    let runs = |observed: &&Observed| matches!(observed.state, InstanceState::Running { .. });
    snapshot.observed.iter().filter(runs).flat_map(|observed| of_instance(snapshot, observed)).collect()
}

fn of_instance(snapshot: &Snapshot, observed: &Observed) -> Vec<Scraped> {
    let spec = &observed.spec;
    let release = snapshot.releases.get(&spec.stack);
    let service = release.and_then(|release| release.stack.services.get(&spec.service));
    let endpoints = service.map(|service| &service.policy.metrics[..]).unwrap_or_default();
    if endpoints.is_empty() {
        return Vec::new();
    }
    let Some(host) = address(snapshot, &spec.network) else { return Vec::new() };
    let of = |endpoint: &MetricsEndpoint| Scraped {
        id: spec.id.clone(),
        stack: spec.stack.clone(),
        service: spec.service.clone(),
        address: SocketAddr::new(host, endpoint.port),
        endpoint: endpoint.clone(),
    };
    endpoints.iter().map(of).collect()
}

fn address(snapshot: &Snapshot, network: &InstanceNetwork) -> Option<IpAddr> {
    network.address(|id| {
        snapshot.observed.iter().find(|other| other.spec.id == *id).map(|other| &other.spec.network)
    })
}

/// An address that a service wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probed {
    pub stack: StackName,
    pub service: ServiceName,
    pub probe: Probe,
}

/// Of the services in force that nobody has stopped.
pub fn probed(snapshot: &Snapshot) -> Vec<Probed> {
    let mut all = Vec::new();
    for stack in &snapshot.stacks {
        let Some(release) = snapshot.releases.get(&stack.name) else { continue };
        for status in stack.services.iter().filter(|service| service.state != State::Stopped) {
            let Some(service) = release.stack.services.get(&status.name) else { continue };
            let of = |probe: &Probe| Probed {
                stack: stack.name.clone(),
                service: service.name.clone(),
                probe: probe.clone(),
            };
            all.extend(service.policy.probes.iter().map(of));
        }
    }
    all
}
