//! One build at a time on this machine, whoever asked for it: the daemon or a command. Each draws a
//! ticket, a file that it holds locked; the oldest ticket that is held has the turn.

use build::BuildError;
use juchu::queue::{Ticket, draw, read};
use model::{Report, Service};
use run::ports::Say;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const LOOK: Duration = Duration::from_millis(100);
/// Builds that may wait; more are refused at once.
const WAITING_MAX: usize = 256;

/// Waits until no earlier build goes on below `images`; it is one's turn while the ticket is held.
pub async fn take(
    images: &Path,
    service: &Service,
    say: &Say,
    cancel: &AtomicBool,
) -> Result<Ticket, Report> {
    let mut told = String::new();
    let ticket = draw(images, service, crate::machine::now())?;
    loop {
        let waiting = read(images)?;
        if waiting.len() > WAITING_MAX {
            return Err(Report::environment(format!("more than {WAITING_MAX} builds wait already"))
                .hint("`juchu ps` says which"));
        }
        let before: Vec<_> = waiting.iter().take_while(|other| other.name != ticket.name()).collect();
        let Some(first) = before.first() else { return Ok(ticket) };
        if cancel.load(Ordering::Relaxed) {
            return Err(BuildError::Cancelled.report());
        }
        let text = match before.len() {
            1 => format!("waiting for the build of {} to end", first.what),
            more => format!("waiting for {more} builds to end; the one of {} goes on", first.what),
        };
        if text != told {
            say(text.clone());
            told = text;
        }
        sleep(LOOK).await;
    }
}
