//! The split e-process for events: of each bad event, was it the new release's or the old one's?
//!
//! As long as the new release is no worse than `(1 + slack) · old + margin`, the mean over the ratios
//! of the likelihood ratio below is a supermartingale that begins at 1. By Ville's inequality the
//! chance that it ever reaches 1/α is then at most α, however often one looks.

use super::evidence::log_mean_exp;

/// Ratios of rates for which evidence of a worse release is gathered.
pub const WORSE: &[f64] = &[1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0];
/// The same for one that fails altogether.
pub const FAR_WORSE: &[f64] = &[3.0, 5.0, 8.0, 12.0];
/// The same for a release that is better than some margin.
pub const BETTER: &[f64] = &[1.0 / 1.25, 1.0 / 1.5, 0.5, 1.0 / 3.0, 0.25, 1.0 / 6.0, 0.125, 0.05];

#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    ratios: &'static [f64],
    logs: Vec<f64>,
    dispersion: f64,
}

impl Split {
    /// `dispersion` is how much more the counts vary than those of independent events: at least 1.
    pub fn new(ratios: &'static [f64], dispersion: f64) -> Self {
        // Not a number counts as 1, too.
        Self { ratios, logs: vec![0.0; ratios.len()], dispersion: dispersion.max(1.0) }
    }

    /// Takes `new` and `old` bad events of a time in which the new release had `share` of all
    /// requests. What cannot be told apart, or is no count, changes nothing.
    pub fn observe(&mut self, share: f64, new: f64, old: f64) {
        let is_count = |count: f64| count.is_finite() && count >= 0.0;
        if !(share > 0.0 && share < 1.0 && is_count(new) && is_count(old)) {
            return;
        }
        for (log, ratio) in self.logs.iter_mut().zip(self.ratios) {
            let theta = share * ratio / (share * ratio + 1.0 - share);
            *log += new * (theta / share).ln() + old * ((1.0 - theta) / (1.0 - share)).ln();
        }
    }

    /// ln E.
    pub fn evidence(&self) -> f64 {
        log_mean_exp(self.logs.iter().map(|log| log / self.dispersion))
    }
}

/// Good requests that count as bad ones for the sake of a margin of `chance`.
///
/// A lot drawn for each of them would be exact; its expectation is, too: a factor `r` with chance `a`
/// is `1 − a + a·r` in the mean, which is never less than `r^a` (Bernoulli's inequality).
pub fn virtual_events(good: f64, chance: f64) -> f64 {
    good.max(0.0) * chance.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(share: f64, new: f64, old: f64) -> f64 {
        let mut split = Split::new(WORSE, 1.0);
        split.observe(share, new, old);
        split.evidence()
    }

    #[test]
    fn evidence_follows_who_had_the_bad_events() {
        assert_eq!(after(0.5, 0.0, 0.0), 0.0);
        assert!(after(0.5, 20.0, 1.0) > 250f64.ln());
        assert!(after(0.5, 10.0, 10.0) < 0.0);
        assert!(after(0.5, 0.0, 30.0) < -1.0);
        // The same events weigh more if few requests were the new release's.
        assert!(after(0.05, 5.0, 5.0) > after(0.5, 5.0, 5.0) + 5.0);
    }

    #[test]
    fn what_is_no_count_or_share_says_nothing() {
        for (share, new, old) in [
            (0.0, 5.0, 0.0),
            (1.0, 5.0, 0.0),
            (f64::NAN, 5.0, 0.0),
            (1.5, 5.0, 0.0),
            (-0.5, 5.0, 0.0),
            (0.5, f64::NAN, 0.0),
            (0.5, -5.0, 0.0),
            (0.5, 5.0, f64::INFINITY),
        ] {
            assert_eq!(after(share, new, old), 0.0, "{share} {new} {old}");
        }
        assert_eq!(Split::new(WORSE, f64::NAN).dispersion, 1.0);
        assert!(after(1e-300, 1.0, 0.0).is_finite());
    }

    #[test]
    fn clumps_weigh_less() {
        let mut wide = Split::new(WORSE, 3.0);
        wide.observe(0.5, 20.0, 1.0);
        assert!(wide.evidence() < after(0.5, 20.0, 1.0) / 2.0);
    }

    #[test]
    fn the_margin_never_helps_more_than_lots_would() {
        for chance in [0.0, 0.001, 0.1, 0.5, 1.0] {
            for r in [0.01f64, 0.5, 1.0, 1.9, 20.0] {
                assert!(r.powf(virtual_events(1.0, chance)) <= 1.0 - chance + chance * r + 1e-12);
            }
        }
    }
}
