//! The loop: everything known, one turn after the other.
//!
//! ```text
//! something changed ─▶ observe ─▶ plan each stack ─▶ journal ─▶ routes ─▶ steps (side by side) ─┐
//!        ▲──────────────────── a step ended, an instance ended, a timer, a wish ◀───────────────┘
//! ```
//! One task owns the world; builds, steps and health checks run beside it and report back.

mod asked;
pub mod change;
mod clock;
mod conclude;
mod figures;
mod open;
mod retention;
pub mod rollback;
mod routing;
mod stack;
mod trial;
mod trials;
mod watching;

use crate::control::{ChangeRequest, StackStatus};
use crate::engine::{Engine, EngineError};
use crate::health::HealthReport;
use crate::making::Made;
use crate::noise::Noise;
use crate::ports::{Images, Machine, Router};
use crate::story::Stories;
use model::instance::{NetworkSpec, Observed};
use model::route::RouteTable;
use model::{InstanceId, Report, StackName, Timestamp};
use stack::{ReadyStep, StackState};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Draft, Entry, Ledger, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How often the world is looked at when nothing was heard.
const IDLE_LOOK: Duration = Duration::from_secs(3);
/// How often while something is becoming ready, since nobody announces an open port.
const BUSY_LOOK: Duration = Duration::from_millis(40);

/// What the loop stands on.
pub struct Parts {
    pub ledger: Arc<dyn Ledger>,
    pub engine: Arc<dyn Engine>,
    pub images: Arc<dyn Images>,
    pub router: Arc<dyn Router>,
    pub machine: Arc<dyn Machine>,
    pub settings: plan::Settings,
    pub version: String,
    pub home: PathBuf,
    /// What services wrote, where it is kept.
    pub rows: Option<Arc<dyn crate::rows::Rows>>,
    /// Spans that services sent, where they are kept.
    pub traces: Option<Arc<dyn crate::traces::Traces>>,
}

/// What reaches the loop from beside it.
pub(crate) enum Message {
    Submit(Box<ChangeRequest>, oneshot::Sender<Result<u64, Report>>),
    Made { stack: StackName, change: u64, result: Box<Result<Made, Report>> },
    StepEnded { done: Box<ReadyStep>, result: Result<(), EngineError> },
    Measured { stack: StackName, change: u64, addresses: Vec<crate::control::Address> },
    Health(HealthReport),
    Looked(Box<trials::Look>),
}

/// What people read without asking the loop.
#[derive(Default)]
pub struct Snapshot {
    pub revision: u64,
    pub stacks: Vec<StackStatus>,
    /// What is in force, for previews and for reading logs of what exists.
    pub releases: BTreeMap<StackName, Arc<model::Release>>,
    pub observed: Vec<Observed>,
}

pub(crate) struct World {
    pub parts: Arc<Parts>,
    pub noise: Arc<Noise>,
    pub stories: Arc<Stories>,
    /// Weak, so that the loop ends when nobody outside can reach it any more.
    pub messages: mpsc::WeakSender<Message>,
    pub published: watch::Sender<Arc<Snapshot>>,
    pub stacks: BTreeMap<StackName, StackState>,
    pub observed: Vec<Observed>,
    pub health: BTreeMap<InstanceId, watching::Watched>,
    pub health_reports: mpsc::Sender<HealthReport>,
    pub networks: BTreeMap<String, NetworkSpec>,
    pub table: RouteTable,
    /// Published ports that asked for one of several, by backend, and what they got.
    pub bound: BTreeMap<(String, SocketAddr), SocketAddr>,
    /// What the ways out of this host were when the networks were last found to fit them.
    pub uplinks: Option<(tokio::time::Instant, u64)>,
    pub unbound: BTreeSet<IpAddr>,
    pub seen: Option<BTreeMap<InstanceId, watching::Seen>>,
    pub timeline: clock::Timeline,
    /// When those that are compared are looked at next, if any are; while they are looked at, never.
    pub next_look: Option<Timestamp>,
    /// What is seen in this turn may have begun before this daemon did.
    pub is_first_look: bool,
}

impl World {
    /// The time by which everything is waited for; see [`clock`].
    pub fn now(&self) -> Timestamp {
        self.timeline.now()
    }

    /// Writes entries down without holding up the runtime's other tasks.
    pub async fn append(&self, drafts: Vec<Draft>) -> Result<Vec<Entry>, Report> {
        let (ledger, now) = (Arc::clone(&self.parts.ledger), self.parts.machine.now());
        let written = tokio::task::spawn_blocking(move || ledger.append(now, drafts)).await;
        written
            .expect("the journal's call does not panic")
            .map_err(|error| unwritten(&error, &self.parts.home))
    }

