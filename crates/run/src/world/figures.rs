//! What is measured while a change is carried out: the numbers behind its verdict.

use super::World;
use super::stack::StackState;
use model::route::RouteTable;
use model::{DurationMs, InstanceId, ServiceName, StackName, Timestamp};
use plan::{InstanceView, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::record::v1::ServiceFigures;

/// The pending change so far.
#[derive(Default)]
pub(crate) struct Figures {
    services: BTreeMap<ServiceName, OfService>,
}

#[derive(Default)]
struct OfService {
    begun: Option<Timestamp>,
    has_served: bool,
    idle_since: Option<Timestamp>,
    gap: DurationMs,
    swap: Option<Duration>,
}

impl Figures {
    /// In the form of the journal; `ready` tells when the last replica of a service became ready,
    /// `started` how many were started for the change.
    fn record(
        &self,
        ready: impl Fn(&ServiceName) -> Option<Timestamp>,
        started: impl Fn(&ServiceName) -> u32,
        judged: impl Fn(&ServiceName) -> Option<String>,
        now: Timestamp,
    ) -> Vec<ServiceFigures> {
        let touched = self.services.iter().filter(|(_, s)| s.begun.is_some() || s.swap.is_some());
        let of = |(service, one): (&ServiceName, &OfService)| {
            // What was ready before is no achievement of this change.
            let ready = ready(service).zip(one.begun).filter(|(ready, begun)| ready > begun);
            let open_gap = one.idle_since.map_or(DurationMs(0), |since| now.since(since));
            ServiceFigures {
                service: service.clone(),
                instances: started(service),
                ready_ms: ready.map(|(ready, begun)| ready.since(begun).0),
                decided_ms: ready.map(|(ready, _)| now.since(ready).0),
                gap_ms: one.gap.0 + open_gap.0,
                swap_us: one.swap.map(|swap| swap.as_micros() as u64),
                judged: judged(service),
            }
        };
        touched.map(of).collect()
    }
}

impl World {
    /// Notes which services are touched and which have nobody to serve.
    pub fn note_figures(
        &mut self,
        name: &StackName,
        instances: &[InstanceView],
        steps: &[Step],
        now: Timestamp,
    ) {
        let Some(state) = self.stacks.get_mut(name) else { return };
        if state.view.pending.is_none() {
            return;
        }
        let idle = idle_services(state, instances, now);
        let figures = &mut state.figures.services;
        for step in steps {
            let Some(service) = step.service() else { continue };
            let one = figures.entry(service.clone()).or_default();
            one.begun.get_or_insert(now);
        }
        for (service, is_idle) in idle {
            let one = figures.entry(service).or_default();
            match (is_idle, one.idle_since) {
                (true, None) if one.has_served => one.idle_since = Some(now),
                (false, Some(since)) => {
                    one.gap = DurationMs(one.gap.0 + now.since(since).0);
                    one.idle_since = None;
                }
                _ => {}
            }
            one.has_served |= !is_idle;
        }
    }

    /// A new table is in force; the services whose endpoints it changed were swapped in this time.
    pub fn note_swap(&mut self, before: &RouteTable, took: Duration) {
        let changed = self.table.backends.iter().filter(|(id, b)| before.backends.get(*id) != Some(b));
        let services: BTreeSet<&str> =
            changed.filter_map(|(id, _)| id.rsplit_once(':').map(|(service, _)| service)).collect();
        for (name, state) in &mut self.stacks {
            for (service, one) in &mut state.figures.services {
                if services.contains(format!("{name}/{service}").as_str()) {
                    one.swap = Some(one.swap.unwrap_or_default().max(took));
                }
            }
        }
    }

    /// The figures of the pending change as they are written down.
    pub fn figures(&self, name: &StackName) -> Vec<ServiceFigures> {
        let Some(state) = self.stacks.get(name) else { return Vec::new() };
        let instances = self.instances_of(name);
        let now = self.now();
        let since = state.view.pending.as_ref().map_or(now, |p| p.at.min(now));
        let ready = |service: &ServiceName| last_ready(state, &instances, service);
        let started = |service: &ServiceName| {
            let current = current(state, &instances, service);
            current.filter(|i| i.running_since().is_some_and(|at| at >= since)).count() as u32
        };
        let judged = |service: &ServiceName| state.trials.told(service);
        state.figures.record(ready, started, judged, now)
    }
}

/// The instances of a service that are as the release in force has them.
fn current<'a>(
    state: &StackState,
    instances: &'a [InstanceView],
    service: &ServiceName,
) -> impl Iterator<Item = &'a InstanceView> {
    let active = state.active.as_deref();
    let declared = active.and_then(|r| Some((r, r.stack.services.get(service)?)));
    let hash = declared.map(|(release, service)| plan::spec::spec_hash(release, service));
    let service = service.clone();
    instances
        .iter()
        .filter(move |i| *i.service() == service && Some(&i.observed.spec.spec_hash) == hash.as_ref())
}

/// When the last replica of the release in force became ready; `None` while one is not.
fn last_ready(state: &StackState, instances: &[InstanceView], service: &ServiceName) -> Option<Timestamp> {
    let all: Option<Vec<_>> = current(state, instances, service).map(|i| i.ready_since).collect();
    all?.into_iter().max()
}

/// For each service in force that shall run: whether nobody of it gets traffic.
fn idle_services(state: &StackState, instances: &[InstanceView], now: Timestamp) -> Vec<(ServiceName, bool)> {
    let Some(routed) = state.routed(instances, now) else { return Vec::new() };
    let is_ready = |i: &InstanceView| i.ready_since.is_some() && !is_draining(state, &i.observed.spec.id);
    routed
        .release
        .stack
        .services
        .values()
        .filter(|s| s.replicas > 0 && !state.view.stopped.contains(&s.name))
        .map(|service| {
            let serving = plan::serving::serving(&routed, service);
            (service.name.clone(), !serving.iter().any(|s| is_ready(s.instance)))
        })
        .collect()
}

fn is_draining(state: &StackState, id: &InstanceId) -> bool {
    state.draining.contains(id)
}
