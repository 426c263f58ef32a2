//! What a run says, as numbers and as a table for people.

use super::super::harness::milliseconds;
use super::super::table::Table;
use super::run::Run;
use super::script::Change;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;
use traffic::histogram::Histogram;
use traffic::report::{Kind, StreamReport};
use traffic::timeline::{Told, last_answer_after_us};

pub struct Verdict<'a> {
    run: &'a Run,
    /// Times of quick requests while something was done, and of the others.
    pub within: Histogram,
    pub without: Histogram,
    pub slowest_rollback_us: Option<u64>,
    pub slowest_swap_us: Option<u64>,
    pub slowest_decision_us: Option<u64>,
}

/// How many failures of a run are told one by one.
const FAILURES_TOLD: usize = 12;

impl<'a> Verdict<'a> {
    pub fn of(run: &'a Run) -> Self {
        let (within, without) = run.timeline.latencies(&run.report, &run.samples);
        let of = |change: Change| run.done.iter().filter(move |done| done.change == change);
        let figures = |change| of(change).filter_map(|done| done.outcome.as_ref().ok());
        let last_answer = |begun_us| last_answer_after_us(&run.report, &run.samples, begun_us);
        // A rollback after which the newer release still answers has no time at all.
        let rollbacks: Option<Vec<u64>> = of(Change::Rollback)
            .map(|done| last_answer(done.begun_us).filter(|_| done.outcome.is_ok()))
            .collect();
        Self {
            run,
            within,
            without,
            slowest_rollback_us: rollbacks.and_then(|all| all.into_iter().max()),
            slowest_swap_us: figures(Change::Rollback).filter_map(|f| f.swap_us).max(),
            slowest_decision_us: figures(Change::Deploy)
                .filter_map(|f| f.decided_ms)
                .max()
                .map(|ms| ms * 1000),
        }
    }

    pub fn ratio(&self) -> f64 {
        self.within.quantile_us(0.99) as f64 / self.without.quantile_us(0.99).max(1) as f64
    }

    /// Every change succeeded and every release answered: where nothing changes, nothing is lost.
    pub fn all_was_done(&self) -> bool {
        let succeeded = self.run.done.iter().all(|done| done.outcome.is_ok());
        succeeded && self.run.report.releases.len() == self.releases_made()
    }

    /// Releases that were made, the first one included.
    fn releases_made(&self) -> usize {
        let makes = |change| matches!(change, Change::Deploy | Change::Configure | Change::KillWithin);
        1 + self.run.done.iter().filter(|done| makes(done.change)).count()
    }

    /// `20 deploys, 5 rollbacks, …`, and how many of them did not succeed.
    pub fn changes(&self) -> String {
        let mut counts: BTreeMap<Change, u32> = BTreeMap::new();
        self.run.done.iter().for_each(|done| *counts.entry(done.change).or_default() += 1);
        let words = counts.iter().map(|(change, count)| match count {
            1 => format!("1 {change}"),
            _ => format!("{count} {}", change.plural()),
        });
        let mut text = words.collect::<Vec<_>>().join(", ");
        let wrong = self.run.done.iter().filter(|done| done.outcome.is_err()).count();
        if wrong > 0 {
            write!(text, "; {wrong} of these did not succeed").expect("text takes text");
        }
        text
    }
}

/// The comparison: a column for each run.
pub fn table(runs: &[Run]) -> Table {
    let mut head = vec![""];
    head.extend(runs.iter().map(|run| run.name));
    let mut table = Table::new(&head);
    let verdicts: Vec<Verdict<'_>> = runs.iter().map(Verdict::of).collect();
    let mut row = |name: &str, cell: &dyn Fn(&Verdict<'_>) -> String| {
        table.row(std::iter::once(name.to_owned()).chain(verdicts.iter().map(cell)));
    };
    row("requests", &|v| v.run.report.requests.to_string());
    row("failed", &|v| v.run.report.failed.to_string());
    row("  of these on a kept connection", &|v| {
        v.run.report.failures.iter().filter(|failure| failure.on_kept_connection).count().to_string()
    });
    for kind in Kind::REQUESTS.iter().chain(&[Kind::WebSocket, Kind::Session]) {
        row(&format!("  {}", kind.words()), &|v| {
            v.run.report.by_kind.get(kind).map_or(0, |report| report.failed).to_string()
        });
    }
    let streams = |report: &StreamReport| format!("{} ({} crossed)", report.ended_politely, report.crossed);
    row("WebSockets ended politely", &|v| streams(&v.run.report.websockets));
    row("TCP sessions ended politely", &|v| streams(&v.run.report.sessions));
    row("releases that answered", &|v| format!("{} of {}", v.run.report.releases.len(), v.releases_made()));
    row("changes", &|v| v.run.done.len().to_string());
    row("  that did not succeed", &|v| v.run.done.iter().filter(|d| d.outcome.is_err()).count().to_string());
    row("application has to finish what it has", &|v| if v.run.helped { "yes" } else { "no" }.to_owned());
    row("p50 without a change", &|v| time(v.without.quantile_us(0.5)));
    row("p99 without a change", &|v| time(v.without.quantile_us(0.99)));
    row("p99 during a change", &|v| time(v.within.quantile_us(0.99)));
    row("p99.9 during a change", &|v| time(v.within.quantile_us(0.999)));
    row("longest during a change", &|v| time(v.within.largest_us));
    row("rollback to last answer", &|v| v.slowest_rollback_us.map_or("-".to_owned(), time));
    row("longest without an instance, by itself", &|v| {
        let gaps = v.run.done.iter().filter_map(|done| done.outcome.as_ref().ok()?.gap_ms);
        gaps.max().map_or("-".to_owned(), |ms| time(ms * 1000))
    });
    row("CPU for each request, proxy", &|v| match v.run.proxy_us {
        0 => "-".to_owned(),
        us => format!("{} µs", us / v.run.report.requests.max(1)),
    });
    row("CPU of the load, share of a core", &|v| {
        let report = &v.run.report;
        format!("{:.0} %", report.processor_us as f64 * 100.0 / (report.ended_us - report.started_us) as f64)
    });
    row("requests began late, p99", &|v| time(v.run.report.pacing.p99_us));
    row("valid", &|v| if v.run.report.invalid.is_empty() { "yes" } else { "NO" }.to_owned());
    table
}

/// What failed in each run, how often and when; and why a run is not valid.
pub fn details(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        for why in &run.report.invalid {
            writeln!(text, "{}: not valid: {why}", run.name).expect("text takes text");
        }
        for done in run.done.iter().filter(|done| done.outcome.is_err()) {
            let why = done.outcome.as_ref().err().map_or("", String::as_str);
            writeln!(text, "{}: {}: {why}", run.name, done.change).expect("text takes text");
        }
        for (class, count) in &run.report.by_class {
            writeln!(text, "{}: {count} × {}", run.name, class.words()).expect("text takes text");
        }
        // From all over the run.
        let failures = &run.report.failures;
        for failure in failures.iter().step_by(failures.len().div_ceil(FAILURES_TOLD).max(1)) {
            writeln!(text, "{}: {}", run.name, Told(failure, &run.timeline)).expect("text takes text");
        }
    }
    text
}

fn time(us: u64) -> String {
    milliseconds(Duration::from_micros(us))
}
