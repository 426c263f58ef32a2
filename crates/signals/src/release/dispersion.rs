//! How much more the counts of equal releases differ than independent events would: learned from
//! replicas of one release, or from one release in two minutes that follow each other.

use super::second::{Arm, share};
use serde::{Deserialize, Serialize};

/// The windows that are compared.
pub const WINDOW_S: u64 = 60;
/// Windows from which on what was learned is used.
pub const WINDOWS_NEEDED: f64 = 120.0;
/// The prior weighs as much as this many windows (or events, for those that are counted).
const PRIOR_WEIGHT: f64 = 20.0;
const PRIOR: Dispersion = Dispersion { errors: 2.0, tail: 2.0, level: 3.0 };
/// Beyond it nothing could be judged any more.
const GREATEST: f64 = 50.0;
/// After so many windows, two days, one weighs half as much.
const HALF_LIFE: f64 = 2880.0;
/// An incident is no noise: one window counts for no more than so many times what is known.
const MOST_TIMES: f64 = 9.0;
/// Nor does it weigh more than this part of all that is known.
const MOST_PART: f64 = 0.05;
/// Windows after which a difference that lasted is known.
const LASTING_NEEDED: f64 = 30.0;
/// Lasting differences between equal releases that are looked at for the tolerance, how many are
/// remembered, and how many of their standard deviations it is wide.
const DIFFERENCES_NEEDED: usize = 5;
const DIFFERENCES_KEPT: usize = 20;
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

/// From what the dispersion was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    pub minutes: u32,
    /// Of replicas side by side; otherwise of one instance, whose times to answer say nothing.
    pub is_beside: bool,
}

