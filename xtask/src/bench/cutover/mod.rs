//! No request lost: the same application under the same load behind ours, behind nginx with
//! `reload` and behind HAProxy with its runtime API, while all that is done to a running system is
//! done to it.

mod application;
mod haproxy;
mod nginx;
mod ours;
mod run;
mod script;
mod verdict;

use super::harness::milliseconds;
use super::{Bench, Measured, Options};
use crate::Failure;
use run::Run;
use script::Script;
use std::path::PathBuf;
use std::time::Duration;
use traffic::programs::Programs;

pub const BENCH: Bench = Bench {
    name: "cutover",
    about: "no request lost while releases change, beside nginx and HAProxy (root; 20 minutes, or `--requests N`)",
    run: measure,
};

/// Requests in a second.
const RATE: u64 = 1000;
/// Requests of a whole run of ours.
const REQUESTS: u64 = 1_000_000;
/// The others get this part of it, with as many changes for their time.
const PEERS_PART: u64 = 10;

fn measure(options: &Options) -> Result<Vec<Measured>, Failure> {
    let programs = Programs::build(true)?;
    let requests = options.requests.unwrap_or(REQUESTS);
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let mut runs = Vec::new();
    if wanted("ours") {
        let program =
            options.program.as_deref().map_or_else(super::program::release, |p| Ok(PathBuf::from(p)))?;
        let mut ours = ours::Ours::start(program, &programs)?;
        runs.push(run::run(&mut ours, &programs, requests, &Script::ours(requests, RATE))?);
    }
    let requests = (requests / PEERS_PART).max(requests.min(script::SHORT_REQUESTS));
    let script = Script::peers(requests, RATE);
    if wanted("nginx") || wanted("haproxy") {
        let path = crate::packages::provide_peers()?;
        if wanted("nginx") {
            let mut nginx = nginx::Nginx::start(&path, &programs)?;
            runs.push(run::run(&mut nginx, &programs, requests, &script)?);
        }
        if wanted("haproxy") {
            let mut haproxy = haproxy::Haproxy::start(&path, &programs)?;
            runs.push(run::run(&mut haproxy, &programs, requests, &script)?);
        }
    }
    if runs.is_empty() {
        return Err("`--only` is one of ours, nginx, haproxy".into());
    }
    eprint!("\n{}\n{}", verdict::details(&runs), verdict::table(&runs).to_text());
    let ours = runs.iter().find(|run| run.name == "ours");
    Ok(ours.map(|ours| promises(ours, &runs)).unwrap_or_default())
}

fn promises(run: &Run, all: &[Run]) -> Vec<Measured> {
    let verdict = verdict::Verdict::of(run);
    let valid = |kept: bool| if run.report.invalid.is_empty() { Some(kept) } else { None };
    let within = |found: Option<u64>, limit_us: u64| valid(found.is_some_and(|us| us <= limit_us));
    let time = |us: Option<u64>| us.map_or("none".to_owned(), |us| milliseconds(Duration::from_micros(us)));
    let ratio = verdict.ratio();
    vec![
        Measured {
            number: "failed requests and streams while releases, gateway and daemon change",
            promised: "0 of 1,000,000",
            value: format!("{}, {}{}", lost(run), verdict.changes(), others(run, all)),
            kept: valid(run.report.failed == 0 && verdict.all_was_done()),
        },
        Measured {
            number: "p99 of requests during a cutover, over p99 without",
            promised: "≤ 2×",
            value: format!(
                "{ratio:.2}× ({} beside {})",
                time(Some(verdict.within.quantile_us(0.99))),
                time(Some(verdict.without.quantile_us(0.99)))
            ),
            kept: valid(ratio <= 2.0),
        },
        Measured {
            number: "warm rollback, command to the last answer of the newer release",
            promised: "≤ 1 s",
            value: time(verdict.slowest_rollback_us),
            kept: within(verdict.slowest_rollback_us, 1_000_000),
        },
        Measured {
            number: "the swap of a warm rollback, in the gateway",
            promised: "≤ 50 ms",
            value: time(verdict.slowest_swap_us),
            kept: within(verdict.slowest_swap_us, 50_000),
        },
        Measured {
            number: "decision of a deploy, after the new instance is ready",
            promised: "≤ 3 s",
            value: time(verdict.slowest_decision_us),
            kept: within(verdict.slowest_decision_us, 3_000_000),
        },
    ]
}

/// `0 of 1,000,000`.
fn lost(run: &Run) -> String {
    format!("{} of {}", thousands(run.report.failed), thousands(run.report.requests))
}

/// What the others lost in the same run of the bench.
fn others(ours: &Run, all: &[Run]) -> String {
    let others = all.iter().filter(|run| run.name != ours.name);
    let words = others.map(|run| {
        let changes = run.done.len();
        format!("; {} {} with {changes} changes", run.name, lost(run))
    });
    words.collect()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn long_numbers_are_read_at_a_glance() {
        assert_eq!([0, 999, 1000, 1_000_000].map(thousands), ["0", "999", "1,000", "1,000,000"]);
    }
}
