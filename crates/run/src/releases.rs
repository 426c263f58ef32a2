//! The releases of a stack as people see them: what each was, how it ended, what can be done with it.

use crate::control::{ReleaseStanding, ReleaseStatus};
use crate::making;
use model::{Digest, ErrorKind, Release, ReleaseId, Report, Timestamp};
use std::collections::BTreeMap;
use store::record::v1::{Difference, Outcome};
use store::{Ledger, ReleaseResult, StackView};

/// All that are remembered, oldest first.
pub fn statuses(view: &StackView, ledger: &dyn Ledger, now: Timestamp) -> Vec<ReleaseStatus> {
    let warm_until = warm_until(view, ledger).filter(|until| *until > now);
    let of = |(id, result): (&ReleaseId, &ReleaseResult)| {
        let bundle = view.releases.get(id).and_then(|digest| read(ledger, digest));
        ReleaseStatus {
            id: *id,
            made: result.made,
            change: result.change,
            intent: result.intent,
            actor: result.actor.clone(),
            why: result.why.clone(),
            outcome: result.outcome,
            reason: result.reason.clone(),
            standing: standing(view, *id, result, warm_until),
            images: bundle.as_ref().map(images).unwrap_or_default(),
            manifests: bundle.as_ref().map(manifests).unwrap_or_default(),
            changed: result.changed.iter().cloned().collect(),
        }
    };
    view.results.iter().map(of).collect()
}

fn standing(
    view: &StackView,
    id: ReleaseId,
    result: &ReleaseResult,
    warm_until: Option<Timestamp>,
) -> ReleaseStanding {
    match warm_until {
        _ if view.active == Some(id) => ReleaseStanding::Active,
        _ if result.collected || !view.releases.contains_key(&id) => ReleaseStanding::Collected,
        _ if result.outcome != Some(Outcome::Kept) => ReleaseStanding::Refused,
        Some(until) if view.previous == Some(id) => ReleaseStanding::Warm { until },
        _ => ReleaseStanding::Kept,
    }
}

/// Until when instances of the release before the present one are kept.
fn warm_until(view: &StackView, ledger: &dyn Ledger) -> Option<Timestamp> {
    let previous = view.previous.filter(|id| view.is_good(*id))?;
    let load = |id: ReleaseId| view.releases.get(&id).and_then(|digest| read(ledger, digest));
    plan::warm::until(&load(previous)?, &load(view.active?)?, view.kept_at)
}

fn images(release: &Release) -> BTreeMap<model::ServiceName, String> {
    let text = |i: &model::image::BuiltImage| format!("{} ({})", i.origin, i.manifest.short());
    release.images.iter().map(|(service, image)| (service.clone(), text(image))).collect()
}

fn manifests(release: &Release) -> BTreeMap<model::ServiceName, Digest> {
    release.images.iter().map(|(service, image)| (service.clone(), image.manifest.clone())).collect()
}

fn read(ledger: &dyn Ledger, digest: &Digest) -> Option<Release> {
    // One that cannot be read is shown without its images; `juchu verify` tells what is damaged.
    let bytes = ledger.blob(digest).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Why what is made of this is not tried again, if so.
pub fn rolled_back_as(view: &StackView, made_of: &Digest) -> Option<Report> {
    let (id, result) = view.rolled_back_as(made_of)?;
    let text = format!("this is {id} again, which was rolled back: {}", result.reason);
    let report = Report::new(ErrorKind::RolledBack, text);
    let report = report.hint("change what is wrong with it; `juchu deploy --again` tries it as it is");
    Some(match view.active {
        Some(active) => report.hint(format!("`juchu diff {active} {id}` shows what {id} changes")),
        None => report,
    })
}

/// What differs from one release to another.
pub fn compare(
    view: &StackView,
    ledger: &dyn Ledger,
    from: ReleaseId,
    to: ReleaseId,
) -> Result<Vec<Difference>, Report> {
    Ok(making::differences(Some(&find(view, ledger, from)?), &find(view, ledger, to)?))
}

/// The bundle of a release, or why it cannot be had.
pub fn find(view: &StackView, ledger: &dyn Ledger, id: ReleaseId) -> Result<Release, Report> {
    let there = || {
        let ids: Vec<String> = view.releases.keys().map(ReleaseId::to_string).collect();
        format!("the releases of {} that are kept are {}", view.name, ids.join(", "))
    };
    let Some(digest) = view.releases.get(&id) else {
        let text = match view.results.get(&id) {
            Some(_) => format!("{id} of the stack {} was collected: its bundle is gone", view.name),
            None => format!("the stack {} has no {id}", view.name),
        };
        return Err(Report::usage(text).hint(there()).hint("juchu releases"));
    };
    read(ledger, digest).ok_or_else(|| {
        Report::internal(format!("the bundle of {id} of the stack {} cannot be read", view.name))
            .hint("juchu verify")
    })
}
