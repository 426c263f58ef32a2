//! When something bounded ends, if it goes on as it goes.

use super::trend::theil_sen;
use crate::range::{Point, SLOT_MS};

/// Sooner than this is told.
pub const EXHAUSTION_SOON_MS: i64 = 24 * 60 * 60 * 1000;
/// Half hours that are needed, the newest of which must agree: what fills has to fill for an hour.
const LEAST: usize = 6;
const HELD: usize = 2;
/// Half hours that are looked at: 6 hours.
const MOST: usize = 12;

/// Milliseconds until `limit` is reached from below, or from above when the course lies above it.
/// None while it does not go there, or has not for the last hour.
pub fn time_to(points: &[Point], limit: f64) -> Option<i64> {
    let until = |points: &[Point]| {
        let points = &points[points.len().saturating_sub(MOST)..];
        let (first, last) = (points.first()?.at, points.last()?);
        let placed: Vec<(f64, f64)> =
            points.iter().map(|p| ((p.at - first) as f64, f64::from(p.median))).collect();
        let line = theil_sen(&placed).filter(|_| points.len() >= LEAST)?;
        let left = limit - f64::from(last.median);
        let slots = left / line.slope;
        (0.0..1e6).contains(&slots).then_some((slots * SLOT_MS as f64) as i64)
    };
    let held = (0..HELD).map(|back| until(&points[..points.len().saturating_sub(back)]));
    let all: Option<Vec<i64>> = held.collect();
    all?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filling(count: i64, by: f32) -> Vec<Point> {
        (0..count).map(|at| Point { at, least: 0.0, median: 50.0 + by * at as f32 }).collect()
    }

    #[test]
    fn what_fills_has_an_end() {
        let left = time_to(&filling(11, 1.0), 100.0).expect("it fills");
        assert_eq!(left / SLOT_MS, 40);
        assert_eq!(time_to(&filling(11, -1.0), 100.0), None);
        assert_eq!(time_to(&filling(11, 0.0), 100.0), None);
        assert_eq!(time_to(&filling(6, 1.0), 100.0), None, "not for an hour yet");
        assert_eq!(time_to(&filling(11, -1.0), 0.0).map(|ms| ms / SLOT_MS), Some(40), "what runs dry, too");
        assert_eq!(time_to(&[], 1.0), None);
    }
}
