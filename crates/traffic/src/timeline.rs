//! What was done to the system while the load ran, and what that says about the answers.

use crate::histogram::Histogram;
use crate::report::{Failure, Report, Sample};
use std::fmt;

/// Something that was done: a deploy, a rollback, a kill.
#[derive(Debug, Clone)]
pub struct Event {
    pub what: String,
    /// By `clock::now_us`.
    pub begun_us: u64,
    pub ended_us: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Timeline(pub Vec<Event>);

/// After the end of a change it is still felt for so long.
const FELT_AFTER_US: u64 = 1_000_000;

impl Timeline {
    /// One phrase: what was going on at that moment.
    pub fn at(&self, us: u64) -> String {
        let Some(event) = self.0.iter().rfind(|event| event.begun_us <= us) else {
            return "before the first change".to_owned();
        };
        let seconds = |us: u64| us as f64 / 1e6;
        match us.checked_sub(event.ended_us) {
            None => format!("{:.3} s into {}", seconds(us - event.begun_us), event.what),
            Some(after) => format!("{:.3} s after {}", seconds(after), event.what),
        }
    }

    fn is_within(&self, us: u64) -> bool {
        self.0.iter().any(|event| (event.begun_us..event.ended_us + FELT_AFTER_US).contains(&us))
    }

    /// Times of quick requests that were to begin while something was done, and of the others.
    pub fn latencies(&self, report: &Report, samples: &[Sample]) -> (Histogram, Histogram) {
        let (mut within, mut without) = (Histogram::default(), Histogram::default());
        for sample in samples.iter().filter(|sample| sample.kind.is_quick() && !sample.failed) {
            let at_us = report.started_us + u64::from(sample.intended_us);
            let into = if self.is_within(at_us) { &mut within } else { &mut without };
            into.add(u64::from(sample.latency_us));
        }
        (within, without)
    }
}

/// How long after `begun_us` the release that had answered until then went on to answer quick
/// requests; `None` when it still answers at the end or nothing was answered.
pub fn last_answer_after_us(report: &Report, samples: &[Sample], begun_us: u64) -> Option<u64> {
    let begun_us = begun_us.checked_sub(report.started_us)?;
    let answered = |s: &&Sample| s.kind.is_quick() && usize::from(s.release) < report.releases.len();
    let at_us = |s: &Sample| u64::from(s.intended_us) + u64::from(s.latency_us);
    let quick = || samples.iter().filter(answered);
    let replaced = quick().filter(|s| at_us(s) <= begun_us).max_by_key(|s| at_us(s))?.release;
    let last = quick().filter(|s| s.release == replaced && at_us(s) >= begun_us).map(at_us).max();
    let end = quick().map(at_us).max()?;
    match last {
        Some(last) if last == end => None,
        last => Some(last.unwrap_or(begun_us) - begun_us),
    }
}

/// A failure as one line for people.
pub struct Told<'a>(pub &'a Failure, pub &'a Timeline);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(failure, timeline) = self;
        let took_ms = failure.failed_us.saturating_sub(failure.intended_us) as f64 / 1e3;
        write!(f, "{}: {} ({}) ", failure.kind.words(), failure.class.words(), failure.detail)?;
        write!(f, "after {took_ms:.1} ms, {}", timeline.at(failure.failed_us))?;
        if failure.on_kept_connection {
            f.write_str(", on a connection that had served before")?;
        }
        match failure.local_port {
            Some(port) => write!(f, ", from port {port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Kind;

    fn timeline() -> Timeline {
        let event = |what: &str, begun_us, ended_us| Event { what: what.into(), begun_us, ended_us };
        Timeline(vec![event("deploy 1", 10_000_000, 12_000_000), event("rollback 1", 20_000_000, 20_500_000)])
    }

    #[test]
    fn a_moment_is_told_by_the_last_change() {
        let at = |us| timeline().at(us);
        assert_eq!(at(9_000_000), "before the first change");
        assert_eq!(at(11_250_000), "1.250 s into deploy 1");
        assert_eq!(at(19_000_000), "7.000 s after deploy 1");
    }

    fn sample(at_ms: u32, release: u16) -> Sample {
        let intended_us = at_ms * 1000;
        Sample { intended_us, latency_us: 500, release, kind: Kind::KeepAlive, failed: false }
    }

    fn report() -> Report {
        Report { started_us: 9_000_000, releases: vec!["a".into(), "b".into()], ..Report::default() }
    }

    #[test]
    fn times_are_told_apart_by_what_was_going_on() {
        let samples: Vec<Sample> = [0, 500, 1500, 3500, 4500, 11_200].map(|ms| sample(ms, 0)).into();
        let (within, without) = timeline().latencies(&report(), &samples);
        assert_eq!((within.total, without.total), (3, 3));
    }

    #[test]
    fn the_last_answer_of_what_was_replaced_is_found() {
        let after = |samples: &[Sample], begun_us| last_answer_after_us(&report(), samples, begun_us);
        let swapped = [sample(0, 0), sample(1000, 1), sample(1200, 1), sample(1300, 0), sample(2000, 0)];
        assert_eq!(after(&swapped, 10_100_000), Some(100_500));
        assert_eq!(after(&swapped, 9_100_000), None, "it answers at the end");
        assert_eq!(after(&swapped, 10_250_000), Some(0), "nothing came from it any more");
    }
}
