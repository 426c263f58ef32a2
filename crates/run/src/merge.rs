//! Lines of several instances as one stream: what is there by time, then live as it comes.

use crate::control::ServiceLine;
use crate::engine::{LogLine, LogQuery};
use model::ServiceName;
use tokio::sync::mpsc;

/// Lines held while sorting what is there; beyond, the oldest are left out.
const SORT_LIMIT: usize = 200_000;

type Source = (ServiceName, u32, mpsc::Receiver<LogLine>);

pub async fn merge(sources: Vec<Source>, query: LogQuery, out: mpsc::Sender<ServiceLine>) {
    if query.follow {
        for (service, slot, lines) in sources {
            tokio::spawn(relay(service, slot, lines, out.clone()));
        }
        return;
    }
    let mut all = Vec::new();
    for (service, slot, mut lines) in sources {
        while let Some(line) = lines.recv().await {
            all.push(ServiceLine { service: service.clone(), slot, line });
            if all.len() > SORT_LIMIT {
                all.drain(..SORT_LIMIT / 2);
            }
        }
    }
    all.sort_by_key(|l| l.line.at);
    for line in all {
        if out.send(line).await.is_err() {
            return;
        }
    }
}

async fn relay(
    service: ServiceName,
    slot: u32,
    mut lines: mpsc::Receiver<LogLine>,
    out: mpsc::Sender<ServiceLine>,
) {
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => {
                    if out.send(ServiceLine { service: service.clone(), slot, line }).await.is_err() {
                        return;
                    }
                }
                None => return,
            },
            () = out.closed() => return,
        }
    }
}
