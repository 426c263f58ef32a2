//! A service between its rollouts: what its instances do is compared minute by minute, to learn how
//! much equal ones differ.
//!
//! With replicas it is one against the others, each in its turn; with one instance the outer
//! quarters of a minute against the inner ones, between which what comes and goes cancels out.

use super::dispersion::{Learner, WINDOW_S};
use super::meter::{Meter, Seen, add_latency};
use super::past::Past;
use super::second::Arm;
use super::slow::{overdue_ms, slow};
use model::Timestamp;
use model::flow::Latency;
use std::collections::BTreeMap;

/// How often it is looked at.
pub const LOOK_S: u64 = 15;
const LOOKS: usize = (WINDOW_S / LOOK_S) as usize;
/// Looks that are further apart, or closer, begin a new window.
const STEP_MS: std::ops::RangeInclusive<i64> = 10_000..=20_000;
/// Windows after which another replica has its turn, and what is slow is told anew.
const TURN: u64 = 60;

#[derive(Debug, Clone, Default)]
pub struct Watch {
    learner: Learner,
    past: Past,
    meters: BTreeMap<String, Meter>,
    last: Option<Timestamp>,
    /// What each did, look by look.
    window: Vec<BTreeMap<String, Arm>>,
    turn: u64,
    /// Since another replica has its turn.
    windows: u64,
}

impl Watch {
    /// Goes on with what was learned before, unless that cannot be.
    pub fn of(learner: Learner, past: Past) -> Self {
        let learner = if learner.is_sound() { learner } else { Learner::default() };
        Self { learner, past, ..Self::default() }
    }

    /// What it did lately, and at which hour.
    pub fn past(&self) -> &Past {
        &self.past
    }

    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Takes what all its instances have done; says whether something was learned. `at` is on a line
    /// of time that does not jump, `now` is what the clock says.
    pub fn look(&mut self, at: Timestamp, now: Timestamp, seen: BTreeMap<String, Seen>) -> bool {
        let is_same = seen.keys().eq(self.meters.keys());
        if !is_same {
            self.begin(&seen);
        }
        let step = self.last.replace(at).map(|last| at.0.saturating_sub(last.0));
        let is_in_step = is_same && step.is_some_and(|step| STEP_MS.contains(&step));
        let did: BTreeMap<String, Arm> = seen
            .into_iter()
            .filter_map(|(id, seen)| {
                let arm = self.meters.get_mut(&id)?.look(at, BTreeMap::from([(id.clone(), seen)]));
                Some((id, arm))
            })
            .collect();
        match is_in_step {
            true => self.window.push(did),
            // What was done in between is of no known time.
            false => self.window.clear(),
        }
        self.window.len() == LOOKS && self.learn(now)
    }

    /// Nobody is to be learned from now: a change goes on, or nothing runs.
    pub fn pause(&mut self) {
        if !self.meters.is_empty() {
            self.begin(&BTreeMap::new());
        }
        self.last = None;
    }

    fn begin(&mut self, seen: &BTreeMap<String, Seen>) {
        self.learner.change_pair();
        self.window.clear();
        self.windows = 0;
        let mut all = Latency::default();
        seen.values().for_each(|seen| add_latency(&mut all, &seen.counts.latency));
        let slow = slow(&all, 0.0);
        let meter = Meter::new(slow.map_or(u64::MAX, |slow| slow.old_us), overdue_ms(slow));
        self.meters = seen.keys().map(|id| (id.clone(), meter.clone())).collect();
    }

