//! An instance that fails is left alone for a while, tried with one request, and let back in slowly.
//!
//! ```text
//! serving ──failures in a row, or a stall──▶ paused ──its time is over──▶ tried with one request
//!    ▲                                         ▲                            │           │
//!    └── its share has grown back ◀── ramp ◀───┼────────────── answered ────┘           │
//!                                              └───────────── failed, paused longer ────┘
//! ```
//!
//! Failures in a row as in Envoy's outlier detection (5); its pause of 30 s is for fleets, here two or
//! three instances have to carry on, so it begins at one second and is never longer than three.

use crate::snapshot::Moment;
use model::traffic::Breaker as Declared;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const FAILURES: u32 = 5;
const PAUSE_MS: u64 = 1_000;
/// However often it failed before.
const LONGEST_PAUSES: u64 = 3;
const STALL_MS: u64 = 1_000;
/// How long it takes until one that came back has its whole share.
const RAMP_MS: u64 = 2_000;
/// Its share at the beginning, of 100.
const RAMP_FROM: u64 = 10;
/// A trial that came to no end is forgotten after this.
const TRIAL_MS: u64 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    failures: u32,
    pause_ms: u64,
    pub stall_ms: u64,
}

impl Settings {
    pub fn new(declared: &Declared) -> Option<Self> {
        (!declared.off).then(|| Self {
            failures: declared.failures.unwrap_or(FAILURES).max(1),
            pause_ms: declared.pause.map_or(PAUSE_MS, |pause| pause.0).max(1),
            stall_ms: declared.stall.map_or(STALL_MS, |stall| stall.0).max(1),
        })
    }
}

/// What is known of one instance, written by all threads. An update that gets lost between two of
/// them delays what follows by one request, no more.
#[derive(Default)]
pub struct Breaker {
    /// In a row.
    failures: AtomicU32,
    /// Pauses in a row.
    pauses: AtomicU64,
    /// End of the pause; 0: it was never left alone, or is trusted again.
    until: AtomicU64,
    /// When the request on trial was sent; 0: none is.
    trial: AtomicU64,
    /// Since when its share grows; 0: it has all of it.
    back: AtomicU64,
}

/// How far an instance may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Serving,
    /// With this share, of 100.
    Ramp(u64),
    /// One request may be sent, by whoever gets [`Breaker::try_it`].
    OnTrial,
    Paused,
}

impl Breaker {
    pub fn standing(&self, now: Moment) -> Standing {
        let until = self.until.load(Relaxed);
        if until == 0 {
            let back = self.back.load(Relaxed);
            let since = now.saturating_sub(back);
            if back == 0 || since >= RAMP_MS {
                return Standing::Serving;
            }
            return Standing::Ramp(RAMP_FROM + (100 - RAMP_FROM) * since / RAMP_MS);
        }
        let trial = self.trial.load(Relaxed);
        let is_tried = trial != 0 && now.saturating_sub(trial) < TRIAL_MS;
        if now < until || is_tried { Standing::Paused } else { Standing::OnTrial }
    }

    /// Takes the one trial there is.
    pub fn try_it(&self, now: Moment) -> bool {
        let before = self.trial.load(Relaxed);
        self.standing(now) == Standing::OnTrial
            && self.trial.compare_exchange(before, now.max(1), Relaxed, Relaxed).is_ok()
    }

    /// It is left alone, or was and has not shown yet that it is well.
    pub fn is_left_alone(&self) -> bool {
        self.until.load(Relaxed) != 0
    }

    /// A request is on trial.
    pub fn is_tried(&self) -> bool {
        self.until.load(Relaxed) != 0 && self.trial.load(Relaxed) != 0
    }

    /// It answered as it should. Says whether it is back.
    pub fn succeeded(&self, now: Moment) -> bool {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        let until = self.until.load(Relaxed);
        if until == 0 {
            if self.pauses.load(Relaxed) != 0 && now.saturating_sub(self.back.load(Relaxed)) > RAMP_MS {
                self.pauses.store(0, Relaxed);
            }
            return false;
        }
        // Answers to what was sent before the pause say nothing about now.
        if now < until || self.trial.load(Relaxed) == 0 {
            return false;
        }
        self.back.store(now.max(1), Relaxed);
        self.trial.store(0, Relaxed);
        self.until.store(0, Relaxed);
        true
    }

