//! One rollout after another: what is learned before, what is decided and when.

use crate::traffic::{Fault, Noise, Traffic};
use signals::release::{Arm, Decision, Judge, Learner, Settings, WINDOW_S};

/// Minutes after which another replica is compared with the others, as in a daemon.
const TURN: u64 = 60;

pub struct Scenario {
    pub rate: f64,
    pub noise: Noise,
    pub fault: Fault,
    pub settings: Settings,
}

pub struct Ending {
    pub decision: Decision,
    pub took_ms: u64,
    /// Requests of the new release that failed.
    pub failed: u64,
}

/// What so many minutes of two equal replicas teach.
pub fn learned(rate: f64, noise: Noise, minutes: u64, seed: u64) -> Learner {
    let mut learner = Learner::default();
    let noise = Noise { cold_start: false, ..noise };
    let mut traffic = Traffic::new(rate, noise, Fault::NONE, seed).of_equals();
    for minute in 0..minutes {
        let (mut one, mut other) = (Arm::default(), Arm::default());
        for _ in 0..WINDOW_S {
            let second = traffic.next(500, 1000);
            (one, other) = (one.followed_by(&second.new), other.followed_by(&second.old));
        }
        if minute % TURN == TURN - 1 {
            learner.change_pair();
        }
        learner.observe(&one, &other);
    }
    learner
}

pub fn rollout(scenario: &Scenario, settings: &Settings, seed: u64) -> Ending {
    let mut judge = Judge::new(settings.clone());
    let mut traffic = Traffic::new(scenario.rate, scenario.noise, scenario.fault, seed);
    loop {
        let second = traffic.next(judge.share(), judge.look_ms());
        let decision = judge.observe(&second);
        if decision != Decision::GoOn {
            return Ending { decision, took_ms: judge.elapsed_ms(), failed: judge.all().0.bad() };
        }
    }
}
