//! Whether a course rises steadily: three questions that all must say yes.
//!
//! A monotone trend (Mann–Kendall), a rise that matters (Theil–Sen), and a floor that rises: what
//! comes down to where it was is no leak.

use super::load::without_load;
use super::trend::{Line, mann_kendall, median, theil_sen};
use crate::range::Point;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Half hours that are needed: a day, so that its course is no trend.
pub const LEAST_POINTS: usize = 46;
const Z: f64 = 2.58;
/// Of the level at the beginning.
const RISE: f64 = 0.10;
/// The same where the course of the day was taken out, which two days tell less surely.
const RISE_WITHOUT_DAY: f64 = 0.20;
/// Of the variance that one step explains: a steady rise leaves a quarter.
const EXPLAINED_BY_STEP: f64 = 0.9;
/// Pairs of the same half hour of two days that are needed for that.
const LEAST_PAIRS: usize = 24;
/// Of the distances from the line, in median absolute deviations.
const DEVIATIONS: f64 = 3.0;
/// Parts of the time whose lowest values must rise, each above the one before.
const PARTS: usize = 6;
const DAY: i64 = 48;

/// A steady rise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decay {
    /// Over all of the time, as a share of the level at its beginning.
    pub rise: f64,
    pub per_day: f64,
    /// Of the test for a trend.
    pub z: f64,
    /// How long it was looked at.
    pub over_ms: i64,
}

/// Judges the half hours since the last restart or release, oldest first. `loads` are those of the
/// same half hours, where they are known; `floor` is the least rise that matters, in the signal's unit.
pub fn judge(points: &[Point], loads: &[Option<f64>], floor: f64) -> Option<Decay> {
    if points.len() < LEAST_POINTS {
        return None;
    }
    let of =
        |value: fn(&Point) -> f32| points.iter().map(|point| f64::from(value(point))).collect::<Vec<_>>();
    let levels = without_load(&of(|point| point.median), loads);
    let floors = without_load(&of(|point| point.least), loads);
    steady(points, &levels, &floors, floor, RISE).or_else(|| {
        // Two days of which the second is higher look the same as a rise without its course of the day.
        if is_step(&levels) {
            return None;
        }
        let (levels, floors) = without_day(points, &levels, &floors)?;
        steady(points, &levels, &floors, floor, RISE_WITHOUT_DAY)
    })
}

fn steady(points: &[Point], levels: &[f64], floors: &[f64], floor: f64, least: f64) -> Option<Decay> {
    let z = mann_kendall(levels);
    if z <= Z || !is_floor_rising(floors) {
        return None;
    }
    let first = points.first()?.at;
    let placed: Vec<(f64, f64)> =
        points.iter().zip(levels).map(|(p, level)| ((p.at - first) as f64, *level)).collect();
    let line = theil_sen(&placed)?;
    let span = placed.last()?.0;
    let rise = line.slope * span;
    let share = rise / line.level.abs().max(floor).max(f64::MIN_POSITIVE);
    let is_much = share > least && rise > floor && rise > DEVIATIONS * spread(&placed, line);
    let over_ms = points.last()?.at_ms() - points.first()?.at_ms();
    is_much.then_some(Decay { rise: share, per_day: line.slope * DAY as f64, z, over_ms })
}

/// Takes the course of a day out: the slope is the median of the differences from one day to the
/// next, and what each half hour has beside it is its season (Hirsch and Slack, 1984).
fn without_day(points: &[Point], levels: &[f64], floors: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let places: BTreeMap<i64, usize> = points.iter().enumerate().map(|(at, point)| (point.at, at)).collect();
    let a_day_later = |at: usize| places.get(&(points[at].at + DAY)).copied();
    let pairs: Vec<(usize, usize)> =
        (0..points.len()).filter_map(|at| Some((at, a_day_later(at)?))).collect();
    if pairs.len() < LEAST_PAIRS {
        return None;
    }
    let mut differences: Vec<f64> = pairs.iter().map(|(at, later)| levels[*later] - levels[*at]).collect();
    let slope = median(&mut differences)? / DAY as f64;
    let flat = |at: usize| levels[at] - slope * (points[at].at - points[0].at) as f64;
    let mut all: Vec<f64> = (0..points.len()).map(flat).collect();
    let middle = median(&mut all)?;
    let mut seasons: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (at, point) in points.iter().enumerate() {
        let season = seasons.entry(point.at.rem_euclid(DAY)).or_default();
        (season.0, season.1) = (season.0 + flat(at) - middle, season.1 + 1.0);
    }
    let season = |at: usize| {
        let (sum, count) = seasons[&points[at].at.rem_euclid(DAY)];
        sum / count
    };
    let without = |values: &[f64]| values.iter().enumerate().map(|(at, value)| value - season(at)).collect();
    Some((without(levels), without(floors)))
}

