//! What judging 2,000 signals every ten seconds takes of one core, half hours included.

use super::noise::Chance;
use signals::range::{EVERY_MS, Ranged, Rule};
use std::time::{Duration, Instant};

const SIGNALS: usize = 2000;
const DAY_MS: i64 = 86_400_000;
/// A time of some 2026.
const START_MS: i64 = 1_789_948_800_000;

pub fn run() {
    let mut chance = Chance::new(9);
    let rule = Rule { floor: 0.1, ..Rule::default() };
    // Nobody asks for a band meanwhile.
    let filling = Rule { learns: false, ..rule.clone() };
    let mut all: Vec<Ranged> = vec![Ranged::default(); SIGNALS];
    // A week is learned by few values an hour, so that the history is full.
    for now_ms in (START_MS..START_MS + 7 * DAY_MS).step_by(50_000) {
        for ranged in &mut all {
            ranged.evaluate(&filling, now_ms, Some(100.0 + chance.normal()), true);
        }
    }
    let values: Vec<f64> = (0..SIGNALS).map(|_| 100.0 + chance.normal()).collect();
    let rounds = 2 * 3600 * 1000 / EVERY_MS;
    let begun = Instant::now();
    for round in 1..=rounds {
        let now_ms = START_MS + 7 * DAY_MS + round * EVERY_MS;
        for (ranged, value) in all.iter_mut().zip(&values) {
            ranged.evaluate(&rule, now_ms, Some(*value), true);
        }
    }
    let each = begun.elapsed() / u32::try_from(rounds).expect("a few hundred");
    let share = each.as_secs_f64() / Duration::from_millis(EVERY_MS as u64).as_secs_f64();
    println!(
        "cost_core {:.4} % of one core, {:.2} ms each round",
        share * 100.0,
        each.as_secs_f64() * 1000.0
    );
}
