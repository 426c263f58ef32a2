//! Judging a release that cannot serve beside the one before: what it does is held against what was
//! usual in the hour before and in the same hour of the days before.
//!
//! Whatever else changed meanwhile looks like the release's doing, so only what is gross counts: the
//! worst of what was usual, and far beyond that.

use super::evidence::log_mean_exp;
use super::judge::Spread;
use super::level::Level;
use super::past::Usual;
use super::second::{Arm, Second};
use super::settings::Settings;
use super::split::{BETTER, WORSE};
use super::verdict::{Decision, Finding, Ground, Judgement, Slow, Test};
use model::Timestamp;

/// Share of failures beyond one and a half times the usual ones that is not held against it, and that
/// at first, while it is cold.
const MORE_FAILURES: f64 = 0.02;
const MORE_WHEN_COLD: f64 = 0.3;
const TIMES_FAILURES: f64 = 1.5;
/// Part of the time to answer beyond the slowest minute that was usual.
const SLOWER: f64 = 0.25;
/// Nothing is sure to fail.
const MOST: f64 = 0.95;
const LONGEST_STEP_MS: u64 = 5_000;
const TESTS: [Test; 3] = [Test::Outage, Test::Errors, Test::Level];

#[derive(Debug, Clone)]
pub struct After {
    settings: Settings,
    usual: Option<Usual>,
    last: Option<Timestamp>,
    elapsed_ms: u64,
    all: Arm,
    judged: Arm,
    outage: Excess,
    errors: Excess,
    /// That fewer fail than would be far too many.
    fine: Excess,
    level: Level,
    spread: Spread,
    greatest: [f64; 3],
    decision: Decision,
}

/// Evidence that a share of events is beyond, or below, what it may be: the mean over ratios ρ of
/// `(ρp)ᵏ(1 − ρp)ⁿ⁻ᵏ / pᵏ(1 − p)ⁿ⁻ᵏ`, a supermartingale as long as it is not.
#[derive(Debug, Clone)]
struct Excess {
    share: f64,
    ratios: &'static [f64],
    logs: Vec<f64>,
    dispersion: f64,
}

impl Excess {
    fn new(share: f64, ratios: &'static [f64], dispersion: f64) -> Self {
        let share = share.clamp(1.0 - MOST, MOST);
        Self { share, ratios, logs: vec![0.0; ratios.len()], dispersion: dispersion.max(1.0) }
    }

    fn observe(&mut self, bad: u64, good: u64) {
        let (bad, good, share) = (bad as f64, good as f64, self.share);
        for (log, ratio) in self.logs.iter_mut().zip(self.ratios) {
            let other = (share * ratio).min((1.0 + share) / 2.0);
            *log += bad * (other / share).ln() + good * ((1.0 - other) / (1.0 - share)).ln();
        }
    }

    fn evidence(&self) -> f64 {
        log_mean_exp(self.logs.iter().map(|log| log / self.dispersion))
    }
}