/// Whether two levels, one after the other, say nearly all there is to say.
fn is_step(levels: &[f64]) -> bool {
    let squares = |count: f64, sum: f64| if count > 0.0 { sum * sum / count } else { 0.0 };
    let (count, sum) = (levels.len() as f64, levels.iter().sum::<f64>());
    let all = levels.iter().map(|level| level * level).sum::<f64>() - squares(count, sum);
    let mut before = 0.0;
    let explained = levels.iter().enumerate().map(|(at, level)| {
        before += level;
        let seen = (at + 1) as f64;
        squares(seen, before) + squares(count - seen, sum - before) - squares(count, sum)
    });
    all > 0.0 && explained.fold(0.0, f64::max) > EXPLAINED_BY_STEP * all
}

fn spread(points: &[(f64, f64)], line: Line) -> f64 {
    let mut apart: Vec<f64> = points.iter().map(|(x, y)| (y - line.at(*x)).abs()).collect();
    median(&mut apart).unwrap_or(0.0)
}

/// The lowest value of each of six parts is above that of the part before.
fn is_floor_rising(floors: &[f64]) -> bool {
    let part = floors.len().div_ceil(PARTS);
    let lowest: Vec<f64> =
        floors.chunks(part).map(|part| part.iter().copied().fold(f64::INFINITY, f64::min)).collect();
    lowest.len() == PARTS && lowest.is_sorted_by(|before, after| before < after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(count: i64, level: impl Fn(f64) -> f64) -> Vec<Point> {
        let point = |at: i64| {
            let value = level(at as f64 / 48.0) + f64::from(((at * 7919) % 11) as i32) * 0.3;
            Point { at: 1000 + at, least: (value - 1.0) as f32, median: value as f32 }
        };
        (0..count).map(point).collect()
    }

    #[test]
    fn a_leak_of_a_fifth_a_day_is_found_within_two_days() {
        let found = judge(&course(90, |day| 100.0 * (1.0 + 0.2 * day)), &[], 0.0).expect("a leak");
        assert!((found.per_day - 20.0).abs() < 1.5, "{found:?}");
        assert!(found.rise > 0.3 && found.z > 5.0);
    }

    #[test]
    fn the_course_of_a_day_is_no_leak() {
        let daily = |day: f64| 100.0 + 40.0 * (day * std::f64::consts::TAU).sin();
        for count in [46, 48, 60, 72, 90] {
            assert_eq!(judge(&course(count, daily), &[], 0.0), None, "{count} half hours");
        }
    }

    #[test]
    fn steps_falls_and_little_of_it_are_no_leak() {
        assert_eq!(judge(&course(90, |_| 100.0), &[], 0.0), None);
        assert_eq!(judge(&course(90, |day| 100.0 - 20.0 * day), &[], 0.0), None);
        assert_eq!(judge(&course(90, |day| 100.0 + 2.0 * day), &[], 0.0), None, "too little");
        assert_eq!(judge(&course(90, |day| if day < 1.0 { 100.0 } else { 150.0 }), &[], 0.0), None, "a step");
        for at in [0.3, 0.5, 0.9, 1.4] {
            let step = |day: f64| if day < at { 100.0 } else { 150.0 };
            assert_eq!(judge(&course(90, step), &[], 0.0), None, "a step after {at} days");
        }
        assert_eq!(judge(&course(20, |day| 100.0 * (1.0 + day)), &[], 0.0), None, "too short");
        assert_eq!(judge(&course(90, |day| 100.0 * (1.0 + 0.2 * day)), &[], 50.0), None, "below the floor");
    }

    #[test]
    fn more_load_is_no_leak() {
        let load = |day: f64| 1000.0 * (1.0 + 0.5 * day) + 300.0 * (day * 30.0).sin();
        let points = course(90, |day| 0.2 * load(day));
        let loads: Vec<_> = (0..90).map(|at| Some(load(f64::from(at) / 48.0))).collect();
        assert!(
            judge(&points, &[], 0.0).is_some_and(|found| found.rise > 0.1)
                || judge(&points, &[], 0.0).is_none()
        );
        assert_eq!(judge(&points, &loads, 0.0), None);
    }
}
