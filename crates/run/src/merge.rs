//! Lines of several instances as one stream: what is there by time, then live as it comes.

use crate::control::ServiceLine;
use crate::engine::{Engine, LogLine, LogQuery};
use crate::world::Snapshot;
use model::{InstanceId, ServiceName, StackName};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

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

/// Adds the lines of instances that are made while somebody follows, until the stack is gone.
pub async fn newcomers(
    engine: Arc<dyn Engine>,
    mut snapshot: watch::Receiver<Arc<Snapshot>>,
    stack: StackName,
    services: Vec<ServiceName>,
    mut known: BTreeSet<InstanceId>,
    out: mpsc::Sender<ServiceLine>,
) {
    loop {
        let all = snapshot.borrow_and_update().clone();
        if !all.stacks.iter().any(|s| s.name == stack) {
            return;
        }
        let of_stack = all.observed.iter().map(|observed| &observed.spec).filter(|spec| spec.stack == stack);
        known.retain(|id| all.observed.iter().any(|observed| observed.spec.id == *id));
        for spec in of_stack.filter(|spec| services.is_empty() || services.contains(&spec.service)) {
            if !known.insert(spec.id.clone()) {
                continue;
            }
            let query = LogQuery { follow: true, tail: None, since: None };
            // One that cannot be read was removed meanwhile.
            if let Ok(lines) = engine.logs(&spec.id, query).await {
                tokio::spawn(relay(spec.service.clone(), spec.slot, lines, out.clone()));
            }
        }
        tokio::select! {
            changed = snapshot.changed() => if changed.is_err() { return },
            () = out.closed() => return,
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