impl After {
    /// `usual` is none where nothing is known of the release before.
    pub fn new(settings: Settings, usual: Option<Usual>) -> Self {
        let settings = settings.checked();
        let failing = usual.map_or(0.0, |usual| usual.failing);
        let (may, phi) = (TIMES_FAILURES * failing + MORE_FAILURES, settings.dispersion.errors);
        Self {
            usual,
            last: None,
            elapsed_ms: 0,
            all: Arm::default(),
            judged: Arm::default(),
            outage: Excess::new(may + MORE_WHEN_COLD, WORSE, phi),
            errors: Excess::new(may, WORSE, phi),
            fine: Excess::new(may + settings.enough.least, BETTER, phi),
            level: Level::worse(SLOWER.max(settings.tolerances.level)),
            spread: Spread::default(),
            greatest: [f64::NEG_INFINITY; 3],
            decision: Decision::GoOn,
            settings,
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn is_cold(&self) -> bool {
        self.elapsed_ms < self.settings.cold_ms
    }

    pub fn look_ms(&self) -> u64 {
        self.settings.look_ms(self.elapsed_ms)
    }

    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// Takes one more look; only what the new release did counts.
    pub fn observe(&mut self, second: &Second) -> Decision {
        let Some(usual) = self.usual.filter(|_| self.decision == Decision::GoOn) else {
            return self.close();
        };
        let was_cold = self.is_cold();
        let step = self.last.replace(second.at).map_or(0, |last| second.at.0.saturating_sub(last.0).max(0));
        self.elapsed_ms = self.elapsed_ms.saturating_add((step as u64).min(LONGEST_STEP_MS));
        let new = &second.new;
        self.all = self.all.followed_by(new);
        self.outage.observe(new.bad(), new.good());
        if !was_cold {
            self.judged = self.judged.followed_by(new);
            self.errors.observe(new.bad(), new.good());
            self.fine.observe(new.bad(), new.good());
            self.compare_level(new, &usual);
        }
        for (at, test) in TESTS.into_iter().enumerate() {
            self.greatest[at] = self.greatest[at].max(self.evidence(test));
        }
        self.decision = self.decide();
        self.decision
    }

    fn compare_level(&mut self, new: &Arm, usual: &Usual) {
        let Some(level) = new.level() else { return };
        let before = self.spread.variance();
        self.spread.observe(new);
        let Some(variance) = before.or_else(|| self.spread.variance()) else { return };
        let variance = self.settings.dispersion.level * variance / new.requests as f64;
        self.level.observe(level - usual.level, variance);
    }

    fn evidence(&self, test: Test) -> f64 {
        match test {
            Test::Outage => self.outage.evidence(),
            Test::Errors => self.errors.evidence(),
            _ => self.level.evidence(),
        }
    }

    fn needed(&self, test: Test) -> f64 {
        -test.chance(&self.settings.chances).ln()
    }

    fn decide(&self) -> Decision {
        let found = TESTS.into_iter().find(|test| self.greatest[place(*test)] >= self.needed(*test));
        match found {
            Some(test) => Decision::GoBack(test),
            None if self.elapsed_ms >= self.settings.limit_ms => self.at_the_end(),
            None => Decision::GoOn,
        }
    }

    fn at_the_end(&self) -> Decision {
        match self.usual.is_some() && self.fine.evidence() >= -self.settings.enough.doubt.ln() {
            true => Decision::Keep(Ground::NoAlarm),
            false => Decision::Undecided,
        }
    }

    /// Ends it now, as at the end of its time.
    pub fn close(&mut self) -> Decision {
        if self.decision == Decision::GoOn {
            self.decision = self.at_the_end();
        }
        self.decision
    }

    pub fn judgement(&self, slow: Option<Slow>, seconds: Vec<Second>) -> Judgement {
        let finding =
            |test: Test| Finding { test, evidence: self.greatest[place(test)], needed: self.needed(test) };
        let is_cold = self.decision == Decision::GoBack(Test::Outage);
        Judgement {
            form: super::verdict::FORM,
            settings: self.settings.clone(),
            slow,
            decision: self.decision,
            took_ms: self.elapsed_ms,
            findings: TESTS.map(finding).to_vec(),
            new: if is_cold { self.all } else { self.judged },
            old: Arm::default(),
            seconds,
            is_after: true,
            usual: self.usual,
        }
    }
}

fn place(test: Test) -> usize {
    TESTS.iter().position(|known| *known == test).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::LN_UNIT;

    fn usual() -> Usual {
        Usual { failing: 0.01, level: 10.0, requests: 6000, minutes: 60, days: 2 }
    }

    fn settings() -> Settings {
        Settings { cold_ms: 5_000, limit_ms: 60_000, ..Settings::default() }
    }

    /// So many requests in each look, of which so many fail and take so long.
    fn end(usual: Option<Usual>, requests: u64, failed: u64, level: f64) -> (Judgement, u64) {
        let mut after = After::new(settings(), usual);
        let units = level * LN_UNIT;
        let (ln, ln_squares) = ((units as u64) * requests, (units * units + 9_000.0) as u64 * requests);
        let new = Arm { instances: 1, requests, failed, ln, ln_squares, ..Arm::default() };
        let mut seconds = Vec::new();
        for second in 0..200 {
            let second = Second { at: Timestamp(second * 1000), new, ..Second::default() };
            seconds.push(second);
            if after.observe(&second) != Decision::GoOn {
                break;
            }
        }
        (after.judgement(None, seconds), after.elapsed_ms)
    }

    #[test]
    fn what_is_gross_is_found_and_what_may_be_by_chance_is_not() {
        let cases = [
            (end(Some(usual()), 50, 0, 10.1), Decision::Keep(Ground::NoAlarm)),
            (end(Some(usual()), 50, 1, 10.1), Decision::Keep(Ground::NoAlarm)),
            (end(Some(usual()), 50, 6, 10.0), Decision::GoBack(Test::Errors)),
            (end(Some(usual()), 50, 50, 10.0), Decision::GoBack(Test::Outage)),
            (end(Some(usual()), 50, 0, 10.7), Decision::GoBack(Test::Level)),
            (end(Some(usual()), 1, 0, 10.0), Decision::Undecided),
            (end(Some(usual()), 0, 0, 10.0), Decision::Undecided),
            (end(None, 50, 50, 10.0), Decision::Undecided),
        ];
        for ((judgement, elapsed_ms), expected) in cases {
            assert_eq!(judgement.decision, expected, "after {elapsed_ms} ms: {}", judgement.sentence());
            assert!(expected != Decision::GoBack(Test::Outage) || elapsed_ms <= 2_000, "{elapsed_ms}");
            assert_eq!(judgement.again(), judgement);
        }
    }

    #[test]
    fn equal_releases_stay_however_often_one_looks() {
        // Each look by itself as bad as chance makes it once in a hundred looks.
        let mut after = After::new(Settings { limit_ms: 600_000, ..settings() }, Some(usual()));
        for second in 0..600 {
            let failed = if second % 100 == 0 { 5 } else { u64::from(second % 2 == 0) };
            let new = Arm { instances: 1, requests: 50, failed, ..Arm::default() };
            after.observe(&Second { at: Timestamp(second * 1000), new, ..Second::default() });
        }
        assert_eq!(after.close(), Decision::Keep(Ground::NoAlarm));
    }
}
