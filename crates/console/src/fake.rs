//! A control plane in memory for tests: it answers like a real one, remembers what it was asked,
//! and fails on purpose.

pub mod measured;
mod ranges;
mod releases;
pub mod rows;

pub use ranges::{FakeRanges, incidents, objectives, ranges, receivers};
pub use releases::*;

pub mod traces;
pub mod traffic;
pub mod visits;

use async_trait::async_trait;
use model::certificate::CertificateStatus;
use model::flow;
use model::instance::Health;
use model::{Digest, DurationMs, InstanceId, ReleaseId, Report, ServiceName, StackName, Timestamp};
use run::control::*;
use run::engine::{ExecRequest, Lack, LogLine, LogQuery, LogStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use store::record::v1::{Difference, Event, Intent, Outcome, Seen};
use store::{Entry, HistoryQuery, VerifyReport};
use tokio::sync::{mpsc, watch};

/// 2026-11-22 12:00:00 UTC, the present of everything in here.
pub const NOW: Timestamp = Timestamp(1_795_348_800_000);

/// What the fake holds; tests change it between calls.
#[derive(Default)]
pub struct Held {
    pub stacks: Vec<StackStatus>,
    pub entries: Vec<Entry>,
    pub lines: Vec<ServiceLine>,
    /// What a change tells after it was accepted.
    pub story: Vec<Progress>,
    pub preview: Option<Preview>,
    pub lacks: Vec<Lack>,
    /// The next call fails with it.
    pub failure: Option<Report>,
    /// Every change is refused with it.
    pub refusal: Option<Report>,
    /// The story of a change begins with a warning: the request that it answers, as JSON.
    pub echo: bool,
    /// Every change asked for, oldest first.
    pub asked: Vec<ChangeRequest>,
    pub releases: Vec<ReleaseStatus>,
    /// What two releases differ in.
    pub differences: Vec<Difference>,
    pub compared: Vec<(ReleaseId, ReleaseId)>,
    pub entered: Vec<(ServiceName, Option<u32>, ExecRequest, bool)>,
}

pub struct FakeControl {
    held: Mutex<Held>,
    changes: watch::Sender<u64>,
    /// Log lines that arrive while somebody follows.
    live: tokio::sync::broadcast::Sender<ServiceLine>,
    rows: std::sync::Arc<rows::FakeRows>,
    watching: Option<std::sync::Arc<FakeRanges>>,
}

impl Default for FakeControl {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            changes: watch::Sender::new(0),
            live: tokio::sync::broadcast::Sender::new(64),
            rows: std::sync::Arc::default(),
            watching: None,
        }
    }
}

impl FakeControl {
    /// Nothing was ever deployed.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A web service, a database and a cache, with a past.
    pub fn guestbook() -> Self {
        let fake = Self::default();
        *fake.held() = Held {
            stacks: vec![guestbook_status()],
            entries: guestbook_entries(),
            lines: guestbook_lines(),
            story: guestbook_story(),
            preview: Some(guestbook_preview()),
            releases: guestbook_releases(),
            differences: guestbook_differences(),
            ..Held::default()
        };
        fake
    }

    /// With signals that are watched.
    pub fn watching(self, ranges: std::sync::Arc<FakeRanges>) -> Self {
        Self { watching: Some(ranges), ..self }
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is held and tells whoever watches.
    pub fn change(&self, edit: impl FnOnce(&mut Held)) {
        edit(&mut self.held());
        self.changes.send_modify(|revision| *revision += 1);
    }

    /// A line appears in the logs of whoever follows.
    pub fn say(&self, line: ServiceLine) {
        // Nobody may be listening, which is no failure.
        let _ = self.live.send(line);
    }

    pub fn kept_rows(&self) -> &rows::FakeRows {
        &self.rows
    }

    fn checked(&self) -> Result<MutexGuard<'_, Held>, Report> {
        let mut held = self.held();
        match held.failure.take() {
            Some(report) => Err(report),
            None => Ok(held),
        }
    }
}

