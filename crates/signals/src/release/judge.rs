//! The judgement itself: second by second from both arms' counts to a decision.

use super::level::Level;
use super::saturation::Saturation;
use super::second::{Arm, Second, share};
use super::settings::Settings;
use super::split::{BETTER, FAR_WORSE, Split, WORSE, virtual_events};
use super::verdict::{Decision, Finding, Ground, Test};
use model::Timestamp;

/// A look that is further from the one before counts as this much time.
const LONGEST_STEP_MS: u64 = 5_000;
/// Answers that all take equally long are taken to vary by this much, as a logarithm.
const LEAST_DEVIATION: f64 = 0.05;
/// Part of the evidence needed for going back that forbids keeping early.
const SUSPICION: f64 = 0.5;

#[derive(Debug, Clone)]
pub struct Judge {
    settings: Settings,
    last: Option<Timestamp>,
    elapsed_ms: u64,
    /// People's requests, and our own: what asks for other things is not held against each other.
    people: Stratum,
    own: Stratum,
    /// All that was seen, and that of it which was not cold.
    all: (Arm, Arm),
    judged: (Arm, Arm),
    tests: Tests,
    proofs: Proofs,
    greatest: Vec<(Test, f64)>,
    decision: Decision,
}

/// Evidence that the new release is worse.
#[derive(Debug, Clone)]
struct Tests {
    outage: Split,
    errors: Split,
    tail: Split,
    count: Split,
    level: Level,
    saturation: Saturation,
}

/// Evidence that it is not much worse.
#[derive(Debug, Clone)]
struct Proofs {
    errors: Split,
    tail: Split,
    level: Level,
    least: Split,
}

/// Requests that both arms are asked alike.
#[derive(Debug, Clone, Default)]
struct Stratum {
    /// Seconds in which one of the arms had no request, until both have.
    waiting: (Arm, Arm),
    spread: Spread,
}

/// Variance of ln of the time to answer within seconds and arms.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread {
    squares: f64,
    freedom: f64,
}

