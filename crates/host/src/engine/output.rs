//! Output of an instance as a channel of lines.

use super::instance::Instance;
use crate::log::Tail;
use run::engine::{LogLine, LogQuery};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Lines that wait for the reader; the reading of files waits when it is full.
const CHANNEL_LINES: usize = 256;
/// How often a follower looks for more.
const POLL: Duration = Duration::from_millis(100);

pub fn open(instance: Arc<Instance>, query: LogQuery) -> mpsc::Receiver<LogLine> {
    let (sender, receiver) = mpsc::channel(CHANNEL_LINES);
    tokio::spawn(async move {
        let Some(mut tail) = begin(&instance, query.clone(), sender.clone()).await else { return };
        while query.follow && !instance.is_removed() {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = sender.closed() => return,
            }
            match go_on(tail, sender.clone()).await {
                Some(moved) => tail = moved,
                None => return,
            }
        }
    });
    receiver
}

/// `None` ends the reading: the receiver is gone, or the files cannot be read.
async fn begin(instance: &Arc<Instance>, query: LogQuery, sender: mpsc::Sender<LogLine>) -> Option<Tail> {
    let dir = instance.layout.logs();
    let read = move || Tail::open(&dir, &query, &mut |line| sender.blocking_send(line).is_ok());
    tokio::task::spawn_blocking(read).await.ok()?.ok()?
}

async fn go_on(mut tail: Tail, sender: mpsc::Sender<LogLine>) -> Option<Tail> {
    let read = move || {
        let goes_on = tail.more(&mut |line| sender.blocking_send(line).is_ok());
        goes_on.unwrap_or(false).then_some(tail)
    };
    tokio::task::spawn_blocking(read).await.ok()?
}
