//! What a change would do, found out without doing anything.

use crate::control::{ChangeRequest, Preview};
use crate::making;
use crate::preflight;
use crate::world::{Parts, Snapshot};
use model::image::{BuiltImage, ImageSource};
use model::service::{Condition, UpdateOrder};
use model::{Digest, DurationMs, Release, ReleaseId, Report, Service, ServiceName, Stack, StackName};
use std::collections::BTreeMap;
use store::HistoryQuery;
use store::record::v1::{Event, Intent};

/// Entries of the journal looked at for how long replacing a service took.
const GAPS_LOOKED_BACK: usize = 200;

pub async fn preview(parts: &Parts, snapshot: &Snapshot, request: ChangeRequest) -> Result<Preview, Report> {
    let active = snapshot.releases.get(&request.stack).map(|r| r.as_ref());
    let Some(mut stack) = request.declared else {
        return Err(Report::usage("a preview needs a Compose file").hint("juchu plan -f FILE"));
    };
    parts.images.complete(&mut stack)?;
    let others: Vec<&Release> =
        snapshot.releases.iter().filter(|(n, _)| **n != request.stack).map(|(_, r)| r.as_ref()).collect();
    preflight::check(&stack, active, &others, parts.machine.as_ref())?;
    let view = parts.ledger.stack(&request.stack).map_err(|e| Report::internal(e.to_string()))?;
    let known = view.map(|v| v.images).unwrap_or_default();
    let mut steps = Vec::new();
    let images = images(parts, &stack, &known, matches!(request.intent, Intent::Deploy), &mut steps).await?;
    let next = Release {
        id: ReleaseId(active.map_or(1, |r| r.id.0 + 1)),
        images,
        files: active.map(|r| r.files.clone()).unwrap_or_default(),
        addresses: active.map(|r| r.addresses.clone()).unwrap_or_default(),
        made: parts.machine.now(),
        hashes: Default::default(),
        stack,
    };
    tell_steps(active, &next, &last_gaps(parts, &request.stack), &mut steps);
    Ok(Preview { differences: making::differences(active, &next), steps, warnings: warnings(&next.stack) })
}

/// The images as they would be; those to be built stand under the digest of their inputs.
async fn images(
    parts: &Parts,
    stack: &Stack,
    known: &BTreeMap<model::ServiceName, (Digest, BuiltImage)>,
    anew: bool,
    steps: &mut Vec<String>,
) -> Result<BTreeMap<model::ServiceName, BuiltImage>, Report> {
    let mut images = BTreeMap::new();
    for service in stack.services.values() {
        let inputs = parts.images.inputs(service).await?;
        let image = match known.get(&service.name) {
            Some((digest, image)) if *digest == inputs && !anew => image.clone(),
            _ => {
                let (verb, what) = source(service);
                steps.push(format!("{verb} the image of {} ({what})", service.name));
                BuiltImage {
                    manifest: inputs,
                    layers: Vec::new(),
                    config: Default::default(),
                    origin: format!("to be made: {what}"),
                }
            }
        };
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
                steps.push(replacing(service, gaps.get(&service.name).copied()));
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
    let canary = service.policy.rollout.canary.map(|share| {
        let time = service.policy.rollout.canary_time.unwrap_or(plan::CANARY_TIME);
        format!(", give it {share} of the traffic for {time}")
    });
    format!(
        "replace {name}: start the new one{}, move traffic when it is ready, keep the old one {}",
        canary.unwrap_or_default(),
        match service.policy.rollout.warm.unwrap_or(plan::warm::WARM) {
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

fn warnings(stack: &Stack) -> Vec<String> {
    let udp = stack
        .services
        .values()
        .filter(|s| s.ports.iter().any(|p| p.transport == model::service::Transport::Udp));
    udp.map(|s| format!("service {}: UDP ports are not published yet", s.name)).collect()
}
