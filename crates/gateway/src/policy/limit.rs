//! How many requests one instance works on at a time, exactly, whichever thread sends them.
//!
//! Counts are kept by thread elsewhere and added up by who reads them. A limit that was decided on
//! such a sum could be passed by one request for each thread, which a service that takes one at a
//! time would notice. So the places of an instance are one number; only services with a limit pay.

use super::adaptive::{Adaptive, Bounds};
use crate::snapshot::Moment;
use model::traffic::Limit;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

#[derive(Default)]
pub struct Places {
    taken: AtomicU32,
    /// 0: there is no fixed limit.
    fixed: AtomicU32,
    adaptive: Adaptive,
}

impl Places {
    /// Takes over what is declared; what is measured of an instance stays.
    pub fn declare(&self, limit: Option<&Limit>) {
        let (fixed, bounds) = match limit {
            None => (0, None),
            Some(Limit::Fixed(limit)) => (*limit, None),
            Some(Limit::Adaptive { min, max }) => (0, Some(Bounds::new(*min, *max))),
        };
        self.fixed.store(fixed, Relaxed);
        self.adaptive.declare(bounds);
    }

    /// None: it takes as many as come.
    pub fn limit(&self) -> Option<u32> {
        match self.fixed.load(Relaxed) {
            0 => self.adaptive.limit(),
            fixed => Some(fixed),
        }
    }

    pub fn is_adaptive(&self) -> bool {
        self.fixed.load(Relaxed) == 0 && self.adaptive.limit().is_some()
    }

    pub fn has_room(&self) -> bool {
        self.limit().is_none_or(|limit| self.taken.load(SeqCst) < limit)
    }

    /// Whether one more may be sent; every place that was taken is given back by [`Places::free`].
    pub fn take(&self) -> bool {
        let limit = self.limit().unwrap_or(u32::MAX);
        self.taken.fetch_update(SeqCst, SeqCst, |taken| (taken < limit).then_some(taken + 1)).is_ok()
    }

    pub fn free(&self) {
        let before = self.taken.fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "only what was taken can be given back");
    }

    /// It took so long until the answer to a request began.
    pub fn answered(&self, waited_us: u64, now: Moment) {
        self.adaptive.sample(waited_us, self.taken.load(Relaxed), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_over_all_threads() {
        let places = Places::default();
        places.declare(Some(&Limit::Fixed(7)));
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if places.take() {
                            most.fetch_max(places.taken.load(Relaxed), Relaxed);
                            places.free();
                        }
                    }
                });
            }
        });
        assert!(most.load(Relaxed) <= 7);
        assert_eq!((0..20).filter(|_| places.take()).count(), 7);
        assert!(!places.has_room());
    }

    #[test]
    fn another_limit_holds_for_what_is_under_way_too() {
        let places = Places::default();
        assert!((0..3).all(|_| places.take()) && places.limit().is_none());
        places.declare(Some(&Limit::Fixed(2)));
        assert!(!places.take());
        (0..2).for_each(|_| places.free());
        assert!(places.take() && !places.take());
        places.declare(Some(&Limit::Adaptive { min: None, max: None }));
        assert!(places.is_adaptive() && places.take());
        places.declare(None);
        assert!(places.limit().is_none() && !places.is_adaptive());
    }
}
