//! The control plane as others hold it: wishes go to the loop, reading goes past it.

use crate::control::{
    Accepted, ChangeRequest, Conclusion, Control, DaemonStatus, GatewayUpgrade, Preview, Probed, Progress,
    ReleaseStatus, Scraped, ServiceLine, StackStatus, Watched,
};
use crate::engine::{ExecRequest, Lack, LogQuery};
use crate::noise::{self, Noise};
use crate::preview;
use crate::ranges::Ranges;
use crate::releases;
use crate::scraped;
use crate::story::Stories;
use crate::watched;
use crate::world::{Message, Parts, Snapshot, World};
use async_trait::async_trait;
use model::certificate::{CertificateStatus, certificate_name};
use model::flow;
use model::{DurationMs, ErrorKind, InstanceId, ReleaseId, Report, ServiceName, StackName, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::record::v1::{Difference, Event};
use store::{Draft, Entry, HistoryQuery, VerifyReport};
use tokio::sync::{mpsc, oneshot, watch};

/// Wishes and reports that may wait for the loop.
const INBOX: usize = 1024;
/// How long the first look at what runs is waited for.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// Lines of merged logs that may wait for a reader.
const LINES_AHEAD: usize = 256;

pub struct Controller {
    parts: Arc<Parts>,
    stories: Arc<Stories>,
    messages: mpsc::Sender<Message>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    revision: watch::Receiver<u64>,
    started: Timestamp,
    ranges: OnceLock<Arc<dyn Ranges>>,
    lacks: OnceLock<Lacks>,
}

/// What is wrong with what the control plane does not know of.
pub type Lacks = Arc<dyn Fn() -> Vec<Lack> + Send + Sync>;

impl Controller {
    /// Reads what the journal says and starts the loop on the present runtime.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, Report> {
        let parts = Arc::new(parts);
        let stories = Arc::new(Stories::default());
        let started = parts.machine.now();
        let event = Event::DaemonStarted { version: parts.version.clone(), pid: std::process::id() };
        let draft = Draft { stack: None, actor: "juchu".to_owned(), event, blobs: Vec::new() };
        let journal = |error: store::StoreError| Report::from_error(ErrorKind::Environment, &error);
        parts.ledger.append(started, vec![draft]).map_err(journal)?;
        let (messages, inbox) = mpsc::channel(INBOX);
        let (health_reports, reports) = mpsc::channel(INBOX);
        let (published, snapshot) = watch::channel(Arc::new(Snapshot::default()));
        let noise = Noise::open(&parts.home);
        let world = World::open(
            Arc::clone(&parts),
            Arc::clone(&noise),
            Arc::clone(&stories),
            messages.downgrade(),
            published,
            health_reports,
        )?;
        tokio::spawn(world.run(inbox, reports));
        let (router, machine) = (Arc::clone(&parts.router), Arc::clone(&parts.machine));
        tokio::spawn(noise::follow(noise, router, machine, snapshot.clone()));
        // Whoever asks first is told what there is, not that there is nothing.
        let mut first = snapshot.clone();
        let looked = first.wait_for(|snapshot| snapshot.revision > 0);
        if tokio::time::timeout(FIRST_LOOK, looked).await.is_err() {
            eprintln!("the first look at what runs takes long; it goes on");
        }
        let revision = revisions(snapshot.clone());
        let (ranges, lacks) = (OnceLock::new(), OnceLock::new());
        Ok(Arc::new(Self { parts, stories, messages, snapshot, revision, started, ranges, lacks }))
    }

    /// What watches signals, once it does; it asks the control plane itself, so it comes later.
    pub fn set_ranges(&self, ranges: Arc<dyn Ranges>) {
        // Only the first counts.
        let _ = self.ranges.set(ranges);
    }

    /// What else may be wrong with this machine; asked when somebody wants to know.
    pub fn set_lacks(&self, lacks: Lacks) {
        // Only the first counts.
        let _ = self.lacks.set(lacks);
    }

    fn find(&self, stack: &StackName) -> Result<Arc<Snapshot>, Report> {
        let snapshot = self.snapshot.borrow().clone();
        if snapshot.stacks.iter().any(|s| s.name == *stack) {
            return Ok(snapshot);
        }
        let names: Vec<&str> = snapshot.stacks.iter().map(|s| s.name.as_str()).collect();
        let report = Report::usage(format!("there is no stack {stack}"));
        Err(match names.is_empty() {
            true => report.hint("juchu up"),
            false => report.hint(format!("the stacks are {}", names.join(", "))),
        })
    }

    /// What the journal says of a stack that is there.
    fn view(&self, stack: &StackName) -> Result<store::StackView, Report> {
        self.find(stack)?;
        let view = self.parts.ledger.stack(stack).map_err(|e| Report::from_error(ErrorKind::Internal, &e))?;
        view.ok_or_else(|| Report::usage(format!("the stack {stack} was removed")))
    }

    /// The instances of these services, those of the release in force last.
    fn instances(
        &self,
        stack: &StackName,
        services: &[ServiceName],
    ) -> Result<Vec<(InstanceId, ServiceName, u32, bool)>, Report> {
        let snapshot = self.find(stack)?;
        let known = snapshot.releases.get(stack).map(|r| &r.stack.services);
        if let Some(unknown) = services.iter().find(|s| known.is_none_or(|k| !k.contains_key(*s))) {
            let names: Vec<&str> = known.into_iter().flatten().map(|(n, _)| n.as_str()).collect();
            return Err(Report::usage(format!("there is no service {unknown} in the stack {stack}"))
                .hint(format!("its services are {}", names.join(", "))));
        }
        let of_stack = snapshot.observed.iter().filter(|o| o.spec.stack == *stack);
        let wanted = of_stack.filter(|o| services.is_empty() || services.contains(&o.spec.service));
        let mut wanted: Vec<_> = wanted.collect();
        let release = snapshot.releases.get(stack);
        // Old ones that are kept warm run as well; nobody means them.
        wanted.sort_by_key(|o| release.is_some_and(|r| in_force(r, &o.spec)));
        Ok(wanted
            .into_iter()
            .map(|o| {
                let running = matches!(o.state, model::instance::InstanceState::Running { .. });
                (o.spec.id.clone(), o.spec.service.clone(), o.spec.slot, running)
            })
            .collect())
    }

    fn engine_report(error: &crate::engine::EngineError) -> Report {
        Report::from_error(ErrorKind::Environment, error)
    }
}

