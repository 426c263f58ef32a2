//! Ctrl-C and the request to end, as something that can be waited for.

use model::Report;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From its making on, these signals no longer end the process.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Ctrl-C: somebody sits there.
    Interrupt,
    /// SIGTERM: nobody can be asked.
    Terminate,
}

impl Signals {
    pub fn new() -> Result<Self, Report> {
        let watch = |kind| {
            signal(kind).map_err(|error| Report::internal(format!("signals cannot be watched: {error}")))
        };
        Ok(Self { interrupt: watch(SignalKind::interrupt())?, terminate: watch(SignalKind::terminate())? })
    }

    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
        }
    }
}
