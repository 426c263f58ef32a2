//! What a change would do, found out without doing anything.

use crate::control::{ChangeRequest, Preview, ReleaseStanding};
use crate::making;
use crate::preflight;
use crate::releases;
use crate::world::change::restrict;
use crate::world::rollback;
use crate::world::{Parts, Snapshot};
use model::image::{BuiltImage, ImageSource};
use model::service::{Condition, UpdateOrder};
use model::{Digest, DurationMs, Release, ReleaseId, Report, Service, ServiceName, Stack, StackName};
use std::collections::BTreeMap;
use store::record::v1::{Event, Intent};
use store::{HistoryQuery, StackView};

/// Entries of the journal looked at for how long replacing a service took.
const GAPS_LOOKED_BACK: usize = 200;

pub async fn preview(parts: &Parts, snapshot: &Snapshot, request: ChangeRequest) -> Result<Preview, Report> {
    let active = snapshot.releases.get(&request.stack).map(|r| r.as_ref());
    if let Intent::Rollback { to } = request.intent {
        return back(parts, active, &request, to).await;
    }
    let Some(mut stack) = request.declared else {
        return Err(Report::usage("a preview needs a Compose file").hint("juchu plan -f FILE"));
    };
    parts.images.complete(&mut stack)?;
    if !request.services.is_empty() {
        restrict(&mut stack, active, &request.services);
    }
    let others: Vec<&Release> =
        snapshot.releases.iter().filter(|(n, _)| **n != request.stack).map(|(_, r)| r.as_ref()).collect();
    preflight::check(&stack, active, &others, parts.machine.as_ref())?;
    let view = view(parts, &request.stack)?.unwrap_or_else(|| StackView::new(request.stack.clone()));
    let known = view.images.clone();
    let mut steps = Vec::new();
    let mut sources = BTreeMap::new();
    let images = match (request.intent, &request.from) {
        (Intent::Promote { release }, Some(from)) => promoted(parts, &stack, from, release).await?,
        (intent, _) => {
            let anew = matches!(intent, Intent::Deploy).then_some(&request.services[..]);
            images(parts, &stack, &known, anew, &mut steps, &mut sources).await?
        }
    };
    let warnings = rolled_back_before(&view, &stack, &sources).into_iter().collect();
    let next = Release {
        id: ReleaseId(active.map_or(1, |r| r.id.0 + 1)),
        images,
        files: active.map(|r| r.files.clone()).unwrap_or_default(),
        addresses: active.map(|r| r.addresses.clone()).unwrap_or_default(),
        made: parts.machine.now(),
        hashes: Default::default(),
        stack,
    };
    tell_steps(active, &next, None, &last_gaps(parts, &request.stack), &mut steps);
    let differences = making::differences(active, &next);
    let is_new = !differences.is_empty() || !steps.is_empty();
    Ok(Preview { differences, steps, warnings: if is_new { warnings } else { Vec::new() } })
}

/// That this would not be tried again, if so.
fn rolled_back_before(
    view: &StackView,
    stack: &Stack,
    sources: &BTreeMap<ServiceName, Digest>,
) -> Option<String> {
    // What cannot be read is told by the change itself.
    let files = making::files_of(stack, |_, _| Ok(())).ok()?;
    let report = releases::rolled_back_as(view, &making::made_of(stack, sources, &files))?;
    Some(format!("{}; `juchu deploy --again` tries it all the same", report.error))
}

fn view(parts: &Parts, stack: &StackName) -> Result<Option<StackView>, Report> {
    parts.ledger.stack(stack).map_err(|error| Report::internal(error.to_string()))
}