    fn learn(&mut self, now: Timestamp) -> bool {
        let window = std::mem::take(&mut self.window);
        self.past.note(now, &sum(window.iter().flat_map(BTreeMap::values)));
        let before = self.learner.windows();
        match self.meters.len() {
            0 => {}
            1 => {
                let part = |looks: [usize; 2]| sum(looks.iter().flat_map(|look| window[*look].values()));
                self.learner.observe_alone(&part([0, 3]), &part([1, 2]));
            }
            count => {
                let whose_turn = self.turn as usize % count;
                let looks = || window.iter().flat_map(|look| look.values().enumerate());
                let of = |is_one: bool| {
                    sum(looks().filter(|(i, _)| (*i == whose_turn) == is_one).map(|(_, arm)| arm))
                };
                self.learner.observe(&of(true), &of(false));
            }
        }
        self.windows += 1;
        if self.windows >= TURN {
            self.turn = self.turn.wrapping_add(1);
            // The next look begins with meters of its own.
            self.learner.change_pair();
            self.meters.clear();
            self.windows = 0;
        }
        self.learner.windows() != before
    }
}

fn sum<'a>(arms: impl Iterator<Item = &'a Arm>) -> Arm {
    arms.fold(Arm::default(), |all, arm| all.followed_by(arm))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::flow::Counts;

    /// A service of so many instances, each of which does the same in each look.
    struct Service {
        watch: Watch,
        now: i64,
        looks: u64,
    }

    impl Service {
        fn new() -> Self {
            Self { watch: Watch::default(), now: 0, looks: 0 }
        }

        fn look(&mut self, instances: &[(&str, u64)]) -> bool {
            self.now += LOOK_S as i64 * 1000;
            self.looks += 1;
            let counts = |requests: u64| Counts {
                requests: self.looks * requests,
                errors: self.looks * requests / 100,
                latency: Latency { ln: self.looks * requests * 1000, ..Latency::default() },
                ..Counts::default()
            };
            let seen = |requests| Seen { counts: counts(requests), ..Seen::default() };
            let all = instances.iter().map(|(id, requests)| ((*id).to_owned(), seen(*requests))).collect();
            self.watch.look(Timestamp(self.now), Timestamp(self.now), all)
        }

        fn minutes(&mut self, minutes: u64, instances: &[(&str, u64)]) -> f64 {
            for _ in 0..minutes * LOOKS as u64 {
                self.look(instances);
            }
            self.watch.learner().windows()
        }
    }

    #[test]
    fn each_minute_with_requests_is_learned_from() {
        for instances in [&[("a", 1500)][..], &[("a", 1500), ("b", 1500), ("c", 1500)]] {
            let mut service = Service::new();
            assert!(!service.look(instances), "the first look has nothing to be compared with");
            assert!(!service.watch.learner().is_enough());
            // Each hour one is spent on the change of turns.
            let windows = service.minutes(130, instances);
            assert!((120.0..130.0).contains(&windows), "{windows}");
            let (noise, learned) = service.watch.learner().noise().expect("it is enough");
            assert!(noise.errors < 2.0, "{noise:?}");
            assert_eq!(learned.minutes, windows as u32);
        }
        assert_eq!(Service::new().minutes(200, &[("a", 0), ("b", 0)]), 0.0);
        assert_eq!(Service::new().minutes(200, &[]), 0.0);
    }

    #[test]
    fn a_clock_that_jumps_and_instances_that_change_spoil_their_minute_alone() {
        let mut service = Service::new();
        let two = [("a", 100), ("b", 100)];
        service.look(&two);
        assert_eq!(service.minutes(3, &two).round(), 3.0);
        for jump in [86_400_000, -86_400_000, -15_000, i64::MAX / 2] {
            service.look(&two);
            service.now += jump;
            assert!(!service.look(&two), "{jump}");
        }
        service.look(&[("a", 100), ("c", 100)]);
        service.watch.pause();
        service.look(&two);
        assert_eq!(service.minutes(1, &two).round(), 4.0);
    }

    #[test]
    fn what_cannot_be_is_not_gone_on_with() {
        let read = |text: &str| serde_json::from_str::<Learner>(text).expect("the form is right");
        let bad = read(r#"{"windows":-5.0}"#);
        assert_eq!(Watch::of(bad, Past::default()).learner(), &Learner::default());
        assert_eq!(Watch::of(read("{}"), Past::default()).learner().windows(), 0.0);
    }
}
