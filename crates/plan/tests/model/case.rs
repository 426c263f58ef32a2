//! One seed: its schedule, its verdict, and when a promise is broken the shortest schedule that still
//! breaks it, told as a story.

use crate::end;
use crate::schedule::{Schedule, Scheduled};
use crate::watch::Violation;
use crate::world::{Occurrence, START, World};
use model::DurationMs;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Cases that are run to find a shorter schedule.
const SHRINKS: usize = 400;
/// Lines of a story that are printed.
const LINES: usize = 2000;

/// What a case came to, for people who want to know what was tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub cases: u64,
    pub turns: u64,
    pub steps: u64,
    pub changes: u64,
    pub kills: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.turns += other.turns;
        self.steps += other.steps;
        self.changes += other.changes;
        self.kills += other.kills;
    }
}

struct Told {
    result: Result<Tally, Violation>,
    story: Vec<String>,
}

fn play(seed: u64, schedule: &Schedule, is_told: bool) -> Told {
    let mut world = World::new(seed, schedule.faults_per_mille, is_told);
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut at = 0;
        for Scheduled { gap_ms, happening } in &schedule.happenings {
            at += gap_ms;
            world.occurs_in(at, Occurrence::Happens(*happening));
        }
        let end = end::end_after(START.plus(DurationMs(at)));
        world.pass_until(end)?;
        world.check_end()
    }));
    let result = match played {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(Violation::new("nothing panics", text.unwrap_or_default()))
        }
    };
    let tally = Tally {
        cases: 1,
        turns: u64::from(world.turns),
        steps: world.watch.steps,
        changes: world.watch.acknowledged.len() as u64,
        kills: u64::from(world.epoch),
    };
    Told { result: result.map(|()| tally), story: world.story() }
}

/// Runs one seed; when a promise is broken, everything one needs to know about it.
pub fn run(seed: u64) -> Result<Tally, String> {
    let schedule = Schedule::of(seed);
    match play(schedule.seed, &schedule, false).result {
        Ok(tally) => Ok(tally),
        Err(violation) => Err(tell(seed, schedule, violation)),
    }
}

/// The story of a seed, broken promise or not.
pub fn story(seed: u64) -> String {
    let schedule = Schedule::of(seed);
    let told = play(schedule.seed, &schedule, true);
    let end = told.result.map_or_else(|v| format!("{}: {}", v.promise, v.text), |t| format!("{t:?}"));
    format!("{}\n{end}", told.story.join("\n"))
}

fn tell(seed: u64, schedule: Schedule, violation: Violation) -> String {
    let shortest = shrink(schedule, violation.promise);
    let told = play(shortest.seed, &shortest, true);
    let violation = told.result.err().unwrap_or(violation);
    let skipped = told.story.len().saturating_sub(LINES);
    let mut lines = vec![format!("seed {seed}: {}: {}", violation.promise, violation.text)];
    if skipped > 0 {
        lines.push(format!("({skipped} lines left out)"));
    }
    lines.extend(told.story.into_iter().skip(skipped));
    lines.join("\n")
}

/// Leaves out one happening after the other as long as the same promise stays broken.
fn shrink(mut schedule: Schedule, promise: &str) -> Schedule {
    let mut left = SHRINKS;
    let mut at = schedule.happenings.len();
    while at > 0 && left > 0 {
        at -= 1;
        left -= 1;
        let mut fewer = Schedule { happenings: schedule.happenings.clone(), ..schedule };
        let removed = fewer.happenings.remove(at);
        if let Some(next) = fewer.happenings.get_mut(at) {
            next.gap_ms += removed.gap_ms;
        }
        let is_same = |v: Violation| v.promise == promise;
        if play(fewer.seed, &fewer, false).result.is_err_and(is_same) {
            schedule = fewer;
            at = at.min(schedule.happenings.len());
        }
    }
    schedule
}
