//! One build at a time on this machine, whoever asked for it: the daemon or a command.

use build::BuildError;
use build::layout::lock;
use model::Report;
use run::ports::Say;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const LOOK: Duration = Duration::from_millis(100);

/// Waits until no other build goes on below `images`; it is one's turn while the file is held.
pub async fn take(images: &Path, say: &Say, cancel: &AtomicBool) -> Result<File, Report> {
    let path = images.join("build.lock");
    let mut told = false;
    loop {
        match lock(&path, FlockOperation::NonBlockingLockExclusive) {
            Err(BuildError::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return other.map_err(|error| error.report()),
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(BuildError::Cancelled.report());
        }
        if !told {
            say("waiting for another build to end".to_owned());
            told = true;
        }
        sleep(LOOK).await;
    }
}
