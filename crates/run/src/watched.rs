//! What is needed to say whether services are as they should be: what is declared of each, and what
//! is seen of its instances. Pure.

use crate::control::{ServiceStatus, StackStatus, State};
use crate::world::Snapshot;
use model::instance::{InstanceState, Observed};
use model::notify::Declared;
use model::objective::Objectives;
use model::range::Ranges;
use model::service::{Service, Transport};
use model::stack::FileSource;
use model::{InstanceId, ReleaseId, ServiceName, StackName};

/// One service in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub stack: StackName,
    pub service: ServiceName,
    pub release: Option<ReleaseId>,
    /// It is stopped, or ran to its end as it should: nothing is expected of it.
    pub is_off: bool,
    /// A change of its stack is under way.
    pub is_changing: bool,
    pub replicas: u32,
    pub ready: u32,
    /// Bytes that an instance may have.
    pub memory_limit: Option<u64>,
    pub ranges: Ranges,
    pub objectives: Objectives,
    pub depends_on: Vec<ServiceName>,
    pub instances: Vec<WatchedInstance>,
}

/// One instance that runs, or should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedInstance {
    pub id: InstanceId,
    pub starts: u32,
    pub is_running: bool,
    /// TCP ports that the service has, and whether something listens there.
    pub ports: Vec<(u16, bool)>,
    /// How it ended last, where it did.
    pub ended: Option<String>,
}

pub fn watched(snapshot: &Snapshot) -> Vec<Watched> {
    let mut all = Vec::new();
    for stack in &snapshot.stacks {
        let Some(release) = snapshot.releases.get(&stack.name) else { continue };
        for status in &stack.services {
            let Some(service) = release.stack.services.get(&status.name) else { continue };
            all.push(of_service(snapshot, stack, status, service));
        }
    }
    all
}

/// Somebody whom a file wants to be told about incidents of its stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanting {
    pub stack: StackName,
    pub name: String,
    pub declared: Declared,
    /// What the address is read from.
    pub address: FileSource,
}

pub fn wanting(snapshot: &Snapshot) -> Vec<Wanting> {
    let mut all = Vec::new();
    for (stack, release) in &snapshot.releases {
        for (name, declared) in model::notify::of(&release.stack.policy) {
            let address = release.stack.secrets.get(&declared.secret).cloned();
            all.extend(address.map(|address| Wanting { stack: stack.clone(), name, declared, address }));
        }
    }
    all
}

fn of_service(
    snapshot: &Snapshot,
    stack: &StackStatus,
    status: &ServiceStatus,
    service: &Service,
) -> Watched {
    let instances = status.instances.iter().filter(|instance| !instance.replaced);
    let seen = |id: &InstanceId| snapshot.observed.iter().find(|observed| observed.spec.id == *id);
    Watched {
        stack: stack.name.clone(),
        service: status.name.clone(),
        release: stack.release,
        is_off: matches!(status.state, State::Stopped | State::Done) || status.replicas == 0,
        is_changing: stack.pending.is_some(),
        replicas: status.replicas,
        ready: status.ready,
        memory_limit: service.resources.memory.map(|bytes| bytes.0),
        ranges: service.policy.ranges.clone(),
        objectives: service.policy.objectives,
        depends_on: service.depends_on.keys().cloned().collect(),
        instances: instances.filter_map(|instance| Some(of_instance(seen(&instance.id)?, service))).collect(),
    }
}

fn of_instance(observed: &Observed, service: &Service) -> WatchedInstance {
    let is_running = matches!(observed.state, InstanceState::Running { .. });
    let published =
        service.ports.iter().filter(|port| port.transport == Transport::Tcp).map(|port| port.target);
    let exposed = service.expose.iter().filter(|port| port.transport == Transport::Tcp).map(|port| port.port);
    let mut ports: Vec<u16> = published.chain(exposed).collect();
    ports.sort_unstable();
    ports.dedup();
    WatchedInstance {
        id: observed.spec.id.clone(),
        starts: observed.starts,
        is_running,
        ports: ports.into_iter().map(|port| (port, observed.listening.contains(&port))).collect(),
        ended: match &observed.state {
            InstanceState::Exited(exit) => Some(exit.describe()),
            InstanceState::Lost => Some("its supervisor vanished".to_owned()),
            InstanceState::Created | InstanceState::Running { .. } => None,
        },
    }
}