/// Whether an instance is what the release declares now.
fn in_force(release: &model::Release, spec: &model::instance::InstanceSpec) -> bool {
    let declared = release.stack.services.get(&spec.service);
    declared.is_some_and(|service| plan::spec::spec_hash(release, service) == spec.spec_hash)
}

/// A certificate that cannot be had, or not be renewed, as something this machine lacks.
fn certificate_lack(status: &CertificateStatus) -> Option<Lack> {
    let problem = status.problem.as_ref()?;
    let subject = match status.hosts.is_empty() {
        true => status.name.clone(),
        false => format!("{} ({})", status.name, status.hosts.join(", ")),
    };
    let effect = match status.expires {
        None => "its ports do not speak TLS yet; ports without TLS are served",
        Some(_) => "the one that is there is shown until it ends",
    };
    let hint = match status.source.as_str() {
        "files" => "put a certificate and its key there; they are looked at every 5 s",
        "internal" => "look at the reason; it is tried again by itself",
        _ => "the hosts have to lead here on port 80 or 443; it is tried again by itself",
    };
    Some(Lack {
        what: format!("no certificate for {subject}: {problem}"),
        effect: effect.to_owned(),
        hint: hint.to_owned(),
        fatal: false,
    })
}

/// Notes with each service how its certificate stands.
fn add_certificates(stacks: &mut [StackStatus], certificates: &[CertificateStatus]) {
    let known: HashMap<&str, &CertificateStatus> =
        certificates.iter().map(|one| (one.name.as_str(), one)).collect();
    for stack in stacks.iter_mut().filter(|_| !known.is_empty()) {
        for service in &mut stack.services {
            let name = certificate_name(stack.name.as_str(), service.name.as_str());
            service.certificate = known.get(name.as_str()).map(|&one| one.clone());
        }
    }
}

/// The revision alone, for those who only want to know that something changed.
fn revisions(mut snapshot: watch::Receiver<Arc<Snapshot>>) -> watch::Receiver<u64> {
    let (sender, receiver) = watch::channel(snapshot.borrow().revision);
    tokio::spawn(async move {
        while snapshot.changed().await.is_ok() {
            let revision = snapshot.borrow_and_update().revision;
            if sender.send(revision).is_err() {
                return;
            }
        }
    });
    receiver
}