impl Judge {
    pub fn new(settings: Settings) -> Self {
        let settings = settings.checked();
        let (varies, tolerances) = (settings.dispersion, settings.tolerances);
        let tests = Tests {
            outage: Split::new(FAR_WORSE, varies.errors),
            errors: Split::new(WORSE, varies.errors),
            tail: Split::new(WORSE, varies.tail),
            count: Split::new(WORSE, 1.0),
            level: Level::worse(tolerances.level),
            saturation: Saturation::new(tolerances.cpu, tolerances.memory),
        };
        let proofs = Proofs {
            errors: Split::new(BETTER, varies.errors),
            tail: Split::new(BETTER, varies.tail),
            level: Level::better(settings.enough.level),
            least: Split::new(BETTER, varies.errors),
        };
        Self {
            settings,
            last: None,
            elapsed_ms: 0,
            people: Stratum::default(),
            own: Stratum::default(),
            all: Default::default(),
            judged: Default::default(),
            tests,
            proofs,
            greatest: Test::ALL.iter().map(|test| (*test, f64::NEG_INFINITY)).collect(),
            decision: Decision::GoOn,
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms
    }

    pub fn is_cold(&self) -> bool {
        self.elapsed_ms < self.settings.cold_ms
    }

    /// Thousandths of what is new that the new release shall have now.
    pub fn share(&self) -> u16 {
        self.settings.share_at(self.elapsed_ms)
    }

    /// How long to wait until the next look.
    pub fn look_ms(&self) -> u64 {
        self.settings.look_ms(self.elapsed_ms)
    }

    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// What both did, without what was cold: new, old.
    pub fn judged(&self) -> (Arm, Arm) {
        self.judged
    }

    pub fn all(&self) -> (Arm, Arm) {
        self.all
    }

    /// Takes one more look. A decision that was made stays.
    pub fn observe(&mut self, second: &Second) -> Decision {
        if self.decision != Decision::GoOn {
            return self.decision;
        }
        let was_cold = self.is_cold();
        self.pass_time(second.at);
        self.all = (self.all.0.followed_by(&second.new), self.all.1.followed_by(&second.old));
        let stratum = if second.is_own { &mut self.own } else { &mut self.people };
        let waiting = &mut stratum.waiting;
        *waiting = (waiting.0.followed_by(&second.new), waiting.1.followed_by(&second.old));
        let both = (waiting.0.due() > 0 && waiting.1.due() > 0).then(|| std::mem::take(waiting));
        if !was_cold {
            self.judged = (self.judged.0.followed_by(&second.new), self.judged.1.followed_by(&second.old));
            if !second.is_own {
                self.tests.saturation.observe(&second.new, &second.old);
            }
        }
        if let Some((new, old)) = both {
            self.compare(&new, &old, was_cold, second.is_own);
        } else if was_cold && !self.is_cold() {
            // What came before is not compared with what comes now.
            self.people.waiting = Default::default();
            self.own.waiting = Default::default();
        }
        self.note_greatest();
        self.decision = self.decide();
        self.decision
    }

    /// Time that stands still or goes back is none.
    fn pass_time(&mut self, now: Timestamp) {
        let step = self.last.map_or(0, |last| now.0.saturating_sub(last.0).max(0) as u64);
        self.elapsed_ms = self.elapsed_ms.saturating_add(step.min(LONGEST_STEP_MS));
        self.last = Some(now);
    }

    fn compare(&mut self, new: &Arm, old: &Arm, is_cold: bool, is_own: bool) {
        let (share, limits) = (share(new, old), self.settings.tolerances);
        let (bad, old_bad, old_good) = (new.bad() as f64, old.bad() as f64, old.good() as f64);
        self.tests.outage.observe(share, bad, old_bad + virtual_events(old_good, limits.outage));
        if is_cold {
            return;
        }
        self.tests.errors.observe(share, bad, old_bad + virtual_events(old_good, limits.errors));
        let enough = self.settings.enough;
        self.proofs.errors.observe(share, bad, old_bad + virtual_events(old_good, enough.errors));
        self.proofs.least.observe(share, bad, old_bad + virtual_events(old_good, enough.least));
        self.compare_tails(new, old);
        // Of those whose fate is known the ones that were answered at all: the old release's part of
        // them is greater if the new one loses some.
        let answered = |arm: &Arm| (arm.due() - arm.overdue) as f64;
        self.tests.count.observe(1.0 - share, answered(old), answered(new));
        self.compare_levels(new, old, is_own);
    }

    fn compare_tails(&mut self, new: &Arm, old: &Arm) {
        let share = new.requests as f64 / (new.requests + old.requests) as f64;
        let (slow, old_slow) = (new.slow as f64, old.slow as f64);
        let old_quick = old.requests as f64 - old_slow;
        let beyond = |margin: f64| old_slow + virtual_events(old_quick, margin);
        self.tests.tail.observe(share, slow, beyond(self.settings.tolerances.tail));
        self.proofs.tail.observe(share, slow, beyond(self.settings.enough.tail));
    }

    fn compare_levels(&mut self, new: &Arm, old: &Arm, is_own: bool) {
        let (Some(level), Some(beside)) = (new.level(), old.level()) else { return };
        // The variance is that of the seconds before, so that it does not know the outcome.
        let spread = if is_own { &mut self.own.spread } else { &mut self.people.spread };
        let before = spread.variance();
        spread.observe(new);
        spread.observe(old);
        let Some(variance) = before.or_else(|| spread.variance()) else { return };
        let parts = 1.0 / new.requests as f64 + 1.0 / old.requests as f64;
        let variance = self.settings.dispersion.level * variance * parts;
        self.tests.level.observe(level - beside, variance);
        self.proofs.level.observe(level - beside, variance);
    }

    /// Ends it now, as at the end of its time.
    pub fn close(&mut self) -> Decision {
        if self.decision == Decision::GoOn {
            self.decision = self.at_the_end();
        }
        self.decision
    }

    fn at_the_end(&self) -> Decision {
        match self.proofs.least.evidence() >= -self.settings.enough.doubt.ln() {
            true => Decision::Keep(Ground::NoAlarm),
            false => Decision::Undecided,
        }
    }

    fn evidence(&self, test: Test) -> f64 {
        match test {
            Test::Outage => self.tests.outage.evidence(),
            Test::Errors => self.tests.errors.evidence(),
            Test::Level => self.tests.level.evidence(),
            Test::Tail => self.tests.tail.evidence(),
            Test::Count => self.tests.count.evidence(),
            Test::Cpu => self.tests.saturation.cpu.evidence(),
            Test::Memory => self.tests.saturation.memory.evidence(),
        }
    }

    fn needed(&self, test: Test) -> f64 {
        -test.chance(&self.settings.chances).ln()
    }

    fn note_greatest(&mut self) {
        let now: Vec<f64> = self.greatest.iter().map(|(test, _)| self.evidence(*test)).collect();
        for ((_, greatest), now) in self.greatest.iter_mut().zip(now) {
            *greatest = greatest.max(now);
        }
    }

    fn decide(&self) -> Decision {
        let found = self.greatest.iter().find(|(test, greatest)| *greatest >= self.needed(*test));
        if let Some((test, _)) = found {
            return Decision::GoBack(*test);
        }
        let (settings, doubt) = (&self.settings, -self.settings.enough.doubt.ln());
        if self.elapsed_ms >= settings.cold_ms.max(settings.last_stage_ms())
            && !self.is_suspicious()
            && self.proofs.all() >= doubt
        {
            return Decision::Keep(Ground::Shown);
        }
        let is_idle = self.all.0.due() < settings.fewest || self.all.1.due() < settings.fewest;
        if self.elapsed_ms >= settings.patience_ms.max(settings.cold_ms) && is_idle {
            return Decision::Undecided;
        }
        if self.elapsed_ms >= settings.limit_ms { self.at_the_end() } else { Decision::GoOn }
    }

    fn is_suspicious(&self) -> bool {
        Test::ALL.iter().any(|test| self.evidence(*test) >= self.needed(*test) * SUSPICION)
    }

    /// How much each test has found and would have needed.
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |&(test, evidence): &(Test, f64)| Finding { test, evidence, needed: self.needed(test) };
        self.greatest.iter().map(finding).collect()
    }
}

impl Proofs {
    /// The weakest of them: all have to hold.
    fn all(&self) -> f64 {
        self.errors.evidence().min(self.tail.evidence()).min(self.level.evidence())
    }
}

impl Spread {
    pub fn observe(&mut self, arm: &Arm) {
        self.squares += arm.spread();
        self.freedom += arm.requests.saturating_sub(1) as f64;
    }

    pub fn variance(&self) -> Option<f64> {
        (self.freedom >= 1.0).then(|| (self.squares / self.freedom).max(LEAST_DEVIATION.powi(2)))
    }
}
