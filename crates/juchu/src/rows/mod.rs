//! Rows of text, wired in: the output of instances is read as it is written, kept, and searched.
//!
//! One thread reads and keeps; searches run on threads of their own. The daemon may be killed at any
//! time: what is not durable yet is read again from the instances' files.

mod answer;
mod collect;

use collect::{Collector, Left};
use juchu::home::Home;
use model::{ErrorKind, Report};
use observe::logs::{Limits, Logs};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use answer::Kept;

/// How often output is read while it is written.
const READ_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked for instances, rows are made durable, and segments are looked after.
const SYNC_EVERY: Duration = Duration::from_secs(1);

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
    let mut synced: Option<Instant> = None;
    while let Some(logs) = logs.upgrade() {
        let is_due = synced.is_none_or(|synced| synced.elapsed() >= SYNC_EVERY);
        let left = collector.read(&logs, is_due);
        if is_due {
            said.look_after(&logs, "rows");
            synced = Some(Instant::now());
        }
        drop(logs);
        let rest = synced.map_or(SYNC_EVERY, |synced| SYNC_EVERY.saturating_sub(synced.elapsed()));
        match left {
            Left::More => {}
            Left::Held => std::thread::sleep(READ_EVERY),
            Left::Nothing => collector.wait(READ_EVERY, rest),
        }
    }
}

/// Until nobody holds the store any more: for what comes by itself.
pub fn keep_durable(logs: &Weak<Logs>, what: &str) {
    let mut said = Said::default();
    while let Some(logs) = logs.upgrade() {
        said.look_after(&logs, what);
        drop(logs);
        std::thread::sleep(SYNC_EVERY);
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
