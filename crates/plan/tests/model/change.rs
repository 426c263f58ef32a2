//! What people ask for, and how a change comes to its release, as the crate `run` has it.

use crate::journal::{BY_ITSELF, Declared, Event, Intent};
use crate::machine::PORT;
use crate::random::Random;
use crate::schedule::{Happening, Point};
use crate::shop;
use crate::world::{Occurrence, World};
use model::{DurationMs, InstanceId, Release, ReleaseId, ServiceName};
use std::rc::Rc;

/// A wish that was refused.
pub enum Refusal {
    /// The daemon does not answer, or died before it did.
    NoDaemon,
    Conflict,
    /// There is nothing that it could be about.
    Nothing,
}

/// Of a hundred new versions so many are bad.
const BAD_PERCENT: u64 = 35;
/// A daemon that is to die at a point of its turn lives on when it does not come to it in this time.
const POINT_WITHIN: DurationMs = DurationMs::from_secs(10);
/// And of the first ones.
const BAD_AT_FIRST_PERCENT: u64 = 6;

impl World {
    /// Something from outside; says whether a daemon would hear of it.
    pub fn happens(&mut self, happening: Happening) -> bool {
        self.tell(|| format!("--- {happening}"));
        match happening {
            Happening::Up { salt, edit, twice } => {
                let mut random = Random::new(salt);
                let file = shop::edited(&mut random, &self.file, edit);
                self.up(&mut random, file, Vec::new());
                if twice {
                    let file = shop::edited(&mut random, &self.file, edit);
                    self.up(&mut random, file, Vec::new());
                }
            }
            Happening::Deploy { salt } => self.deploy_one(&mut Random::new(salt)),
            Happening::Rollback { .. } => {
                let target = self.rollback_target(&[]);
                self.roll_back(target, Vec::new());
            }
            Happening::RollbackTo { salt } => {
                let mut random = Random::new(salt);
                let view = self.daemon.as_ref().map(|d| &d.view);
                let good: Vec<ReleaseId> = view
                    .map(|v| {
                        v.releases.keys().copied().filter(|r| v.is_good(*r) && v.active != Some(*r)).collect()
                    })
                    .unwrap_or_default();
                let target = random.pick(&good).copied();
                self.roll_back(target, Vec::new());
            }
            Happening::RollbackOne { salt } => {
                let services = self.one_service(&mut Random::new(salt));
                let target = self.rollback_target(&services);
                self.roll_back(target, services);
            }
            Happening::Restart { salt } => {
                let at = self.now;
                self.submit_for_one(salt, Intent::Restart { at });
            }
            Happening::Stop { salt } => self.submit_for_one(salt, Intent::Stop),
            Happening::Start { salt } => self.submit_for_one(salt, Intent::Start),
            Happening::Crash { salt, all } => self.crash(&mut Random::new(salt), all),
            Happening::Flap { salt } => self.flap(&mut Random::new(salt)),
            Happening::Kill { down_ms, point: None } => self.kill(down_ms),
            Happening::Kill { down_ms, point: Some(point) } => {
                if let Some(daemon) = &mut self.daemon {
                    daemon.dies_at = Some((point, down_ms, self.now.plus(POINT_WITHIN)));
                }
            }
        }
        self.daemon.is_some()
    }

    fn up(&mut self, random: &mut Random, file: Declared, services: Vec<ServiceName>) {
        let bad = if self.journal.is_empty() { BAD_AT_FIRST_PERCENT } else { BAD_PERCENT };
        for line in shop::learn(&mut self.programs, &file, random, bad) {
            self.tell(|| format!("    {line}"));
        }
        let file = Rc::new(file);
        let accepted = self.submit(Intent::Up, services.clone(), Some(Rc::clone(&file)), "anna");
        if accepted.is_ok() && services.is_empty() {
            self.file = file;
        }
    }

    /// A new version of one service; everything else stays as it is in force.
    fn deploy_one(&mut self, random: &mut Random) {
        let services = self.one_service(random);
        let active = self.daemon.as_ref().and_then(|d| d.active.clone());
        let (Some(active), Some(name)) = (active, services.first().cloned()) else { return };
        let mut file = active.stack.services.clone();
        if let Some(service) = file.get_mut(&name) {
            shop::renew(random, service, true);
        }
        self.up(random, file, services);
    }