#[async_trait]
impl Control for FakeControl {
    async fn submit(&self, request: ChangeRequest) -> Result<Accepted, Report> {
        let mut held = self.checked()?;
        held.asked.push(request);
        if let Some(refusal) = &held.refusal {
            return Err(refusal.clone());
        }
        Ok(Accepted { change: 100 + held.asked.len() as u64 })
    }

    async fn follow(&self, change: u64) -> Result<mpsc::Receiver<Progress>, Report> {
        let held = self.checked()?;
        let (sender, receiver) = mpsc::channel(held.story.len() + 2);
        let first = Progress::Accepted { change, at: NOW };
        let echo = held.asked.last().filter(|_| held.echo).map(|request| Progress::Warning {
            text: serde_json::to_string(request).expect("API types have string keys only"),
        });
        for progress in std::iter::once(first).chain(echo).chain(held.story.iter().cloned()) {
            sender.try_send(progress).expect("the channel was made for all of it");
        }
        Ok(receiver)
    }

    async fn preview(&self, request: ChangeRequest) -> Result<Preview, Report> {
        let mut held = self.checked()?;
        held.asked.push(request);
        let nothing = Preview { differences: vec![], steps: vec![], warnings: vec![] };
        Ok(held.preview.clone().unwrap_or(nothing))
    }

    fn traces(&self) -> Option<std::sync::Arc<dyn run::traces::Traces>> {
        Some(std::sync::Arc::new(traces::FakeTraces))
    }

    fn ranges(&self) -> Option<std::sync::Arc<dyn run::ranges::Ranges>> {
        self.watching.clone().map(|ranges| ranges as std::sync::Arc<dyn run::ranges::Ranges>)
    }

    fn rows(&self) -> Option<std::sync::Arc<dyn run::rows::Rows>> {
        Some(self.rows.clone())
    }

    async fn releases(&self, _stack: &StackName) -> Result<Vec<ReleaseStatus>, Report> {
        Ok(self.checked()?.releases.clone())
    }

    async fn compare(
        &self,
        _stack: &StackName,
        from: ReleaseId,
        to: ReleaseId,
    ) -> Result<Vec<Difference>, Report> {
        let mut held = self.checked()?;
        held.compared.push((from, to));
        Ok(held.differences.clone())
    }

    async fn upgrade_gateway(&self) -> Result<GatewayUpgrade, Report> {
        drop(self.checked()?);
        Ok(GatewayUpgrade { before: Some(41), after: 42, draining: 3 })
    }

    async fn traffic(&self) -> Result<flow::Status, Report> {
        drop(self.checked()?);
        Ok(traffic::guestbook(1))
    }

    async fn explain(&self, question: flow::Question) -> Result<flow::Explanation, Report> {
        drop(self.checked()?);
        Ok(traffic::explanation(&question))
    }

    async fn stacks(&self) -> Result<Vec<StackStatus>, Report> {
        Ok(self.checked()?.stacks.clone())
    }

