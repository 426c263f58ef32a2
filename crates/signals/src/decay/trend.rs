//! Statistics of ranks, which outliers cannot bend.
//!
//! Mann (1945), Kendall (1975): a test for a monotone trend. Theil (1950), Sen (1968): the median of
//! all slopes.

/// Values that are compared pair by pair; of more, evenly chosen ones.
const PAIRS_OF_MAX: usize = 192;

/// The z value of the Mann–Kendall test, with its correction for ties: above 2.58 a rise by chance
/// is less likely than one in two hundred. 0 below four values.
pub fn mann_kendall(values: &[f64]) -> f64 {
    let count = values.len();
    if count < 4 {
        return 0.0;
    }
    let mut s = 0.0;
    for (at, earlier) in values.iter().enumerate() {
        for later in &values[at + 1..] {
            s += match later.partial_cmp(earlier) {
                Some(std::cmp::Ordering::Greater) => 1.0,
                Some(std::cmp::Ordering::Less) => -1.0,
                _ => 0.0,
            };
        }
    }
    let n = count as f64;
    let ties: f64 = ties(values).into_iter().map(|t| t * (t - 1.0) * (2.0 * t + 5.0)).sum();
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - ties) / 18.0;
    if variance <= 0.0 {
        return 0.0;
    }
    // Of a whole number that is compared with a curve, one is left off.
    (s - f64::from(s > 0.0) + f64::from(s < 0.0)) / variance.sqrt()
}

/// How many values each group of equal ones has.
fn ties(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).filter(|group| group.len() > 1).map(|group| group.len() as f64).collect()
}

/// `level + slope · x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    pub slope: f64,
    pub level: f64,
}

impl Line {
    pub fn at(&self, x: f64) -> f64 {
        self.level + self.slope * x
    }
}

/// The line whose slope is the median of the slopes between all pairs. None where no two `x` differ.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Line> {
    let step = points.len().div_ceil(PAIRS_OF_MAX).max(1);
    let points: Vec<_> = points.iter().copied().step_by(step).collect();
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (at, (x, y)) in points.iter().enumerate() {
        slopes.extend(
            points[at + 1..]
                .iter()
                .filter(|(later, _)| later != x)
                .map(|(later, other)| (other - y) / (later - x)),
        );
    }
    let slope = median(&mut slopes)?;
    let mut levels: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    let level = median(&mut levels)?;
    Some(Line { slope, level })
}

/// Of an even number the mean of the two in the middle; none without values.
pub fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let (below, at, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let at = *at;
    if below.len() < middle || !values.len().is_multiple_of(2) {
        return Some(at);
    }
    let below = values[..middle].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some((below + at) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_knows_rising_from_falling_and_from_neither() {
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        let falling: Vec<f64> = rising.iter().map(|value| -value).collect();
        // S = 45, variance 125: (45 − 1) / √125.
        assert!((mann_kendall(&rising) - 44.0 / 125f64.sqrt()).abs() < 1e-12);
        assert!((mann_kendall(&falling) + 44.0 / 125f64.sqrt()).abs() < 1e-12);
        assert_eq!(mann_kendall(&[1.0; 20]), 0.0);
        assert_eq!(mann_kendall(&[1.0, 2.0, 3.0]), 0.0);
    }

    #[test]
    fn an_outlier_does_not_bend_the_line() {
        let mut points: Vec<(f64, f64)> = (0..50).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x))).collect();
        points[25].1 = 1e9;
        let line = theil_sen(&points).expect("a line");
        assert!((line.slope - 2.0).abs() < 1e-9 && (line.at(10.0) - 23.0).abs() < 1e-6, "{line:?}");
        assert_eq!(theil_sen(&[(1.0, 2.0), (1.0, 3.0)]), None);
    }

    #[test]
    fn medians_of_even_and_odd_numbers() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }
}
