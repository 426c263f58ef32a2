//! Keeps what is wanted on the shelf: one task that wakes when something is due, changed or wanted.
//!
//! ```text
//! wanted ──▶ due? ──▶ files, own authority: at once ─┐
//!                └──▶ ACME: beside it, a few at once ─┴─▶ shelf ─▶ gateway told ─▶ next look
//! ```
//! What was made, for what, and when it is next tried is kept beside, so that a daemon that starts
//! anew neither asks again for what it has nor sooner for what it could not get.

use crate::acme::{self, Attempt};
use crate::files::{self, Seen};
use crate::internal::Authority;
use crate::pem::{self, Facts};
use crate::shelf::{self, Shelf};
use crate::{CertError, pace};
use async_trait::async_trait;
use model::Timestamp;
use model::certificate::{CertificateSource, CertificateStatus, CertificateWanted};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often files that others write are looked at, and a gateway that was not told is told again.
pub const LOOK: Duration = Duration::from_secs(5);
/// Orders under way with authorities at one time.
const MAX_ORDERS: usize = 4;
/// For one of them, from the account to the certificate.
const ORDER_LIMIT: Duration = Duration::from_secs(180);

/// Has the gateway read the shelf anew.
#[async_trait]
pub trait Announce: Send + Sync {
    async fn announce(&self) -> Result<(), String>;
}

/// What a keeper stands on.
#[derive(Clone)]
pub struct Settings {
    /// The directory that the gateway reads.
    pub shelf: PathBuf,
    /// Where the own authority, accounts and notes are kept.
    pub state: PathBuf,
    pub now: fn() -> Timestamp,
    /// Anything between 0 and 1.
    pub chance: fn() -> f64,
    /// [`LOOK`], which tests shorten.
    pub look: Duration,
}

/// The way to the task.
pub struct Keeper {
    wanted: watch::Sender<Vec<CertificateWanted>>,
    status: Arc<Mutex<Vec<CertificateStatus>>>,
}

impl Keeper {
    /// Must be called within a runtime; the task ends with the keeper.
    pub fn start(settings: Settings, announce: Arc<dyn Announce>) -> Self {
        let (wanted, wishes) = watch::channel(Vec::new());
        let status = Arc::default();
        let work = Work {
            shelf: Shelf::new(&settings.shelf),
            authority: Authority::of(&settings.state),
            settings,
            announce,
            status: Arc::clone(&status),
            known: BTreeMap::new(),
            orders: JoinSet::new(),
            untold: false,
        };
        tokio::spawn(work.run(wishes));
        Self { wanted, status }
    }

    /// From here on these are kept, and no others.
    pub fn want(&self, wanted: Vec<CertificateWanted>) {
        self.wanted.send_if_modified(|present| {
            let changed = *present != wanted;
            *present = wanted;
            changed
        });
    }

