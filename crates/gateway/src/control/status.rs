//! What the gateway says of itself.

use super::controller::Controller;
use super::table::key;
use crate::policy::mirror::Mirror;
use crate::policy::queue::Line;
use crate::seat::Seat;
use crate::wire::{
    BackendStatus, EndpointStatus, ListenerStatus, MirrorStatus, PassedSpan, QueueStatus, RuleStatus,
    SpanCounts, Status,
};
use model::route::Listener;
use model::service::Transport;
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

impl Controller {
    pub fn status(&self) -> Status {
        Status {
            revision: self.table.revision,
            pid: std::process::id(),
            uptime_ms: self.shared.now_ms(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            threads: self.shared.threads,
            connections: self.shared.connections(),
            listeners: {
                let streams = self.table.listeners.iter().filter_map(|l| self.listener_status(l));
                let datagrams = self.table.datagrams.iter().filter_map(|l| self.datagrams_status(l));
                streams.chain(datagrams).collect()
            },
            rules: self.rule_status(),
            backends: self.table.backends.keys().map(|id| self.backend_status(id)).collect(),
            calls: self.callers.status(self.endpoints.numbers(), &self.shared.calls),
            failed: self.failed.clone(),
            names: self.names.counts(),
            spans: {
                let (recorded, waiting, lost) = self.shared.spans.counts();
                SpanCounts { recorded, waiting, lost }
            },
            log_dropped: self.shared.log.dropped(),
            predecessors: Vec::new(),
        }
    }

    /// The oldest that wait, with names.
    pub fn take_spans(&self) -> Vec<PassedSpan> {
        self.shared.spans.take().into_iter().map(|passed| self.callers.named(passed)).collect()
    }

    fn listener_status(&self, listener: &Listener) -> Option<ListenerStatus> {
        let bound = self.bound.get(&key(listener))?;
        Some(ListenerStatus {
            asked: listener.address,
            bound: bound.address,
            backend: listener.backend.clone(),
            public: listener.public,
            transport: Transport::Tcp,
            counts: bound.counters.read(),
        })
    }

    /// One rule may be on several listeners; it is counted as one.
    fn rule_status(&self) -> Vec<RuleStatus> {
        let mut seen = HashSet::new();
        let rules = self.table.listeners.iter().flat_map(|listener| &listener.rules);
        rules
            .filter(|rule| seen.insert(rule.id.as_str()))
            .filter_map(|rule| {
                Some(RuleStatus { rule: rule.id.clone(), counts: self.rules.get(&rule.id)?.read() })
            })
            .collect()
    }

    fn datagrams_status(&self, listener: &Listener) -> Option<ListenerStatus> {
        let bound = self.datagrams.get(&key(listener))?;
        Some(ListenerStatus {
            asked: listener.address,
            bound: bound.address,
            backend: listener.backend.clone(),
            public: listener.public,
            transport: Transport::Udp,
            counts: bound.counters.read(),
        })
    }

    fn backend_status(&self, id: &str) -> BackendStatus {
        let declared =
            self.table.backends.get(id).map(|backend| backend.endpoints.as_slice()).unwrap_or_default();
        let now = self.shared.now_ms();
        let endpoint = |e: &model::route::Endpoint| {
            let known = self.endpoints.get(id, e);
            EndpointStatus {
                instance: e.instance.clone(),
                address: e.address,
                draining: e.draining,
                limit: known.and_then(|known| known.places.limit()),
                standing: known.map(|known| known.standing(now)).unwrap_or_default(),
                counts: known.map(|known| known.counters.read()).unwrap_or_default(),
            }
        };
        BackendStatus {
            backend: id.to_owned(),
            without_endpoint: self.endpoints.without_endpoint(id),
            endpoints: declared.iter().map(endpoint).collect(),
            queue: self.endpoints.line(id).map(queue_status),
            mirror: self.endpoints.policy_of(id).and_then(|policy| policy.mirror.as_ref()).map(mirror_status),
        }
    }
}

fn mirror_status(mirror: &Mirror) -> MirrorStatus {
    MirrorStatus {
        to: mirror.backend.clone(),
        left_out: mirror.left_out(),
        counts: mirror.counted().map(|counters| counters.read()).unwrap_or_default(),
    }
}

fn queue_status(line: &Line<Seat>) -> QueueStatus {
    let counts = &line.counts;
    QueueStatus {
        waiting: line.waiting() as u64,
        waited: counts.waited.load(Relaxed),
        late: counts.late.load(Relaxed),
        full: counts.full.load(Relaxed),
        shed: counts.shed.each_ref().map(|count| count.load(Relaxed)),
    }
}
