//! Going back to a kept release, because somebody asked or because the present one was found bad.

use super::{Parts, World, tell};
use crate::control::ChangeRequest;
use crate::making;
use crate::releases;
use model::{Digest, Release, ReleaseId, Report, ServiceName, StackName};
use plan::{Failure, Phase};
use std::sync::Arc;
use store::record::v1::{Event, Intent};
use store::{BY_ITSELF, ReleaseResult, StackView};

impl World {
    /// The release that a rollback goes to, or why there is none.
    pub async fn rollback_target(
        &self,
        stack: &StackName,
        services: &[ServiceName],
        to: Option<ReleaseId>,
    ) -> Result<ReleaseId, Report> {
        let state = self.stacks.get(stack);
        let Some((state, active)) = state.and_then(|s| Some((s, s.active.clone()?))) else {
            return Err(Report::usage(format!("there is no stack {stack}")).hint("juchu up"));
        };
        target(&self.parts, &state.view, &active, services, to).await.map(|release| release.id)
    }

    /// Puts the release of an accepted rollback in force, unless that is done.
    pub async fn begin_rollback(&mut self, name: &StackName) {
        let Some(state) = self.stacks.get(name) else { return };
        let Some(pending) = state.view.pending.as_ref().filter(|p| p.release.is_none()) else { return };
        let Intent::Rollback { to: Some(to) } = pending.intent else { return };
        let (change, services) = (pending.change, pending.services.clone());
        let found = releases::find(&state.view, self.parts.ledger.as_ref(), to);
        let result = match found {
            Ok(target) => self.activate_earlier(name, change, target, &services).await,
            Err(report) => Err(report),
        };
        if let Err(report) = result {
            self.fail(name, report, None).await;
        }
    }

    async fn activate_earlier(
        &mut self,
        name: &StackName,
        change: u64,
        target: Release,
        services: &[ServiceName],
    ) -> Result<(), Report> {
        let state = self.stacks.get(name).expect("checked by the caller");
        let active = state.active.clone();
        let newest = state.view.newest;
        let reason = format!("back to {}", target.id);
        let mut events = Vec::new();
        let known = target.id;
        let release = goal(active.as_deref(), target, services, ReleaseId(newest + 1), self.now());
        if release.id != known {
            let differences = making::differences(active.as_deref(), &release);
            let written = serde_json::to_vec(&release).expect("plain data always serialises");
            let bundle = Digest::of(&written);
            let made = Event::ReleaseMade { release: release.id, change, bundle, differences, made_of: None };
            events.push((made, vec![written]));
        }
        making::tell_differences(&self.stories, change, active.as_deref(), &release);
        events.push((Event::ReleaseActivated { release: Some(release.id), change, reason }, Vec::new()));
        self.record(name, BY_ITSELF, events).await?;
        if let Some(state) = self.stacks.get_mut(name) {
            state.active = Some(Arc::new(release));
            state.acted = true;
        }
        Ok(())
    }

    /// Takes a kept release back that turned out bad while the one before is there to go back to.
    /// Says whether it did.
    pub async fn take_back(&mut self, name: &StackName) -> bool {
        let Some((to, failure)) = self.found_bad(name) else { return false };
        let request = ChangeRequest {
            stack: name.clone(),
            intent: Intent::Rollback { to: Some(to) },
            declared: None,
            services: Vec::new(),
            actor: BY_ITSELF.to_owned(),
            why: format!("service {}: {}", failure.service, failure.reason),
            from: None,
            again: false,
        };
        match self.submit(request).await {
            Ok(_) => true,
            Err(report) => {
                tell(&format!("{name}: the release cannot be taken back: {report}"));
                // It is asked again when something has changed.
                if let Some(state) = self.stacks.get_mut(name) {
                    state.previous = None;
                }
                false
            }
        }
    }

    fn found_bad(&self, name: &StackName) -> Option<(ReleaseId, Failure)> {
        let state = self.stacks.get(name).filter(|s| s.view.pending.is_none())?;
        if state.last_plan.failures.is_empty() {
            return None;
        }
        let (active, fallback) = (state.active.as_deref()?, state.fallback()?);
        let Phase::Kept(at) = fallback.phase else { return None };
        let in_time = plan::warm::until(fallback.release, active, at).is_some_and(|until| self.now() < until);
        let failure = state.last_plan.failures.iter().find(|failure| {
            let service = active.stack.services.get(&failure.service);
            let asked = service.and_then(|s| s.policy.on_unhealthy);
            let may = in_time && asked != Some(model::service::OnUnhealthy::None);
            let always = asked == Some(model::service::OnUnhealthy::Rollback);
            (may || always) && differs(active, fallback.release, &failure.service)
        })?;
        Some((fallback.release.id, failure.clone()))
    }
}