    fn one_service(&self, random: &mut Random) -> Vec<ServiceName> {
        let active = self.daemon.as_ref().and_then(|d| d.active.clone());
        let names: Vec<ServiceName> = active.iter().flat_map(|r| r.stack.services.keys().cloned()).collect();
        random.pick(&names).cloned().into_iter().collect()
    }

    fn submit_for_one(&mut self, salt: u64, intent: Intent) {
        let services = self.one_service(&mut Random::new(salt));
        if !services.is_empty() {
            // A refusal is an answer, too.
            let _ = self.submit(intent, services, None, "anna");
        }
    }

    fn roll_back(&mut self, target: Option<ReleaseId>, services: Vec<ServiceName>) {
        let view = self.daemon.as_ref().map(|d| &d.view);
        let has_all = |to: &ReleaseId| {
            let target = view.and_then(|v| v.releases.get(to));
            target.is_some_and(|t| services.iter().all(|s| t.stack.services.contains_key(s)))
        };
        if let Some(to) = target.filter(has_all) {
            // A refusal is an answer, too.
            let _ = self.submit(Intent::Rollback { to }, services, None, "anna");
        }
    }

    /// Accepts a change, or says why not. What is acknowledged is written down before.
    pub fn submit(
        &mut self,
        intent: Intent,
        services: Vec<ServiceName>,
        declared: Option<Rc<Declared>>,
        actor: &'static str,
    ) -> Result<u64, Refusal> {
        let Some(daemon) = &self.daemon else {
            self.tell(|| "    no daemon answers".to_owned());
            return Err(Refusal::NoDaemon);
        };
        if daemon.pending().is_some() {
            self.tell(|| "    refused: another change is under way".to_owned());
            return Err(Refusal::Conflict);
        }
        if daemon.active.is_none() && declared.is_none() {
            return Err(Refusal::Nothing);
        }
        self.tell(|| format!("    {actor}: {intent:?} {services:?} accepted"));
        if let (Intent::Restart { .. }, Some(daemon)) = (&intent, &self.daemon) {
            self.watch.restart_asked(daemon, &self.machine);
        }
        let change = self.record(Event::Accepted { intent: intent.clone(), services, declared, actor });
        if self.dies_at(Point::Accepted) {
            return Err(Refusal::NoDaemon);
        }
        self.watch.acknowledged.push(change);
        Ok(change)
    }

    /// Begins to make the release of the pending change, unless that is done or under way.
    pub fn begin_making(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        let pending = daemon.pending().filter(|p| p.release.is_none() && p.declared.is_some());
        let Some(change) = pending.map(|p| p.change).filter(|_| !daemon.making) else { return };
        daemon.making = true;
        let (ms, epoch) = (self.random.mostly_low(1, 4_000), self.epoch);
        self.occurs_in(ms, Occurrence::Made { epoch, change });
    }

    /// The images are there; now and then they cannot be made.
    pub fn made(&mut self, change: u64) -> bool {
        let fails = self.faults_per_mille > 0 && self.random.percent(3);
        let Some(daemon) = &mut self.daemon else { return false };
        daemon.making = false;
        let Some(pending) = daemon.pending().filter(|p| p.change == change) else { return true };
        let Some(declared) = pending.declared.clone().filter(|_| !fails) else {
            self.tell(|| "an image cannot be made".to_owned());
            self.fail_pending();
            return true;
        };
        let id = ReleaseId(daemon.view.newest + 1);
        let before = daemon.active.clone();
        let release = shop::release(id, &declared, before.as_deref(), self.now);
        let is_same = before.as_ref().is_some_and(|b| {
            b.stack == release.stack && b.images == release.images && b.addresses == release.addresses
        });
        let id = match before.filter(|_| is_same) {
            Some(before) => before.id,
            None => {
                self.tell(|| format!("{id} is made"));
                self.record(Event::Made { release: Rc::new(release) });
                id
            }
        };
        self.record(Event::Activated { release: Some(id), change });
        if let Some(daemon) = &mut self.daemon {
            daemon.acted |= !is_same;
        }
        true
    }

