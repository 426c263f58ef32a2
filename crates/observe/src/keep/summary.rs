//! Summaries of a stretch of time: minutes of what was measured, hours of minutes.
//!
//! For a counter they also say where it began anew, so that `rate` over summaries is as over the
//! samples: the first value of each stretch, and how far it rose within where it was reset there.

use super::v1::{Kind, Part};
use crate::Points;
use crate::values::{ABSENT, STALE, is_live, is_stale};
use std::ops::Range;

/// Which rows belong together, and the time of each: that of its last row.
#[derive(Debug, Default, PartialEq)]
pub struct Stretches {
    pub times: Vec<i64>,
    pub rows: Vec<Range<usize>>,
}

impl Stretches {
    /// Rows whose times fall into the same `spacing_ms`, counted from the epoch.
    pub fn of(times: &[i64], spacing_ms: i64) -> Self {
        let mut found = Self::default();
        for (row, time) in times.iter().enumerate() {
            let is_same = found
                .times
                .last()
                .is_some_and(|last| last.div_euclid(spacing_ms) == time.div_euclid(spacing_ms));
            if is_same {
                *found.times.last_mut().expect("there is one") = *time;
                found.rows.last_mut().expect("there is one").end = row + 1;
            } else {
                found.times.push(*time);
                found.rows.push(row..row + 1);
            }
        }
        found
    }
}

/// One number for each stretch in each column.
#[derive(Debug, Default, Clone)]
pub struct Summary {
    pub last: Vec<f64>,
    pub min: Vec<f64>,
    pub max: Vec<f64>,
    pub sum: Vec<f64>,
    pub count: Vec<f64>,
    /// Empty for a gauge.
    pub first: Vec<f64>,
    /// Empty for a gauge, absent where there was no reset.
    pub rise: Vec<f64>,
}

/// One stretch while it is summed up.
struct Stretch {
    last: f64,
    min: f64,
    max: f64,
    sum: f64,
    count: f64,
    first: f64,
    rise: f64,
    was_reset: bool,
}

impl Stretch {
    const EMPTY: Self = Self {
        last: ABSENT,
        min: f64::NAN,
        max: f64::NAN,
        sum: 0.0,
        count: 0.0,
        first: ABSENT,
        rise: 0.0,
        was_reset: false,
    };

    /// Adds a part: a single value, or a finer stretch.
    fn add(&mut self, part: &Self) {
        if self.count == 0.0 {
            self.first = part.first;
        } else {
            self.was_reset |= part.first < self.last;
            self.rise += if part.first < self.last { part.first } else { part.first - self.last };
        }
        self.rise += part.rise;
        self.was_reset |= part.was_reset;
        self.last = part.last;
        self.min = self.min.min(part.min);
        self.max = self.max.max(part.max);
        self.sum += part.sum;
        self.count += part.count;
    }

    fn of_value(value: f64) -> Self {
        Self { last: value, min: value, max: value, sum: value, count: 1.0, first: value, ..Self::EMPTY }
    }
}

impl Summary {
    pub fn of_values(values: &[f64], stretches: &Stretches, kind: Kind) -> Self {
        Self::make(stretches, kind, |row| (values[row], Stretch::of_value(values[row])))
    }

    pub fn of_summary(finer: &Self, stretches: &Stretches, kind: Kind) -> Self {
        Self::make(stretches, kind, |row| (finer.last[row], finer.stretch(row)))
    }

    fn make(stretches: &Stretches, kind: Kind, part: impl Fn(usize) -> (f64, Stretch)) -> Self {
        let mut summary = Self::default();
        for rows in &stretches.rows {
            let (mut whole, mut has_ended) = (Stretch::EMPTY, false);
            for row in rows.clone() {
                let (last, part) = part(row);
                has_ended |= is_stale(last);
                if is_live(last) {
                    whole.add(&part);
                }
            }
            summary.push(&whole, has_ended, kind);
        }
        summary
    }

    fn push(&mut self, whole: &Stretch, has_ended: bool, kind: Kind) {
        let is_empty = whole.count == 0.0;
        let or_absent = |value: f64| if is_empty { ABSENT } else { value };
        self.last.push(if is_empty && has_ended { STALE } else { whole.last });
        self.min.push(or_absent(whole.min));
        self.max.push(or_absent(whole.max));
        self.sum.push(or_absent(whole.sum));
        self.count.push(or_absent(whole.count));
        if kind == Kind::Counter {
            self.first.push(whole.first);
            self.rise.push(if whole.was_reset { whole.rise } else { ABSENT });
        }
    }

