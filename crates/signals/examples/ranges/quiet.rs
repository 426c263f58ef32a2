//! Incidents of a system in which nothing is wrong: 25 services with 10 signals each.

use super::system::{DAY_MS, START_MS, System};
use signals::incident::NewsKind;
use signals::range::EVERY_MS;

const SERVICES: usize = 25;
/// Days before incidents are counted.
const LEARNED_DAYS: i64 = 4;

pub fn run(days: i64) {
    let mut system = System::new(SERVICES, 1);
    let (mut incidents, mut told, mut by_signal) = (0, 0, std::collections::BTreeMap::new());
    for step in 0..(days + LEARNED_DAYS) * DAY_MS / EVERY_MS {
        let news = system.step(None);
        if step * EVERY_MS < LEARNED_DAYS * DAY_MS {
            continue;
        }
        told += news.len();
        for one in news.iter().filter(|one| one.kind == NewsKind::Opened) {
            incidents += 1;
            let signal = one.incident.leading().map(|finding| finding.signal.clone()).unwrap_or_default();
            *by_signal.entry(signal).or_insert(0) += 1;
        }
    }
    let a_day = f64::from(incidents) / days as f64;
    println!("quiet_incidents_a_day {a_day:.2} of {} signals over {days} days", SERVICES * 10);
    println!("quiet_messages_a_day {:.2}", told as f64 / days as f64);
    println!("quiet_by_signal {by_signal:?} until {}", system.now_ms - START_MS);
}