    /// The last release that was good and in which something of the services differs.
    fn rollback_target(&self, services: &[ServiceName]) -> Option<ReleaseId> {
        let daemon = self.daemon.as_ref()?;
        let (view, active) = (&daemon.view, daemon.active.as_ref()?);
        let mut candidates: Vec<ReleaseId> =
            view.releases.keys().copied().filter(|r| *r != active.id && view.is_good(*r)).collect();
        candidates.sort_by_key(|r| std::cmp::Reverse(view.verdicts[r].in_force));
        candidates.into_iter().find(|id| {
            plan::compare::compare(Some(active), &view.releases[id]).iter().any(|d| match &d.service {
                Some(service) => services.is_empty() || services.contains(service),
                None => true,
            })
        })
    }

    /// Puts the release of an accepted rollback in force, unless that is done.
    pub fn begin_rollback(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        let Some(pending) = daemon.pending().filter(|p| p.release.is_none()) else { return };
        let Intent::Rollback { to } = pending.intent else { return };
        let (change, services) = (pending.change, pending.services.clone());
        let Some(target) = daemon.view.release(Some(to)) else { return self.fail_pending() };
        let mut id = target.id;
        if let Some(active) = daemon.active.as_ref().filter(|_| !services.is_empty()) {
            let made = self.now;
            let mixed = Release { id: ReleaseId(daemon.view.newest + 1), made, ..(**active).clone() };
            let mixed = with_services_of(mixed, &target, &services);
            if mixed.stack != target.stack
                || mixed.images != target.images
                || mixed.addresses != target.addresses
            {
                id = mixed.id;
                self.record(Event::Made { release: Rc::new(mixed) });
            }
        }
        self.tell(|| format!("back to {id}"));
        self.record(Event::Activated { release: Some(id), change });
        if let Some(daemon) = &mut self.daemon {
            daemon.acted = true;
        }
    }

    /// Takes a kept release back that turned out bad while the one before is there to go back to.
    pub fn take_back(&mut self) -> bool {
        let Some(to) = self.daemon.as_ref().and_then(|d| d.found_bad(self.now)) else { return false };
        self.submit(Intent::Rollback { to }, Vec::new(), None, BY_ITSELF).is_ok()
    }

    fn crash(&mut self, random: &mut Random, all: bool) {
        let running = self.machine.views.iter().filter(|v| v.is_running());
        let running: Vec<InstanceId> = running.map(|v| v.observed.spec.id.clone()).collect();
        let chosen = random.pick(&running).cloned();
        for id in running.into_iter().filter(|id| all || chosen.as_ref() == Some(id)) {
            self.tell(|| format!("    {} crashes", self.name_of(&id)));
            self.machine.end(&id, 137, self.now);
        }
    }

    fn flap(&mut self, random: &mut Random) {
        let listening = self.machine.views.iter().filter(|v| v.observed.listening.contains(&PORT));
        let listening: Vec<(InstanceId, u32)> =
            listening.map(|v| (v.observed.spec.id.clone(), v.observed.starts)).collect();
        let ms = random.mostly_low(50, 30_000);
        if let Some((id, run)) = random.pick(&listening).cloned() {
            self.occurs_in(0, Occurrence::Sick { id, run, ms: Some(ms) });
        }
    }
}

/// The release in force with some services as they were in another.
fn with_services_of(mut release: Release, target: &Release, services: &[ServiceName]) -> Release {
    for name in services {
        let Some(service) = target.stack.services.get(name) else { continue };
        release.stack.services.insert(name.clone(), service.clone());
        if let Some(image) = target.images.get(name) {
            release.images.insert(name.clone(), image.clone());
        }
        for network in service.networks.keys() {
            if let Some(addresses) = target.addresses.get(network) {
                release.addresses.entry(network.clone()).or_insert_with(|| addresses.clone());
            }
        }
    }
    release
}
