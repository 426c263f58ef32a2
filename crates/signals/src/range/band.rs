//! The learned band: quantiles of what was seen, and the width by which distances are measured.

use serde::{Deserialize, Serialize};

const LOW: f64 = 0.01;
const HIGH: f64 = 0.99;
/// Makes the median of absolute deviations the standard deviation of normally spread values.
const MAD_TO_DEVIATION: f64 = 1.4826;
const DEVIATIONS: f64 = 3.0;
/// Of the size of the median.
const SHARE: f64 = 0.02;

/// What is normal: `low` to `high`, with distances beyond in units of `width`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Band {
    pub low: f64,
    pub high: f64,
    pub median: f64,
    /// `max(high − low, 3·1.4826·MAD, 2 % of |median|, floor of the unit)`.
    pub width: f64,
}

impl Band {
    /// From values with weights, which are sorted; none without values.
    pub fn of(weighted: &mut [(f32, f64)], floor: f64) -> Option<Self> {
        let low = quantile(weighted, LOW)?;
        let high = quantile(weighted, HIGH)?;
        let median = quantile(weighted, 0.5)?;
        for (value, _) in weighted.iter_mut() {
            *value = (f64::from(*value) - median).abs() as f32;
        }
        let mad = quantile(weighted, 0.5)?;
        let width = width(low, high, median, mad, floor);
        Some(Self { low, high, median, width })
    }

    /// Both together: from the lower to the higher.
    pub fn joined(self, other: Self) -> Self {
        let (low, high) = (self.low.min(other.low), self.high.max(other.high));
        Self { low, high, median: self.median, width: self.width.max(other.width).max(high - low) }
    }

    /// How far beyond, in widths: negative below, positive above, 0 within.
    pub fn beyond(&self, value: f64) -> f64 {
        let distance = if value > self.high {
            value - self.high
        } else if value < self.low {
            value - self.low
        } else {
            return 0.0;
        };
        distance / self.width
    }
}

fn width(low: f64, high: f64, median: f64, mad: f64, floor: f64) -> f64 {
    (high - low)
        .max(DEVIATIONS * MAD_TO_DEVIATION * mad)
        .max(SHARE * median.abs())
        .max(floor)
        // Of a constant zero without a floor any other value that can be kept is far.
        .max(f64::from(f32::MIN_POSITIVE))
}

/// Sorts by value and finds the one below which the share of all weight lies.
fn quantile(weighted: &mut [(f32, f64)], share: f64) -> Option<f64> {
    if weighted.is_empty() {
        return None;
    }
    weighted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    let wanted = share * all;
    let mut before = 0.0;
    for (value, weight) in weighted.iter() {
        before += weight;
        if before >= wanted {
            return Some(f64::from(*value));
        }
    }
    weighted.last().map(|(value, _)| f64::from(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(values: &[f32], floor: f64) -> Band {
        let mut weighted: Vec<_> = values.iter().map(|value| (*value, 1.0)).collect();
        Band::of(&mut weighted, floor).expect("values")
    }

    #[test]
    fn a_band_has_the_quantiles_and_a_width() {
        let values: Vec<f32> = (1..=1000).map(|value| value as f32).collect();
        let found = band(&values, 0.0);
        assert_eq!((found.low, found.high, found.median), (10.0, 990.0, 500.0));
        assert_eq!(found.width, DEVIATIONS * MAD_TO_DEVIATION * 250.0);
        assert_eq!(found.beyond(500.0), 0.0);
        assert!(found.beyond(3000.0) > 1.0 && found.beyond(-3000.0) < -1.0);
        assert_eq!(Band::of(&mut [], 1.0), None);
    }

    #[test]
    fn what_is_constant_has_the_width_of_its_floor() {
        assert_eq!(band(&[5.0; 10], 0.0).width, 0.1);
        assert_eq!(band(&[0.0; 10], 0.25).width, 0.25);
        assert!(band(&[0.0; 10], 0.0).beyond(1e-30) > 1.0);
        assert_eq!(band(&[-5.0; 10], 0.0).width, 0.1, "negative values are values");
    }

    #[test]
    fn huge_values_are_finite() {
        let huge = band(&[f32::MAX, f32::MIN, f32::MAX], 1.0);
        assert!(huge.width.is_finite() && huge.beyond(f64::MAX).is_finite());
    }
}
