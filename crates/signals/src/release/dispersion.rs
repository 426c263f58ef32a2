//! How much more the counts of equal releases differ than independent events would: learned from
//! replicas of one release, or from one release in two minutes that follow each other.

use super::second::{Arm, share};
use serde::{Deserialize, Serialize};

/// The windows that are compared.
pub const WINDOW_S: u64 = 60;
/// The prior weighs as much as this many windows (or events, for those that are counted).
const PRIOR_WEIGHT: f64 = 20.0;
const PRIOR: Dispersion = Dispersion { errors: 2.0, tail: 2.0, level: 3.0 };
/// Beyond it nothing could be judged any more.
const GREATEST: f64 = 50.0;
/// Lasting differences between equal releases that are looked at for the tolerance, and how many
/// of their standard deviations it is wide.
const DIFFERENCES_NEEDED: usize = 5;
const TOLERANCE_WIDTH: f64 = 2.5;

/// Variance over that of independent events, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    pub errors: f64,
    pub tail: f64,
    pub level: f64,
}

impl Default for Dispersion {
    fn default() -> Self {
        PRIOR
    }
}

/// Sums from which the dispersion follows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Learner {
    errors: Ratio,
    tail: Ratio,
    level_squares: f64,
    level_sum: f64,
    level_weight: f64,
    windows: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Ratio {
    squares: f64,
    variance: f64,
}

impl Ratio {
    fn observe(&mut self, share: f64, one: u64, other: u64) {
        let all = (one + other) as f64;
        self.squares += (one as f64 - all * share).powi(2);
        self.variance += all * share * (1.0 - share);
    }

    fn dispersion(&self, prior: f64) -> f64 {
        ((self.squares + PRIOR_WEIGHT * prior) / (self.variance + PRIOR_WEIGHT)).clamp(1.0, GREATEST)
    }
}

impl Learner {
    /// Takes two windows that ought to be equal. Those without requests say nothing.
    pub fn observe(&mut self, one: &Arm, other: &Arm) {
        let share = share(one, other);
        if !(share > 0.0 && share < 1.0) {
            return;
        }
        self.errors.observe(share, one.bad(), other.bad());
        self.tail.observe(share, one.slow, other.slow);
        self.observe_level(one, other);
    }

    fn observe_level(&mut self, one: &Arm, other: &Arm) {
        let (Some(level), Some(beside)) = (one.level(), other.level()) else { return };
        let freedom = (one.requests + other.requests).saturating_sub(2) as f64;
        let spread = one.spread() + other.spread();
        if freedom < 1.0 || spread <= 0.0 {
            return;
        }
        let variance = spread / freedom * (1.0 / one.requests as f64 + 1.0 / other.requests as f64);
        self.level_squares += (level - beside).powi(2) / variance;
        self.level_sum += (level - beside) / variance;
        self.level_weight += 1.0 / variance;
        self.windows += 1.0;
    }

    pub fn dispersion(&self) -> Dispersion {
        // A lasting difference is no dispersion: the tolerance is for it.
        let lasting = if self.level_weight > 0.0 { self.level_sum.powi(2) / self.level_weight } else { 0.0 };
        let level = (self.level_squares - lasting).max(0.0);
        let freedom = (self.windows - 1.0).max(0.0);
        Dispersion {
            errors: self.errors.dispersion(PRIOR.errors),
            tail: self.tail.dispersion(PRIOR.tail),
            level: ((level + PRIOR_WEIGHT * PRIOR.level) / (freedom + PRIOR_WEIGHT)).clamp(1.0, GREATEST),
        }
    }
}

/// The tolerance that lasting differences of equal releases (as logarithms) ask for, at least `least`.
pub fn tolerance(differences: &[f64], least: f64) -> f64 {
    let known: Vec<f64> = differences.iter().copied().filter(|d| d.is_finite()).collect();
    if known.len() < DIFFERENCES_NEEDED {
        return least;
    }
    let variance = known.iter().map(|d| d * d).sum::<f64>() / known.len() as f64;
    least.max((TOLERANCE_WIDTH * variance.sqrt()).exp_m1())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_anything_seen_the_prior_holds_and_what_is_seen_replaces_it() {
        let mut learner = Learner::default();
        assert_eq!(learner.dispersion(), PRIOR);
        learner.observe(&Arm::default(), &Arm::default());
        learner.observe(&Arm { requests: 5, failed: 5, ..Arm::default() }, &Arm::default());
        assert_eq!(learner.dispersion(), PRIOR);
        // Always all of a clump of four on one side: the variance is that of a quarter as many coins, each
        // four times as large.
        for window in 0..400 {
            let arm = |failed| Arm { requests: 3000, failed, ..Arm::default() };
            let (one, other) = if window % 2 == 0 { (4, 0) } else { (0, 4) };
            learner.observe(&arm(one), &arm(other));
        }
        assert!((learner.dispersion().errors - 4.0).abs() < 0.2, "{:?}", learner.dispersion());
    }

    #[test]
    fn a_lasting_difference_is_for_the_tolerance() {
        let mut learner = Learner::default();
        let arm = |level: f64| {
            let units = level * super::super::second::LN_UNIT;
            let (ln, ln_squares) = ((1000.0 * units) as u64, (1000.0 * (units * units + 40_000.0)) as u64);
            Arm { requests: 1000, ln, ln_squares, ..Arm::default() }
        };
        (0..1000).for_each(|_| learner.observe(&arm(10.0), &arm(10.1)));
        assert!(learner.dispersion().level < 1.1, "{:?}", learner.dispersion());
        assert_eq!(tolerance(&[0.01, f64::NAN], 0.1), 0.1);
        let wide = tolerance(&[0.08, -0.08, 0.08, -0.08, 0.08], 0.1);
        assert!((wide - 0.221).abs() < 0.001, "{wide}");
    }
}