    async fn stack(&self, name: &StackName) -> Result<StackStatus, Report> {
        let held = self.checked()?;
        held.stacks.iter().find(|s| s.name == *name).cloned().ok_or_else(|| {
            Report::usage(format!("there is no stack `{name}`")).hint("`juchu ps --all` lists them")
        })
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn history(&self, query: HistoryQuery) -> Result<Vec<Entry>, Report> {
        let held = self.checked()?;
        let fits = |entry: &&Entry| {
            query.stack.as_ref().is_none_or(|stack| entry.stack.as_ref() == Some(stack))
                && query.after.is_none_or(|after| entry.seq > after)
                && query.service.as_ref().is_none_or(|service| concerns(&entry.event, service))
        };
        let mut newest: Vec<Entry> =
            held.entries.iter().rev().filter(fits).take(query.limit).cloned().collect();
        newest.reverse();
        Ok(newest)
    }

    async fn logs(
        &self,
        _stack: &StackName,
        services: &[ServiceName],
        query: LogQuery,
    ) -> Result<mpsc::Receiver<ServiceLine>, Report> {
        let wanted = services.to_vec();
        let fits = move |line: &ServiceLine| wanted.is_empty() || wanted.contains(&line.service);
        let mut lines: Vec<_> = self.checked()?.lines.iter().filter(|l| fits(l)).cloned().collect();
        lines.retain(|line| query.since.is_none_or(|since| line.line.at >= since));
        lines.drain(..lines.len().saturating_sub(query.tail.unwrap_or(usize::MAX)));
        let mut live = self.live.subscribe();
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            for line in lines {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
            if !query.follow {
                return;
            }
            loop {
                tokio::select! {
                    line = live.recv() => match line {
                        Ok(line) if fits(&line) => { let _ = sender.send(line).await; }
                        Ok(_) => {}
                        Err(_) => return,
                    },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(receiver)
    }

    async fn enter(
        &self,
        _stack: &StackName,
        service: &ServiceName,
        slot: Option<u32>,
        request: ExecRequest,
        tty: bool,
    ) -> Result<Vec<String>, Report> {
        let mut held = self.checked()?;
        let argv = [vec!["/usr/bin/env".to_owned(), "--".to_owned()], request.argv.clone()].concat();
        held.entered.push((service.clone(), slot, request, tty));
        Ok(argv)
    }

    async fn verify(&self) -> Result<VerifyReport, Report> {
        let held = self.checked()?;
        let head = held.entries.last().map_or_else(|| Digest::of(b""), |entry| entry.hash.clone());
        let entries = held.entries.len() as u64;
        Ok(VerifyReport { entries, head, broken_at: None, bad_blobs: vec![], bad_views: vec![] })
    }

    async fn lacks(&self) -> Result<Vec<Lack>, Report> {
        Ok(self.checked()?.lacks.clone())
    }

    async fn daemon(&self) -> Result<DaemonStatus, Report> {
        drop(self.checked()?);
        Ok(DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: Timestamp(NOW.0 - 3_600_000),
            gateway_pid: Some(4242),
            home: "/var/lib/juchu".to_owned(),
        })
    }
}

fn concerns(event: &Event, wanted: &ServiceName) -> bool {
    match event {
        Event::InstanceSeen { service, .. } | Event::ImageBuilt { service, .. } => service == wanted,
        Event::ChangeAccepted { services, .. } => services.is_empty() || services.contains(wanted),
        _ => true,
    }
}

pub fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("tests use valid names")
}

pub fn stack(name: &str) -> StackName {
    StackName::new(name).expect("tests use valid names")
}

/// The time so many seconds before [`NOW`].
pub fn ago(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 - seconds * 1000)
}

pub fn line(name: &str, slot: u32, at: Timestamp, text: &str) -> ServiceLine {
    let stream = if text.starts_with("error") { LogStream::Stderr } else { LogStream::Stdout };
    ServiceLine { service: service(name), slot, line: LogLine { at, stream, text: text.to_owned() } }
}

pub fn instance(name: &str, slot: u32, state: State, health: Health, text: &str) -> InstanceStatus {
    InstanceStatus {
        id: InstanceId::new(format!("{name}{slot}x7k2")).expect("tests use valid names"),
        slot,
        release: ReleaseId(3),
        state,
        health,
        text: text.to_owned(),
        pid: (state == State::Ready).then_some(4000 + slot as i32),
        since: Some(ago(7200)),
        starts: 1,
        memory_bytes: Some(48_234_496 * u64::from(slot)),
        cpu_us: Some(1_830_000),
        replaced: false,
    }
}

pub fn service_status(name: &str, state: State, text: &str, image: &str, replicas: u32) -> ServiceStatus {
    let health = if state == State::Ready { Health::Healthy } else { Health::Unchecked };
    let instances: Vec<_> =
        (1..=replicas).map(|slot| instance(name, slot, state, health, state_text(state))).collect();
    ServiceStatus {
        name: service(name),
        state,
        text: text.to_owned(),
        replicas,
        ready: if state == State::Ready { replicas } else { 0 },
        image: image.to_owned(),
        instances,
        ports: Vec::new(),
        certificate: None,
    }
}

/// One by ACME, good for 90 days.
pub fn certificate() -> CertificateStatus {
    CertificateStatus {
        name: "guestbook.web".to_owned(),
        hosts: vec!["shop.example.org".to_owned()],
        source: "auto".to_owned(),
        expires: Some(ago(-90 * 86_400)),
        problem: None,
        next: Some(ago(-60 * 86_400)),
        failures: 0,
    }
}

/// One that could not be had.
pub fn lacking_certificate() -> CertificateStatus {
    CertificateStatus {
        expires: None,
        problem: Some("the authority refused: no address of shop.example.org is known".to_owned()),
        next: Some(ago(-180)),
        failures: 2,
        ..certificate()
    }
}

const fn state_text(state: State) -> &'static str {
    match state {
        State::Ready => "healthy",
        State::Failed => "exited with code 1",
        _ => "",
    }
}

