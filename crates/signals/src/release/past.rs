//! What a service did before: the last hour minute by minute, and the last week hour by hour. A release
//! that cannot serve beside the one before is held against it.

use super::second::Arm;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;
/// Minutes that are remembered, and days.
const MINUTES: usize = 60;
const DAYS: i64 = 7;
/// Requests of a minute below which its time to answer says nothing.
const FEWEST: u64 = 10;
/// Requests in all below which nothing is known.
const FEWEST_IN_ALL: u64 = 200;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// With the time of its end, newest last.
    minutes: VecDeque<(Timestamp, Arm)>,
    /// By the number of the hour since 1970.
    hours: BTreeMap<i64, Arm>,
}

/// The worst of what was usual.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Share of requests that failed.
    pub failing: f64,
    /// Mean of ln of microseconds.
    pub level: f64,
    pub requests: u64,
    pub minutes: u32,
    /// Days of whose same hour something is known.
    pub days: u32,
}

impl Past {
    /// Takes what was done in a minute that ended now.
    pub fn note(&mut self, now: Timestamp, minute: &Arm) {
        if minute.due() == 0 {
            return;
        }
        self.minutes.push_back((now, *minute));
        while self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
        let hour = now.0.div_euclid(HOUR_MS);
        let all = self.hours.entry(hour).or_default();
        *all = all.followed_by(minute);
        self.hours.retain(|known, _| (hour - DAYS * DAY_HOURS..=hour).contains(known));
    }

    /// What was usual in the hour before this moment, and in the same hour of the days before; none
    /// where too little is known.
    pub fn usual(&self, now: Timestamp) -> Option<Usual> {
        let since = now.0.saturating_sub(MINUTES as i64 * MINUTE_MS);
        let lately: Vec<&Arm> = self
            .minutes
            .iter()
            .filter(|(at, _)| (since..=now.0).contains(&at.0))
            .map(|(_, arm)| arm)
            .collect();
        let hour = now.0.div_euclid(HOUR_MS);
        let days: Vec<&Arm> =
            (1..=DAYS).filter_map(|day| self.hours.get(&(hour - day * DAY_HOURS))).collect();
        let all = lately.iter().fold(Arm::default(), |all, arm| all.followed_by(arm));
        let spans = || days.iter().copied().chain([&all]).filter(|arm| arm.due() >= FEWEST_IN_ALL);
        let known = || lately.iter().chain(&days).filter(|arm| arm.requests >= FEWEST);
        let greatest = |values: &mut dyn Iterator<Item = f64>| values.reduce(f64::max);
        Some(Usual {
            failing: greatest(&mut spans().filter_map(Arm::failure_share))?,
            level: greatest(&mut known().filter_map(|arm| arm.level()))?,
            requests: spans().map(Arm::due).sum(),
            minutes: lately.len() as u32,
            days: days.len() as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::LN_UNIT;

    fn minute(requests: u64, failed: u64, level: f64) -> Arm {
        Arm { instances: 1, requests, failed, ln: (level * LN_UNIT) as u64 * requests, ..Arm::default() }
    }

    fn after_hours(past: &mut Past, from: i64, hours: i64, arm: impl Fn(i64) -> Arm) -> Timestamp {
        let minutes = (from * 60 + 1)..=((from + hours) * 60);
        minutes.for_each(|m| past.note(Timestamp(m * MINUTE_MS), &arm(m / 60)));
        Timestamp((from + hours) * HOUR_MS)
    }

    #[test]
    fn the_worst_of_the_hour_before_and_of_the_same_hour_counts() {
        let mut past = Past::default();
        // At the end of the third hour of each day it is slow and fails more.
        let now = after_hours(&mut past, 0, 75, |hour| match hour % 24 {
            3 => minute(100, 5, 12.0),
            _ => minute(100, 1, 10.0),
        });
        let usual = past.usual(now).expect("enough is known");
        assert_eq!((usual.minutes, usual.days), (60, 3));
        assert!((usual.failing - 0.05).abs() < 0.005 && (usual.level - 12.0).abs() < 0.1, "{usual:?}");
        let later = after_hours(&mut past, 75, 3, |_| minute(100, 1, 10.0));
        let usual = past.usual(later).expect("enough is known");
        assert!((usual.failing - 0.01).abs() < 0.002 && (usual.level - 10.0).abs() < 0.1, "{usual:?}");
    }

    #[test]
    fn too_little_is_nothing_and_what_is_kept_is_bounded() {
        let mut past = Past::default();
        assert_eq!(past.usual(Timestamp(0)), None);
        let now = after_hours(&mut past, 0, 1, |_| minute(2, 0, 10.0));
        assert_eq!(past.usual(now), None, "{past:?}");
        let now = after_hours(&mut past, 1, 400, |_| minute(50, 0, 10.0));
        assert_eq!((past.minutes.len(), past.hours.len() as i64), (MINUTES, DAYS * DAY_HOURS + 1));
        assert!(past.usual(now).is_some());
        // What is long ago, or in the future of a clock that went back, is not lately.
        let days_later = Timestamp(now.0 + 9 * DAY_HOURS * HOUR_MS);
        assert_eq!(past.usual(days_later), None);
        assert_eq!(past.usual(Timestamp(i64::MIN)), None);
        past.note(Timestamp(i64::MAX), &minute(50, 0, 10.0));
        assert_eq!(past.hours.len(), 1);
    }
}
