//! How many different ones there were, exactly up to a limit and within about one percent beyond.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A sample of hashes: those below a bound, which is halved when there are too many (adaptive
/// sampling, Flajolet 1990). The error is about 1.2 / √limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    limit: usize,
    /// How often the bound was halved.
    halved: u32,
    hashes: BTreeSet<u64>,
}

impl Distinct {
    pub fn new(limit: usize) -> Self {
        Self { limit, halved: 0, hashes: BTreeSet::new() }
    }

    /// Takes a hash whose bits are evenly spread.
    pub fn add(&mut self, hash: u64) {
        if hash > self.bound() {
            return;
        }
        self.hashes.insert(hash);
        while self.hashes.len() > self.limit {
            self.halved += 1;
            let _ = self.hashes.split_off(&self.bound().saturating_add(1));
        }
    }

    const fn bound(&self) -> u64 {
        if self.halved >= u64::BITS { 0 } else { u64::MAX >> self.halved }
    }

    pub fn count(&self) -> u64 {
        (self.hashes.len() as u64).saturating_mul(1 << self.halved.min(62))
    }

    /// Whether the count is not exact any more.
    pub const fn is_estimate(&self) -> bool {
        self.halved > 0
    }

    /// All that are in one or the other.
    pub fn join(&mut self, other: &Self) {
        if other.halved > self.halved {
            self.halved = other.halved;
            let _ = self.hashes.split_off(&self.bound().saturating_add(1));
        }
        other.hashes.iter().for_each(|hash| self.add(*hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evenly spread, the same in each run (splitmix64).
    fn spread(number: u64) -> u64 {
        let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn it_is_exact_up_to_the_limit_and_near_beyond() {
        let mut distinct = Distinct::new(4096);
        for number in 0..4096 {
            distinct.add(spread(number));
            distinct.add(spread(number / 2));
        }
        assert_eq!((distinct.count(), distinct.is_estimate()), (4096, false));
        for number in 0..1_000_000 {
            distinct.add(spread(number));
        }
        let error = (distinct.count() as f64 - 1e6).abs() / 1e6;
        assert!(error < 0.05 && distinct.is_estimate(), "{error}");
        assert!(distinct.hashes.len() <= 4096, "the limit holds");
    }

    #[test]
    fn two_are_joined_as_if_they_were_one() {
        let of = |numbers: std::ops::Range<u64>, limit| {
            let mut distinct = Distinct::new(limit);
            numbers.for_each(|number| distinct.add(spread(number)));
            distinct
        };
        let mut joined = of(0..60, 100);
        joined.join(&of(30..90, 100));
        assert_eq!(joined, of(0..90, 100));
        joined.join(&of(0..5_000, 100));
        assert!(joined.hashes.len() <= 100);
    }
}