#[async_trait]
impl Control for Controller {
    async fn submit(&self, request: ChangeRequest) -> Result<Accepted, Report> {
        let (answer, waiting) = oneshot::channel();
        let stopping = || Report::environment("the daemon is stopping").hint("run the command again");
        let message = Message::Submit(Box::new(request), answer);
        self.messages.send(message).await.map_err(|_| stopping())?;
        let change = waiting.await.map_err(|_| stopping())??;
        Ok(Accepted { change })
    }

    async fn follow(&self, change: u64) -> Result<mpsc::Receiver<Progress>, Report> {
        let query =
            HistoryQuery { after: Some(change), changes_only: true, limit: 500, ..HistoryQuery::default() };
        let entries = self.history(query).await?;
        let ended = entries.iter().find_map(|entry| match &entry.event {
            Event::Concluded { change: of, outcome, release, reason, took_ms, figures } if *of == change => {
                Some(Conclusion {
                    change,
                    outcome: *outcome,
                    reason: reason.clone(),
                    release: *release,
                    took: DurationMs(*took_ms),
                    figures: figures.clone(),
                    before: None,
                    warm_until: None,
                    addresses: Vec::new(),
                    report: None,
                    last_lines: Vec::new(),
                })
            }
            _ => None,
        });
        Ok(self.stories.follow(change, ended))
    }

    async fn releases(&self, stack: &StackName) -> Result<Vec<ReleaseStatus>, Report> {
        let (view, now) = (self.view(stack)?, self.parts.machine.now());
        let ledger = Arc::clone(&self.parts.ledger);
        let read = move || releases::statuses(&view, ledger.as_ref(), now);
        Ok(tokio::task::spawn_blocking(read).await.expect("reading the journal does not panic"))
    }

    async fn compare(
        &self,
        stack: &StackName,
        from: ReleaseId,
        to: ReleaseId,
    ) -> Result<Vec<Difference>, Report> {
        let view = self.view(stack)?;
        let ledger = Arc::clone(&self.parts.ledger);
        let read = move || releases::compare(&view, ledger.as_ref(), from, to);
        tokio::task::spawn_blocking(read).await.expect("reading the journal does not panic")
    }

    async fn upgrade_gateway(&self) -> Result<GatewayUpgrade, Report> {
        self.parts.router.upgrade().await
    }

    async fn traffic(&self) -> Result<flow::Status, Report> {
        self.parts.router.traffic().await
    }

    async fn passed_spans(&self) -> Result<Vec<flow::PassedSpan>, Report> {
        self.parts.router.spans().await
    }

    async fn explain(&self, question: flow::Question) -> Result<flow::Explanation, Report> {
        self.parts.router.explain(question).await
    }

    async fn preview(&self, request: ChangeRequest) -> Result<Preview, Report> {
        let snapshot = self.snapshot.borrow().clone();
        preview::preview(&self.parts, &snapshot, request).await
    }

    fn rows(&self) -> Option<Arc<dyn crate::rows::Rows>> {
        self.parts.rows.clone()
    }

    fn traces(&self) -> Option<Arc<dyn crate::traces::Traces>> {
        self.parts.traces.clone()
    }

    async fn scraped(&self) -> Result<Vec<Scraped>, Report> {
        let snapshot = self.snapshot.borrow().clone();
        Ok(scraped::scraped(&snapshot))
    }

    async fn probed(&self) -> Result<Vec<Probed>, Report> {
        let snapshot = self.snapshot.borrow().clone();
        Ok(scraped::probed(&snapshot))
    }

    async fn watched(&self) -> Result<Vec<Watched>, Report> {
        let snapshot = self.snapshot.borrow().clone();
        Ok(watched::watched(&snapshot))
    }

    async fn wanting(&self) -> Result<Vec<watched::Wanting>, Report> {
        let snapshot = self.snapshot.borrow().clone();
        Ok(watched::wanting(&snapshot))
    }

    fn ranges(&self) -> Option<Arc<dyn Ranges>> {
        self.ranges.get().cloned()
    }

    async fn note(&self, stack: Option<StackName>, actor: &str, event: Event) -> Result<(), Report> {
        let (ledger, now) = (Arc::clone(&self.parts.ledger), self.parts.machine.now());
        let draft = Draft { stack, actor: actor.to_owned(), event, blobs: Vec::new() };
        let written = tokio::task::spawn_blocking(move || ledger.append(now, vec![draft])).await;
        let written = written.expect("the journal's call does not panic");
        written.map(drop).map_err(|error| Report::from_error(ErrorKind::Environment, &error))
    }