/// Sums from which the dispersion follows; what is long ago fades.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learner {
    errors: Ratio,
    tail: Ratio,
    /// Of the pair of replicas that is compared now, and of all before it without what lasted.
    pair: Pair,
    level: f64,
    freedom: f64,
    /// What lasted between replicas, as logarithms, newest last.
    differences: Vec<f64>,
    windows: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Ratio {
    squares: f64,
    variance: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Pair {
    squares: f64,
    sum: f64,
    weight: f64,
    windows: f64,
}

impl Ratio {
    fn observe(&mut self, prior: f64, share: f64, one: u64, other: u64) {
        let all = (one + other) as f64;
        let variance = all * share * (1.0 - share);
        if variance <= 0.0 {
            return;
        }
        let times = ((one as f64 - all * share).powi(2) / variance).min(MOST_TIMES * self.dispersion(prior));
        let weight = variance.min(PRIOR_WEIGHT.max(MOST_PART * self.variance));
        self.squares += times * weight;
        self.variance += weight;
    }

    fn dispersion(&self, prior: f64) -> f64 {
        ((self.squares + PRIOR_WEIGHT * prior) / (self.variance + PRIOR_WEIGHT)).clamp(1.0, GREATEST)
    }

    fn fade(&mut self, left: f64) {
        self.squares *= left;
        self.variance *= left;
    }
}

impl Pair {
    /// What of it does not last: squares over their variance, and degrees of freedom.
    fn rest(&self) -> (f64, f64) {
        if self.weight <= 0.0 {
            return (0.0, 0.0);
        }
        ((self.squares - self.sum.powi(2) / self.weight).max(0.0), (self.windows - 1.0).max(0.0))
    }

    fn lasting(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

impl Learner {
    /// Takes two windows that ought to be equal, of replicas side by side. Those without requests say
    /// nothing.
    pub fn observe(&mut self, one: &Arm, other: &Arm) {
        if self.observe_alone(one, other) {
            self.observe_level(one, other);
        }
    }

    /// Takes two parts of the time of one instance: they show how events clump, but not how much the
    /// times of two instances wander. Says whether there was anything in them.
    pub fn observe_alone(&mut self, one: &Arm, other: &Arm) -> bool {
        let share = share(one, other);
        if !(share > 0.0 && share < 1.0) {
            return false;
        }
        self.fade();
        self.errors.observe(PRIOR.errors, share, one.bad(), other.bad());
        self.tail.observe(PRIOR.tail, share, one.slow, other.slow);
        self.windows += 1.0;
        true
    }

    fn fade(&mut self) {
        let left = 0.5f64.powf(1.0 / HALF_LIFE);
        self.errors.fade(left);
        self.tail.fade(left);
        let pair = &mut self.pair;
        let sums = [&mut pair.squares, &mut pair.sum, &mut pair.weight, &mut pair.windows];
        let own = [&mut self.level, &mut self.freedom, &mut self.windows];
        sums.into_iter().chain(own).for_each(|sum| *sum *= left);
    }

    fn observe_level(&mut self, one: &Arm, other: &Arm) {
        let (Some(level), Some(beside)) = (one.level(), other.level()) else { return };
        let freedom = (one.requests + other.requests).saturating_sub(2) as f64;
        let spread = one.spread() + other.spread();
        if freedom < 1.0 || spread <= 0.0 {
            return;
        }
        let variance = spread / freedom * (1.0 / one.requests as f64 + 1.0 / other.requests as f64);
        let most = (MOST_TIMES * self.level_dispersion() * variance).sqrt();
        let around = self.pair.lasting();
        let difference = level - beside;
        let difference = around.map_or(difference, |around| difference.clamp(around - most, around + most));
        self.pair.squares += difference.powi(2) / variance;
        self.pair.sum += difference / variance;
        self.pair.weight += 1.0 / variance;
        self.pair.windows += 1.0;
    }

    /// From here on others are compared: what lasted between those before is a difference of its own.
    pub fn change_pair(&mut self) {
        let pair = std::mem::take(&mut self.pair);
        let (squares, freedom) = pair.rest();
        self.level += squares;
        self.freedom += freedom;
        if let Some(lasting) = pair.lasting().filter(|_| pair.windows >= LASTING_NEEDED) {
            self.differences.push(lasting);
        }
        let more = self.differences.len().saturating_sub(DIFFERENCES_KEPT);
        self.differences.drain(..more);
    }

    /// Windows that were compared; what is long ago counts less.
    pub fn windows(&self) -> f64 {
        self.windows
    }

    /// Those of them that were of replicas side by side.
    fn windows_beside(&self) -> f64 {
        self.freedom + self.pair.windows
    }

    /// What to judge by: what was learned, once that is enough.
    pub fn noise(&self) -> Option<(Dispersion, Learned)> {
        let learned = |windows: f64| Learned {
            minutes: windows as u32,
            is_beside: self.windows_beside() >= WINDOWS_NEEDED,
        };
        self.is_enough().then(|| (self.dispersion(), learned(self.windows)))
    }

    /// Enough was seen to go by it.
    pub fn is_enough(&self) -> bool {
        self.windows >= WINDOWS_NEEDED
    }

    /// Whether what is known are numbers that can be.
    pub fn is_sound(&self) -> bool {
        let pair = [self.pair.squares, self.pair.weight, self.pair.windows];
        let own = [self.level, self.freedom, self.windows];
        let ratios = [self.errors.squares, self.errors.variance, self.tail.squares, self.tail.variance];
        let is_sum = |sum: &f64| sum.is_finite() && *sum >= 0.0;
        pair.iter().chain(&own).chain(&ratios).all(is_sum)
            && self.pair.sum.is_finite()
            && self.differences.len() <= DIFFERENCES_KEPT
    }

    pub fn dispersion(&self) -> Dispersion {
        Dispersion {
            errors: self.errors.dispersion(PRIOR.errors),
            tail: self.tail.dispersion(PRIOR.tail),
            level: self.level_dispersion(),
        }
    }

    fn level_dispersion(&self) -> f64 {
        // A lasting difference is no dispersion: the tolerance is for it.
        let (squares, freedom) = self.pair.rest();
        let (squares, freedom) = (self.level + squares, self.freedom + freedom);
        ((squares + PRIOR_WEIGHT * PRIOR.level) / (freedom + PRIOR_WEIGHT)).clamp(1.0, GREATEST)
    }

    /// What lasting differences between replicas ask for, at least `least`.
    pub fn tolerance(&self, least: f64) -> f64 {
        tolerance(&self.differences, least)
    }
}

/// The tolerance that lasting differences of equal releases (as logarithms) ask for, at least `least`.
fn tolerance(differences: &[f64], least: f64) -> f64 {
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
        for _ in 0..30 {
            learner.change_pair();
            (0..60).for_each(|_| learner.observe(&arm(10.0), &arm(10.1)));
        }
        assert!(learner.dispersion().level < 1.1, "{:?}", learner.dispersion());
        assert!((learner.tolerance(0.09) - 0.284).abs() < 0.001, "{}", learner.tolerance(0.09));
        assert_eq!(learner.differences.len(), DIFFERENCES_KEPT);
        assert_eq!(tolerance(&[0.01, f64::NAN], 0.1), 0.1);
        let wide = tolerance(&[0.08, -0.08, 0.08, -0.08, 0.08], 0.1);
        assert!((wide - 0.221).abs() < 0.001, "{wide}");
    }

    #[test]
    fn an_incident_is_hardly_noise_and_noise_that_grows_is_learned() {
        let arm = |failed| Arm { requests: 3000, failed, ..Arm::default() };
        let mut learner = Learner::default();
        let few = |window: u64| if window.is_multiple_of(2) { (2, 1) } else { (1, 2) };
        (0..600).map(few).for_each(|(one, other)| learner.observe(&arm(one), &arm(other)));
        let before = learner.dispersion().errors;
        learner.observe(&arm(3000), &arm(0));
        assert!(learner.dispersion().errors < before + 1.0, "{:?}", learner.dispersion());
        for window in 0..600 {
            let (one, other) = if window % 2 == 0 { (20, 0) } else { (0, 20) };
            learner.observe(&arm(one), &arm(other));
        }
        assert!(learner.dispersion().errors > 15.0, "{:?}", learner.dispersion());
    }

    #[test]
    fn what_is_long_ago_fades_and_sums_stay_bounded() {
        let arm = |failed| Arm { requests: 3000, failed, ..Arm::default() };
        let mut learner = Learner::default();
        (0..2000).for_each(|_| learner.observe(&arm(10), &arm(0)));
        (0..40_000).for_each(|_| learner.observe(&arm(5), &arm(5)));
        assert!(learner.windows() < 1.5 * HALF_LIFE, "{}", learner.windows());
        assert!(learner.dispersion().errors < 1.1, "{:?}", learner.dispersion());
        assert!(learner.is_sound());
        let damaged = Learner { windows: f64::NAN, ..Learner::default() };
        assert!(!damaged.is_sound());
    }
}
