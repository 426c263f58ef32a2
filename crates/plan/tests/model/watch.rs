//! What must hold at every moment, looked at from outside.
//!
//! A place is one replica of a service. It is served while an instance of it that is ready gets its
//! traffic (or, without a port, simply works). Who was served and did not fail by itself must be
//! served: only what was announced, or asked for, excuses the planner.

use crate::daemon::Daemon;
use crate::journal::{BY_ITSELF, Event, Intent, Outcome};
use crate::machine::{Machine, PORT};
use crate::shop;
use model::instance::{InstanceNetwork, InstanceState};
use model::mount::MountSource;
use model::route::RouteTable;
use model::service::{FailureAction, RestartPolicy, UpdateOrder};
use model::{InstanceId, Release, Service, ServiceName, Timestamp};
use plan::{Direction, InstanceView, MIN_HEALTHY, Plan, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// A promise that was not kept.
#[derive(Debug, Clone)]
pub struct Violation {
    pub promise: &'static str,
    pub text: String,
}

impl Violation {
    pub fn new(promise: &'static str, text: String) -> Self {
        Self { promise, text }
    }
}

/// Who had the traffic of a place, and since when it ran.
#[derive(Clone)]
struct Served {
    id: InstanceId,
    since: Timestamp,
}

type Place = (ServiceName, u32);

#[derive(Default)]
pub struct Watch {
    places: BTreeMap<Place, Vec<Served>>,
    /// Places whose working instance was told to go before its successor came.
    emptied: BTreeMap<Place, InstanceId>,
    ports: BTreeMap<SocketAddr, Vec<Served>>,
    /// Creations of a place since the release in force was put in force.
    creations: BTreeMap<String, u64>,
    stops: BTreeMap<InstanceId, u64>,
    /// What excuses doing something more than once.
    pub troubles: u64,
    instances_seen: usize,
    /// Instances in force when a restart was asked for.
    restartable: BTreeSet<InstanceId>,
    is_halted: bool,
    /// Changes that nobody asked for since somebody asked for one.
    by_itself: u32,
    pub acknowledged: Vec<u64>,
    /// The last step about a program that is as it should be.
    pub last_step: Option<(Timestamp, String)>,
    pub steps: u64,
}

impl Watch {
    /// After anything that happened on the machine.
    pub fn machine(&mut self, _now: Timestamp, machine: &Machine) -> Result<(), Violation> {
        one_writer(machine)?;
        if self.instances_seen != machine.views.len() {
            self.instances_seen = machine.views.len();
            one_address_each(machine)?;
        }
        Ok(())
    }

    /// Before a plan is carried out.
    pub fn plan(
        &mut self,
        now: Timestamp,
        daemon: &Daemon,
        plan: &Plan,
        machine: &Machine,
    ) -> Result<(), Violation> {
        let mut keys = BTreeSet::new();
        if self.by_itself > 1 {
            let text = format!("{} changes that nobody asked for", self.by_itself);
            return Err(Violation::new("nobody is sent to and fro", text));
        }
        if let Some(at) = plan.wake_at.filter(|at| *at <= now) {
            let text = format!("asked at {now:?} to look again at {at:?}");
            return Err(Violation::new("the loop rests", text));
        }
        for step in &plan.steps {
            if !keys.insert(step.key()) {
                return Err(Violation::new("no step twice in one plan", told(&plan.steps)));
            }
            match step {
                Step::Stop { id, reason, .. }
                    if reason == "restart was asked for" && !self.restartable.contains(id) =>
                {
                    let text = format!("{} was not in force when it was", step.describe());
                    return Err(Violation::new("a restart concerns what was in force", text));
                }
                Step::Create(spec) if self.is_halted => {
                    let other = machine.views.iter().find(|v| {
                        *v.service() == spec.service
                            && v.slot() == spec.slot
                            && v.observed.spec.spec_hash != spec.spec_hash
                            && v.ready_since.is_some()
                    });
                    if other.is_some() && daemon.kept.is_some() && daemon.view.active != daemon.view.kept {
                        return Err(Violation::new("a halted rollout goes no further", step.describe()));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A plan is written down.
    pub fn accepted(
        &mut self,
        now: Timestamp,
        daemon: &Daemon,
        steps: &[Step],
        machine: &Machine,
    ) -> Result<(), Violation> {
        self.empty(daemon, steps, machine)?;
        for step in steps {
            self.steps += 1;
            let (id, allowed) = match step {
                Step::Create(spec) => {
                    let count = self.creations.entry(step.key()).or_default();
                    *count += 1;
                    (&spec.id, *count <= 1 + self.troubles)
                }
                Step::Stop { id, .. } => {
                    let count = self.stops.entry(id.clone()).or_default();
                    *count += 1;
                    (id, *count <= 2 + self.troubles)
                }
                Step::Start { id, .. } | Step::Remove { id, .. } => (id, true),
                _ => continue,
            };
            if !allowed {
                return Err(Violation::new("nothing is done over and over", step.describe()));
            }
            let is_good = machine.is_good(id);
            if is_good {
                self.last_step = Some((now, step.describe()));
            }
        }
        Ok(())
    }

    /// Of what is stopped before its successor starts, no more places are empty at a time than was
    /// declared; one whose successor fails is no longer waited for.
    fn empty(&mut self, daemon: &Daemon, steps: &[Step], machine: &Machine) -> Result<(), Violation> {
        let Some(active) = daemon.active.as_deref() else { return Ok(()) };
        let works = |v: &InstanceView| v.is_running() && v.ready_since.is_some();
        let at = |place: &Place| {
            let (service, slot) = place.clone();
            machine.views.iter().filter(move |v| *v.service() == service && v.slot() == slot)
        };
        let stays = |v: &InstanceView| works(v) && !daemon.draining.contains(&v.observed.spec.id);
        self.emptied.retain(|place, _| !at(place).any(stays));
        let mut emptying = BTreeSet::new();
        for step in steps {
            let Step::Stop { id, service, slot, reason, .. } = step else { continue };
            let place = (service.clone(), *slot);
            let others = at(&place).any(|v| v.observed.spec.id != *id && stays(v));
            if machine.view(id).is_some_and(works) && !others && reason != "restart was asked for" {
                emptying.insert(service);
                self.emptied.insert(place, id.clone());
            }
        }
        for service in active.stack.services.values().filter(|s| emptying.contains(&s.name)) {
            let limit = plan::config(service, daemon.direction()).parallelism.unwrap_or(1) as usize;
            let is_first = plan::spec::update_order(service) == UpdateOrder::StopFirst;
            let is_waited_for = |(place, gone): &(&Place, &InstanceId)| {
                let mut successors = at(place).filter(|v| v.observed.spec.id != **gone);
                let fails = |v: &InstanceView| v.observed.starts > 1 || !machine.is_good(&v.observed.spec.id);
                place.0 == service.name && place.1 <= service.replicas && !successors.any(fails)
            };
            let empty: Vec<&Place> =
                self.emptied.iter().filter(is_waited_for).map(|(place, _)| place).collect();
            let is_stopped = daemon.view.stopped.contains(&service.name);
            if is_first && !is_stopped && limit > 0 && empty.len() > limit {
                let text = format!("{empty:?} with a parallelism of {limit}: {}", told(steps));
                return Err(Violation::new("no more at a time than declared", text));
            }
        }
        Ok(())
    }

    /// An entry was written down.
    pub fn recorded(&mut self, event: &Event) {
        match event {
            Event::Accepted { intent, actor, .. } => {
                self.by_itself = if *actor == BY_ITSELF { self.by_itself + 1 } else { 0 };
                self.troubles += u64::from(matches!(intent, Intent::Restart { .. } | Intent::Stop));
            }
            Event::Activated { .. } | Event::GoingBack { .. } => {
                self.creations.clear();
                self.stops.clear();
                self.is_halted = false;
            }
            Event::Concluded { outcome, .. } => self.is_halted |= *outcome == Outcome::Undecided,
            Event::NotHealthy(_) => self.troubles += 1,
            Event::Made { .. } | Event::Plan { .. } | Event::Healthy(_) => {}
        }
    }

    pub fn restart_asked(&mut self, daemon: &Daemon, machine: &Machine) {
        let in_force = [&daemon.active, &daemon.kept].into_iter().flatten();
        let in_force = in_force.filter(|r| daemon.view.is_paused() || daemon.view.active == Some(r.id));
        let is_current = |v: &&InstanceView| {
            in_force.clone().any(|r| {
                let service = r.stack.services.get(v.service());
                service.is_some_and(|s| plan::spec::spec_hash(r, s) == v.observed.spec.spec_hash)
            })
        };
        let current = machine.views.iter().filter(is_current);
        self.restartable.extend(current.map(|v| v.observed.spec.id.clone()));
    }

    /// After the routes of a turn were put in force.
    pub fn routes(
        &mut self,
        now: Timestamp,
        daemon: &Daemon,
        machine: &Machine,
        table: &RouteTable,
    ) -> Result<(), Violation> {
        let Some(active) = daemon.active.as_deref() else {
            self.places.clear();
            self.ports.clear();
            return Ok(());
        };
        let look = Look { now, daemon, machine, table, active };
        let is_declared = |(name, slot): &Place, _: &mut InstanceId| {
            let service = active.stack.services.get(name);
            service.is_some_and(|s| *slot <= s.replicas && !daemon.view.stopped.contains(name))
        };
        self.emptied.retain(is_declared);
        let before = std::mem::take(&mut self.places);
        for service in active.stack.services.values() {
            let is_watched = !daemon.view.stopped.contains(&service.name) && !shop::is_job(&service.name);
            for slot in (1..=service.replicas).filter(|_| is_watched) {
                let place = (service.name.clone(), slot);
                let served = look.place(service, slot, before.get(&place))?;
                if !served.is_empty() {
                    self.places.insert(place, served);
                }
            }
        }
        let before = std::mem::take(&mut self.ports);
        for listener in table.listeners.iter().filter(|l| l.public) {
            let served = look.port(&listener.backend);
            // Without a kept release nothing is there to have a port meanwhile.
            let was_kept = daemon.kept.is_some();
            if let (true, true, Some(before)) = (served.is_empty(), was_kept, before.get(&listener.address)) {
                let successor = listener.backend.trim_start_matches("shop/").split(':').next();
                let successor = successor.and_then(|name| active.stack.services.get(name));
                look.excuse(before, successor, &format!("port {}", listener.address.port()))?;
            }
            self.ports.insert(listener.address, served);
        }
        Ok(())
    }
}

/// Everything known in one turn.
struct Look<'a> {
    now: Timestamp,
    daemon: &'a Daemon,
    machine: &'a Machine,
    table: &'a RouteTable,
    active: &'a Release,
}

impl Look<'_> {
    /// Who serves this place now; an error when it should be served and is not.
    fn place(
        &self,
        service: &Service,
        slot: u32,
        before: Option<&Vec<Served>>,
    ) -> Result<Vec<Served>, Violation> {
        let able: Vec<&InstanceView> = self
            .machine
            .views
            .iter()
            .filter(|v| *v.service() == service.name && v.slot() == slot && self.is_able(v))
            .collect();
        let backend = self.table.backends.get(&format!("shop/{}:{PORT}", service.name));
        let gets = |v: &&InstanceView| {
            backend.is_none_or(|b| {
                b.endpoints.iter().any(|e| !e.draining && e.instance == v.observed.spec.id.as_str())
            })
        };
        let served: Vec<&InstanceView> = able.iter().copied().filter(gets).collect();
        let place = format!("{}#{slot}", service.name);
        if served.is_empty() && !able.is_empty() {
            let text = format!("{place}: {} is ready and gets nothing", able[0].observed.spec.id);
            return Err(Violation::new("who is ready gets traffic", text));
        }
        if let (true, Some(before)) = (served.is_empty(), before) {
            self.excuse(before, Some(service), &place)?;
        }
        if backend.is_some() {
            self.newest_serves(service, &place, &able, &served)?;
        }
        let since = |v: &InstanceView| v.running_since().unwrap_or(self.now);
        Ok(served.iter().map(|v| Served { id: v.observed.spec.id.clone(), since: since(v) }).collect())
    }

    fn is_able(&self, view: &InstanceView) -> bool {
        view.is_running()
            && view.ready_since.is_some()
            && !self.daemon.draining.contains(&view.observed.spec.id)
    }

    /// What is in force and has been ready for long enough has its place, and has it alone: a
    /// release that is warm is gone back to by nothing but a table.
    fn newest_serves(
        &self,
        service: &Service,
        place: &str,
        able: &[&InstanceView],
        served: &[&InstanceView],
    ) -> Result<(), Violation> {
        let has_canary = service.policy.rollout.canary.is_some();
        if has_canary && self.daemon.direction() == Direction::Forward {
            return Ok(());
        }
        let hash = plan::spec::spec_hash(self.active, service);
        let time = service.policy.rollout.min_healthy.unwrap_or(MIN_HEALTHY);
        let is_settled = |v: &&&InstanceView| {
            v.observed.spec.spec_hash == hash && v.ready_since.is_some_and(|at| at.plus(time) <= self.now)
        };
        let is_old = |v: &&InstanceView| v.observed.spec.spec_hash != hash;
        if able.iter().any(|v| is_settled(&v)) && served.iter().any(is_old) {
            let text = format!("{place} is served by an instance of another release");
            return Err(Violation::new("what is in force and settled serves alone", text));
        }
        Ok(())
    }

    /// The ready instances behind a published port.
    fn port(&self, backend: &str) -> Vec<Served> {
        let ends = self.table.backends.get(backend).into_iter().flat_map(|b| &b.endpoints);
        let ids = ends.filter(|e| !e.draining).filter_map(|e| InstanceId::new(e.instance.clone()).ok());
        let views = ids.filter_map(|id| self.machine.view(&id)).filter(|v| self.is_able(v));
        let since = |v: &InstanceView| v.running_since().unwrap_or(self.now);
        views.map(|v| Served { id: v.observed.spec.id.clone(), since: since(v) }).collect()
    }

    /// Everybody who served has failed by itself, or its going was announced or asked for.
    fn excuse(&self, before: &[Served], service: Option<&Service>, what: &str) -> Result<(), Violation> {
        for served in before {
            let Some(view) = self.machine.view(&served.id) else {
                if self.is_announced(served, None, service) {
                    continue;
                }
                let text = format!("{what}: {} was removed while it served", served.id);
                return Err(Violation::new("a served place stays served", text));
            };
            let is_leaving = match &view.observed.state {
                InstanceState::Exited(exit) => exit.requested,
                InstanceState::Running { .. } if view.ready_since.is_none() => {
                    let is_well = self.machine.truth(&served.id).is_some_and(|t| t.is_well);
                    if is_well && !self.is_announced(served, Some(view), service) {
                        let text = format!("{what}: {} does its work and is not counted as ready", served.id);
                        return Err(Violation::new("a served place stays served", text));
                    }
                    false
                }
                InstanceState::Running { .. } => true,
                InstanceState::Created | InstanceState::Lost => false,
            };
            if is_leaving && !self.is_announced(served, Some(view), service) {
                let text = format!("{what}: {} did not fail and was taken out of traffic", served.id);
                return Err(Violation::new("a served place stays served", text));
            }
        }
        Ok(())
    }

    fn is_announced(&self, served: &Served, view: Option<&InstanceView>, service: Option<&Service>) -> bool {
        let told = self.machine.truth(&served.id).and_then(|t| t.told_to_end);
        let by_dead_daemon = told.is_some_and(|(_, epoch)| epoch < self.daemon.epoch);
        let own = view.map(|v| v.service());
        let restarted =
            own.and_then(|s| self.daemon.view.restart_before.get(s)).is_some_and(|at| served.since < *at);
        let stopped = own.is_some_and(|s| self.daemon.view.stopped.contains(s));
        let stop_first = service.is_some_and(|s| plan::spec::update_order(s) == UpdateOrder::StopFirst);
        // Whoever wants to go on with what fails gets it.
        let goes_on = service.is_some_and(|s| s.update.failure_action == Some(FailureAction::Continue));
        let gone = own.is_some_and(|s| !self.active.stack.services.contains_key(s));
        // What takes its port over cannot do its work, and nothing is left to go back to.
        let is_bad = |v: &InstanceView| {
            let stays_down = matches!(&v.observed.state, InstanceState::Exited(e) if !e.requested)
                && service.is_some_and(|s| s.restart == RestartPolicy::No);
            stays_down || self.machine.truth(&v.observed.spec.id).is_some_and(|t| !t.program.is_good())
        };
        let cannot_serve = service.is_some_and(|s| {
            let mut of_service = self.machine.views.iter().filter(|v| *v.service() == s.name);
            of_service.any(is_bad)
        });
        // Both the kept release and the one before it were found bad: people decide.
        let view = &self.daemon.view;
        let is_left = view.pending.is_none() && view.active != view.kept;
        // What was never kept has no place to come back to.
        let kept = self.daemon.kept.as_deref();
        let was_kept = own.is_some_and(|s| kept.is_some_and(|r| r.stack.services.contains_key(s)));
        let gone_for_good = gone && (goes_on || cannot_serve || is_left || !was_kept);
        by_dead_daemon || restarted || stopped || stop_first || gone_for_good
    }
}

fn told(steps: &[Step]) -> String {
    steps.iter().map(Step::describe).collect::<Vec<_>>().join("; ")
}

/// Never two running instances that write to one volume.
fn one_writer(machine: &Machine) -> Result<(), Violation> {
    let mut writers: BTreeMap<&str, &InstanceView> = BTreeMap::new();
    for view in machine.views.iter().filter(|v| v.is_running()) {
        for mount in view.observed.spec.mounts.iter().filter(|m| !m.read_only) {
            let MountSource::Volume { name, .. } = &mount.source else { continue };
            if let Some(other) = writers.insert(name.as_str(), view) {
                let (a, b) = (&other.observed.spec, &view.observed.spec);
                let text = format!(
                    "{name}: {}#{} {} and {}#{} {}",
                    a.service, a.slot, a.id, b.service, b.slot, b.id
                );
                return Err(Violation::new("one writer on a volume", text));
            }
        }
    }
    Ok(())
}

fn one_address_each(machine: &Machine) -> Result<(), Violation> {
    let mut held = BTreeMap::new();
    for view in &machine.views {
        let InstanceNetwork::Links { links, .. } = &view.observed.spec.network else { continue };
        for link in links {
            if let Some(other) = held.insert(link.address, &view.observed.spec.id) {
                let text = format!("{}: {other} and {}", link.address, view.observed.spec.id);
                return Err(Violation::new("one instance at an address", text));
            }
        }
    }
    Ok(())
}