/// The release that a rollback goes to, with every image it needs, or why there is none.
pub async fn target(
    parts: &Parts,
    view: &StackView,
    active: &Release,
    services: &[ServiceName],
    to: Option<ReleaseId>,
) -> Result<Release, Report> {
    let release = match to {
        Some(id) if id == active.id => {
            return Err(Report::usage(format!("{id} is the release in force")).hint("juchu releases"));
        }
        Some(id) => releases::find(view, parts.ledger.as_ref(), id)?,
        None => last_that_differs(parts, view, active, services)?,
    };
    if let Some(unknown) = services.iter().find(|s| !release.stack.services.contains_key(*s)) {
        let (id, stack) = (release.id, &view.name);
        return Err(Report::usage(format!("{id} of the stack {stack} has no service {unknown}"))
            .hint(format!("juchu diff {id}")));
    }
    check_images(parts, &release, services).await?;
    Ok(release)
}

fn last_that_differs(
    parts: &Parts,
    view: &StackView,
    active: &Release,
    services: &[ServiceName],
) -> Result<Release, Report> {
    let mut candidates: Vec<(&ReleaseId, &ReleaseResult)> = view
        .results
        .iter()
        .filter(|(id, _)| **id != active.id && view.is_good(**id) && view.releases.contains_key(id))
        .collect();
    candidates.sort_by_key(|(_, result)| std::cmp::Reverse(result.in_force));
    for (id, _) in candidates {
        let release = releases::find(view, parts.ledger.as_ref(), *id)?;
        let differs = making::differences(Some(active), &release).iter().any(|d| match &d.service {
            Some(service) => services.is_empty() || services.contains(service),
            None => true,
        });
        if differs {
            return Ok(release);
        }
    }
    let of = if services.is_empty() { view.name.to_string() } else { names(services) };
    Err(Report::usage(format!("there is no earlier release of {of} to go back to")).hint("juchu releases"))
}

/// Nothing is begun that lacks what it would start.
async fn check_images(parts: &Parts, release: &Release, services: &[ServiceName]) -> Result<(), Report> {
    let wanted = release.images.iter().filter(|(s, _)| services.is_empty() || services.contains(s));
    for (service, image) in wanted {
        if !parts.images.holds(image).await {
            let text = format!(
                "{} cannot be gone back to: the image of {service} ({}) is not in the store any more",
                release.id,
                image.manifest.short()
            );
            return Err(Report::environment(text)
                .hint("`juchu releases` shows the others; `juchu rollback --to RELEASE` goes to one")
                .hint("`juchu deploy` builds the present declaration anew"));
        }
    }
    Ok(())
}

fn differs(active: &Release, previous: &Release, service: &ServiceName) -> bool {
    let hash = |r: &Release| r.stack.services.get(service).map(|s| plan::spec::spec_hash(r, s));
    hash(active) != hash(previous)
}

fn names(services: &[ServiceName]) -> String {
    services.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ")
}

/// What is in force after going back: the target itself, or, when only some services go back to
/// it, a new release unless that is the same for all.
pub fn goal(
    active: Option<&Release>,
    target: Release,
    services: &[ServiceName],
    id: ReleaseId,
    made: model::Timestamp,
) -> Release {
    let Some(active) = active.filter(|_| !services.is_empty()) else { return target };
    let mixed = with_services_of(active, &target, services, id, made);
    if is_same_for_all(&mixed, &target) { target } else { mixed }
}

/// The release in force with some services as they were in another.
fn with_services_of(
    active: &Release,
    target: &Release,
    services: &[ServiceName],
    id: ReleaseId,
    made: model::Timestamp,
) -> Release {
    let mut release = Release { id, made, ..active.clone() };
    for name in services {
        let Some(service) = target.stack.services.get(name) else { continue };
        release.stack.services.insert(name.clone(), service.clone());
        if let Some(image) = target.images.get(name) {
            release.images.insert(name.clone(), image.clone());
        }
        for (kind, grant) in plan::spec::grants(service) {
            let key = plan::spec::file_key(kind, grant);
            if let Some(digest) = target.files.get(&key) {
                release.files.insert(key, digest.clone());
            }
        }
        for network in service.networks.keys() {
            if let Some(declared) = target.stack.networks.get(network) {
                release.stack.networks.entry(network.clone()).or_insert_with(|| declared.clone());
            }
            if let Some(addresses) = target.addresses.get(network) {
                release.addresses.entry(network.clone()).or_insert_with(|| addresses.clone());
            }
        }
        for (key, volume) in &target.stack.volumes {
            release.stack.volumes.entry(key.clone()).or_insert_with(|| volume.clone());
        }
    }
    release
}

/// Everything that runs would be the same.
fn is_same_for_all(a: &Release, b: &Release) -> bool {
    a.stack == b.stack && a.images == b.images && a.files == b.files && a.addresses == b.addresses
}
