//! How often one client, or one key, may ask: a leaky bucket kept as a single moment (GCRA), in a
//! table of fixed size that all threads write without a lock.
//!
//! A key's moment lies in one of the four places of its set, beside a mark of the key. When all are
//! taken by others that still count, the key shares the place that is soonest free: with very many
//! keys at a time a limit is kept for all of them together rather than for each.

use model::traffic::Rate;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Keys that are told apart at one time, at most.
const PLACES: usize = 16_384;
const SET: usize = 4;
/// A place holds a mark of the key and a moment in microseconds, which lasts for eight years.
const MARK_BITS: u32 = 16;
const MOMENT: u64 = (1 << (64 - MARK_BITS)) - 1;

pub struct Limiter {
    rate: Rate,
    /// Between two requests that come steadily.
    interval_us: u64,
    /// How far ahead of a steady stream a key may be.
    ahead_us: u64,
    places: Box<[AtomicU64]>,
}

impl Limiter {
    pub fn new(rate: Rate) -> Self {
        let interval_us = (rate.per.0 * 1000 / u64::from(rate.requests.max(1))).max(1);
        let ahead_us = interval_us * u64::from(rate.burst.max(1) - 1);
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { rate, interval_us, ahead_us, places }
    }

    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Takes one request of the key in; an error is the time after which it may ask again.
    pub fn take(&self, key: u64, now_us: u64) -> Result<(), u64> {
        let mark = key >> (64 - MARK_BITS);
        loop {
            let place = self.place(key, mark, now_us);
            let seen = place.load(Relaxed);
            let moment = (seen & MOMENT).max(now_us);
            if moment - now_us > self.ahead_us {
                return Err(moment - now_us - self.ahead_us);
            }
            let next = (mark << (64 - MARK_BITS)) | ((moment + self.interval_us) & MOMENT);
            if place.compare_exchange_weak(seen, next, Relaxed, Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// The key's own place, or a free one, or the one that is free soonest.
    fn place(&self, key: u64, mark: u64, now_us: u64) -> &AtomicU64 {
        let set = (key as usize % (PLACES / SET)) * SET;
        let set = &self.places[set..set + SET];
        let seen = |place: &&AtomicU64| place.load(Relaxed);
        let own = set.iter().find(|place| {
            let seen = seen(place);
            seen >> (64 - MARK_BITS) == mark && seen & MOMENT > now_us
        });
        own.or_else(|| set.iter().min_by_key(|place| seen(place) & MOMENT)).expect("a set has places")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::DurationMs;
    use model::traffic::RateKey;

    fn limiter(requests: u32, burst: u32) -> Limiter {
        Limiter::new(Rate { key: RateKey::All, requests, per: DurationMs(1000), burst })
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limiter = limiter(10, 5);
        assert_eq!((0..20).filter(|_| limiter.take(7, 1).is_ok()).count(), 5);
        assert_eq!(limiter.take(7, 1), Err(100_000));
        assert_eq!(limiter.take(7, 100_001), Ok(()));
        assert!(limiter.take(7, 100_001).is_err());
        let mut passed = 0;
        for now in (200_000..10_200_000).step_by(10_000) {
            passed += u32::from(limiter.take(7, now).is_ok());
        }
        assert!((99..=101).contains(&passed), "{passed} of ten seconds at ten a second");
    }

    #[test]
    fn keys_do_not_disturb_each_other() {
        let limiter = limiter(1, 1);
        let keys: Vec<u64> = (0..1000).map(|n| crate::snapshot::mix(n + 1)).collect();
        assert!(keys.iter().all(|key| limiter.take(*key, 1).is_ok()));
        assert!(keys.iter().all(|key| limiter.take(*key, 2).is_err()));
        assert!(keys.iter().all(|key| limiter.take(*key, 1_000_002).is_ok()));
    }

    #[test]
    fn more_keys_than_places_are_limited_all_the_same() {
        let limiter = limiter(1, 1);
        let keys: Vec<u64> = (0..100_000).map(|n| crate::snapshot::mix(n + 1)).collect();
        let first = keys.iter().filter(|key| limiter.take(**key, 1).is_ok()).count();
        assert!(first >= PLACES / 2, "{first}");
        let last = keys[keys.len() - 1];
        let again = (2..1000).filter(|now| limiter.take(last, *now).is_ok()).count();
        assert!(again <= 1, "{again}");
    }

    #[test]
    fn threads_share_one_limit() {
        let limiter = limiter(1000, 100);
        let passed: usize = std::thread::scope(|scope| {
            let run = || (0..1000).filter(|_| limiter.take(3, 1).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(passed, 100);
    }
}
