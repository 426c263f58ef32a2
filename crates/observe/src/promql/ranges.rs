//! Functions over the samples of a range: pure, one window at a time.
//!
//! Formulas are those of Prometheus, so that answers agree: its extrapolation in `rate`, its
//! compensated sums, its smoothing.

use crate::values::is_live;
use std::borrow::Cow;

/// The samples of one range, marks of an end left out.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    pub times: &'a [i64],
    pub values: &'a [f64],
    /// Where the range begins and ends, in ms.
    pub start: i64,
    pub end: i64,
    /// The time of the step, which `offset` moves the range away from.
    pub now: i64,
    pub is_open: bool,
    /// Whether no value of the whole series is less than the one before it.
    pub rises: bool,
}

/// A sum with the part that was rounded away.
#[derive(Default, Clone, Copy)]
pub struct Sum {
    sum: f64,
    rest: f64,
}

impl Sum {
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        self.rest += match total {
            _ if total.is_infinite() => return self.set(total),
            _ if self.sum.abs() >= value.abs() => (self.sum - total) + value,
            _ => (value - total) + self.sum,
        };
        self.sum = total;
    }

    fn set(&mut self, total: f64) {
        (self.sum, self.rest) = (total, 0.0);
    }

    pub fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.rest }
    }
}

pub fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.value()
}

pub fn mean(values: &[f64]) -> f64 {
    let total = sum(values);
    let count = values.len() as f64;
    if total.is_finite() || values.iter().any(|value| !value.is_finite()) {
        return total / count;
    }
    // The sum is too large for a number, the mean is not.
    values.iter().map(|value| value / count).sum()
}

/// The variance of a whole population.
pub fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: Vec<f64> = values.iter().map(|value| (value - mean).powi(2)).collect();
    sum(&squares) / values.len() as f64
}

/// Go's order of numbers for extremes: a NaN only where there is nothing else.
pub fn extreme(values: &[f64], is_better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values[0];
    for value in &values[1..] {
        if best.is_nan() || is_better(*value, best) {
            best = *value;
        }
    }
    best
}

/// The quantile of numbers, of which NaN are the smallest.
pub fn quantile(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| {
        b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
    let rank = q * (sorted.len() - 1) as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = (lower + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// How a range is extrapolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Rate,
    Increase,
    Delta,
}

/// `rate`, `increase` and `delta`: the change between first and last sample, carried to the ends of
/// the range where they are near enough.
pub fn extrapolated(window: &Window<'_>, change: Change) -> Option<f64> {
    let (times, values) = (window.times, window.values);
    let (first, last) = (*times.first()?, *times.last()?);
    if times.len() < 2 {
        return None;
    }
    let is_counter = change != Change::Delta;
    let mut result = values[values.len() - 1] - values[0];
    if is_counter && !window.rises {
        result += values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum::<f64>();
    }
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last - first);
    let average = sampled / (times.len() - 1) as f64;
    let threshold = average * 1.1;
    let mut to_start = seconds(first - window.start);
    let to_end = seconds(window.end - last);
    if window.is_open && to_start >= threshold {
        to_start = average / 2.0;
    }
    if is_counter && result > 0.0 && values[0] >= 0.0 {
        to_start = to_start.min(sampled * (values[0] / result));
    }
    let reach = |distance: f64| if distance < threshold { distance } else { average / 2.0 };
    let start = if window.is_open { to_start } else { reach(to_start) };
    let factor = (sampled + start + reach(to_end)) / sampled;
    let divisor = if change == Change::Rate { seconds(window.end - window.start) } else { 1.0 };
    Some(result * (factor / divisor))
}

/// `irate` and `idelta`: between the last two samples.
pub fn instant_change(window: &Window<'_>, is_rate: bool) -> Option<f64> {
    let count = window.values.len();
    if count < 2 {
        return None;
    }
    let (before, last) = (window.values[count - 2], window.values[count - 1]);
    let elapsed = window.times[count - 1] - window.times[count - 2];
    match is_rate {
        false => Some(last - before),
        true if elapsed == 0 => None,
        true => Some((if last < before { last } else { last - before }) / (elapsed as f64 / 1000.0)),
    }
}

/// Slope in 1/s and the value at `origin`.
pub fn regression(window: &Window<'_>, origin: i64) -> Option<(f64, f64)> {
    if window.values.len() < 2 {
        return None;
    }
    let first = window.values[0];
    if window.values.iter().all(|value| *value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time, y) in window.times.iter().zip(window.values) {
        let x = (time - origin) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let count = window.values.len() as f64;
    let (x, y) = (x_sum.value(), y_sum.value());
    let slope = (xy_sum.value() - x * y / count) / (xx_sum.value() - x * x / count);
    Some((slope, y / count - slope * x / count))
}

/// Smoothing by value and trend (Holt).
pub fn smoothed(values: &[f64], smoothing: f64, trend: f64) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let (mut before, mut level, mut slope) = (0.0, values[0], values[1] - values[0]);
    for (at, value) in values[1..].iter().enumerate() {
        if at > 0 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + slope);
        (before, level) = (level, next);
    }
    Some(level)
}

pub fn changes(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan())).count()
        as f64
}

pub fn resets(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64
}

/// The median of distances from the median.
pub fn spread(values: &[f64]) -> f64 {
    let middle = quantile(0.5, values);
    let distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    quantile(0.5, &distances)
}

/// The time in seconds of the last best sample, or of the first for `is_better` that is strict.
pub fn time_of(window: &Window<'_>, is_better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = 0;
    for at in 1..window.values.len() {
        if window.values[best].is_nan() || is_better(window.values[at], window.values[best]) {
            best = at;
        }
    }
    window.times[best] as f64 / 1000.0
}

/// Without marks of an end; as they are where there are none.
pub fn live<'a>(times: &'a [i64], values: &'a [f64]) -> (Cow<'a, [i64]>, Cow<'a, [f64]>) {
    if values.iter().all(|value| is_live(*value)) {
        return (times.into(), values.into());
    }
    let live = times.iter().zip(values).filter(|(_, value)| is_live(**value));
    let (times, values): (Vec<i64>, Vec<f64>) = live.map(|(time, value)| (*time, *value)).unzip();
    (times.into(), values.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_carried_to_the_ends_of_its_range() {
        let window = |times, values| Window {
            times,
            values,
            start: 0,
            end: 60_000,
            now: 60_000,
            is_open: false,
            rises: false,
        };
        let rate =
            extrapolated(&window(&[5000, 15_000, 25_000, 55_000], &[5.0, 15.0, 2.0, 32.0]), Change::Rate);
        // 10 + 2 + 30 in 50 s, carried 5 s to each end.
        assert_eq!(rate, Some(42.0 * 60.0 / 50.0 / 60.0));
        assert_eq!(extrapolated(&window(&[5000], &[5.0]), Change::Rate), None);
    }

    #[test]
    fn quantiles_are_between_the_nearest_two() {
        assert_eq!(quantile(0.5, &[3.0, 1.0]), 2.0);
        assert_eq!(quantile(-1.0, &[3.0]), f64::NEG_INFINITY);
        assert!(quantile(0.0, &[f64::NAN, 1.0]).is_nan());
    }
}
