//! Spans, wired in: kept in a store of rows of their own, and asked for.

mod answer;
pub mod passed;

use crate::rows::{keep_durable, now_ns};
use juchu::home::Home;
use model::{ErrorKind, Report};
use observe::logs::{Limits, Logs};
use std::sync::Arc;
use std::time::Duration;

pub use answer::Kept;

/// What all spans together may take, and for how long they are kept.
const BYTES_MAX: u64 = 1 << 30;
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Opens the store below the home.
pub fn start(home: &Home) -> Result<Arc<Logs>, Report> {
    let directory = home.join("spans");
    let limits = Limits { bytes: BYTES_MAX, age: AGE_MAX, ..Limits::default() };
    let store = Logs::open(&directory, limits, now_ns()).map_err(|error| {
        Report::from_error(ErrorKind::Environment, &error)
            .hint(format!("move {} away to begin anew without the spans so far", directory.display()))
    })?;
    let store = Arc::new(store);
    let kept = Arc::downgrade(&store);
    std::thread::Builder::new()
        .name("spans".into())
        .spawn(move || keep_durable(&kept, "spans"))
        .map_err(|error| Report::environment(format!("start the thread that keeps spans: {error}")))?;
    Ok(store)
}
