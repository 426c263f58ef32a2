//! Which instances show metrics of their own, and where. Pure.

use crate::world::Snapshot;
use model::instance::{InstanceNetwork, InstanceState, Observed};
use model::metrics::MetricsEndpoint;
use model::{InstanceId, ServiceName, StackName};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
    let direct = |network: &InstanceNetwork| match network {
        InstanceNetwork::Links { links, .. } => links.first().map(|link| link.address),
        InstanceNetwork::Host => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        InstanceNetwork::None | InstanceNetwork::Instance { .. } => None,
    };
    match network {
        InstanceNetwork::Instance { id } => {
            let owner = snapshot.observed.iter().find(|observed| observed.spec.id == *id)?;
            direct(&owner.spec.network)
        }
        other => direct(other),
    }
}