pub fn guestbook_status() -> StackStatus {
    let mut web = service_status("web", State::Ready, "2 of 2 ready", "guestbook/web r3", 2);
    web.ports = vec!["0.0.0.0:8080->8000".to_owned()];
    StackStatus {
        name: stack("guestbook"),
        state: State::Ready,
        directory: "/srv/guestbook".to_owned(),
        release: Some(ReleaseId(3)),
        rolled_back: None,
        services: vec![
            service_status("cache", State::Ready, "1 of 1 ready", "redis 7.0.15", 1),
            service_status("db", State::Ready, "1 of 1 ready", "postgres 15.14", 1),
            service_status("migrate", State::Done, "exited with code 0", "guestbook/web r3", 1),
            web,
        ],
        addresses: vec![Address {
            service: service("web"),
            url: "http://127.0.0.1:8080".to_owned(),
            first_byte_us: Some(2840),
        }],
        pending: None,
        last_outcome: Some((Outcome::Kept, "all 4 services are ready".to_owned())),
    }
}

/// The same stack with a web service that crashes and a database that fails its checks.
pub fn troubled_status() -> StackStatus {
    let mut status = guestbook_status();
    status.state = State::Failed;
    status.pending = Some("deploy by ada (cli) since 11:59:58".to_owned());
    let text = "restarts in 3 s: exited with code 1";
    let ports = std::mem::take(&mut status.services[3].ports);
    status.services[3] = service_status("web", State::Failed, text, "guestbook/web r3", 2);
    status.services[3].ports = ports;
    status.services[1].state = State::Unhealthy;
    status.services[1].text = "0 of 1 ready: no answer within 3 s".to_owned();
    status.services[1].ready = 0;
    status.services[0].ready = 0;
    status.services[0].state = State::Starting;
    status.services[0].text = "waits for its first check".to_owned();
    status.addresses[0].first_byte_us = None;
    status
}

pub fn difference(name: Option<&str>, field: &str, before: Option<&str>, after: Option<&str>) -> Difference {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Difference {
        service: name.map(service),
        field: field.to_owned(),
        before: owned(before),
        after: owned(after),
    }
}

