//! What is done to the system, and when: spread evenly over the run.

use std::fmt;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A new image, rolled out.
    Deploy,
    /// Back to the release before, which is still warm.
    Rollback,
    /// Another environment, no build.
    Configure,
    /// Another process in the place of the one that carries the traffic.
    Upgrade,
    /// The control plane dies while nothing goes on.
    Kill,
    /// The control plane dies in the middle of a deploy, which is then asked for again.
    KillWithin,
}

impl Change {
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deploy => "deploys",
            Self::Rollback => "rollbacks",
            Self::Configure => "configuration releases",
            Self::Upgrade => "gateway upgrades",
            Self::Kill => "daemon kills",
            Self::KillWithin => "daemon kills within a deploy",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Configure => "configuration release",
            Self::Upgrade => "gateway upgrade",
            Self::Kill => "daemon kill",
            Self::KillWithin => "daemon kill within a deploy",
        })
    }
}

/// Changes of a whole run of 1,000,000 requests, and the fewest of any run.
const OURS: [(Change, u64, u64); 6] = [
    (Change::Deploy, 20, 3),
    (Change::Rollback, 5, 1),
    (Change::Configure, 3, 1),
    (Change::Upgrade, 2, 1),
    (Change::Kill, 2, 0),
    (Change::KillWithin, 1, 1),
];
const WHOLE: u64 = 1_000_000;
/// A run of so many has time for the fewest changes.
pub const SHORT_REQUESTS: u64 = 60_000;
/// Nothing is done in the first and in the last part of a run.
const QUIET: Duration = Duration::from_secs(4);

#[derive(Debug, Clone)]
pub struct Script(pub Vec<Step>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// From the first request.
    pub at: Duration,
    pub change: Change,
}

impl Script {
    pub fn ours(requests: u64, rate: u64) -> Self {
        Self::spread(requests, rate, |_| true)
    }

    /// As many for their time, without what only ours has: they have no daemon.
    pub fn peers(requests: u64, rate: u64) -> Self {
        Self::spread(requests, rate, |change| !matches!(change, Change::Kill | Change::KillWithin))
    }

    fn spread(requests: u64, rate: u64, wanted: impl Fn(Change) -> bool) -> Self {
        let counts = OURS.iter().filter(|(change, ..)| wanted(*change));
        let counts = counts.map(|(change, whole, fewest)| (*change, (whole * requests / WHOLE).max(*fewest)));
        let order = interleave(counts.collect());
        let whole = Duration::from_millis(requests * 1000 / rate).saturating_sub(2 * QUIET);
        let gap = whole / u32::try_from(order.len()).unwrap_or(1).max(1);
        let step = |(number, change)| Step { at: QUIET + gap * number, change };
        Self((0..).zip(order).map(step).collect())
    }
}

/// Each kind at even distances among the others; a rollback always follows a deploy, since there
/// must be something to go back from.
fn interleave(counts: Vec<(Change, u64)>) -> Vec<Change> {
    let mut placed: Vec<(f64, Change)> = Vec::new();
    for (change, count) in counts {
        placed.extend((0..count).map(|i| ((i as f64 + 0.5) / count as f64, change)));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut order: Vec<Change> = placed.into_iter().map(|(_, change)| change).collect();
    for place in 0..order.len() {
        let follows = place > 0 && order[place - 1] == Change::Deploy;
        if order[place] == Change::Rollback && !follows {
            // Change places with whatever follows the next deploy, or the last one.
            let after =
                (1..order.len()).filter(|i| order[i - 1] == Change::Deploy && order[*i] != Change::Rollback);
            let nearest = after.min_by_key(|i| i.abs_diff(place));
            if let Some(nearest) = nearest {
                order.swap(place, nearest);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(script: &Script, change: Change) -> usize {
        script.0.iter().filter(|step| step.change == change).count()
    }

    fn check(requests: u64, expect: [usize; 6]) {
        let script = Script::ours(requests, 1000);
        assert_eq!(OURS.map(|(change, ..)| count(&script, change)), expect, "{script:?}");
        for (place, step) in script.0.iter().enumerate() {
            let follows = place > 0 && script.0[place - 1].change == Change::Deploy;
            assert!(step.change != Change::Rollback || follows, "{place}: {:#?}", script.0);
            assert!(step.at >= QUIET && step.at + QUIET <= Duration::from_millis(requests), "{step:?}");
        }
    }

    #[test]
    fn a_whole_run_has_all_changes_and_a_short_one_some_of_each() {
        check(1_000_000, [20, 5, 3, 2, 2, 1]);
        check(500_000, [10, 2, 1, 1, 1, 1]);
        check(60_000, [3, 1, 1, 1, 0, 1]);
    }

    #[test]
    fn the_others_have_no_daemon_to_kill() {
        let script = Script::peers(100_000, 1000);
        assert_eq!(OURS.map(|(change, ..)| count(&script, change)), [3, 1, 1, 1, 0, 0]);
    }
}
