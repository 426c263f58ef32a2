//! The thread that empties one queue: the oldest batch first, again and again until it is there or
//! refused for ever, with growing pauses.

use super::{Delivered, Destination, Queue, QueueError};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pauses between two tries: doubled from the first to the last.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How a destination does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Items since the start.
    pub sent: u64,
    /// Refused for ever, or dropped for want of room.
    pub lost: u64,
    pub waiting: u64,
    pub waiting_bytes: u64,
    /// Why it does not go on at the moment.
    pub trouble: Option<String>,
}

pub struct Deliverer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: Queue,
    sent: u64,
    refused: u64,
    trouble: Option<String>,
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic left behind is whole: each change is made in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deliverer {
    /// Begins with what was left in the directory.
    pub fn start(
        name: &str,
        directory: &Path,
        bytes_max: u64,
        destination: Box<dyn Destination>,
    ) -> Result<Self, QueueError> {
        Self::with_pauses(name, directory, bytes_max, destination, (PAUSE_MIN, PAUSE_MAX))
    }

    /// `pauses` are the first and the last between two tries.
    pub fn with_pauses(
        name: &str,
        directory: &Path,
        bytes_max: u64,
        destination: Box<dyn Destination>,
        pauses: (Duration, Duration),
    ) -> Result<Self, QueueError> {
        let queue = Queue::open(directory, bytes_max)?;
        let state = State { queue, sent: 0, refused: 0, trouble: None, is_over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("send {name}"))
            .spawn(move || run(&of_thread, &*destination, pauses))
            .map_err(|source| QueueError::Write { path: directory.into(), source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub fn push(&self, payload: &[u8], items: u64) -> Result<(), QueueError> {
        let pushed = self.shared.lock().queue.push(payload, items);
        self.shared.changed.notify_all();
        pushed
    }

    pub fn status(&self) -> Status {
        let state = self.shared.lock();
        Status {
            sent: state.sent,
            lost: state.refused + state.queue.lost,
            waiting: state.queue.items(),
            waiting_bytes: state.queue.bytes(),
            trouble: state.trouble.clone(),
        }
    }
}

/// What waits stays on disk. A request that is on its way is not waited for.
impl Drop for Deliverer {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            // One that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, destination: &dyn Destination, (first, last): (Duration, Duration)) {
    let mut pause = first;
    loop {
        let batch = {
            let state = shared.lock();
            let mut state = shared
                .changed
                .wait_while(state, |state| state.queue.is_empty() && !state.is_over)
                .unwrap_or_else(PoisonError::into_inner);
            if state.is_over {
                return;
            }
            match state.queue.oldest() {
                Ok(Some(batch)) => batch,
                Ok(None) => continue,
                Err(error) => {
                    state.trouble = Some(error.to_string());
                    drop(state);
                    if sleeps(shared, pause) {
                        return;
                    }
                    continue;
                }
            }
        };
        let delivered = destination.deliver(&batch.payload, batch.items);
        let mut state = shared.lock();
        let (done, wait) = match delivered {
            Delivered::All => {
                state.sent += batch.items;
                state.trouble = None;
                (state.queue.done(batch.number), None)
            }
            Delivered::Lost { items, why } => {
                state.sent += batch.items.saturating_sub(items);
                state.refused += items;
                state.trouble = Some(why);
                (state.queue.done(batch.number), None)
            }
            Delivered::Again { why, after } => {
                state.trouble = Some(why);
                (Ok(()), Some(after.unwrap_or(pause).clamp(first.min(pause), last)))
            }
            Delivered::Rest { payload, items, lost, why } => {
                state.sent += batch.items.saturating_sub(items + lost);
                state.refused += lost;
                state.trouble = Some(why);
                (state.queue.replace(batch.number, &payload, items), Some(pause))
            }
        };
        if let Err(error) = done {
            state.trouble = Some(error.to_string());
        }
        drop(state);
        match wait {
            None => pause = first,
            Some(wait) => {
                pause = (pause * 2).min(last);
                if sleeps(shared, wait) {
                    return;
                }
            }
        }
    }
}

/// True when it is over.
fn sleeps(shared: &Shared, wait: Duration) -> bool {
    let state = shared.lock();
    let waited = shared.changed.wait_timeout_while(state, wait, |state| !state.is_over);
    waited.unwrap_or_else(PoisonError::into_inner).0.is_over
}
