//! Service levels: how fast the errors that a level allows are used up, looked at over a long and a
//! short time at once.
//!
//! Rate of burning = share of errors ÷ share that is allowed. The pairs are those of Google's "Site
//! Reliability Workbook", chapter 5: the long time says that it matters, the short that it lasts.

use model::range::Level;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Minutes that are kept one by one, hours and days: six hours, three days, and the thirty days for
/// which there is a budget.
const MINUTES: usize = 360;
const HOURS: usize = 72;
pub const DAYS: usize = 30;
/// The long windows, in minutes.
pub const WINDOWS_MIN: [usize; 3] = [60, 360, 72 * 60];
/// Requests that a window needs for its share to mean something.
const LEAST_REQUESTS: f64 = 10.0;

/// Two windows and the rate at which both must burn.
struct Pair {
    long_min: usize,
    short_min: usize,
    rate: f64,
    level: Level,
}

const PAIRS: [Pair; 3] = [
    Pair { long_min: 60, short_min: 5, rate: 14.4, level: Level::Urgent },
    Pair { long_min: 360, short_min: 30, rate: 6.0, level: Level::Urgent },
    Pair { long_min: 72 * 60, short_min: 360, rate: 1.0, level: Level::Important },
];

/// Good and bad of one minute or hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Count {
    at: i64,
    all: f64,
    bad: f64,
}

/// What a service was asked and what failed, over thirty days.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Burn {
    minutes: VecDeque<Count>,
    hours: VecDeque<Count>,
    #[serde(default)]
    days: VecDeque<Count>,
}

/// A level that is being missed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Burning {
    /// How many times as fast as allowed, over the long and the short window.
    pub long: f64,
    pub short: f64,
    pub long_min: usize,
    pub short_min: usize,
    pub level: Level,
}

/// What there was in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    pub all: f64,
    pub bad: f64,
}

impl Sum {
    /// How many times as fast as allowed; none of too few requests.
    pub fn rate(self, allowed: f64) -> Option<f64> {
        (self.all >= LEAST_REQUESTS && allowed > 0.0).then(|| self.bad / self.all / allowed)
    }

    /// The share that went well.
    pub fn good(self) -> Option<f64> {
        (self.all > 0.0).then(|| 1.0 - self.bad / self.all)
    }
}

impl Burn {
    /// Adds what came since the last time. Numbers that are none, or negative, count as nothing.
    pub fn add(&mut self, now_ms: i64, all: f64, bad: f64) {
        let clean = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
        let all = clean(all);
        let bad = clean(bad).min(all);
        add(&mut self.minutes, now_ms.div_euclid(MINUTE_MS), MINUTES, all, bad);
        add(&mut self.hours, now_ms.div_euclid(HOUR_MS), HOURS, all, bad);
        add(&mut self.days, now_ms.div_euclid(24 * HOUR_MS), DAYS, all, bad);
    }

    /// The most urgent pair of windows that burns, for the share of errors that is allowed.
    pub fn burning(&self, now_ms: i64, allowed: f64) -> Option<Burning> {
        PAIRS.iter().find_map(|pair| {
            let long = self.over(now_ms, pair.long_min).rate(allowed)?;
            let short = self.over(now_ms, pair.short_min).rate(allowed)?;
            let burns = long >= pair.rate && short >= pair.rate;
            let (long_min, short_min, level) = (pair.long_min, pair.short_min, pair.level);
            burns.then_some(Burning { long, short, long_min, short_min, level })
        })
    }

    /// Which share is left of the errors that the requests of the last thirty days allow; negative
    /// when there were more.
    pub fn budget_left(&self, now_ms: i64, allowed: f64) -> Option<f64> {
        let sum = sum(&self.days, now_ms.div_euclid(24 * HOUR_MS), DAYS as i64);
        sum.rate(allowed).map(|rate| 1.0 - rate)
    }

    /// Whether anything was asked in the last thirty days.
    pub fn has_any(&self, now_ms: i64) -> bool {
        sum(&self.days, now_ms.div_euclid(24 * HOUR_MS), DAYS as i64).all > 0.0
    }

