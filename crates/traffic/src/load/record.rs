//! What happened, kept while the load runs and summed up at its end.

use super::failing::Cause;
use crate::clock;
use crate::histogram::Histogram;
use crate::report::{Failure, Kind, KindReport, NO_RELEASE, Pacing, Report, Sample, StreamReport};
use std::collections::BTreeMap;

/// How many failures are told one by one; all are counted.
pub const FAILURES_KEPT: usize = 1000;
/// How many values of `X-Release` are told apart.
const RELEASES_LIMIT: usize = 1000;

#[derive(Default)]
pub struct Record {
    pub started_us: u64,
    pub samples: Vec<Sample>,
    pub pacing: Histogram,
    pub in_flight: u64,
    pub connections: u64,
    pub ended_between_requests: u64,
    pub websockets: StreamReport,
    pub sessions: StreamReport,
    latencies: BTreeMap<Kind, Histogram>,
    by_kind: BTreeMap<Kind, KindReport>,
    by_class: BTreeMap<crate::report::Class, u64>,
    failures: Vec<Failure>,
    /// How many of the failures were printed.
    told: usize,
    releases: Vec<String>,
    failed: u64,
}

/// What a request was to be.
#[derive(Debug, Clone, Copy)]
pub struct Intended {
    pub kind: Kind,
    pub at_us: u64,
    pub planned_us: u64,
}

/// Where and how it failed.
#[derive(Debug)]
pub struct Failed {
    pub cause: Cause,
    pub on_kept_connection: bool,
    pub local_port: Option<u16>,
}

impl Record {
    /// The outcome of a request that ended now: the release that answered it.
    pub fn request(&mut self, intended: Intended, outcome: Result<Option<String>, Failed>) {
        let latency_us = clock::now_us().saturating_sub(intended.at_us + intended.planned_us);
        let kind = self.by_kind.entry(intended.kind).or_default();
        kind.sent += 1;
        let failed = outcome.is_err();
        let release = match outcome {
            Ok(release) => self.release(release),
            Err(failure) => {
                self.failed(intended.kind, intended.at_us, failure);
                NO_RELEASE
            }
        };
        if !failed {
            self.latencies.entry(intended.kind).or_default().add(latency_us);
        }
        let short = |us: u64| u32::try_from(us).unwrap_or(u32::MAX);
        let intended_us = short(intended.at_us.saturating_sub(self.started_us));
        let latency_us = short(latency_us);
        self.samples.push(Sample { intended_us, latency_us, release, kind: intended.kind, failed });
    }

    pub fn failed(&mut self, kind: Kind, intended_us: u64, failed: Failed) {
        let Failed { cause, on_kept_connection, local_port } = failed;
        self.failed += 1;
        self.by_kind.entry(kind).or_default().failed += 1;
        *self.by_class.entry(cause.class).or_default() += 1;
        if self.failures.len() < FAILURES_KEPT {
            let failed_us = clock::now_us();
            let (class, detail) = (cause.class, cause.detail);
            self.failures.push(Failure {
                kind,
                class,
                detail,
                intended_us,
                failed_us,
                on_kept_connection,
                local_port,
            });
        }
    }

    fn release(&mut self, name: Option<String>) -> u16 {
        let Some(name) = name else { return NO_RELEASE };
        let known = self.releases.iter().rposition(|known| *known == name);
        let place = known.unwrap_or_else(|| {
            self.releases.push(name);
            self.releases.len() - 1
        });
        assert!(place < RELEASES_LIMIT, "the other side names a new release with each answer");
        place as u16
    }

    pub fn done(&self) -> (u64, u64) {
        (self.samples.len() as u64, self.failed)
    }

    /// Failures since the last call.
    pub fn untold(&mut self) -> &[Failure] {
        let from = std::mem::replace(&mut self.told, self.failures.len());
        &self.failures[from..]
    }

    pub fn sum_up(&mut self, rate: u64) -> Report {
        let mut by_kind = std::mem::take(&mut self.by_kind);
        for (kind, times) in &self.latencies {
            let report = by_kind.entry(*kind).or_default();
            report.p50_us = times.quantile_us(0.5);
            report.p99_us = times.quantile_us(0.99);
            report.p999_us = times.quantile_us(0.999);
            report.largest_us = times.largest_us;
        }
        let failed_of = |kind| by_kind.get(&kind).map_or(0, |report: &KindReport| report.failed);
        Report {
            started_us: self.started_us,
            ended_us: clock::now_us(),
            rate,
            requests: self.samples.len() as u64,
            failed: self.failed,
            websockets: StreamReport { failed: failed_of(Kind::WebSocket), ..self.websockets },
            sessions: StreamReport { failed: failed_of(Kind::Session), ..self.sessions },
            by_kind,
            by_class: std::mem::take(&mut self.by_class),
            failures: std::mem::take(&mut self.failures),
            connections: self.connections,
            ended_between_requests: self.ended_between_requests,
            pacing: Pacing {
                p50_us: self.pacing.quantile_us(0.5),
                p99_us: self.pacing.quantile_us(0.99),
                largest_us: self.pacing.largest_us,
            },
            processor_us: clock::processor_us(),
            releases: std::mem::take(&mut self.releases),
            invalid: Vec::new(),
        }
    }
}