/// What going back would do.
async fn back(
    parts: &Parts,
    active: Option<&Release>,
    request: &ChangeRequest,
    to: Option<ReleaseId>,
) -> Result<Preview, Report> {
    let (Some(active), Some(view)) = (active, view(parts, &request.stack)?) else {
        return Err(Report::usage(format!("there is no stack {}", request.stack)).hint("juchu up"));
    };
    let now = parts.machine.now();
    let target = rollback::target(parts, &view, active, &request.services, to).await?;
    let is_warm = releases::statuses(&view, parts.ledger.as_ref(), now).into_iter().any(|status| {
        status.id == target.id && matches!(status.standing, ReleaseStanding::Warm { until } if until > now)
    });
    let warm = is_warm.then(|| target.clone());
    let new = ReleaseId(view.newest + 1);
    let next = rollback::goal(Some(active), target, &request.services, new, now);
    let mut steps = Vec::new();
    tell_steps(Some(active), &next, warm.as_ref(), &last_gaps(parts, &request.stack), &mut steps);
    Ok(Preview { differences: making::differences(Some(active), &next), steps, warnings: Vec::new() })
}

/// The images of another stack's release, as they are.
async fn promoted(
    parts: &Parts,
    stack: &Stack,
    from: &StackName,
    release: Option<ReleaseId>,
) -> Result<BTreeMap<ServiceName, BuiltImage>, Report> {
    let source = view(parts, from)?.and_then(|view| Some((release.or(view.kept)?, view)));
    let Some((id, view)) = source else {
        return Err(Report::usage(format!("the stack {from} has no release that was kept"))
            .hint(format!("juchu -p {from} releases")));
    };
    let source = releases::find(&view, parts.ledger.as_ref(), id)?;
    let mut images = BTreeMap::new();
    for service in stack.services.values() {
        let (_, image, _) = making::promoted_image(&source, service, &parts.images).await?;
        images.insert(service.name.clone(), image);
    }
    Ok(images)
}

/// The images as they would be; those to be built stand under the digest of their inputs.
async fn images(
    parts: &Parts,
    stack: &Stack,
    known: &BTreeMap<model::ServiceName, (Digest, BuiltImage)>,
    anew: Option<&[ServiceName]>,
    steps: &mut Vec<String>,
    sources: &mut BTreeMap<ServiceName, Digest>,
) -> Result<BTreeMap<model::ServiceName, BuiltImage>, Report> {
    let mut images = BTreeMap::new();
    let is_anew = |service: &Service| anew.is_some_and(|s| s.is_empty() || s.contains(&service.name));
    for service in stack.services.values() {
        let inputs = parts.images.inputs(service).await?;
        let image = match known.get(&service.name) {
            Some((digest, image)) if *digest == inputs && !is_anew(service) => image.clone(),
            _ => {
                let (verb, what) = source(service);
                steps.push(format!("{verb} the image of {} ({what})", service.name));
                BuiltImage {
                    manifest: inputs.clone(),
                    layers: Vec::new(),
                    config: Default::default(),
                    origin: format!("to be made: {what}"),
                }
            }
        };
        sources.insert(service.name.clone(), making::source_of(service, &inputs, &image));
        images.insert(service.name.clone(), image);
    }
    Ok(images)
}

fn source(service: &Service) -> (&'static str, String) {
    match &service.image {
        ImageSource::Pull { reference, .. } => ("fetch", reference.clone()),
        ImageSource::Component { name, .. } => ("build", format!("component {name}")),
        ImageSource::Build(spec) => {
            ("build", spec.context.as_ref().map_or("stated by hand".to_owned(), |c| c.display().to_string()))
        }
    }
}

