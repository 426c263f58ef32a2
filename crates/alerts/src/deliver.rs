//! Takes messages and tells them: a thread for each receiver, so that one that is slow or gone holds
//! up no other.

use crate::message::Message;
use crate::pace::{GIVEN_UP_MS, Rate, pause_ms};
use crate::queue::{Item, Queue, QueueError};
use crate::receiver::{Kind, Receiver};
use crate::send::{self, SendError};
use model::range::Level;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread sleeps at most: clocks are set, and due times with them.
const LOOK: Duration = Duration::from_secs(2);

/// Tells one receiver at once, past the queue, and says what came of it.
pub fn try_out(receiver: &Receiver, message: &Message) -> Result<(), SendError> {
    send::send(&send::agent(), receiver, message)
}

/// How telling one receiver goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    pub name: String,
    pub kind: Kind,
    /// Its address without what may be secret.
    pub place: String,
    pub least: Level,
    pub waiting: usize,
    /// Since the daemon started.
    pub sent: u64,
    pub failures: u64,
    /// Messages that were given up: refused, or a day old.
    pub given_up: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent_ms: Option<i64>,
    /// Why the last attempt failed; absent when it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    sent: u64,
    failures: u64,
    given_up: u64,
    last_sent_ms: Option<i64>,
    trouble: Option<String>,
}

struct State {
    queue: Queue,
    receivers: Vec<Receiver>,
    counts: BTreeMap<String, Counts>,
    is_over: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    now: fn() -> i64,
}

/// The threads end with it.
pub struct Alerts {
    shared: Arc<Shared>,
}

impl Alerts {
    /// Opens the queue and begins to tell what is left in it.
    pub fn start(directory: &Path, receivers: Vec<Receiver>, now: fn() -> i64) -> Result<Self, QueueError> {
        let queue = Queue::open(directory)?;
        let state = State { queue, receivers: Vec::new(), counts: BTreeMap::new(), is_over: false };
        let alerts =
            Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), now }) };
        // What waits for receivers that files declare stays until their stacks are known.
        alerts.employ(receivers);
        Ok(alerts)
    }

    /// From now on these are told, and what waits for others is dropped.
    pub fn set_receivers(&self, receivers: Vec<Receiver>) {
        let mut state = self.shared.lock();
        let names: Vec<String> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
        state.queue.keep_only(&names);
        state.counts.retain(|name, _| names.contains(name));
        drop(state);
        self.employ(receivers);
    }

    /// The same, but what waits for others stays.
    pub fn employ(&self, receivers: Vec<Receiver>) {
        let known = std::mem::replace(&mut self.shared.lock().receivers, receivers.clone());
        self.shared.changed.notify_all();
        for receiver in receivers.into_iter().filter(|receiver| !known.contains(receiver)) {
            let shared = Arc::clone(&self.shared);
            let spawned =
                std::thread::Builder::new().name("tell".into()).spawn(move || work(&shared, &receiver));
            if let Err(error) = spawned {
                eprintln!("nobody is told: start a thread: {error}");
            }
        }
    }

    /// Durable when this returns. Receivers that want only more urgent ones are left out.
    pub fn tell(&self, message: &Message) -> Result<(), QueueError> {
        let now_ms = (self.shared.now)();
        let mut state = self.shared.lock();
        let wanting: Vec<String> =
            state.receivers.iter().filter(|r| r.wants(message)).map(|r| r.name.clone()).collect();
        let taken = wanting.iter().try_for_each(|name| state.queue.push(name, message, now_ms));
        drop(state);
        self.shared.changed.notify_all();
        taken
    }

    pub fn status(&self) -> Vec<ReceiverStatus> {
        let state = self.shared.lock();
        let of = |receiver: &Receiver| {
            let counts = state.counts.get(&receiver.name).cloned().unwrap_or_default();
            ReceiverStatus {
                name: receiver.name.clone(),
                kind: receiver.kind,
                place: receiver.place(),
                least: receiver.least,
                waiting: state.queue.waiting(&receiver.name),
                sent: counts.sent,
                failures: counts.failures,
                given_up: counts.given_up,
                last_sent_ms: counts.last_sent_ms,
                trouble: counts.trouble,
            }
        };
        state.receivers.iter().map(of).collect()
    }

    /// Receivers whose last attempt failed.
    pub fn troubled(&self) -> usize {
        let state = self.shared.lock();
        let counts = state.receivers.iter().filter_map(|receiver| state.counts.get(&receiver.name));
        counts.filter(|counts| counts.trouble.is_some()).count()
    }

    /// Messages that were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().queue.dropped
    }
}

impl Drop for Alerts {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message that is due; none when this receiver is told no more.
    fn next(&self, receiver: &Receiver, rate: &mut Rate) -> Option<Item> {
        let mut state = self.lock();
        loop {
            if state.is_over || !state.receivers.contains(receiver) {
                return None;
            }
            let now_ms = (self.now)();
            let wait_ms = match state.queue.first(&receiver.name) {
                // A clock that was set back must not make it wait longer than it ever would.
                Some(item) => (item.due_ms - now_ms).min(pause_ms(item.attempts)).max(rate.wait_ms(now_ms)),
                None => i64::MAX,
            };
            if wait_ms <= 0 {
                return state.queue.first(&receiver.name).cloned();
            }
            let wait = Duration::from_millis(wait_ms as u64).min(LOOK);
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn done(&self, item: &Item, result: Result<(), SendError>) {
        let now_ms = (self.now)();
        let mut state = self.lock();
        let is_old = now_ms - item.taken_ms > GIVEN_UP_MS;
        let counts = state.counts.entry(item.receiver.clone()).or_default();
        match result {
            Ok(()) => {
                counts.sent += 1;
                (counts.last_sent_ms, counts.trouble) = (Some(now_ms), None);
                state.queue.remove(item.number);
            }
            Err(error) => {
                counts.failures += 1;
                counts.trouble = Some(error.to_string());
                let is_given_up = is_old || matches!(error, SendError::Never(_));
                counts.given_up += u64::from(is_given_up);
                match is_given_up {
                    true => state.queue.remove(item.number),
                    false => state.queue.later(item.number, now_ms + pause_ms(item.attempts + 1)),
                }
            }
        }
    }
}

/// Tells one receiver until it is told no more.
fn work(shared: &Shared, receiver: &Receiver) {
    let agent = send::agent();
    let mut rate = Rate::default();
    while let Some(item) = shared.next(receiver, &mut rate) {
        rate.sent((shared.now)());
        let result = send::send(&agent, receiver, &item.message);
        if let Err(error) = &result {
            eprintln!("{} at {} was not told: {error}", receiver.name, receiver.place());
        }
        shared.done(&item, result);
    }
}
