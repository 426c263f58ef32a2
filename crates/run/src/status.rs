//! What is seen, said so that people understand it. Pure.

use crate::control::{InstanceStatus, Phase, ServiceStatus, State};
use model::instance::{Health, InstanceState};
use model::service::Transport;
use model::{Release, Service, Timestamp};
use plan::{InstanceView, Plan, Readiness, Step, readiness};

/// Where a service stands while a change is carried out.
pub fn phase_of(
    service: &Service,
    release: &Release,
    instances: &[InstanceView],
    plan: &Plan,
    now: Timestamp,
) -> (Phase, String) {
    if let Some(failure) = plan.failures.iter().find(|f| f.service == service.name) {
        return (Phase::Failed, failure.reason.clone());
    }
    let mut steps = plan.steps.iter().filter(|s| s.service() == Some(&service.name));
    if steps.clone().any(|s| matches!(s, Step::Create(_) | Step::Start { .. })) {
        return (Phase::Starting, "starting".to_owned());
    }
    let hash = plan::spec::spec_hash(release, service);
    let current: Vec<&InstanceView> = instances
        .iter()
        .filter(|i| *i.service() == service.name && i.observed.spec.spec_hash == hash)
        .collect();
    let is_current = |id: &model::InstanceId| current.iter().any(|i| i.observed.spec.id == *id);
    let stopped = steps.clone().find_map(|step| match step {
        Step::Stop { id, reason, .. } if is_current(id) => Some(reason),
        _ => None,
    });
    if let Some(reason) = stopped {
        return (Phase::Stopping, format!("stopping: {reason}"));
    }
    let count =
        |wanted: Readiness| current.iter().filter(|i| readiness(service, i, now) == wanted).count() as u32;
    let (ready, done) = (count(Readiness::Ready), count(Readiness::Completed));
    if ready + done >= service.replicas {
        return match (service.replicas, done) {
            (0, _) => (Phase::Stopped, "no replicas are declared".to_owned()),
            (_, 0) => (Phase::Ready, ready_text(ready, service.replicas)),
            _ => (Phase::Done, "ran to its end".to_owned()),
        };
    }
    match steps.next() {
        Some(Step::Stop { reason, .. }) => return (Phase::Stopping, format!("stopping: {reason}")),
        Some(Step::Remove { .. }) => return (Phase::Stopping, "removing".to_owned()),
        _ => {}
    }
    match plan.waiting.iter().find(|w| w.service == service.name) {
        Some(waiting) if current.iter().any(|i| i.is_running()) => {
            (Phase::Checking, format!("waiting for {}", waiting.what))
        }
        Some(waiting) => (Phase::Waiting, format!("waiting for {}", waiting.what)),
        None => (Phase::Waiting, "waiting".to_owned()),
    }
}

fn ready_text(ready: u32, replicas: u32) -> String {
    if replicas == 1 { "ready".to_owned() } else { format!("{ready} of {replicas} ready") }
}

/// The state of a service as lists show it.
pub fn service_status(
    service: &Service,
    release: &Release,
    instances: &[InstanceView],
    plan: &Plan,
    is_stopped: bool,
    now: Timestamp,
) -> ServiceStatus {
    let hash = plan::spec::spec_hash(release, service);
    let of_service = || instances.iter().filter(|i| *i.service() == service.name);
    let is_current = |i: &InstanceView| i.observed.spec.spec_hash == hash;
    let own: Vec<InstanceStatus> = of_service()
        .map(|i| {
            let status = instance_status(service, i, now);
            if is_current(i) { status } else { of_another_release(status) }
        })
        .collect();
    let ready = of_service().filter(|i| is_current(i) && readiness(service, i, now) == Readiness::Ready);
    let ready = ready.count() as u32;
    let (phase, text) = phase_of(service, release, instances, plan, now);
    let state = match phase {
        _ if is_stopped => State::Stopped,
        Phase::Ready => State::Ready,
        Phase::Done => State::Done,
        Phase::Stopped => State::Stopped,
        Phase::Stopping => State::Stopping,
        Phase::Failed if own.iter().any(|i| i.state == State::Unhealthy) => State::Unhealthy,
        Phase::Failed => State::Failed,
        Phase::Waiting | Phase::Building | Phase::Starting | Phase::Checking => State::Starting,
    };
    let image = release.images.get(&service.name);
    ServiceStatus {
        name: service.name.clone(),
        state,
        text: if is_stopped { "stopped".to_owned() } else { text },
        replicas: service.replicas,
        ready,
        image: image.map(|i| i.origin.clone()).unwrap_or_default(),
        instances: own,
        ports: service.ports.iter().map(port_text).collect(),
        certificate: None,
    }
}

/// A ready instance that was replaced, or is about to be.
fn of_another_release(status: InstanceStatus) -> InstanceStatus {
    let text = match status.state {
        State::Ready => format!("ready, of {}", status.release),
        _ => status.text,
    };
    InstanceStatus { text, replaced: true, ..status }
}

fn port_text(port: &model::service::PublishedPort) -> String {
    let host = port.host_ip.map_or("0.0.0.0".to_owned(), |ip| ip.to_string());
    let transport = if port.transport == Transport::Udp { "/udp" } else { "" };
    format!("{host}:{}->{}{transport}", port.published, port.target)
}

pub fn instance_status(service: &Service, view: &InstanceView, now: Timestamp) -> InstanceStatus {
    let observed = &view.observed;
    let (state, text) = match (&observed.state, readiness(service, view, now)) {
        (_, Readiness::Ready) => (State::Ready, "ready".to_owned()),
        (_, Readiness::Completed) => (State::Done, "ran to its end".to_owned()),
        (_, Readiness::Unhealthy) => (State::Unhealthy, "its health check fails".to_owned()),
        (_, Readiness::Pending { awaits, .. }) => (State::Starting, format!("waiting for {awaits}")),
        (InstanceState::Created, _) => (State::Starting, "created".to_owned()),
        (InstanceState::Lost, _) => (State::Failed, "its supervisor vanished".to_owned()),
        (InstanceState::Exited(exit), _) if exit.requested => (State::Stopped, "stopped".to_owned()),
        (InstanceState::Exited(exit), _) => (State::Failed, exit.describe()),
        (InstanceState::Running { .. }, _) => (State::Starting, "starting".to_owned()),
    };
    let (pid, since) = match &observed.state {
        InstanceState::Running { pid, since } => (Some(*pid), Some(*since)),
        InstanceState::Exited(exit) => (None, Some(exit.finished)),
        _ => (None, None),
    };
    InstanceStatus {
        id: observed.spec.id.clone(),
        slot: observed.spec.slot,
        release: observed.spec.release,
        state,
        health: if matches!(observed.state, InstanceState::Running { .. }) {
            view.health
        } else {
            Health::Unchecked
        },
        text,
        pid,
        since,
        starts: observed.starts,
        memory_bytes: None,
        cpu_us: None,
        replaced: false,
    }
}