fn tell_steps(
    active: Option<&Release>,
    next: &Release,
    warm: Option<&Release>,
    gaps: &BTreeMap<ServiceName, u64>,
    steps: &mut Vec<String>,
) {
    for service in next.stack.services.values() {
        let before = active.and_then(|r| r.stack.services.get(&service.name).map(|s| (r, s)));
        match before {
            None => steps.push(format!("start {} × {}{}", service.replicas, service.name, after(service))),
            Some((release, previous))
                if plan::spec::spec_hash(release, previous) != plan::spec::spec_hash(next, service) =>
            {
                steps.push(match warm.filter(|release| is_kept(release, &service.name)) {
                    Some(warm) => {
                        format!("move the traffic of {} to {}, which is warm", service.name, warm.id)
                    }
                    None => replacing(service, gaps.get(&service.name).copied()),
                });
            }
            Some((_, previous)) if previous.replicas != service.replicas => {
                steps.push(format!(
                    "change {} from {} to {} replicas",
                    service.name, previous.replicas, service.replicas
                ));
            }
            Some((_, previous)) if previous.ports != service.ports => {
                steps.push(format!("publish {} anew, without restarting it", service.name));
            }
            Some(_) => {}
        }
    }
    let gone =
        active.iter().flat_map(|r| r.stack.services.keys()).filter(|n| !next.stack.services.contains_key(*n));
    steps.extend(gone.map(|name| format!("stop and remove {name}")));
}

/// Whether the instances of a service run on when their release is replaced.
fn is_kept(release: &Release, service: &ServiceName) -> bool {
    let service = release.stack.services.get(service);
    service.is_some_and(|service| plan::warm::time(release, service).0 > 0)
}

fn after(service: &Service) -> String {
    let conditions: Vec<String> = service
        .depends_on
        .iter()
        .map(|(name, dependency)| match dependency.condition {
            Condition::ServiceStarted => format!("{name} has started"),
            Condition::ServiceHealthy => format!("{name} is healthy"),
            Condition::ServiceCompletedSuccessfully => format!("{name} has run to its end"),
        })
        .collect();
    if conditions.is_empty() { String::new() } else { format!(" when {}", conditions.join(" and ")) }
}

fn replacing(service: &Service, gap: Option<u64>) -> String {
    let name = &service.name;
    if plan::spec::update_order(service) == UpdateOrder::StopFirst {
        let why =
            plan::spec::held_alone(service).unwrap_or_else(|| "`order: stop-first` is declared".to_owned());
        let gap = match gap {
            Some(ms) => format!("about {}, as the last time", DurationMs(ms)),
            None => format!("its stop, at most {}, and its start", service.stop_grace),
        };
        let hold = match service.policy.hold.filter(|hold| hold.0 > 0) {
            Some(hold) => format!("; what arrives meanwhile is held for up to {hold}"),
            None => "; `x-juchu.hold` would have requests wait for it".to_owned(),
        };
        return format!("replace {name}: stop the old one first, because {why}; expect a gap of {gap}{hold}");
    }
    let rollout = &service.policy.rollout;
    let beside = match (rollout.trial(), rollout.canary) {
        (Some(judge), _) => {
            let limit = judge.limit.unwrap_or(plan::TRIAL_TIME);
            format!(", compare it with the old one on a growing share of the traffic for at most {limit}")
        }
        (None, Some(share)) => {
            let time = rollout.canary_time.unwrap_or(plan::CANARY_TIME);
            format!(", give it {share} of the traffic for {time}")
        }
        (None, None) => String::new(),
    };
    format!(
        "replace {name}: start the new one{beside}, move traffic when it is ready, keep the old one {}",
        match rollout.warm.unwrap_or(plan::warm::WARM) {
            DurationMs(0) => "until its connections have ended".to_owned(),
            warm => format!("warm for {warm}"),
        }
    )
}

/// The gap that was measured when a service was replaced last.
fn last_gaps(parts: &Parts, stack: &StackName) -> BTreeMap<ServiceName, u64> {
    let query = HistoryQuery {
        stack: Some(stack.clone()),
        changes_only: true,
        limit: GAPS_LOOKED_BACK,
        ..HistoryQuery::default()
    };
    // Without the past there is only less to say.
    let entries = parts.ledger.history(&query).unwrap_or_default();
    let figures = entries.into_iter().filter_map(|entry| match entry.event {
        Event::Concluded { figures, .. } => Some(figures),
        _ => None,
    });
    figures.flatten().filter(|f| f.gap_ms > 0).map(|f| (f.service, f.gap_ms)).collect()
}
