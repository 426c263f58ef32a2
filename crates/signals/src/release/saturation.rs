//! What a request costs: processor time for each, and memory, compared window by window.
//!
//! Their noise is not that of requests, so it is taken from how much the windows of each arm differ.

use super::level::Level;
use super::second::Arm;

/// Seconds that are one window.
const WINDOW: usize = 10;
/// Requests of an arm below which a window says nothing.
const FEWEST: u64 = 20;
/// Arms whose instances have more unequal load than this are not compared: idling costs, too.
const MOST_UNEQUAL: f64 = 2.0;
/// Windows before the first comparison.
const WINDOWS_NEEDED: usize = 3;
/// The standard deviation of a window is taken to be at least this, as a logarithm.
const LEAST_DEVIATION: f64 = 0.05;
/// Windows that are remembered.
const MOST_WINDOWS: usize = 256;

#[derive(Debug, Clone)]
pub struct Saturation {
    pub cpu: Level,
    pub memory: Level,
    window: (Arm, Arm),
    seconds: usize,
    seen: [Series; 4],
}

impl Saturation {
    pub fn new(cpu_tolerance: f64, memory_tolerance: f64) -> Self {
        Self {
            cpu: Level::worse(cpu_tolerance),
            memory: Level::worse(memory_tolerance),
            window: Default::default(),
            seconds: 0,
            seen: Default::default(),
        }
    }

    pub fn observe(&mut self, new: &Arm, old: &Arm) {
        self.window = (self.window.0.followed_by(new), self.window.1.followed_by(old));
        self.seconds += 1;
        if self.seconds < WINDOW {
            return;
        }
        self.seconds = 0;
        let (new, old) = std::mem::take(&mut self.window);
        if !is_comparable(&new, &old) {
            return;
        }
        let [new_cpu, old_cpu, new_memory, old_memory] = &mut self.seen;
        compare(&mut self.cpu, (new_cpu, cpu(&new)), (old_cpu, cpu(&old)));
        compare(&mut self.memory, (new_memory, memory(&new)), (old_memory, memory(&old)));
    }
}

fn is_comparable(new: &Arm, old: &Arm) -> bool {
    let load = |arm: &Arm| arm.requests as f64 / arm.instances.max(1) as f64;
    let ratio = load(new) / load(old);
    new.requests.min(old.requests) >= FEWEST && (1.0 / MOST_UNEQUAL..=MOST_UNEQUAL).contains(&ratio)
}

fn cpu(arm: &Arm) -> f64 {
    (arm.cpu_us as f64 / arm.requests as f64).ln()
}

fn memory(arm: &Arm) -> f64 {
    (arm.memory_bytes as f64 / arm.instances.max(1) as f64).ln()
}

fn compare(level: &mut Level, (news, new): (&mut Series, f64), (olds, old): (&mut Series, f64)) {
    // Nothing is known of one of them.
    if !new.is_finite() || !old.is_finite() {
        return;
    }
    if let (Some(a), Some(b)) = (news.variance(), olds.variance()) {
        level.observe(new - old, a + b);
    }
    news.push(new);
    olds.push(old);
}

#[derive(Debug, Clone, Default)]
struct Series(Vec<f64>);

impl Series {
    fn push(&mut self, value: f64) {
        if self.0.len() < MOST_WINDOWS {
            self.0.push(value);
        }
    }

    fn variance(&self) -> Option<f64> {
        let count = self.0.len();
        if count < WINDOWS_NEEDED {
            return None;
        }
        let mean = self.0.iter().sum::<f64>() / count as f64;
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        Some((squares / (count - 1) as f64).max(LEAST_DEVIATION * LEAST_DEVIATION))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(second: u64, requests: u64, cpu_us: u64, memory_bytes: u64) -> Arm {
        // Some of it comes and goes.
        let cpu_us = requests * (cpu_us + second % 7 * 10);
        Arm { instances: 1, requests, cpu_us, memory_bytes, ..Arm::default() }
    }

    fn after(seconds: u64, new: (u64, u64, u64), old: (u64, u64, u64)) -> Saturation {
        let mut saturation = Saturation::new(0.25, 0.5);
        for second in 0..seconds {
            saturation.observe(&arm(second, new.0, new.1, new.2), &arm(second, old.0, old.1, old.2));
        }
        saturation
    }

    #[test]
    fn a_release_that_takes_twice_as_much_is_found() {
        let costly = after(120, (50, 2000, 100), (50, 1000, 100));
        assert!(costly.cpu.evidence() > 2000f64.ln(), "{}", costly.cpu.evidence());
        assert!(costly.memory.evidence() < 0.0);
        let fat = after(120, (50, 1000, 250), (50, 1000, 100));
        assert!(fat.memory.evidence() > 2000f64.ln(), "{}", fat.memory.evidence());
        let equal = after(600, (50, 1000, 100), (50, 1000, 100));
        assert!(equal.cpu.evidence() < 0.0 && equal.memory.evidence() < 0.0);
    }

    #[test]
    fn unequal_load_and_what_is_not_known_say_nothing() {
        for (new, old) in [
            ((5, 9000, 900), (95, 1000, 100)),
            ((50, 0, 0), (50, 1000, 100)),
            ((0, 0, 900), (0, 0, 100)),
            ((1, 9000, 900), (1, 1000, 100)),
        ] {
            let saturation = after(120, new, old);
            assert_eq!(saturation.memory.evidence(), 0.0, "{new:?} {old:?}");
            assert!(saturation.cpu.evidence() <= 0.0, "{new:?} {old:?}");
        }
    }
}
