//! Rows of text, wired in: the output of instances is read as it is written, kept, and searched.
//!
//! One thread reads and keeps; searches run on threads of their own. The daemon may be killed at any
//! time: what is not durable yet is read again from the instances' files.

mod answer;
mod collect;

use collect::Collector;
use juchu::home::Home;
use model::{ErrorKind, Report};
use observe::logs::{Limits, Logs};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use answer::Kept;

/// How often output is read.
const READ_EVERY: Duration = Duration::from_millis(200);
/// Rows are made durable, and segments looked after, at each so manyth reading: once a second.
const SYNC_EACH: u64 = 5;

/// Opens the store below the home and begins to read.
pub fn start(home: &Home) -> Result<Arc<Logs>, Report> {
    let directory = home.join("rows");
    let logs = Logs::open(&directory, Limits::default(), now_ns()).map_err(|error| {
        Report::from_error(ErrorKind::Environment, &error)
            .hint(format!("move {} away to begin anew without the rows so far", directory.display()))
    })?;
    let logs = Arc::new(logs);
    let (state, of_thread) = (home.state.clone(), Arc::downgrade(&logs));
    std::thread::Builder::new()
        .name("rows".into())
        .spawn(move || keep(of_thread, state))
        .map_err(|error| Report::environment(format!("start the thread that keeps rows: {error}")))?;
    Ok(logs)
}

/// Until nobody holds the store any more.
fn keep(logs: Weak<Logs>, state: PathBuf) {
    let mut collector = Collector::new(state);
    let mut said = Said::default();
    for turn in 0u64.. {
        let Some(logs) = logs.upgrade() else { return };
        let is_behind = collector.read(&logs, turn.is_multiple_of(SYNC_EACH));
        if turn.is_multiple_of(SYNC_EACH) {
            said.look_after(&logs, "rows");
        }
        drop(logs);
        if !is_behind {
            std::thread::sleep(READ_EVERY);
        }
    }
}

/// Until nobody holds the store any more: for what comes by itself.
pub fn keep_durable(logs: &Weak<Logs>, what: &str) {
    let mut said = Said::default();
    while let Some(logs) = logs.upgrade() {
        said.look_after(&logs, what);
        drop(logs);
        std::thread::sleep(READ_EVERY * SYNC_EACH as u32);
    }
}

/// The last trouble that was told.
#[derive(Default)]
struct Said(Option<String>);

impl Said {
    /// Makes a store durable and does its housekeeping. What fails is tried again, and told once.
    fn look_after(&mut self, logs: &Logs, what: &str) {
        let _ = logs.sync();
        logs.maintain(now_ns());
        let trouble = logs.status().trouble;
        if let Some(text) = trouble.as_ref().filter(|_| self.0 != trouble) {
            eprintln!("{what} are not kept: {text}");
        }
        self.0 = trouble;
    }
}

pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64
}
