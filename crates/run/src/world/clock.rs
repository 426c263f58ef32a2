//! One line of time for everything that is waited for, whatever is done to the machine's clock.
//!
//! The journal and people have the clock of the machine. Pauses, deadlines and warm releases are
//! counted from it as it was when the daemon began, so that a clock that jumps starts, stops and
//! judges nothing. Times that supervisors wrote down are fitted in when they are first seen.

use model::instance::{InstanceState, Observed};
use model::{DurationMs, InstanceId, Timestamp};
use std::collections::BTreeMap;
use tokio::time::Instant;

pub(crate) struct Timeline {
    base: Timestamp,
    began: Instant,
    /// The last look at the instances; none before the first.
    looked: Option<Timestamp>,
    runs: BTreeMap<InstanceId, Run>,
}

/// One run of an instance on this line of time.
#[derive(Clone, Copy)]
struct Run {
    starts: u32,
    since: Timestamp,
    finished: Option<Timestamp>,
}

impl Timeline {
    pub fn new(base: Timestamp) -> Self {
        Self { base, began: Instant::now(), looked: None, runs: BTreeMap::new() }
    }

    pub fn now(&self) -> Timestamp {
        self.base.plus(DurationMs(self.began.elapsed().as_millis() as u64))
    }

    /// Puts the times of what was observed on this line: what is seen for the first time happened
    /// since the last look.
    pub fn fit(&mut self, observed: &mut [Observed]) {
        let now = self.now();
        let earliest = self.looked.unwrap_or(Timestamp(i64::MIN));
        let fit = |at: Timestamp| at.clamp(earliest.min(now), now);
        let mut runs = BTreeMap::new();
        for one in observed {
            let known = self.runs.get(&one.spec.id).filter(|run| run.starts == one.starts).copied();
            match &mut one.state {
                InstanceState::Running { since, .. } => {
                    let run = known.unwrap_or(Run { starts: one.starts, since: fit(*since), finished: None });
                    *since = run.since;
                    runs.insert(one.spec.id.clone(), run);
                }
                InstanceState::Exited(exit) => {
                    let ran = exit.finished.since(exit.started);
                    let finished = known.and_then(|run| run.finished).unwrap_or_else(|| fit(exit.finished));
                    let before = Timestamp(finished.0.saturating_sub_unsigned(ran.0));
                    let since = known.map_or(before, |run| run.since);
                    (exit.started, exit.finished) = (since.min(finished), finished);
                    runs.insert(
                        one.spec.id.clone(),
                        Run { starts: one.starts, since, finished: Some(finished) },
                    );
                }
                InstanceState::Created | InstanceState::Lost => {}
            }
        }
        self.runs = runs;
        self.looked = Some(now);
    }

    /// Nothing was looked at yet: what is found began before this daemon did.
    pub fn is_first_look(&self) -> bool {
        self.looked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Digest, ReleaseId, ServiceName, StackName};

    fn observed(since: i64, starts: u32) -> Observed {
        let spec = model::instance::InstanceSpec {
            id: InstanceId::new("a1").expect("valid"),
            stack: StackName::new("shop").expect("valid"),
            service: ServiceName::new("web").expect("valid"),
            slot: 1,
            release: ReleaseId(1),
            spec_hash: Digest::of(b"spec"),
            image: Digest::of(b"image"),
            layers: Vec::new(),
            image_config: Default::default(),
            argv: vec!["run".into()],
            environment: BTreeMap::new(),
            process: Default::default(),
            resources: Default::default(),
            mounts: Vec::new(),
            files: Vec::new(),
            network: model::instance::InstanceNetwork::None,
            hostname: "a1".into(),
            stop_signal: "SIGTERM".into(),
            stop_grace_ms: 0,
            hooks: Default::default(),
            ipc_of: None,
            pid_of: None,
            log_max_bytes: 0,
            log_max_files: 1,
            labels: BTreeMap::new(),
        };
        let state = InstanceState::Running { pid: 1, since: Timestamp(since) };
        Observed {
            spec,
            state,
            starts,
            quick_failures: 0,
            is_preparing: false,
            listening_udp: Vec::new(),
            listening: Vec::new(),
        }
    }

    fn since(observed: &Observed) -> i64 {
        let InstanceState::Running { since, .. } = observed.state else { panic!("it runs") };
        since.0
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_moves_nothing() {
        let mut line = Timeline::new(Timestamp(1_000_000));
        let mut all = [observed(900_000, 1)];
        line.fit(&mut all);
        assert_eq!(since(&all[0]), 900_000, "what ran before the daemon began keeps its time");
        tokio::time::advance(std::time::Duration::from_secs(5)).await;
        for jumped in [9_000_000, 5] {
            let mut all = [observed(jumped, jumped as u32)];
            line.fit(&mut all);
            assert!((1_000_000..=line.now().0).contains(&since(&all[0])), "{}", since(&all[0]));
            let first = since(&all[0]);
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            let mut again = [observed(jumped, jumped as u32)];
            line.fit(&mut again);
            assert_eq!(since(&again[0]), first, "a time once fitted stays");
        }
    }
}
