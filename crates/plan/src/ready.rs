//! Whether an instance can do its work: by its health check, else by what it listens on.

use crate::input::InstanceView;
use model::instance::{Health, InstanceState};
use model::service::{HealthTest, NetworkMode, Transport};
use model::{DurationMs, Service, Timestamp};

/// How long an instance without ports must run before it counts as working.
pub const MINIMUM_RUN: DurationMs = DurationMs(1000);
/// After this long, ports that are only said to exist (`expose`, the image's) are not waited for.
pub const EXPOSED_PATIENCE: DurationMs = DurationMs::from_secs(10);
/// How long a new instance may take to become ready, beyond its health check's own start period.
pub const READY_TIMEOUT: DurationMs = DurationMs::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// A job that ended with success.
    Completed,
    /// Not yet; the text says what is awaited. With a time at which it is worth looking again.
    Pending {
        awaits: String,
        look_at: Option<Timestamp>,
    },
    Unhealthy,
    NotRunning,
}

/// Judges one instance by what is seen of it now.
pub fn readiness(service: &Service, view: &InstanceView, now: Timestamp) -> Readiness {
    match &view.observed.state {
        InstanceState::Exited(exit) if exit.code == 0 && exit.start_error.is_none() && !exit.requested => {
            Readiness::Completed
        }
        InstanceState::Running { .. } if view.observed.is_preparing => {
            pending("its post_start commands", None)
        }
        InstanceState::Running { since, .. } => match view.health {
            Health::Healthy => Readiness::Ready,
            Health::Unhealthy => Readiness::Unhealthy,
            Health::Starting => pending("its health check", None),
            Health::Unchecked => by_ports(service, view, *since, now),
        },
        _ => Readiness::NotRunning,
    }
}

fn pending(awaits: impl Into<String>, look_at: Option<Timestamp>) -> Readiness {
    Readiness::Pending { awaits: awaits.into(), look_at }
}

fn by_ports(service: &Service, view: &InstanceView, since: Timestamp, now: Timestamp) -> Readiness {
    let run = now.since(since);
    let own_network = matches!(service.network_mode, NetworkMode::Stack);
    let published: Vec<u16> =
        service.ports.iter().filter(|p| p.transport == Transport::Tcp).map(|p| p.target).collect();
    let listening = &view.observed.listening;
    if own_network && !published.is_empty() {
        return match published.iter().find(|p| !listening.contains(p)) {
            None => Readiness::Ready,
            Some(port) => pending(waiting_for(*port, listening), None),
        };
    }
    let exposed = exposed_ports(service, view);
    let listens = exposed.iter().any(|p| listening.contains(p));
    if own_network && !exposed.is_empty() && !listens && run < EXPOSED_PATIENCE {
        return pending(waiting_for(exposed[0], listening), Some(since.plus(EXPOSED_PATIENCE)));
    }
    if !listens && run < MINIMUM_RUN {
        return pending("a second of running", Some(since.plus(MINIMUM_RUN)));
    }
    Readiness::Ready
}

/// Most ports that are named.
const NAMED_PORTS: usize = 5;

fn waiting_for(port: u16, listening: &[u16]) -> String {
    let awaits = format!("something to listen on port {port}");
    let named: Vec<String> = listening.iter().take(NAMED_PORTS).map(u16::to_string).collect();
    match named.len() {
        0 => awaits,
        _ => format!("{awaits}; it listens on {}", named.join(", ")),
    }
}

fn exposed_ports(service: &Service, view: &InstanceView) -> Vec<u16> {
    let declared = service.expose.iter().filter(|p| p.transport == Transport::Tcp).map(|p| p.port);
    let image = view.observed.spec.image_config.ports.iter().filter(|(_, t)| t == "tcp").map(|(p, _)| *p);
    declared.chain(image).collect()
}

/// When an instance that started at `since` must be ready.
pub fn deadline(service: &Service, view: &InstanceView, since: Timestamp) -> Timestamp {
    let declared = service.healthcheck.as_ref().or(view.observed.spec.image_config.healthcheck.as_ref());
    let checking = match declared {
        Some(check) if check.test != HealthTest::None => {
            let interval = check.interval.unwrap_or(DurationMs::from_secs(30));
            let timeout = check.timeout.unwrap_or(DurationMs::from_secs(30));
            let start = check.start_period.unwrap_or_default();
            DurationMs(start.0 + (interval.0 + timeout.0) * u64::from(check.retries.unwrap_or(3).max(1)))
        }
        _ => DurationMs(0),
    };
    match service.policy.ready_timeout {
        Some(timeout) => since.plus(timeout),
        None => since.plus(DurationMs(READY_TIMEOUT.0.max(checking.0))),
    }
}
