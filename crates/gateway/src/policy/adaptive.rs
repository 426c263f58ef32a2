//! A limit that finds itself: as many requests at a time as an instance answers without becoming
//! slower. The formula is that of Gradient2 in Netflix' concurrency-limits:
//!
//! `limit ← limit + 0.2 × (limit × gradient + 4 − limit)`, where the gradient is the usual time over
//! the present one, between a half and 1.

use crate::snapshot::Moment;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Where a limit begins, and the bounds it keeps unless they are declared.
const START: u32 = 20;
const MIN: u32 = 4;
const MAX: u32 = 200;
/// The present time is the mean of what was answered in this long, and of so many at least.
const WINDOW_MS: u64 = 200;
const WINDOW_SAMPLES: u64 = 10;
/// The usual time is a mean over about so many windows: ten minutes of steady work.
const USUAL_WINDOWS: f64 = 3000.0;
/// Until so many have passed it is the plain mean of all.
const WARM_UP: u64 = 10;
/// Requests that may wait inside the instance, by which the limit grows while times stay the same.
const ALLOWANCE: f64 = 4.0;
const SMOOTHING: f64 = 0.2;
/// No window takes more away than this would, however slow it was.
const STEEPEST: f64 = 0.5;
/// A usual time this many times the present one is from an overload that is over.
const DRIFTED: f64 = 2.0;
const RECOVERY: f64 = 0.9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub min: u32,
    pub max: u32,
}

impl Bounds {
    pub fn new(min: Option<u32>, max: Option<u32>) -> Self {
        let max = max.unwrap_or_else(|| MAX.max(min.unwrap_or_default())).max(1);
        Self { min: min.unwrap_or(MIN).clamp(1, max), max }
    }
}

/// What was found so far.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Estimate {
    limit: f64,
    /// Microseconds.
    usual: f64,
    windows: u64,
}

impl Estimate {
    /// After a window in which answers took `present` on average, with `most` under way at a time.
    fn after(mut self, present: f64, most: u32, bounds: Bounds) -> Self {
        self.windows += 1;
        let weight = match self.windows {
            windows @ 1..=WARM_UP => 1.0 / windows as f64,
            _ => 2.0 / (USUAL_WINDOWS + 1.0),
        };
        self.usual += (present - self.usual) * weight;
        if self.usual > present * DRIFTED {
            self.usual *= RECOVERY;
        }
        // Where the limit was not nearly reached, times say nothing about it.
        if f64::from(most) >= self.limit / 2.0 {
            let gradient = (self.usual / present).clamp(STEEPEST, 1.0);
            self.limit += SMOOTHING * (self.limit * gradient + ALLOWANCE - self.limit);
        }
        self.limit = self.limit.clamp(f64::from(bounds.min), f64::from(bounds.max));
        self
    }
}

/// The estimate for one instance, written by all threads. Two windows that end at the same moment
/// may lose one of them, which delays what follows by a window, no more.
#[derive(Default)]
pub struct Adaptive {
    min: AtomicU32,
    /// 0: it is not asked for.
    max: AtomicU32,
    /// Bits of the numbers in [`Estimate`]; a limit of 0 has not begun.
    limit: AtomicU64,
    usual: AtomicU64,
    windows: AtomicU64,
    /// The present window.
    begun: AtomicU64,
    count: AtomicU64,
    sum_us: AtomicU64,
    most: AtomicU32,
}

impl Adaptive {
    pub fn declare(&self, bounds: Option<Bounds>) {
        let bounds = bounds.unwrap_or(Bounds { min: 0, max: 0 });
        self.min.store(bounds.min, Relaxed);
        self.max.store(bounds.max, Relaxed);
    }

    fn bounds(&self) -> Option<Bounds> {
        let max = self.max.load(Relaxed);
        (max > 0).then(|| Bounds { min: self.min.load(Relaxed).clamp(1, max), max })
    }

    pub fn limit(&self) -> Option<u32> {
        let bounds = self.bounds()?;
        Some((self.estimate().limit as u32).clamp(bounds.min, bounds.max))
    }

