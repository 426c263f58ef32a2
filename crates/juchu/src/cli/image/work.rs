//! Work that takes its time while somebody watches: what it says is shown, Ctrl-C ends it.

use crate::cli::screen::{Ended, Outcome, Screen, safe};
use crate::cli::signals::Signals;
use build::{BuildError, Job};
use model::Report;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Lines that may wait to be shown.
const LINES_WAITING: usize = 256;
/// What ends sooner says nothing on its way.
const QUIET_START: Duration = Duration::from_millis(250);
/// So long is waited for work that was asked to end; what it has left is cleared away by the next.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Runs `work` on a thread of its own until it ends or somebody wants it to.
pub async fn run<T: Send + 'static>(
    screen: &Screen,
    kept: &str,
    work: impl FnOnce(&Job<'_>) -> Result<T, BuildError> + Send + 'static,
) -> Outcome<T> {
    let mut signals = Signals::new()?;
    let (lines, mut said) = mpsc::channel::<String>(LINES_WAITING);
    let (sender, mut done) = oneshot::channel();
    let cancel = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&cancel);
    std::thread::spawn(move || {
        // A line too many is not missed, and whoever waited has gone only when this process ends.
        let say = |line: &str| drop(lines.try_send(line.to_owned()));
        let _ = sender.send(work(&Job::new(&say, &stop)));
    });
    let mut early = Vec::new();
    let quiet = tokio::time::sleep(QUIET_START);
    tokio::pin!(quiet);
    let result = loop {
        tokio::select! {
            biased;
            Some(line) = said.recv() => show(screen, &mut early, quiet.is_elapsed(), &line),
            result = &mut done => break Some(result),
            _ = signals.next() => {
                cancel.store(true, Ordering::Relaxed);
                break tokio::time::timeout(END_WITHIN, &mut done).await.ok();
            }
            () = &mut quiet, if !quiet.is_elapsed() => {
                early.drain(..).for_each(|line: String| screen.note(safe(&line)));
            }
        }
    };
    if cancel.load(Ordering::Relaxed) && !matches!(result, Some(Ok(Ok(_)))) {
        screen.note(format!("stopped; {kept}"));
        return Err(Ended::Code(130));
    }
    // Warnings are told however quick it was.
    early.iter().filter(|line| is_warning(line)).for_each(|line| show(screen, &mut Vec::new(), true, line));
    match result {
        Some(Ok(done)) => Ok(done.map_err(|error| error.report())?),
        _ => Err(Report::internal("the work broke off").into()),
    }
}

fn is_warning(line: &str) -> bool {
    line.starts_with("warning: ")
}

fn show(screen: &Screen, early: &mut Vec<String>, now: bool, line: &str) {
    match (line.strip_prefix("warning: "), now) {
        (Some(text), true) => screen.warn(safe(text)),
        (None, true) => screen.note(safe(line)),
        (_, false) => early.push(line.to_owned()),
    }
}
