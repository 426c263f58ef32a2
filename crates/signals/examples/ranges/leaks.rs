//! Memory that leaks a fifth a day under load and noise, and memory that does not.

use super::noise::{Chance, Slow};
use signals::decay::{LEAST_POINTS, judge};
use signals::range::Point;

const SERIES: u64 = 1000;
/// Two days of half hours.
const HALF_HOURS: usize = 96;
/// Values of a half hour of which least and median are kept.
const VALUES: usize = 30;

/// Half hours with so much more of the first level each day, and the load beside them.
fn series(seed: u64, per_day: f64, half_hours: usize) -> (Vec<Point>, Vec<Option<f64>>) {
    let mut chance = Chance::new(seed);
    let (mut slow, mut wander) = (Slow::default(), Slow::default());
    let phase = chance.uniform();
    let swing = 0.2 * chance.uniform();
    let of_load = 0.15 * chance.uniform();
    let noise = 0.005 + 0.03 * chance.uniform();
    let mut points = Vec::new();
    let mut loads = Vec::new();
    for at in 0..half_hours {
        let day = at as f64 / 48.0;
        let load =
            1.0 + 0.6 * ((day + phase) * std::f64::consts::TAU).sin() + 0.2 * wander.step(&mut chance, 0.9);
        let course = swing * ((day + phase) * std::f64::consts::TAU).sin();
        let drift = 0.02 * slow.step(&mut chance, 0.97);
        let level = 200.0 * (1.0 + per_day * day + course + drift + of_load * (load - 1.0));
        let mut values: Vec<f64> = (0..VALUES).map(|_| level * (1.0 + noise * chance.normal())).collect();
        values.sort_by(f64::total_cmp);
        points.push(Point { at: at as i64, least: values[0] as f32, median: values[VALUES / 2] as f32 });
        loads.push(Some(load * 50.0));
    }
    (points, loads)
}

/// The floor that memory has, in the unit of the series.
const FLOOR: f64 = 16.0;

pub fn run() {
    let found = (0..SERIES).filter(|seed| {
        let (points, loads) = series(*seed, 0.2, HALF_HOURS);
        (LEAST_POINTS..=HALF_HOURS).any(|end| judge(&points[..end], &loads[..end], FLOOR).is_some())
    });
    println!("leaks_found {:.1} % of {SERIES}", found.count() as f64 / SERIES as f64 * 100.0);
    // A week each, looked at every half hour over the last two days.
    let (mut windows, mut false_ones) = (0u64, 0u64);
    for seed in 0..SERIES / 2 {
        let (points, loads) = series(10_000 + seed, 0.0, 7 * 48);
        for end in LEAST_POINTS..=points.len() {
            let begin = end.saturating_sub(HALF_HOURS);
            windows += 1;
            false_ones += u64::from(judge(&points[begin..end], &loads[begin..end], FLOOR).is_some());
        }
    }
    println!("leaks_false {:.3} % of {windows} windows", false_ones as f64 / windows as f64 * 100.0);
}
