//! The control loop as the crate `run` has it, with everything it remembers between two turns: plan,
//! write down, route, carry out, conclude.

use crate::journal::{Entry, Event, Outcome, Pending, View};
use crate::operation::StepFailure;
use crate::schedule::Point;
use crate::watch::Violation;
use crate::world::{Occurrence, World};
use model::instance::{Health, InstanceState, NetworkSpec};
use model::service::{HealthTest, Healthcheck};
use model::{DurationMs, InstanceId, Release, ReleaseId, Service, ServiceName, Timestamp};
use plan::routes::{Routed, table};
use plan::{Direction, Fallback, InFlight, Input, InstanceView, Phase, Plan, Readiness, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Pause after a step failed, doubled each time, and its limit.
const STEP_PAUSE_MS: u64 = 500;
const STEP_PAUSE_MAX_MS: u64 = 60_000;

pub struct StepError {
    pub tries: u32,
    pub service: Option<ServiceName>,
    pub is_lasting: bool,
    pub retry_at: Timestamp,
}

/// The watch over the health of one instance.
struct Watched {
    starts: u32,
    has_check: bool,
    health: Health,
    unhealthy_restarts: u32,
}

pub struct Daemon {
    pub epoch: u32,
    pub view: View,
    pub active: Option<Rc<Release>>,
    pub kept: Option<Rc<Release>>,
    pub previous: Option<Rc<Release>>,
    /// When the release in force was kept, or was left to people.
    kept_at: Timestamp,
    /// The release that the pending change leaves: it serves until what is steered to can.
    left: Option<Rc<Release>>,
    pub making: bool,
    pub measuring: bool,
    /// Something was done for the pending change.
    pub acted: bool,
    pub in_flight: BTreeMap<String, InFlight>,
    pub draining: BTreeSet<InstanceId>,
    pub step_errors: BTreeMap<String, StepError>,
    pub last_plan: Plan,
    networks: BTreeMap<String, NetworkSpec>,
    watched: BTreeMap<InstanceId, Watched>,
    ready: BTreeMap<InstanceId, (u32, Timestamp)>,
    /// Ends that were noted.
    ends: BTreeMap<InstanceId, Option<Timestamp>>,
    is_first_look: bool,
    pub wake_at: Option<Timestamp>,
    /// Where it is to die, and until when that holds.
    pub dies_at: Option<(Point, u64, Timestamp)>,
}

impl Daemon {
    /// As the journal left it.
    pub fn new(epoch: u32, view: View) -> Self {
        let mut daemon = Self {
            epoch,
            active: None,
            kept: None,
            previous: None,
            left: None,
            kept_at: view.kept_at,
            making: false,
            measuring: false,
            // What was begun before the daemon ended counts as done for the pending change.
            acted: view.pending.is_some(),
            in_flight: BTreeMap::new(),
            draining: BTreeSet::new(),
            step_errors: BTreeMap::new(),
            last_plan: Plan::default(),
            networks: BTreeMap::new(),
            watched: BTreeMap::new(),
            ready: BTreeMap::new(),
            ends: BTreeMap::new(),
            is_first_look: true,
            wake_at: None,
            dies_at: None,
            view,
        };
        daemon.follow_view();
        daemon
    }

    /// What is held in memory follows the view.
    fn follow_view(&mut self) {
        let view = &self.view;
        let same = |held: &Option<Rc<Release>>, id: Option<ReleaseId>| held.as_ref().map(|r| r.id) == id;
        if !same(&self.active, view.active) {
            self.active = view.release(view.active);
        }
        if !same(&self.kept, view.kept) {
            self.kept = view.release(view.kept);
        }
        let left = view.pending.as_ref().filter(|p| p.makes_release());
        let left = left.and_then(|p| if p.is_going_back { p.release } else { p.before });
        let left = left.filter(|id| view.active != Some(*id));
        if !same(&self.left, left) {
            self.left = view.release(left);
        }
        let previous = view.previous.filter(|id| view.is_good(*id));
        if !same(&self.previous, previous) {
            self.previous = view.release(previous);
        }
    }

    pub fn fold(&mut self, number: u64, entry: &Entry) {
        if matches!(entry.event, Event::Accepted { .. }) {
            self.acted = false;
            self.measuring = false;
            self.step_errors.clear();
        }
        let kept = self.view.kept;
        self.view.apply(number, entry);
        let is_end = matches!(entry.event, Event::Concluded { outcome, .. } if outcome != Outcome::Kept);
        if self.view.kept != kept || is_end && self.view.active != self.view.kept {
            self.kept_at = entry.at;
        }
        self.follow_view();
    }

    pub fn pending(&self) -> Option<&Pending> {
        self.view.pending.as_ref()
    }

    /// The release that the one in force takes the place of, or took it of.
    pub fn fallback(&self) -> Option<Fallback<'_>> {
        let (active, kept) = (self.active.as_deref()?, self.kept.as_deref()?);
        if let Some(release) = self.left.as_deref().filter(|_| active.id == kept.id) {
            return Some(Fallback { release, phase: Phase::TakingOver, trials: &plan::NO_TRIALS });
        }
        if active.id != kept.id {
            let is_open = self.view.pending.is_some() || self.view.is_paused();
            // One that ended without being kept or taken back is left to people, for as long as one
            // that was kept.
            let phase = if is_open { Phase::TakingOver } else { Phase::Kept(self.kept_at) };
            return Some(Fallback { release: kept, phase, trials: &plan::NO_TRIALS });
        }
        let release = self.previous.as_deref()?;
        Some(Fallback { release, phase: Phase::Kept(self.kept_at), trials: &plan::NO_TRIALS })
    }

    pub fn direction(&self) -> Direction {
        let is_rollback =
            |p: &Pending| p.is_going_back || matches!(p.intent, crate::journal::Intent::Rollback { .. });
        if self.pending().is_some_and(is_rollback) { Direction::Back } else { Direction::Forward }
    }

    pub fn routed<'a>(&'a self, instances: &'a [InstanceView], now: Timestamp) -> Option<Routed<'a>> {
        let release = self.active.as_deref()?;
        let (fallback, direction) = (self.fallback(), self.direction());
        Some(Routed { release, fallback, direction, instances, draining: &self.draining, now })
    }

    /// The service as it is declared for this instance: in the newest release that would make the
    /// same instance, else in the newest that has the service.
    fn declared(&self, view: &InstanceView) -> Option<&Service> {
        let releases = || [&self.active, &self.left, &self.kept, &self.previous].into_iter().flatten();
        let of = |r: &'_ Rc<Release>| r.stack.services.contains_key(view.service());
        let would_make = |r: &&Rc<Release>| {
            let service = r.stack.services.get(view.service());
            service.is_some_and(|s| plan::spec::spec_hash(r, s) == view.observed.spec.spec_hash)
        };
        let found = releases().find(would_make).or_else(|| releases().find(|r| of(r)))?;
        found.stack.services.get(view.service())
    }

    fn check_of(&self, view: &InstanceView) -> Option<&Healthcheck> {
        let check = self.declared(view)?.healthcheck.as_ref()?;
        Some(check).filter(|c| c.test != HealthTest::None)
    }

    /// Whether this instance is ready, by what its own release declares.
    fn is_ready(&self, view: &InstanceView, now: Timestamp) -> bool {
        self.declared(view).is_some_and(|s| plan::readiness(s, view, now) == Readiness::Ready)
    }

    fn plan(&self, world: &World) -> Plan {
        let last = self.active.clone().or_else(|| self.kept.clone());
        plan::plan(&Input {
            foreign: &plan::Foreign::default(),
            stack: &world.stack,
            desired: self.active.as_deref(),
            last: last.as_deref(),
            remove_volumes: false,
            stopped: &self.view.stopped,
            restart_before: &self.view.restart_before,
            fallback: self.fallback(),
            direction: self.direction(),
            is_paused: self.view.is_paused(),
            in_flight: &self.in_flight,
            instances: &world.machine.views,
            networks: &self.networks,
            now: world.now,
            number: self.view.last_plan + 1,
            settings: &world.settings,
        })
    }

    /// Whoever is stopped may finish its connections, for longer when others can take new ones.
    fn drain_limit(&self, step: &Step, steps: &[Step], instances: &[InstanceView]) -> DurationMs {
        let Some(name) = step.service() else { return plan::routes::DRAIN_ALONE };
        let is_stopping = |i: &InstanceView| {
            steps.iter().any(|s| matches!(s, Step::Stop { id, .. } if *id == i.observed.spec.id))
        };
        let others = instances.iter().any(|i| i.service() == name && i.is_running() && !is_stopping(i));
        match self.active.as_ref().and_then(|r| r.stack.services.get(name)) {
            Some(service) => plan::routes::drain(service, others),
            None => plan::routes::DRAIN_ALONE,
        }
    }
}

