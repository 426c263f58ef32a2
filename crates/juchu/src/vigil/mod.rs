//! Watching signals, wired in: values are asked and seen, held against their ranges, and what is
//! outside becomes incidents that are written down and told.
//!
//! Once a second what the control plane sees, every ten seconds what was measured.

mod answer;
mod ask;
mod calls;
mod catalogue;
mod count;
mod declared;
mod grown;
mod keep;
mod live;
mod promised;
mod state;
mod tell;

use alerts::{Alerts, Receivers};
use ask::{Asked, Asker};
use calls::Observed;
use juchu::home::Home;
use keep::Keep;
use live::Live;
use model::{ErrorKind, Report};
use observe::keep::Metrics;
use run::control::{Control, Watched};
use run::ranges::Ranges;
use state::{Part, State};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use store::HistoryQuery;
use store::record::v1::Event;
use tokio::time::{MissedTickBehavior, interval};

const LOOK: Duration = Duration::from_secs(1);
/// Looks between two evaluations of what is measured.
const MEASURED_EACH: u64 = 10;
/// Looks between two times that it is asked who calls whom.
const CALLS_EACH: u64 = 60;
/// Looks between two times that what was learned is written: so much is lost with a daemon that dies.
const WRITTEN_EACH: u64 = 60;
/// Looks before the first one that counts: what runs has to be found again.
const FIRST_LOOKS: u64 = 5;

/// Entries of the journal that are looked through for changes.
const CHANGES_READ: usize = 20;
/// What ended so shortly before still shows in what is seen.
const CHANGED_MS: i64 = 2_500;

pub struct Vigil {
    state: Mutex<State>,
    keep: Keep,
    alerts: Alerts,
    receivers: Mutex<Receivers>,
    /// None until the files of stacks are known.
    of_files: Mutex<Option<declared::Read>>,
    control: Weak<dyn Control>,
    machine: String,
}

impl Vigil {
    /// Reads what was known and begins. Must be called within a runtime.
    pub fn start(
        home: &Home,
        control: &Arc<dyn Control>,
        metrics: Arc<Metrics>,
        machine: String,
    ) -> Result<Arc<Self>, Report> {
        let failed = |error: &dyn std::error::Error| {
            Report::from_error(ErrorKind::Environment, error)
                .hint("`juchu doctor`; a file that is named can be moved away")
        };
        let directory = home.join("vigil");
        let keep = Keep::new(directory.clone()).map_err(|error| failed(&error))?;
        let receivers = Receivers::open(&home.join("receivers.json")).map_err(|error| failed(&error))?;
        let alerts = Alerts::start(&directory.join("queue"), receivers.all().to_vec(), now_ms)
            .map_err(|error| failed(&error))?;
        let state = Mutex::new(State::new(keep.read(), now_ms()));
        let receivers = Mutex::new(receivers);
        let control = Arc::downgrade(control);
        let of_files = Mutex::default();
        let vigil = Arc::new(Self { state, keep, alerts, receivers, of_files, control, machine });
        tokio::spawn(watch(Arc::downgrade(&vigil), Asker::new(Arc::clone(&metrics)), Observed::new(metrics)));
        Ok(vigil)
    }

    pub fn as_ranges(self: &Arc<Self>) -> Arc<dyn Ranges> {
        Arc::clone(self) as Arc<dyn Ranges>
    }

    /// Writes down what was learned. Blocks.
    pub fn end(&self) {
        let (signals, burns) = self.state().kept(now_ms());
        if let Err(error) = self.keep.write_learned(signals, burns) {
            eprintln!("what was learned is not written down: {error}");
            self.state().is_whole_due = true;
        }
    }

