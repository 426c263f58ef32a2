//! The world as the journal left it, and as people are shown it.

use super::clock::Timeline;
use super::stack::StackState;
use super::{Message, Parts, Snapshot, World};
use crate::control::{Address, ServiceStatus, StackStatus, State};
use crate::health::HealthReport;
use crate::noise::Noise;
use crate::status::service_status;
use crate::story::Stories;
use model::route::RouteTable;
use model::{ErrorKind, Release, ReleaseId, Report, StackName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::StackView;
use tokio::sync::{mpsc, watch};

impl World {
    pub fn open(
        parts: Arc<Parts>,
        noise: Arc<Noise>,
        stories: Arc<Stories>,
        messages: mpsc::WeakSender<Message>,
        published: watch::Sender<Arc<Snapshot>>,
        health_reports: mpsc::Sender<HealthReport>,
    ) -> Result<Self, Report> {
        let views = parts.ledger.stacks().map_err(|e| Report::from_error(ErrorKind::Internal, &e))?;
        let now = parts.machine.now();
        let mut world = Self {
            parts,
            noise,
            stories,
            messages,
            published,
            stacks: BTreeMap::new(),
            observed: Vec::new(),
            health: BTreeMap::new(),
            health_reports,
            networks: BTreeMap::new(),
            table: RouteTable::empty(),
            bound: BTreeMap::new(),
            uplinks: None,
            unbound: BTreeSet::new(),
            seen: None,
            timeline: Timeline::new(now),
            next_look: None,
            is_first_look: true,
        };
        for view in views {
            let name = view.name.clone();
            let state = world.restored(view)?;
            world.stacks.insert(name, state);
        }
        Ok(world)
    }

    fn restored(&self, view: StackView) -> Result<StackState, Report> {
        let load = |id: Option<ReleaseId>| -> Result<Option<Arc<Release>>, Report> {
            match id.and_then(|id| view.releases.get(&id)) {
                Some(digest) => Ok(Some(Arc::new(self.blob(digest)?))),
                None => Ok(None),
            }
        };
        let (active, kept) = (load(view.active)?, load(view.kept)?);
        let previous = load(view.previous.filter(|id| view.is_good(*id)))?;
        let kept_at = view.kept_at.min(self.now());
        let mut state = StackState::from_view(view);
        state.active = active;
        state.kept = kept;
        state.previous = previous;
        state.kept_at = kept_at;
        // What was begun before the daemon ended counts as done for the pending change.
        state.acted = state.view.pending.is_some();
        Ok(state)
    }

    /// Publishes what people may read, if it changed.
    pub fn publish(&mut self) {
        let stacks: Vec<StackStatus> =
            self.stacks.keys().filter_map(|name| self.stack_status(name)).collect();
        let releases: BTreeMap<StackName, Arc<Release>> = self
            .stacks
            .iter()
            .filter_map(|(n, s)| Some((n.clone(), Arc::clone(s.active.as_ref()?))))
            .collect();
        let before = self.published.borrow().clone();
        let same_releases = before.releases.len() == releases.len()
            && before.releases.iter().all(|(n, r)| releases.get(n).is_some_and(|o| Arc::ptr_eq(o, r)));
        let is_same = before.stacks == stacks && same_releases && before.observed == self.observed;
        // The first one is waited for, even if there is nothing to see.
        if is_same && before.revision > 0 {
            return;
        }
        let revision = before.revision + 1;
        let snapshot = Snapshot { revision, stacks, releases, observed: self.observed.clone() };
        self.published.send_replace(Arc::new(snapshot));
    }

    fn stack_status(&self, name: &StackName) -> Option<StackStatus> {
        let state = &self.stacks[name];
        let pending = state.view.pending.as_ref();
        let release = state.active.as_deref();
        if release.is_none() && pending.is_none() {
            return None;
        }
        let now = self.now();
        let instances = self.instances_of(name);
        let services: Vec<ServiceStatus> = release
            .iter()
            .flat_map(|r| r.stack.services.values().map(move |s| (*r, s)))
            .map(|(r, service)| {
                let stopped = state.view.stopped.contains(&service.name);
                service_status(service, r, &instances, &state.last_plan, stopped, now)
            })
            .collect();
        Some(StackStatus {
            name: name.clone(),
            state: services.iter().map(|s| s.state).max().unwrap_or(State::Starting),
            directory: release.map(|r| r.stack.directory.display().to_string()).unwrap_or_default(),
            release: release.map(|r| r.id),
            rolled_back: state.view.newest_rolled_back(),
            services,
            addresses: self
                .addresses_of(name)
                .into_iter()
                .map(|a| with_measure(a, &state.measured))
                .collect(),
            pending: pending.map(|p| format!("{} by {}", p.intent.word(), p.actor)),
            last_outcome: state.view.last_outcome.as_ref().map(|(_, o, reason)| (*o, reason.clone())),
        })
    }
}

/// The address as it was found when it was measured, if it is the same.
fn with_measure(address: Address, measured: &[Address]) -> Address {
    let place = |a: &Address| a.url.split("://").nth(1).map(str::to_owned);
    measured
        .iter()
        .find(|m| m.service == address.service && place(m) == place(&address))
        .cloned()
        .unwrap_or(address)
}