impl World {
    fn with_daemon<T>(&mut self, work: impl FnOnce(&mut Self, &mut Daemon) -> T) -> Option<T> {
        let mut daemon = self.daemon.take()?;
        let answer = work(self, &mut daemon);
        self.daemon = Some(daemon);
        Some(answer)
    }

    /// One turn; says whether what is steered to has changed.
    pub fn turn(&mut self) -> Result<bool, Violation> {
        self.note_ends();
        self.watch_health();
        self.begin_making();
        self.begin_rollback();
        self.note_ready();
        let Some(daemon) = &self.daemon else { return Ok(false) };
        let plan = daemon.plan(self);
        self.watch.plan(self.now, daemon, &plan, &self.machine)?;
        let mut wake_at = plan.wake_at;
        let mut wanted = Vec::new();
        for step in &plan.steps {
            match daemon.step_errors.get(&step.key()) {
                Some(error) if error.retry_at > self.now => {
                    wake_at = Some(wake_at.map_or(error.retry_at, |at: Timestamp| at.min(error.retry_at)));
                }
                _ => wanted.push(step.clone()),
            }
        }
        let drains: Vec<DurationMs> =
            wanted.iter().map(|s| daemon.drain_limit(s, &wanted, &self.machine.views)).collect();
        let number = daemon.view.last_plan + 1;
        if let Some(daemon) = &mut self.daemon {
            daemon.last_plan = plan;
            daemon.wake_at = wake_at;
        }
        if !wanted.is_empty() {
            self.accept_plan(number, &wanted)?;
        }
        if self.dies_at(Point::Planned) {
            return Ok(false);
        }
        self.route()?;
        if self.dies_at(Point::Routed) {
            return Ok(false);
        }
        for (index, (step, drain)) in wanted.into_iter().zip(drains).enumerate() {
            self.begin_operation(step, drain);
            if self.dies_at(Point::Begun(index as u32 + 1)) {
                return Ok(false);
            }
        }
        let is_undone = self.conclude();
        if let Some(daemon) = &mut self.daemon {
            daemon.is_first_look = false;
        }
        Ok(is_undone)
    }