fn guestbook_entries() -> Vec<Entry> {
    let up = |services: Vec<ServiceName>, intent, why: &str| Event::ChangeAccepted {
        intent,
        stack: None,
        services,
        why: why.to_owned(),
        from: None,
        again: false,
    };
    let made = |release, change, differences| Event::ReleaseMade {
        release: ReleaseId(release),
        change,
        bundle: Digest::of(b"bundle"),
        differences,
        made_of: None,
    };
    let ended = |change, outcome, release, reason: &str, took_ms| Event::Concluded {
        change,
        outcome,
        release: Some(ReleaseId(release)),
        reason: reason.to_owned(),
        took_ms,
        figures: vec![],
    };
    let came = |name, what| difference(Some(name), "service", None, Some(what));
    let crash = Event::InstanceSeen {
        service: service("web"),
        instance: InstanceId::new("web1x7k2").expect("tests use valid names"),
        what: Seen::Exited,
        detail: "exited with code 1".to_owned(),
    };
    let debug = difference(Some("web"), "environment.DEBUG", None, Some("1"));
    let replicas = difference(Some("web"), "replicas", Some("1"), Some("2"));
    let timeline = [
        (90_000, "root (cli)", up(vec![], Intent::Up, "")),
        (
            89_990,
            "juchu",
            made(
                1,
                1,
                vec![came("cache", "redis 7.0.15"), came("db", "postgres 15.14"), came("web", "python 3.11")],
            ),
        ),
        (89_982, "juchu", ended(1, Outcome::Kept, 1, "all 3 services are ready", 18_400)),
        (7300, "ada (cli, sudo)", up(vec![service("web")], Intent::Deploy, "second replica")),
        (7290, "juchu", made(2, 4, vec![replicas])),
        (7280, "juchu", ended(4, Outcome::Kept, 2, "web is ready", 3100)),
        (3600, "ada (console)", up(vec![], Intent::Up, "")),
        (3599, "juchu", made(3, 7, vec![debug, came("migrate", "python 3.11")])),
        (3590, "juchu", ended(7, Outcome::Failed, 2, "web did not become ready within 60 s", 62_000)),
        (600, "juchu", crash),
    ];
    let entry = |(position, (seconds, actor, event)): (usize, (i64, &str, Event))| Entry {
        seq: position as u64 + 1,
        at: ago(seconds),
        stack: Some(stack("guestbook")),
        actor: actor.to_owned(),
        event,
        hash: Digest::of(&[position as u8]),
    };
    timeline.into_iter().enumerate().map(entry).collect()
}

fn guestbook_lines() -> Vec<ServiceLine> {
    vec![
        line("db", 1, ago(7205), "database system is ready to accept connections"),
        line("web", 1, ago(7201), "listening on 0.0.0.0:8000"),
        line("web", 2, ago(7200), "listening on 0.0.0.0:8000"),
        line("web", 1, ago(600), "error: connection to db refused, trying again"),
        line("web", 1, ago(60), "GET / 200 in 3 ms"),
        line("web", 2, ago(59), "GET /entries?page=2 200 in 5 ms"),
    ]
}

fn guestbook_story() -> Vec<Progress> {
    let moved = |name, phase, text: &str, seconds: i64| Progress::Service {
        service: service(name),
        phase,
        text: text.to_owned(),
        at: ago(-seconds),
    };
    vec![
        Progress::Planned {
            differences: vec![difference(Some("web"), "replicas", Some("1"), Some("2"))],
            steps: vec!["start web 2".to_owned()],
        },
        moved("db", Phase::Ready, "unchanged", 0),
        moved("web", Phase::Building, "python 3.11 with 4 packages", 1),
        moved("web", Phase::Starting, "instance 2", 2),
        Progress::Warning { text: "web publishes port 8080 on all addresses".to_owned() },
        moved("web", Phase::Checking, "waits for its first check", 2),
        moved("web", Phase::Ready, "2 of 2 ready", 3),
        Progress::Concluded(Conclusion {
            change: 101,
            outcome: Outcome::Kept,
            reason: "all 3 services are ready".to_owned(),
            release: Some(ReleaseId(4)),
            took: DurationMs(3120),
            addresses: guestbook_status().addresses,
            report: None,
            last_lines: vec![],
            before: None,
            warm_until: None,
            figures: vec![],
        }),
    ]
}

fn guestbook_preview() -> Preview {
    Preview {
        differences: vec![
            difference(Some("web"), "replicas", Some("1"), Some("2")),
            difference(Some("web"), "environment.DEBUG", None, Some("1")),
            difference(Some("migrate"), "service", Some("python 3.11"), None),
        ],
        steps: vec!["start web 2".to_owned(), "remove migrate 1".to_owned()],
        warnings: vec!["web publishes port 8080 on all addresses".to_owned()],
    }
}
