//! The same for a level: is the mean of ln x of the new release higher by more than the tolerance?
//!
//! With D the difference of both arms' means less `ln(1 + tolerance)` and V its variance, the mean
//! over d of `exp(d·ΣD/V − ½·d²·Σ1/V)` is a supermartingale for as long as it is not.

use super::evidence::log_mean_exp;

/// Factors for which evidence is gathered.
pub const FACTORS: &[f64] = &[1.05, 1.1, 1.25, 1.6];

#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Looks for a release that is better than the tolerance instead of worse.
    is_inverse: bool,
    ln_tolerance: f64,
    /// ΣD/V and Σ1/V.
    sum: f64,
    information: f64,
}

impl Level {
    /// Evidence that the level is more than `1 + tolerance` times as high.
    pub fn worse(tolerance: f64) -> Self {
        Self::new(tolerance, false)
    }

    /// Evidence that it is less than that.
    pub fn better(tolerance: f64) -> Self {
        Self::new(tolerance, true)
    }

    fn new(tolerance: f64, is_inverse: bool) -> Self {
        let ln_tolerance = tolerance.max(0.0).ln_1p();
        Self { is_inverse, ln_tolerance, sum: 0.0, information: 0.0 }
    }

    /// Takes a difference of means of logarithms and its variance; what is neither changes nothing.
    pub fn observe(&mut self, difference: f64, variance: f64) {
        if !difference.is_finite() || !variance.is_finite() || variance <= 0.0 {
            return;
        }
        let beyond = difference - self.ln_tolerance;
        self.sum += if self.is_inverse { -beyond } else { beyond } / variance;
        self.information += 1.0 / variance;
    }

    /// ln E.
    pub fn evidence(&self) -> f64 {
        let log = |factor: &f64| factor.ln() * self.sum - 0.5 * factor.ln().powi(2) * self.information;
        log_mean_exp(FACTORS.iter().map(log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(level: Level, factor: f64, times: usize) -> f64 {
        let mut level = level;
        (0..times).for_each(|_| level.observe(factor.ln(), 0.02));
        level.evidence()
    }

    #[test]
    fn a_level_beyond_the_tolerance_is_found_and_one_within_is_not() {
        assert!(after(Level::worse(0.1), 1.5, 20) > 500f64.ln());
        assert!(after(Level::worse(0.1), 1.0, 600) < 0.0);
        assert!(after(Level::worse(0.1), 1.1, 600) < 0.0);
        assert!(after(Level::better(0.15), 1.0, 60) > 20f64.ln());
        assert!(after(Level::better(0.15), 1.2, 600) < 0.0);
    }

    #[test]
    fn what_is_no_difference_says_nothing() {
        for (difference, variance) in
            [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (1.0, 0.0), (1.0, -1.0)]
        {
            let mut level = Level::worse(0.1);
            level.observe(difference, variance);
            assert_eq!(level.evidence(), 0.0, "{difference} {variance}");
        }
    }
}