    fn estimate(&self) -> Estimate {
        let limit = f64::from_bits(self.limit.load(Relaxed));
        Estimate {
            limit: if limit == 0.0 { f64::from(START) } else { limit },
            usual: f64::from_bits(self.usual.load(Relaxed)),
            windows: self.windows.load(Relaxed),
        }
    }

    /// One answer, and how many requests were under way with it.
    pub fn sample(&self, waited_us: u64, under_way: u32, now: Moment) {
        let Some(bounds) = self.bounds() else { return };
        self.sum_us.fetch_add(waited_us.max(1), Relaxed);
        self.most.fetch_max(under_way, Relaxed);
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let begun = self.begun.load(Relaxed);
        if begun != 0 && (count < WINDOW_SAMPLES || now.saturating_sub(begun) < WINDOW_MS) {
            return;
        }
        // Whoever moves the window on has all that was in it.
        if self.begun.compare_exchange(begun, now.max(1), Relaxed, Relaxed).is_err() || begun == 0 {
            return;
        }
        let (count, sum_us) = (self.count.swap(0, Relaxed), self.sum_us.swap(0, Relaxed));
        let most = self.most.swap(0, Relaxed);
        if count == 0 {
            return;
        }
        let next = self.estimate().after(sum_us as f64 / count as f64, most, bounds);
        self.limit.store(next.limit.to_bits(), Relaxed);
        self.usual.store(next.usual.to_bits(), Relaxed);
        self.windows.store(next.windows, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instance that does `slots` requests at a time in 10 ms each; what is more waits inside it.
    /// Returns the limit after each second of as much load as the limit lets through.
    fn seconds(adaptive: &Adaptive, from_s: u64, count: u64, slots: f64) -> Vec<u32> {
        let mut now = from_s * 1000 + 1;
        let second = |_| {
            for _ in 0..5 {
                let limit = adaptive.limit().expect("it is declared");
                let waited_us = 10_000.0 * (f64::from(limit) / slots).max(1.0);
                (0..WINDOW_SAMPLES).for_each(|_| adaptive.sample(waited_us as u64, limit, now));
                now += WINDOW_MS;
            }
            adaptive.limit().expect("it is declared")
        };
        (0..count).map(second).collect()
    }

    fn adaptive(min: u32, max: u32) -> Adaptive {
        let adaptive = Adaptive::default();
        adaptive.declare(Some(Bounds::new(Some(min), Some(max))));
        adaptive
    }

    #[test]
    fn it_grows_while_answers_come_as_fast_as_ever_and_keeps_its_bound() {
        let adaptive = adaptive(4, 60);
        let limits = seconds(&adaptive, 0, 30, 1000.0);
        assert!(limits[0] >= 20 && limits.is_sorted(), "{limits:?}");
        assert_eq!(limits[29], 60);
    }

    #[test]
    fn it_shrinks_when_answers_become_slow_and_comes_back() {
        let adaptive = adaptive(4, 200);
        seconds(&adaptive, 0, 60, 80.0);
        let before = adaptive.limit().expect("it is declared");
        let slow = seconds(&adaptive, 60, 10, 20.0);
        assert!(slow[9] * 2 < before, "{before} then {slow:?}");
        assert!((20..=40).contains(&slow[9]), "what it can do, and a little to wait: {slow:?}");
        let after = seconds(&adaptive, 70, 60, 80.0);
        assert!(after[59] * 10 >= before * 8, "{before} then {after:?}");
    }

    #[test]
    fn little_load_says_nothing_about_the_limit() {
        let adaptive = adaptive(4, 200);
        for now in (1..10_000).step_by(20) {
            adaptive.sample(10_000, 3, now);
        }
        assert_eq!(adaptive.limit(), Some(START));
        adaptive.declare(Some(Bounds::new(None, Some(5))));
        assert_eq!(adaptive.limit(), Some(5), "bounds hold at once");
    }

    #[test]
    fn bounds_that_are_declared_in_part_are_made_whole() {
        assert_eq!(Bounds::new(None, None), Bounds { min: MIN, max: MAX });
        assert_eq!(Bounds::new(Some(500), None), Bounds { min: 500, max: 500 });
        assert_eq!(Bounds::new(None, Some(2)), Bounds { min: 2, max: 2 });
    }
}
