//! Replays thousands of rollouts and says how they ended: `cargo xtask bench judge` reads it.
//!
//! Each line is a name, then figures as `key=value`, separated by tabs. Times count from the end of
//! the cold start, but for an outage, which counts from the first request.

mod lots;
mod replay;
mod traffic;

use replay::{Ending, Scenario, learned, rollout};
use signals::release::{Decision, Judge, Settings, WINDOWS_NEEDED};
use std::time::Instant;
use traffic::{Fault, Noise, Traffic};

const SEED: u64 = 20_261_123;
/// Rollouts of one service, of which as many minutes were learned before.
const ROLLOUTS_OF_ONE: u64 = 50;
const A_DAY: u64 = 1440;
/// The least that is gone by.
const ENOUGH: u64 = WINDOWS_NEEDED as u64 + 10;

fn main() {
    let rollouts = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let only = std::env::args().nth(2);
    for (name, scenario, known) in scenarios() {
        if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            let begun = Instant::now();
            println!("{name}\t{}", summary(&scenario, &replay(&scenario, known, rollouts)));
            eprintln!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
        }
    }
    if only.is_none() {
        println!("cost\tnanoseconds={}", cost());
    }
}

/// Each with how many minutes of the service were seen beforehand.
fn scenarios() -> Vec<(&'static str, Scenario, u64)> {
    let half = || Settings::default().with_share(500);
    let errors = |errors| Fault { errors, latency: 1.0 };
    let latency = |latency| Fault { latency, ..Fault::NONE };
    let of = |noise, fault, settings| Scenario { rate: 100.0, noise, fault, settings };
    let known = [
        ("errors 0.1 → 1.1 %", of(Noise::NONE, errors(0.011), half())),
        ("errors 0.1 → 5 %", of(Noise::NONE, errors(0.05), half())),
        ("outage", of(Noise::NONE, errors(1.0), Settings::default())),
        ("latency +20 %", of(Noise::NONE, latency(1.2), half())),
        ("latency +50 %", of(Noise::NONE, latency(1.5), half())),
        ("equal, harsh", of(Noise::HARSH, Fault::NONE, Settings::default())),
        ("equal", of(Noise::NONE, Fault::NONE, Settings::default())),
        ("ramp, errors 0.1 → 1.1 %", of(Noise::NONE, errors(0.011), Settings::default())),
        ("harsh, errors 0.1 → 1.1 %", of(Noise::HARSH, errors(0.011), half())),
        ("harsh, errors 0.1 → 5 %", of(Noise::HARSH, errors(0.05), half())),
        ("harsh, latency +50 %", of(Noise::HARSH, latency(1.5), half())),
    ];
    let equal = || of(Noise::HARSH, Fault::NONE, Settings::default());
    let others = [("equal, harsh, hardly known", equal(), ENOUGH), ("equal, harsh, unknown", equal(), 0)];
    known.into_iter().map(|(name, scenario)| (name, scenario, A_DAY)).chain(others).collect()
}

fn replay(scenario: &Scenario, known: u64, rollouts: u64) -> Vec<Ending> {
    let mut settings = scenario.settings.clone();
    let mut endings = Vec::new();
    for number in 0..rollouts {
        if number % ROLLOUTS_OF_ONE == 0 {
            let learner = learned(scenario.rate, scenario.noise, known, SEED ^ (number << 32));
            settings = scenario.settings.clone().with_noise_of(&learner);
        }
        endings.push(rollout(scenario, &settings, SEED + number * 7919));
    }
    endings
}

fn summary(scenario: &Scenario, endings: &[Ending]) -> String {
    let is_back = |ending: &&Ending| matches!(ending.decision, Decision::GoBack(_));
    let is_kept = |ending: &&Ending| matches!(ending.decision, Decision::Keep(_));
    let cold = if scenario.fault.errors >= 1.0 { 0 } else { scenario.settings.cold_ms };
    let after_cold = |ending: &Ending| ending.took_ms.saturating_sub(cold) as f64 / 1000.0;
    // One that was not taken back counts as later than any other.
    let to_back = |ending: &Ending| if is_back(&ending) { after_cold(ending) } else { f64::INFINITY };
    let share = |count: usize| 100.0 * count as f64 / endings.len() as f64;
    let kept: Vec<f64> =
        endings.iter().filter(is_kept).map(|ending| ending.took_ms as f64 / 1000.0).collect();
    let failed = || endings.iter().map(|ending| ending.failed as f64);
    [
        format!("rollouts={}", endings.len()),
        format!("back={}", share(endings.iter().filter(is_back).count())),
        format!("kept={}", share(kept.len())),
        format!("median={}", quantile(endings.iter().map(to_back), 0.5)),
        format!("p95={}", quantile(endings.iter().map(to_back), 0.95)),
        format!("kept_median={}", quantile(kept.into_iter(), 0.5)),
        format!("failed_median={}", quantile(failed(), 0.5)),
        format!("failed_p95={}", quantile(failed(), 0.95)),
    ]
    .join("\t")
}

fn quantile(values: impl Iterator<Item = f64>, quantile: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * quantile).ceil().max(1.0) as usize;
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// Nanoseconds that one second of one service takes to judge.
fn cost() -> u128 {
    let mut traffic = Traffic::new(100.0, Noise::NONE, Fault::NONE, SEED);
    let seconds: Vec<_> = (0..600).map(|_| traffic.next(500, 1000)).collect();
    let settings = Settings { limit_ms: 1_200_000, ..Settings::default() };
    let begun = Instant::now();
    const TIMES: usize = 100;
    let mut looked = 0;
    for _ in 0..TIMES {
        let mut judge = Judge::new(settings.clone());
        // Until it has decided: what comes afterwards costs nothing.
        looked += 1 + seconds.iter().take_while(|second| judge.observe(second) == Decision::GoOn).count();
    }
    begun.elapsed().as_nanos() / looked as u128
}
