//! Half an hour of a signal: how many values there were, and nine points of their distribution.

use serde::{Deserialize, Serialize};

pub const SLOT_MS: i64 = 30 * 60 * 1000;
/// Half hours of a day.
pub const SLOTS_A_DAY: i64 = 48;
/// Values of one half hour that are looked at; one each 10 s are 180.
pub const VALUES_MAX: usize = 256;

/// Which share of the values lies below each of the points.
const SHARES: [f64; 9] = [0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0];
const MEDIAN: usize = 4;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// The number of the half hour since 1970.
    pub at: i64,
    pub count: u16,
    points: [f32; SHARES.len()],
}

/// The half hour in which a time lies.
pub const fn slot_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(SLOT_MS)
}

/// As it is kept: huge values at the end of what there is room for.
pub fn kept(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

impl Slot {
    /// Sorts the values. There is no slot without values.
    pub fn of(at: i64, values: &mut [f32]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        values.sort_unstable_by(f32::total_cmp);
        let points = SHARES.map(|share| at_rank(values, share));
        Some(Self { at, count: u16::try_from(values.len()).unwrap_or(u16::MAX), points })
    }

    pub fn least(&self) -> f32 {
        self.points[0]
    }

    pub fn median(&self) -> f32 {
        self.points[MEDIAN]
    }

    /// The points with how many values each stands for: half the way to its neighbours.
    pub fn weighted(&self) -> impl Iterator<Item = (f32, f64)> {
        let count = f64::from(self.count);
        self.points.into_iter().enumerate().map(move |(at, point)| {
            let before = if at == 0 { 0.0 } else { SHARES[at] - SHARES[at - 1] };
            let after = SHARES.get(at + 1).map_or(0.0, |next| next - SHARES[at]);
            (point, (before + after) / 2.0 * count)
        })
    }
}

/// Between the two nearest of sorted values.
fn at_rank(sorted: &[f32], share: f64) -> f32 {
    let rank = share * (sorted.len() - 1) as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    kept(f64::from(below) + (f64::from(above) - f64::from(below)) * rank.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stand_for_all_values() {
        let mut values: Vec<f32> = (0..=100).rev().map(|value| value as f32).collect();
        let slot = Slot::of(7, &mut values).expect("values");
        assert_eq!((slot.least(), slot.median(), slot.count), (0.0, 50.0, 101));
        let weights: f64 = slot.weighted().map(|(_, weight)| weight).sum();
        assert!((weights - 101.0).abs() < 1e-9, "{weights}");
        assert_eq!(Slot::of(7, &mut []), None);
        assert_eq!(slot_of(-1), -1, "before 1970");
    }
}
