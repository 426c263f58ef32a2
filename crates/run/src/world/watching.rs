//! Health checks of what runs, and exits that nobody asked for.

use super::{World, tell};
use crate::health::{self, HealthReport};
use model::instance::{Health, InstanceState, Observed};
use model::service::Healthcheck;
use model::{InstanceId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Draft;
use store::record::v1::{Event, Seen as SeenWhat};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant};

/// Time between two looks at the ways out of this host.
const UPLINKS_LOOK: Duration = Duration::from_secs(1);

/// The watch over one instance.
pub(crate) struct Watched {
    /// The run it is about.
    starts: u32,
    check: Option<Healthcheck>,
    health: Health,
    pub detail: String,
    pub unhealthy_restarts: u32,
    task: Option<AbortHandle>,
}

impl Watched {
    /// Its health, if the instance is still in the run that was watched.
    pub fn health_of(&self, observed: &Observed) -> Health {
        match (&self.check, self.starts == observed.starts) {
            (None, _) => Health::Unchecked,
            (Some(_), true) => self.health,
            (Some(_), false) => Health::Starting,
        }
    }
}

impl Watched {
    /// Whether this watch is about that check, and is kept when there is one. A watch that was
    /// made while the instance was still starting has no task yet.
    fn covers(&self, check: &Option<Healthcheck>) -> bool {
        self.check == *check && (check.is_none() || self.task.is_some())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What was known of an instance in the last turn: the end of its last run, if it had ended.
pub(crate) type Seen = Option<Timestamp>;

impl World {
    /// One watch for each running instance that has a check; none for the others.
    pub fn watch_health(&mut self) {
        let mut watched = BTreeMap::new();
        for observed in &self.observed {
            let id = &observed.spec.id;
            let before = self.health.remove(id);
            let running = matches!(observed.state, InstanceState::Running { .. });
            let check =
                health::effective(self.declared(observed).and_then(|s| s.healthcheck.as_ref()), observed);
            let entry = match before {
                Some(entry) if !running || (entry.starts == observed.starts && entry.covers(&check)) => entry,
                before => self.begin_watch(observed, check, before),
            };
            watched.insert(id.clone(), entry);
        }
        self.health = watched;
    }

    /// The service as the release of this instance has it: the one in force if it would make the
    /// same instance, else its own.
    fn declared(&self, observed: &Observed) -> Option<&model::Service> {
        let state = self.stacks.get(&observed.spec.stack)?;
        let name = &observed.spec.service;
        let active = state.active.as_ref()?;
        let in_force = active.stack.services.get(name);
        let own = [&state.kept, &state.previous].into_iter().flatten();
        let own = own.filter(|r| r.id == observed.spec.release).find_map(|r| r.stack.services.get(name));
        match in_force {
            Some(service) if plan::spec::spec_hash(active, service) == observed.spec.spec_hash => in_force,
            _ => own.or(in_force),
        }
    }

    fn begin_watch(
        &self,
        observed: &Observed,
        check: Option<Healthcheck>,
        before: Option<Watched>,
    ) -> Watched {
        let unhealthy_restarts = before.as_ref().map_or(0, |b| match b.health {
            Health::Unhealthy => b.unhealthy_restarts + 1,
            _ => b.unhealthy_restarts,
        });
        let running = matches!(observed.state, InstanceState::Running { .. });
        let known = self.known_health(observed, before.as_ref());
        let task = check.clone().filter(|_| running).map(|check| {
            let (engine, reports) = (Arc::clone(&self.parts.engine), self.health_reports.clone());
            let probes = self.declared(observed).and_then(|s| s.policy.rollout.probes).unwrap_or(1);
            let host = observed.spec.network.address(|id| {
                self.observed.iter().find(|other| other.spec.id == *id).map(|other| &other.spec.network)
            });
            let watch = health::Watch { check, observed: observed.clone(), host, known, probes };
            tokio::spawn(health::watch(engine, watch, reports)).abort_handle()
        });
        Watched {
            starts: observed.starts,
            health: if check.is_some() { known } else { Health::Unchecked },
            check,
            detail: String::new(),
            unhealthy_restarts,
            task,
        }
    }

    /// What ran healthily before this daemon began, or before its check was changed, counts as
    /// healthy until a probe says otherwise.
    fn known_health(&self, observed: &Observed, before: Option<&Watched>) -> Health {
        let same_run = before.filter(|b| b.starts == observed.starts && b.task.is_some());
        let remembered = self.stacks.get(&observed.spec.stack).filter(|_| self.is_first_look);
        match same_run {
            Some(before) => before.health,
            None if remembered.is_some_and(|s| s.view.healthy.contains(&observed.spec.id)) => Health::Healthy,
            None => Health::Starting,
        }
    }

    pub async fn health_reported(&mut self, report: HealthReport) {
        let Some(watched) = self.health.get_mut(&report.id).filter(|w| w.starts == report.starts) else {
            return;
        };
        watched.health = report.health;
        watched.detail = report.detail.clone();
        let what = match report.health {
            Health::Healthy => SeenWhat::Healthy,
            Health::Unhealthy => SeenWhat::Unhealthy,
            Health::Starting | Health::Unchecked => return,
        };
        let observed = self.observed.iter().find(|o| o.spec.id == report.id);
        if let Some(observed) = observed.cloned() {
            // What a probe printed may hold secrets: the journal says only that it failed.
            let detail = if what == SeenWhat::Unhealthy { "its health check fails" } else { "" };
            self.note(&observed, what, detail.to_owned()).await;
        }
    }

    async fn note(&self, observed: &Observed, what: SeenWhat, detail: String) {
        let event = Event::InstanceSeen {
            service: observed.spec.service.clone(),
            instance: observed.spec.id.clone(),
            what,
            detail,
        };
        let stack = self.stacks.contains_key(&observed.spec.stack).then(|| observed.spec.stack.clone());
        let draft = Draft { stack, actor: "juchu".to_owned(), event, blobs: Vec::new() };
        if let Err(report) = self.append(vec![draft]).await {
            tell(&report.to_string());
        }
    }

    /// With other ways out of this host, the networks are made sure of again: what their packets may
    /// measure, and which devices pass answers on, follows from them.
    pub fn watch_uplinks(&mut self) {
        let looked = Instant::now();
        if self.uplinks.is_some_and(|(at, _)| looked.duration_since(at) < UPLINKS_LOOK) {
            return;
        }
        let Some(now) = self.parts.machine.uplinks() else { return };
        if self.uplinks.replace((looked, now)).is_some_and(|(_, before)| before != now) {
            tell("the ways out of this host have changed; networks are looked at again");
            self.networks.clear();
        }
    }

    /// Journals ends that nobody asked for, once each.
    pub async fn note_exits(&mut self) {
        let ended = |o: &Observed| match &o.state {
            InstanceState::Exited(exit) => Some(exit.finished),
            _ => None,
        };
        let present: BTreeMap<InstanceId, Seen> =
            self.observed.iter().map(|o| (o.spec.id.clone(), ended(o))).collect();
        // At the daemon's start everything is news, and nothing is.
        let Some(before) = self.seen.replace(present) else { return };
        let news: Vec<Observed> = self
            .observed
            .iter()
            .filter(|o| ended(o).is_some() && before.get(&o.spec.id) != Some(&ended(o)))
            .cloned()
            .collect();
        for observed in news {
            let InstanceState::Exited(exit) = &observed.state else { continue };
            if exit.requested {
                continue;
            }
            let looping = observed.quick_failures == plan::CRASH_LOOP;
            let what = if looping { SeenWhat::CrashLoop } else { SeenWhat::Exited };
            self.note(&observed, what, exit.describe()).await;
        }
    }
}