    fn accept_plan(&mut self, number: u64, steps: &[Step]) -> Result<(), Violation> {
        for step in steps {
            self.tell(|| step.describe());
        }
        self.record(Event::Plan { number });
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        daemon.acted = true;
        for step in steps {
            daemon.in_flight.insert(step.key(), InFlight::of(step));
            if let Step::Stop { id, .. } = step {
                daemon.draining.insert(id.clone());
            }
        }
        let Some(daemon) = &self.daemon else { return Ok(()) };
        self.watch.accepted(self.now, daemon, steps, &self.machine)
    }

    /// The whole table anew, handed to the gateway at once.
    fn route(&mut self) -> Result<(), Violation> {
        let Some(daemon) = &self.daemon else { return Ok(()) };
        let routed = daemon.routed(&self.machine.views, self.now);
        let all: Vec<Routed<'_>> = routed.into_iter().collect();
        let next = table(&all, &BTreeSet::new(), self.table.revision);
        if next != self.table {
            let before = self.traffic();
            self.table = next;
            for (of, ends) in self.traffic().into_iter().filter(|(of, ends)| before.get(of) != Some(ends)) {
                self.tell(|| format!("traffic of {of}: {ends}"));
            }
        }
        self.watch.routes(self.now, daemon, &self.machine, &self.table)
    }

