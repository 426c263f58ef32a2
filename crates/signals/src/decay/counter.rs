//! Counters: what they rose by when they begin anew, and how long until one of limited width is full.

/// By how much a counter rose. One that is lower than before began anew: what it shows is the rise.
/// None where either is no count.
pub fn increase(before: f64, now: f64) -> Option<f64> {
    let is_count = |value: f64| value.is_finite() && value >= 0.0;
    (is_count(before) && is_count(now)).then_some(if now >= before { now - before } else { now })
}

/// What a counter can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    Signed32,
    Unsigned32,
    /// The largest whole number that a floating point number counts to.
    Float,
}

/// What is left of a counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Headroom {
    /// Used of all, 0 to 1.
    pub used: f64,
    /// Until it is full, if it goes on so; none when it does not rise.
    pub left_ms: Option<i64>,
}

/// From this share on a counter is near its end, however slowly it rises.
const NEAR: f64 = 0.8;
/// One that is full sooner is near its end, too.
const SOON_MS: i64 = 7 * 24 * 60 * 60 * 1000;

impl Counter {
    pub const fn capacity(self) -> f64 {
        match self {
            Self::Signed32 => 2_147_483_647.0,
            Self::Unsigned32 => 4_294_967_295.0,
            Self::Float => 9_007_199_254_740_992.0,
        }
    }

    /// None for what is no count.
    pub fn headroom(self, value: f64, per_second: f64) -> Option<Headroom> {
        if !value.is_finite() || value < 0.0 {
            return None;
        }
        let left = (self.capacity() - value).max(0.0) / per_second * 1000.0;
        let left_ms = (per_second > 0.0 && left.is_finite()).then_some(left as i64);
        Some(Headroom { used: value / self.capacity(), left_ms })
    }
}

impl Headroom {
    pub fn is_near(&self) -> bool {
        self.used >= NEAR || self.used >= 0.5 && self.left_ms.is_some_and(|left| left < SOON_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_begins_anew_rose_by_what_it_shows() {
        assert_eq!(increase(10.0, 15.0), Some(5.0));
        assert_eq!(increase(1000.0, 3.0), Some(3.0));
        assert_eq!(increase(f64::NAN, 3.0), None);
        assert_eq!(increase(3.0, -1.0), None);
    }

    #[test]
    fn a_counter_near_its_end_is_told() {
        let near = |value, rate| Counter::Signed32.headroom(value, rate).expect("a count").is_near();
        assert!(near(1.9e9, 0.0) && near(1.2e9, 10_000.0));
        assert!(!near(1.2e9, 1.0) && !near(1e6, 10_000.0));
        assert_eq!(Counter::Float.headroom(-1.0, 1.0), None);
        assert_eq!(Counter::Unsigned32.headroom(1.0, 0.0).expect("a count").left_ms, None);
    }
}