    fn stretch(&self, row: usize) -> Stretch {
        let last = self.last[row];
        let first = self.first.get(row).copied().unwrap_or(last);
        let rise = self.rise.get(row).copied().unwrap_or(ABSENT);
        Stretch {
            last,
            min: self.min[row],
            max: self.max[row],
            sum: self.sum[row],
            count: self.count[row],
            first,
            rise: if is_live(rise) { rise } else { last - first },
            was_reset: is_live(rise),
        }
    }

    /// All columns in the order in which a segment has them.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &[f64])> {
        let all: [(Part, &[f64]); 7] = [
            (Part::Last, &self.last),
            (Part::Min, &self.min),
            (Part::Max, &self.max),
            (Part::Sum, &self.sum),
            (Part::Count, &self.count),
            (Part::First, &self.first),
            (Part::Rise, &self.rise),
        ];
        all.into_iter().filter(|(_, column)| !column.is_empty())
    }
}

/// Gives back the values of a counter with just the samples more that its resets need.
///
/// ```text
/// stretch:  first ╱╲ reset, ╱ last     rise = all that was added within
/// samples:  first, peak = first + rise − last, (0 where the peak hides the reset), last
/// ```
pub fn expand_counter(time: i64, first: f64, rise: f64, last: f64, into: &mut Points) {
    let before = into.values.last().copied().filter(|value| is_live(*value));
    if is_live(first) && (is_live(rise) || before.is_some_and(|before| first < before)) {
        into.push(time - 3, first);
    }
    if is_live(first) && is_live(rise) {
        let peak = first + (rise - last);
        into.push(time - 2, peak);
        if peak <= last {
            into.push(time - 1, 0.0);
        }
    }
    into.push(time, last);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a counter rose by, as PromQL counts it.
    fn rise(values: &[f64]) -> f64 {
        values.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] }).sum()
    }

    fn expanded(times: &[i64], summary: &Summary) -> Vec<f64> {
        let mut points = Points::default();
        for (row, time) in times.iter().enumerate().filter(|(row, _)| is_live(summary.last[*row])) {
            expand_counter(*time, summary.first[row], summary.rise[row], summary.last[row], &mut points);
        }
        points.values
    }

    #[test]
    fn a_gauge_is_summed_up() {
        let stretches = Stretches::of(&[0, 1000, 59_999, 60_000, 200_000], 60_000);
        assert_eq!(stretches.times, [59_999, 60_000, 200_000]);
        let summary = Summary::of_values(&[3.0, 1.0, 2.0, STALE, 7.0], &stretches, Kind::Gauge);
        assert_eq!((summary.last[0], summary.min[0], summary.max[0]), (2.0, 1.0, 3.0));
        assert_eq!((summary.sum[0], summary.count[0]), (6.0, 3.0));
        assert!(is_stale(summary.last[1]) && summary.last[2] == 7.0);
        assert_eq!(summary.parts().count(), 5);
    }

    proptest! {
        /// Whole numbers, so that no rounding hides a mistake.
        #[test]
        fn what_a_counter_rose_by_is_kept(steps in proptest::collection::vec((0u32..50, 0u8..8), 2..400)) {
            let mut value = 0.0;
            let values: Vec<f64> = steps.iter().map(|(step, reset)| {
                if *reset == 0 { value = f64::from(*step % 5) } else { value += f64::from(*step) }
                value
            }).collect();
            let times: Vec<i64> = (0..values.len() as i64).map(|tick| tick * 1000).collect();
            let minutes = Stretches::of(&times, 20_000);
            let fine = Summary::of_values(&values, &minutes, Kind::Counter);
            let hours = Stretches::of(&minutes.times, 100_000);
            let coarse = Summary::of_summary(&fine, &hours, Kind::Counter);
            // The rise within the first stretch up to its last sample is not between samples any more,
            // unless it was reset there.
            for (times, summary, rows) in [(&minutes.times, &fine, &minutes.rows[0]), (&hours.times, &coarse, &(0..minutes.rows[hours.rows[0].end - 1].end))] {
                let samples = expanded(times, summary);
                let hidden = if is_live(summary.rise[0]) { 0.0 } else { rise(&values[rows.clone()]) };
                prop_assert_eq!(rise(&samples) + hidden, rise(&values));
            }
            prop_assert_eq!(coarse.sum.iter().sum::<f64>(), values.iter().sum::<f64>());
            prop_assert_eq!(coarse.count.iter().sum::<f64>(), values.len() as f64);
        }
    }
}