    /// Who gets what is new, for people.
    fn traffic(&self) -> BTreeMap<String, String> {
        let end = |e: &model::route::Endpoint| {
            let id = InstanceId::new(e.instance.clone()).expect("it is an id");
            format!("{} {}", self.name_of(&id), e.weight)
        };
        let ends = |b: &model::route::Backend| {
            let ends: Vec<String> = b.endpoints.iter().filter(|e| !e.draining).map(end).collect();
            if ends.is_empty() { "nobody".to_owned() } else { ends.join(", ") }
        };
        let name = |id: &str| id.trim_start_matches("shop/").to_owned();
        let backends = self.table.backends.iter().map(|(id, b)| (name(id), ends(b)));
        let public = self.table.listeners.iter().filter(|l| l.public);
        backends.chain(public.map(|l| (l.address.to_string(), name(&l.backend)))).collect()
    }

    pub fn step_ended(&mut self, step: &Step, key: &str, result: Result<(), StepFailure>) {
        let now = self.now;
        let Some(daemon) = &mut self.daemon else { return };
        match (step, &result) {
            (Step::EnsureNetwork(_), Err(_)) => daemon.networks.clear(),
            (Step::EnsureNetwork(network), Ok(())) => {
                let active = daemon.active.as_ref();
                let wanted = active.and_then(|r| r.addresses.values().find(|a| a.bridge == network.bridge));
                match wanted {
                    Some(addresses) => {
                        let spec = plan::spec::network_spec(addresses, &plan::Foreign::default());
                        daemon.networks.insert(network.bridge.clone(), spec);
                    }
                    None => {
                        daemon.networks.remove(&network.bridge);
                    }
                }
            }
            _ => {}
        }
        daemon.in_flight.remove(key);
        if let Some(id) = key.strip_prefix("instance:") {
            daemon.draining.retain(|d| d.as_str() != id);
        }
        match result {
            Ok(()) => {
                daemon.step_errors.remove(key);
            }
            Err(failure) => {
                let tries = daemon.step_errors.get(key).map_or(0, |e| e.tries) + 1;
                let pause = (STEP_PAUSE_MS << (tries - 1).min(10)).min(STEP_PAUSE_MAX_MS);
                let planned = daemon.last_plan.steps.iter().find(|s| s.key() == key);
                let service = planned.and_then(Step::service).cloned();
                let retry_at = now.plus(DurationMs(pause));
                let error = StepError { tries, service, is_lasting: failure.is_lasting, retry_at };
                daemon.step_errors.insert(key.to_owned(), error);
                self.watch.troubles += 1;
            }
        }
    }

    /// Journals ends that nobody asked for, once each.
    fn note_ends(&mut self) {
        let end = |view: &InstanceView| match &view.observed.state {
            InstanceState::Exited(exit) => Some((exit.finished, exit.requested)),
            _ => None,
        };
        let Some(daemon) = &mut self.daemon else { return };
        let present = self.machine.views.iter();
        let present: BTreeMap<InstanceId, Option<Timestamp>> =
            present.map(|v| (v.observed.spec.id.clone(), end(v).map(|(at, _)| at))).collect();
        let before = std::mem::replace(&mut daemon.ends, present);
        if daemon.is_first_look {
            return;
        }
        let is_news = |v: &&InstanceView| {
            end(v).is_some_and(|(at, requested)| {
                !requested && before.get(&v.observed.spec.id) != Some(&Some(at))
            })
        };
        let news = self.machine.views.iter().filter(is_news).map(|v| v.observed.spec.id.clone());
        for id in news.collect::<Vec<_>>() {
            self.record(Event::NotHealthy(id));
        }
    }