    async fn stacks(&self) -> Result<Vec<StackStatus>, Report> {
        let mut stacks = self.snapshot.borrow().stacks.clone();
        for instance in stacks.iter_mut().flat_map(|s| &mut s.services).flat_map(|s| &mut s.instances) {
            if instance.pid.is_some()
                && let Ok(usage) = self.parts.engine.usage(&instance.id).await
            {
                instance.memory_bytes = usage.memory_bytes;
                instance.cpu_us = usage.cpu_us;
            }
        }
        add_certificates(&mut stacks, &self.parts.router.certificates());
        Ok(stacks)
    }

    async fn stack(&self, name: &StackName) -> Result<StackStatus, Report> {
        self.find(name)?;
        let stacks = self.stacks().await?;
        stacks
            .into_iter()
            .find(|s| s.name == *name)
            .ok_or_else(|| Report::usage(format!("the stack {name} was removed")))
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.revision.clone()
    }

    async fn history(&self, query: HistoryQuery) -> Result<Vec<Entry>, Report> {
        let ledger = Arc::clone(&self.parts.ledger);
        let read = tokio::task::spawn_blocking(move || ledger.history(&query)).await;
        read.expect("the journal's call does not panic")
            .map_err(|e| Report::from_error(ErrorKind::Internal, &e))
    }

    async fn logs(
        &self,
        stack: &StackName,
        services: &[ServiceName],
        query: LogQuery,
    ) -> Result<mpsc::Receiver<ServiceLine>, Report> {
        let instances = self.instances(stack, services)?;
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        if query.follow {
            let known = instances.iter().map(|(id, ..)| id.clone()).collect();
            let (engine, snapshot) = (Arc::clone(&self.parts.engine), self.snapshot.clone());
            let (stack, services, sender) = (stack.clone(), services.to_vec(), sender.clone());
            tokio::spawn(crate::merge::newcomers(engine, snapshot, stack, services, known, sender));
        }
        let mut sources = Vec::new();
        for (id, service, slot, _) in instances {
            match self.parts.engine.logs(&id, query.clone()).await {
                Ok(lines) => sources.push((service, slot, lines)),
                // It was removed since the snapshot.
                Err(crate::engine::EngineError::UnknownInstance(_)) => {}
                Err(error) => return Err(Self::engine_report(&error)),
            }
        }
        tokio::spawn(crate::merge::merge(sources, query, sender));
        Ok(receiver)
    }

    async fn enter(
        &self,
        stack: &StackName,
        service: &ServiceName,
        slot: Option<u32>,
        request: ExecRequest,
        tty: bool,
    ) -> Result<Vec<String>, Report> {
        let instances = self.instances(stack, std::slice::from_ref(service))?;
        let fits = |(_, _, s, running): &&(InstanceId, ServiceName, u32, bool)| {
            *running && slot.is_none_or(|w| w == *s)
        };
        match instances.iter().rfind(fits) {
            Some((id, ..)) => Ok(self.parts.engine.enter(id, &request, tty)),
            None => Err(Report::usage(format!("no instance of {service} runs"))
                .hint(format!("juchu start {service}"))
                .hint(format!("juchu logs {service}"))),
        }
    }

    async fn verify(&self) -> Result<VerifyReport, Report> {
        let ledger = Arc::clone(&self.parts.ledger);
        let verified = tokio::task::spawn_blocking(move || ledger.verify()).await;
        verified
            .expect("the journal's call does not panic")
            .map_err(|e| Report::from_error(ErrorKind::Internal, &e))
    }

    async fn lacks(&self) -> Result<Vec<Lack>, Report> {
        let mut lacks = self.parts.engine.lacks().await;
        lacks.extend(self.lacks.get().into_iter().flat_map(|more| more()));
        lacks.extend(self.parts.router.certificates().iter().filter_map(certificate_lack));
        Ok(lacks)
    }

    async fn daemon(&self) -> Result<DaemonStatus, Report> {
        Ok(DaemonStatus {
            version: self.parts.version.clone(),
            pid: std::process::id(),
            started: self.started,
            gateway_pid: self.parts.router.pid().await,
            home: self.parts.home.display().to_string(),
        })
    }
}