    /// Writes down what was learned since the last time. Blocks.
    fn write_grown(&self) {
        let lines = self.state().grown(now_ms());
        if lines.is_none_or(|lines| self.keep.grow(&lines).is_err()) {
            self.end();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receivers(&self) -> MutexGuard<'_, Receivers> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_files(&self) -> MutexGuard<'_, Option<declared::Read>> {
        self.of_files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn troubled(&self) -> usize {
        self.alerts.troubled() + self.unusable().len()
    }

    /// Writes incidents and what was declared; blocks for as long as the disk takes.
    fn write_book(&self) {
        let (book, overrides) = {
            let state = self.state();
            (state.book.clone(), state.overrides.clone())
        };
        if let Err(error) = self.keep.write_book(&book, &overrides) {
            eprintln!("incidents are not written down: {error}");
        }
    }

    /// Holds what is seen, and what is measured when it is there, against the ranges.
    async fn look(&self, watched: &[Watched], live: &mut Live, measured: Option<Asked>) {
        let now_ms = now_ms();
        let troubled = self.troubled();
        let (findings, newly) = {
            let mut state = self.state();
            state.see(now_ms, watched);
            let seen = live.look(now_ms, watched, troubled, &state.overrides);
            state.evaluate(now_ms, Part::Seen, seen);
            if let Some(Asked { inputs, counted }) = measured {
                state.evaluate(now_ms, Part::Measured, inputs);
                counted.into_iter().for_each(|counted| state.promised.count(now_ms, counted));
            }
            let findings = state.findings(now_ms);
            let newly = state.newly_outside(&findings);
            (findings, newly)
        };
        let changed = self.changed_before(newly, now_ms).await;
        let news = self.state().update(now_ms, &findings, changed);
        if !news.is_empty() {
            self.told(news).await;
        }
    }
}

/// Goes on until nobody holds it any more.
async fn watch(vigil: Weak<Vigil>, asker: Asker, observed: Observed) {
    let mut asker = Some(asker);
    let observed = Arc::new(observed);
    let mut live = Live::default();
    let mut changes = Changes::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 1u64.. {
        looks.tick().await;
        let Some(vigil) = vigil.upgrade() else { return };
        let Some(control) = vigil.control.upgrade() else { return };
        if look < FIRST_LOOKS {
            continue;
        }
        if look % MEASURED_EACH == 0 || look == FIRST_LOOKS {
            vigil.employ_declared(control.as_ref()).await;
        }
        let Ok(mut watched) = control.watched().await else { continue };
        changes.mark(control.as_ref(), &mut watched).await;
        if look % CALLS_EACH == FIRST_LOOKS {
            let observed = Arc::clone(&observed);
            let asked = tokio::task::spawn_blocking(move || observed.ask(now_ms())).await;
            // Without an answer, who called before still counts.
            if let Some(called) = asked.ok().filter(|called| !called.is_empty()) {
                vigil.state().called(called);
            }
        }
        let measured = match look % MEASURED_EACH {
            0 => ask(&vigil, &mut asker, &watched).await,
            _ => None,
        };
        vigil.look(&watched, &mut live, measured).await;
        if look % WRITTEN_EACH == 0 {
            let writer = Arc::clone(&vigil);
            // It panics with the store at worst, and is tried again a minute later.
            let _ = tokio::task::spawn_blocking(move || writer.write_grown()).await;
        }
    }
}

/// Changes that were over before anybody looked.
#[derive(Default)]
struct Changes {
    revision: Option<tokio::sync::watch::Receiver<u64>>,
    at_ms: BTreeMap<model::StackName, i64>,
}

impl Changes {
    /// Says of services that they change when somebody asked for that since the last looks.
    async fn mark(&mut self, control: &dyn Control, watched: &mut [Watched]) {
        let revision = self.revision.get_or_insert_with(|| control.watch());
        let has_changed = revision.has_changed().unwrap_or(false);
        revision.mark_unchanged();
        if has_changed {
            let query = HistoryQuery { changes_only: true, limit: CHANGES_READ, ..HistoryQuery::default() };
            for entry in control.history(query).await.unwrap_or_default() {
                let is_change = matches!(entry.event, Event::ChangeAccepted { .. } | Event::Concluded { .. });
                if let Some(stack) = entry.stack.filter(|_| is_change) {
                    self.at_ms.insert(stack, entry.at.0);
                }
            }
        }
        let now_ms = now_ms();
        self.at_ms.retain(|_, at| (now_ms - *at).abs() < CHANGED_MS);
        for service in watched.iter_mut().filter(|service| self.at_ms.contains_key(&service.stack)) {
            service.is_changing = true;
        }
    }
}

/// On a thread that may wait for measurements.
async fn ask(vigil: &Vigil, asker: &mut Option<Asker>, watched: &[Watched]) -> Option<Asked> {
    let mut working = asker.take()?;
    let watched = watched.to_vec();
    let (overrides, due) = {
        let state = vigil.state();
        (state.overrides.clone(), state.promised.due(now_ms()))
    };
    let asked = tokio::task::spawn_blocking(move || {
        let inputs = working.ask(now_ms(), &watched, &overrides);
        let counted = due.map(|due| working.count(now_ms(), due, &watched));
        (working, Asked { inputs, counted })
    });
    let (working, asked) = asked.await.ok()?;
    *asker = Some(working);
    Some(asked)
}

fn now_ms() -> i64 {
    crate::machine::now().0
}