    /// One watch for each instance; probes for those that have a check.
    fn watch_health(&mut self) {
        let begun = self.with_daemon(|world, daemon| {
            let mut begun = Vec::new();
            for at in 0..world.machine.views.len() {
                let view = &world.machine.views[at];
                let id = view.observed.spec.id.clone();
                let has_check = daemon.check_of(view).is_some();
                let (starts, is_running) = (view.observed.starts, view.is_running());
                let before = daemon.watched.get(&id);
                let is_same = before.is_some_and(|w| w.starts == starts && w.has_check == has_check);
                if !is_same && (is_running || before.is_none()) {
                    let restarts =
                        before.map_or(0, |w| w.unhealthy_restarts + u32::from(w.health == Health::Unhealthy));
                    let is_known = daemon.is_first_look && daemon.view.healthy.contains(&id);
                    // What was ready without a check is healthy until a probe says otherwise.
                    let was_ready = daemon.ready.get(&id).is_some_and(|(run, _)| *run == starts);
                    let known = before.filter(|w| w.starts == starts).and_then(|w| match w.has_check {
                        true => Some(w.health),
                        false => was_ready.then_some(Health::Healthy),
                    });
                    let health = match (has_check, known) {
                        (false, _) => Health::Unchecked,
                        (true, Some(known)) => known,
                        (true, None) if is_known && is_running => Health::Healthy,
                        (true, None) => Health::Starting,
                    };
                    let watched = Watched { starts, has_check, health, unhealthy_restarts: restarts };
                    daemon.watched.insert(id.clone(), watched);
                    begun.push(id.clone());
                }
                let watched = &daemon.watched[&id];
                let view = &mut world.machine.views[at];
                view.unhealthy_restarts = watched.unhealthy_restarts;
                view.health = match (watched.has_check, watched.starts == starts) {
                    (false, _) => Health::Unchecked,
                    (true, true) => watched.health,
                    (true, false) => Health::Starting,
                };
            }
            let views = &world.machine.views;
            daemon.watched.retain(|id, _| views.iter().any(|v| v.observed.spec.id == *id));
            begun
        });
        begun.into_iter().flatten().for_each(|id| self.begin_probes(&id));
    }

    /// Probes that will tell the present state of an instance, good or bad.
    pub fn begin_probes(&mut self, id: &InstanceId) {
        let (Some(daemon), Some(view)) = (&self.daemon, self.machine.view(id)) else { return };
        let Some(check) = daemon.check_of(view).filter(|_| view.is_running()) else { return };
        let interval = check.interval.unwrap_or_default().0;
        let until_failed = interval * u64::from(check.retries.unwrap_or(3));
        let is_well = self.machine.truth(id).is_some_and(|t| t.is_well);
        let start = if view.health == Health::Healthy { 0 } else { check.start_period.unwrap_or_default().0 };
        let (run, epoch) = (view.observed.starts, self.epoch);
        let after = match is_well {
            true => self.random.between(1, interval),
            false => start + until_failed,
        };
        self.occurs_in(after, Occurrence::Probed { id: id.clone(), run, epoch });
    }

    /// The probes are made; says whether they found something new.
    pub fn probed(&mut self, id: &InstanceId, run: u32) -> bool {
        let Some(view) = self.machine.view(id).filter(|v| v.is_running() && v.observed.starts == run) else {
            return false;
        };
        let health = match self.machine.truth(id).is_some_and(|t| t.is_well) {
            true => Health::Healthy,
            false => Health::Unhealthy,
        };
        if view.health == health {
            return false;
        }
        let Some(daemon) = &mut self.daemon else { return false };
        let Some(watched) = daemon.watched.get_mut(id).filter(|w| w.starts == run && w.has_check) else {
            return false;
        };
        watched.health = health;
        self.tell(|| format!("{} is found {health:?}", self.name_of(id)));
        self.record(match health {
            Health::Healthy => Event::Healthy(id.clone()),
            _ => Event::NotHealthy(id.clone()),
        });
        true
    }

    /// Notes since when each instance is ready.
    fn note_ready(&mut self) {
        let now = self.now;
        self.with_daemon(|world, daemon| {
            let mut ready = BTreeMap::new();
            for at in 0..world.machine.views.len() {
                let view = &world.machine.views[at];
                let (id, starts) = (view.observed.spec.id.clone(), view.observed.starts);
                let since = daemon.is_ready(view, now).then(|| {
                    let known = daemon.ready.get(&id).filter(|(run, _)| *run == starts);
                    // What this daemon finds ready was ready before it began.
                    let first = if daemon.is_first_look { view.running_since().unwrap_or(now) } else { now };
                    known.map_or(first, |(_, since)| *since)
                });
                world.machine.views[at].ready_since = since;
                if let Some(since) = since {
                    ready.insert(id, (starts, since));
                }
            }
            daemon.ready = ready;
        });
    }
}
