//! What a signal was while nothing was wrong: half hours of the last days, and the band they make.

use super::band::Band;
use super::slot::{SLOT_MS, SLOTS_A_DAY, Slot, slot_of};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Days whose same hour counts.
pub const DAYS_KEPT: i64 = 7;
/// Days that count as a whole.
pub const DAYS_POOLED: i64 = 3;
/// Half hours before and after that are the same hour.
const SAME_HOUR: i64 = 1;
/// From the first value to the first band.
pub const WARM_UP_MS: i64 = 24 * 60 * 60 * 1000;
/// Half hours with values that a band needs, of the days that count as a whole.
const SLOTS_NEEDED: usize = 24;
/// Values that a half hour needs to count for that.
const VALUES_NEEDED: u16 = 30;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Rising, at most a week.
    slots: VecDeque<Slot>,
    /// Added by a person: wider until what is learned has taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<Accepted>,
}

/// What somebody said is normal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Accepted {
    band: Band,
    until_ms: i64,
}

impl History {
    /// Adds a half hour. One that lies before the newest means that the clock was set back: what is
    /// later has not been yet.
    pub fn push(&mut self, slot: Slot) {
        while self.slots.back().is_some_and(|last| last.at >= slot.at) {
            self.slots.pop_back();
        }
        let oldest = slot.at - DAYS_KEPT * SLOTS_A_DAY - SAME_HOUR;
        self.slots.push_back(slot);
        while self.slots.front().is_some_and(|first| first.at < oldest) {
            self.slots.pop_front();
        }
    }

    /// From now on `band` is normal; what was before counts no more.
    pub fn accept(&mut self, band: Band, now_ms: i64) {
        self.slots.clear();
        self.accepted = Some(Accepted { band, until_ms: now_ms + WARM_UP_MS });
    }

    /// The band at a time: the last days joined with the same hour of the days before. None until
    /// there is a day's worth, and after days without data.
    pub fn band(&self, now_ms: i64, floor: f64) -> Option<Band> {
        let accepted = self.accepted.filter(|accepted| now_ms < accepted.until_ms).map(|a| a.band);
        let learned = self.learned(now_ms, floor);
        match (learned, accepted) {
            (Some(learned), Some(accepted)) => Some(learned.joined(accepted)),
            (learned, accepted) => learned.or(accepted),
        }
    }

    fn learned(&self, now_ms: i64, floor: f64) -> Option<Band> {
        let now = slot_of(now_ms);
        let is_pooled = |slot: &&Slot| slot.at > now - DAYS_POOLED * SLOTS_A_DAY && slot.at <= now;
        let counting = self.slots.iter().filter(is_pooled).filter(|slot| slot.count >= VALUES_NEEDED);
        if !self.is_warm(now) || counting.count() < SLOTS_NEEDED {
            return None;
        }
        let mut pooled: Vec<_> = self.slots.iter().filter(is_pooled).flat_map(Slot::weighted).collect();
        let band = Band::of(&mut pooled, floor)?;
        let same = self.slots.iter().filter(|slot| is_same_hour(slot.at, now));
        let mut same: Vec<_> = same.flat_map(Slot::weighted).collect();
        Some(match Band::of(&mut same, floor) {
            Some(hour) => band.joined(hour),
            None => band,
        })
    }

    fn is_warm(&self, now: i64) -> bool {
        self.slots.front().is_some_and(|first| now - first.at >= WARM_UP_MS / SLOT_MS)
    }

    pub fn first_ms(&self) -> Option<i64> {
        self.slots.front().map(|slot| slot.at * SLOT_MS)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

fn is_same_hour(at: i64, now: i64) -> bool {
    let apart = (now - at).rem_euclid(SLOTS_A_DAY);
    at <= now && (apart <= SAME_HOUR || apart >= SLOTS_A_DAY - SAME_HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn filled(from: i64, to: i64, value: impl Fn(i64) -> f32) -> History {
        let mut history = History::default();
        for at in from..to {
            let mut values: Vec<f32> = (0..180).map(|i| value(at) + (i % 10) as f32 * 0.01).collect();
            history.push(Slot::of(at, &mut values).expect("values"));
        }
        history
    }

    #[test]
    fn there_is_no_band_before_a_day_has_passed() {
        let history = filled(0, 47, |_| 1.0);
        assert_eq!(history.band(47 * SLOT_MS, 0.1), None);
        let history = filled(0, 48, |_| 1.0);
        assert!(history.band(48 * SLOT_MS, 0.1).is_some());
    }

    #[test]
    fn a_nightly_peak_is_normal_at_its_hour_for_a_week() {
        // One half hour of each day; in three days that is more than one in a hundred.
        let peak = |at: i64| if at.rem_euclid(48) == 6 && at < 4 * 48 { 100.0 } else { 1.0 };
        let history = filled(0, 7 * 48, peak);
        let at_peak = history.band((7 * 48 + 6) * SLOT_MS, 0.1).expect("warm");
        let at_noon = history.band((7 * 48 + 24) * SLOT_MS, 0.1).expect("warm");
        assert!(at_peak.beyond(100.0) == 0.0, "{at_peak:?}");
        assert!(at_noon.beyond(100.0) > 3.0, "{at_noon:?}");
    }

    #[test]
    fn after_days_without_data_it_is_learned_anew() {
        let history = filled(0, 96, |_| 1.0);
        assert!(history.band(2 * DAY, 0.1).is_some());
        assert!(history.band(3 * DAY + DAY, 0.1).is_some(), "a day without data is bridged");
        assert_eq!(history.band(5 * DAY, 0.1), None);
    }

    #[test]
    fn a_clock_that_jumps_keeps_the_order() {
        let mut history = filled(0, 96, |_| 1.0);
        let slot = |at| Slot::of(at, &mut [2.0; 60]).expect("values");
        history.push(slot(50));
        assert_eq!(history.len(), 51, "what has not been yet is dropped");
        history.push(slot(1_000_000));
        assert_eq!(history.len(), 1, "a week ahead nothing before counts");
    }
}