    /// Appends for one stack and folds the entries into its view.
    pub async fn record(
        &mut self,
        stack: &StackName,
        actor: &str,
        events: Vec<(store::Event, Vec<Vec<u8>>)>,
    ) -> Result<Vec<u64>, Report> {
        let draft =
            |(event, blobs)| Draft { stack: Some(stack.clone()), actor: actor.to_owned(), event, blobs };
        let entries = self.append(events.into_iter().map(draft).collect()).await?;
        for entry in &entries {
            let view = match self.stacks.remove(stack) {
                Some(state) => state,
                None => StackState::new(stack.clone()),
            };
            if let Some(state) = view.folded(entry) {
                self.stacks.insert(stack.clone(), state);
            }
        }
        Ok(entries.iter().map(|e| e.seq).collect())
    }

    /// Runs until the last sender of messages is gone.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        mut reports: mpsc::Receiver<HealthReport>,
    ) {
        let engine = Arc::clone(&self.parts.engine);
        loop {
            let pause = self.turn().await;
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.hear(message).await,
                    None => return,
                },
                Some(report) = reports.recv() => self.hear(Message::Health(report)).await,
                () = engine.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            // Whatever else came meanwhile belongs to the same turn.
            while let Ok(message) = inbox.try_recv() {
                self.hear(message).await;
            }
        }
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Submit(request, answer) => {
                let result = self.submit(*request).await;
                // Nobody waits any more: the change is accepted all the same.
                let _ = answer.send(result);
            }
            Message::Made { stack, change, result } => self.made(&stack, change, *result).await,
            Message::StepEnded { done, result } => {
                self.step_ended(&done, result).await;
            }
            Message::Measured { stack, change, addresses } => self.measured(&stack, change, addresses).await,
            Message::Health(report) => self.health_reported(report).await,
            Message::Looked(look) => self.looked(*look).await,
        }
    }

    /// One round; says how long nothing needs to be looked at.
    async fn turn(&mut self) -> Duration {
        match self.parts.engine.observe().await {
            Ok(mut observed) => {
                self.is_first_look = self.timeline.is_first_look();
                self.timeline.fit(&mut observed);
                self.observed = observed;
            }
            // The engine could not look; what was seen last still stands.
            Err(error) => tell(&format!("observe: {error}")),
        }
        self.note_exits().await;
        self.watch_health();
        self.watch_uplinks();
        let names: Vec<StackName> = self.stacks.keys().cloned().collect();
        let mut wake_at = None;
        let mut ready_steps = Vec::new();
        for name in &names {
            let turned = self.turn_stack(name).await;
            ready_steps.extend(turned.steps);
            wake_at = earliest(wake_at, turned.wake_at);
        }
        self.route().await;
        ready_steps.into_iter().for_each(|step| self.carry_out(step));
        self.look_at_trials().await;
        let mut undone = false;
        for name in &names {
            undone |= self.conclude(name).await;
        }
        self.publish();
        // What is steered to has changed: there is something to do at once.
        if undone { Duration::ZERO } else { self.pause_until(earliest(wake_at, self.next_look)) }
    }

    fn pause_until(&self, wake_at: Option<Timestamp>) -> Duration {
        let look = if self.stacks.values().any(|s| s.is_becoming_ready) { BUSY_LOOK } else { IDLE_LOOK };
        match wake_at {
            Some(at) => at.since(self.now()).as_std().clamp(Duration::from_millis(1), look),
            None => look,
        }
    }
}

/// Why an entry is not in the journal, and so nothing was done.
fn unwritten(error: &StoreError, home: &Path) -> Report {
    match error {
        StoreError::Full => Report::environment(format!("{error}; nothing was changed"))
            .hint(format!("make room on it; `df -h {}` shows how much there is", home.display())),
        _ => Report::from_error(model::ErrorKind::Environment, error).hint("juchu doctor"),
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The same line is written to the daemon's log again after this.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// The daemon's own log. What is found anew in every turn is written now and then.
pub(crate) fn tell(text: &str) {
    static LAST: Mutex<Option<(String, Instant)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let is_repeated = last.as_ref().is_some_and(|(said, at)| said == text && at.elapsed() < SAID_AGAIN);
    if !is_repeated {
        eprintln!("{text}");
        *last = Some((text.to_owned(), Instant::now()));
    }
}