    /// What there was in the last minutes; beyond six hours by whole hours.
    pub fn over(&self, now_ms: i64, minutes: usize) -> Sum {
        match minutes <= MINUTES {
            true => sum(&self.minutes, now_ms.div_euclid(MINUTE_MS), minutes as i64),
            false => sum(&self.hours, now_ms.div_euclid(HOUR_MS), minutes as i64 / 60),
        }
    }
}

fn sum(counts: &VecDeque<Count>, now: i64, span: i64) -> Sum {
    let of_window = counts.iter().filter(|count| count.at > now - span && count.at <= now);
    of_window.fold(Sum::default(), |sum, count| Sum { all: sum.all + count.all, bad: sum.bad + count.bad })
}

fn add(counts: &mut VecDeque<Count>, at: i64, most: usize, all: f64, bad: f64) {
    // A clock that was set back: what is later has not been yet.
    while counts.back().is_some_and(|last| last.at > at) {
        counts.pop_back();
    }
    match counts.back_mut().filter(|last| last.at == at) {
        Some(last) => (last.all, last.bad) = (last.all + all, last.bad + bad),
        None => counts.push_back(Count { at, all, bad }),
    }
    while counts.front().is_some_and(|first| first.at <= at - most as i64) {
        counts.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: f64 = 0.001;

    /// Minutes of 100 requests each with so many bad ones.
    fn burn(parts: &[(i64, f64)]) -> Option<Burning> {
        let mut burn = Burn::default();
        let mut minute = 0;
        for (minutes, bad) in parts {
            for _ in 0..*minutes {
                burn.add(minute * MINUTE_MS, 100.0, *bad);
                minute += 1;
            }
        }
        burn.burning((minute - 1) * MINUTE_MS, ALLOWED)
    }

    #[test]
    fn fast_and_slow_burning_are_told_apart() {
        let fast = burn(&[(120, 0.0), (60, 2.0)]).expect("it burns");
        assert_eq!((fast.level, fast.long_min), (Level::Urgent, 60));
        let slow = burn(&[(6000, 0.15)]).expect("it burns");
        assert_eq!((slow.level, slow.long_min), (Level::Important, 72 * 60));
        assert_eq!(burn(&[(6000, 0.05)]), None);
    }

    #[test]
    fn what_is_over_burns_no_longer() {
        assert_eq!(
            burn(&[(30, 20.0), (10, 0.0)]).map(|burning| burning.long_min),
            Some(360),
            "half an hour yet"
        );
        assert_eq!(burn(&[(30, 20.0), (40, 0.0)]).map(|b| b.level), Some(Level::Important), "of three days");
        assert_eq!(burn(&[(30, 20.0), (400, 0.0)]), None);
        assert_eq!(burn(&[]), None);
    }

    #[test]
    fn numbers_that_are_none_count_as_nothing() {
        let mut burn = Burn::default();
        burn.add(0, f64::NAN, 5.0);
        burn.add(0, -3.0, 1.0);
        burn.add(0, 20.0, f64::INFINITY);
        assert_eq!(burn.burning(0, ALLOWED), None);
        assert_eq!(burn.burning(0, 0.0), None, "a level of all leaves nothing to divide by");
        burn.add(-10 * MINUTE_MS, 20.0, 20.0);
        assert!(burn.minutes.len() == 1 && burn.hours.len() == 1, "the clock was set back");
        assert_eq!(burn.over(-10 * MINUTE_MS, 5), Sum { all: 20.0, bad: 20.0 });
    }

    #[test]
    fn thirty_days_are_kept_and_no_more() {
        let mut burn = Burn::default();
        for minute in 0..50_000 {
            burn.add(minute * MINUTE_MS, 100.0, f64::from(u8::from(minute % 20 == 0)));
        }
        assert_eq!((burn.minutes.len(), burn.hours.len(), burn.days.len()), (MINUTES, HOURS, DAYS));
        let left = burn.budget_left(50_000 * MINUTE_MS, ALLOWED).expect("enough requests");
        assert!((left - 0.5).abs() < 0.01, "{left}");
        assert_eq!(Burn::default().budget_left(0, ALLOWED), None);
    }
}