    /// It failed. Says whether it is left alone from now on; `may_pause` is false where nobody else
    /// could serve instead.
    pub fn failed(&self, settings: &Settings, may_pause: bool, now: Moment) -> bool {
        if self.until.load(Relaxed) != 0 {
            let was_tried = now >= self.until.load(Relaxed) && self.trial.load(Relaxed) != 0;
            if was_tried {
                self.pause(settings, now);
            }
            return false;
        }
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        // One that has just come back gets no second chance.
        let enough = if matches!(self.standing(now), Standing::Ramp(_)) { 1 } else { settings.failures };
        if failures < enough || !may_pause {
            return false;
        }
        self.pause(settings, now);
        true
    }

    /// It does not answer at all.
    pub fn stalled(&self, settings: &Settings, now: Moment) {
        self.pause(settings, now);
    }

    fn pause(&self, settings: &Settings, now: Moment) {
        let pauses = self.pauses.fetch_add(1, Relaxed) + 1;
        let length = settings.pause_ms * pauses.min(LONGEST_PAUSES);
        self.failures.store(0, Relaxed);
        self.back.store(0, Relaxed);
        self.trial.store(0, Relaxed);
        self.until.store((now + length).max(1), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new(&Declared::default()).expect("it is on")
    }

    fn broken(now: Moment) -> Breaker {
        let breaker = Breaker::default();
        let paused: Vec<bool> = (0..5).map(|_| breaker.failed(&settings(), true, now)).collect();
        assert_eq!(paused, [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn five_failures_in_a_row_pause_it_and_one_success_between_does_not() {
        let breaker = Breaker::default();
        for _ in 0..20 {
            for _ in 0..4 {
                assert!(!breaker.failed(&settings(), true, 10));
            }
            breaker.succeeded(10);
        }
        assert_eq!(breaker.standing(10), Standing::Serving);
        assert_eq!(broken(10).standing(11), Standing::Paused);
    }

    #[test]
    fn after_the_pause_one_request_decides() {
        let breaker = broken(0);
        assert_eq!(breaker.standing(999), Standing::Paused);
        assert_eq!(breaker.standing(1000), Standing::OnTrial);
        assert!(breaker.try_it(1000));
        assert!(!breaker.try_it(1000), "there is one trial");
        assert_eq!(breaker.standing(1001), Standing::Paused);
        assert!(breaker.succeeded(1100));
        assert_eq!(breaker.standing(1100), Standing::Ramp(10));
        assert_eq!(breaker.standing(2100), Standing::Ramp(55));
        assert_eq!(breaker.standing(3100), Standing::Serving);
    }

    #[test]
    fn a_trial_that_fails_pauses_it_for_longer_up_to_a_bound() {
        let breaker = broken(0);
        let mut now = 1000;
        for expect in [2000, 3000, 3000] {
            assert!(breaker.try_it(now));
            breaker.failed(&settings(), true, now);
            assert_eq!(breaker.standing(now + expect - 1), Standing::Paused);
            now += expect;
            assert_eq!(breaker.standing(now), Standing::OnTrial);
        }
    }

    #[test]
    fn one_that_has_just_come_back_and_fails_is_paused_at_once() {
        let breaker = broken(0);
        assert!(breaker.try_it(1000) && breaker.succeeded(1000));
        assert!(breaker.failed(&settings(), true, 1500));
        assert_eq!(breaker.standing(3499), Standing::Paused);
    }

    #[test]
    fn answers_from_before_the_pause_count_for_nothing() {
        let breaker = broken(0);
        assert!(!breaker.succeeded(500));
        assert_eq!(breaker.standing(500), Standing::Paused);
        breaker.failed(&settings(), true, 600);
        assert_eq!(breaker.standing(1000), Standing::OnTrial, "late failures do not make it longer");
    }

    #[test]
    fn a_trial_without_an_end_is_not_waited_for_for_ever() {
        let breaker = broken(0);
        assert!(breaker.try_it(1000));
        assert_eq!(breaker.standing(1000 + TRIAL_MS), Standing::OnTrial);
        assert!(breaker.try_it(1000 + TRIAL_MS));
    }

    #[test]
    fn the_last_one_is_never_left_alone_and_neither_is_anybody_when_it_is_off() {
        let breaker = Breaker::default();
        assert!((0..100).all(|_| !breaker.failed(&settings(), false, 0)));
        assert_eq!(breaker.standing(0), Standing::Serving);
        assert_eq!(Settings::new(&Declared { off: true, ..Declared::default() }), None);
    }
}