    pub fn status(&self) -> Vec<CertificateStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is noted of one certificate.
#[derive(Clone, Serialize, Deserialize)]
struct Note {
    /// What the one on the shelf was made for, or what could not be had.
    wanted: CertificateWanted,
    failures: u32,
    problem: Option<String>,
    next_ms: i64,
    #[serde(skip)]
    facts: Option<Facts>,
    #[serde(skip)]
    seen: Seen,
    #[serde(skip)]
    under_way: bool,
}

struct Work {
    settings: Settings,
    shelf: Shelf,
    authority: Authority,
    announce: Arc<dyn Announce>,
    status: Arc<Mutex<Vec<CertificateStatus>>>,
    known: BTreeMap<String, Note>,
    orders: JoinSet<(CertificateWanted, Result<Facts, CertError>)>,
    /// The gateway does not know yet what is on the shelf.
    untold: bool,
}

impl Work {
    async fn run(mut self, mut wishes: watch::Receiver<Vec<CertificateWanted>>) {
        loop {
            let wanted = wishes.borrow_and_update().clone();
            self.tidy(&wanted);
            for one in &wanted {
                self.look(one);
            }
            if self.untold {
                self.untold = self.announce.announce().await.is_err();
            }
            self.publish(&wanted);
            let pause = self.pause(&wanted);
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { return },
                Some(ended) = self.orders.join_next() => {
                    // An order that panicked is tried again when its note says so.
                    if let Ok((wanted, outcome)) = ended {
                        self.ended(&wanted, outcome);
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Until something is due.
    fn pause(&self, wanted: &[CertificateWanted]) -> Duration {
        let polled = |one: &CertificateWanted| matches!(one.source, CertificateSource::Files { .. });
        if self.untold || wanted.iter().any(polled) {
            return self.settings.look;
        }
        let now = (self.settings.now)().0;
        let next = self.known.values().filter(|note| !note.under_way).map(|note| note.next_ms - now).min();
        // Clocks may be set: an hour is not too often to look.
        Duration::from_millis(next.unwrap_or(3_600_000).clamp(100, 3_600_000).unsigned_abs())
    }

    /// Removes what nobody wants.
    fn tidy(&mut self, wanted: &[CertificateWanted]) {
        if wanted.is_empty() && self.known.is_empty() {
            // Nothing is known yet: what lies there may be wanted again.
            return;
        }
        let names: BTreeSet<&str> = wanted.iter().map(|one| one.name.as_str()).collect();
        self.known.retain(|name, _| names.contains(name.as_str()));
        for name in self.shelf.names().iter().filter(|name| !names.contains(name.as_str())) {
            // One that stays is shown to nobody.
            self.untold |= self.shelf.remove(name).is_ok();
            let _ = shelf::remove(&self.note_path(name));
        }
    }

    /// Does what is due for one certificate.
    fn look(&mut self, wanted: &CertificateWanted) {
        let now = (self.settings.now)().0;
        let mut note = match self.known.remove(&wanted.name) {
            Some(note) => note,
            None => self.recall(wanted),
        };
        if note.wanted != *wanted && !note.under_way {
            note = Note::new(wanted, now);
        }
        match &wanted.source {
            CertificateSource::Files { certificate, key } => {
                let (certificate, key) = (Path::new(certificate), Path::new(key));
                let seen = files::seen(certificate, key);
                if note.facts.is_none() && note.problem.is_none() || seen != note.seen {
                    note.seen = seen;
                    let about = (wanted.name.as_str(), wanted.hosts.as_slice());
                    let taken = files::take(about, certificate, key, now, &self.shelf);
                    self.settle(&mut note, taken);
                }
            }
            CertificateSource::Internal if note.next_ms <= now => {
                let made = self.authority.issue(&wanted.name, &wanted.hosts, now, &self.shelf);
                self.settle(&mut note, made);
            }
            CertificateSource::Auto(_)
                if note.next_ms <= now && !note.under_way && self.orders.len() < MAX_ORDERS =>
            {
                note.under_way = true;
                self.order(wanted.clone(), note.failures);
            }
            _ => {}
        }
        self.known.insert(wanted.name.clone(), note);
    }

    fn order(&mut self, wanted: CertificateWanted, failures: u32) {
        let (shelf, announce) = (self.shelf.clone(), Arc::clone(&self.announce));
        let accounts = self.settings.state.clone();
        self.orders.spawn(async move {
            let CertificateSource::Auto(acme) = &wanted.source else {
                return (wanted, Err(CertError::Acme("it is not ordered from anybody".to_owned())));
            };
            let attempt = Attempt {
                name: &wanted.name,
                hosts: &wanted.hosts,
                acme,
                failures,
                accounts: &accounts,
                shelf: &shelf,
                announce: announce.as_ref(),
            };
            let obtained = tokio::time::timeout(ORDER_LIMIT, acme::obtain(&attempt)).await;
            let outcome = obtained.unwrap_or(Err(CertError::Slow(ORDER_LIMIT.as_secs())));
            (wanted, outcome)
        });
    }

    fn ended(&mut self, wanted: &CertificateWanted, outcome: Result<Facts, CertError>) {
        // Nobody wants it any more.
        let Some(mut note) = self.known.remove(&wanted.name) else { return };
        note.under_way = false;
        self.settle(&mut note, outcome);
        self.known.insert(wanted.name.clone(), note);
    }

    /// Takes note of an outcome and plans the next look.
    fn settle(&mut self, note: &mut Note, outcome: Result<Facts, CertError>) {
        let now = (self.settings.now)().0;
        let chance = (self.settings.chance)();
        match outcome {
            Ok(facts) => {
                (note.failures, note.problem) = (0, None);
                note.next_ms = pace::renewal_ms(facts.begin_ms, facts.end_ms, chance);
                note.facts = Some(facts);
                self.untold = true;
            }
            Err(error) => {
                note.failures = note.failures.saturating_add(1);
                note.problem = Some(error.to_string());
                note.next_ms = now + pace::pause_ms(note.failures, chance);
            }
        }
        let kept = serde_json::to_vec(note).unwrap_or_default();
        // Without the note the next daemon only asks sooner.
        let _ = shelf::write(&self.note_path(&note.wanted.name), &kept);
    }

    /// What an earlier daemon noted, if it is still of use.
    fn recall(&self, wanted: &CertificateWanted) -> Note {
        let now = (self.settings.now)().0;
        let kept = shelf::read(&self.note_path(&wanted.name)).ok();
        let kept = kept.and_then(|kept| serde_json::from_slice::<Note>(&kept).ok());
        let Some(mut note) = kept.filter(|note| note.wanted == *wanted) else {
            return Note::new(wanted, now);
        };
        let path = self.shelf.path(&wanted.name);
        let pem = self.shelf.get(&wanted.name);
        note.facts = pem.and_then(|pem| pem::look(&pem, &pem, (&path, &path)).ok());
        note.facts = note.facts.filter(|facts| facts.end_ms > now);
        if note.facts.is_none() && note.problem.is_none() {
            note.next_ms = now;
        }
        note
    }

    fn note_path(&self, name: &str) -> PathBuf {
        self.settings.state.join("notes").join(format!("{name}.json"))
    }

    fn publish(&self, wanted: &[CertificateWanted]) {
        let status = |one: &CertificateWanted| {
            let note = self.known.get(&one.name);
            let polled = matches!(one.source, CertificateSource::Files { .. });
            CertificateStatus {
                name: one.name.clone(),
                hosts: one.hosts.clone(),
                source: one.source.word().to_owned(),
                expires: note.and_then(|note| Some(Timestamp(note.facts.as_ref()?.end_ms))),
                problem: note.and_then(|note| note.problem.clone()),
                next: note.filter(|_| !polled).map(|note| Timestamp(note.next_ms)),
                failures: note.map_or(0, |note| note.failures),
            }
        };
        let all = wanted.iter().map(status).collect();
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

impl Note {
    fn new(wanted: &CertificateWanted, now: i64) -> Self {
        Self {
            wanted: wanted.clone(),
            failures: 0,
            problem: None,
            next_ms: now,
            facts: None,
            seen: Seen::default(),
            under_way: false,
        }
    }
}
