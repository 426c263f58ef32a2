//! Replayed rollouts: what is equal stays, what is bad goes, however often one looks.

#[path = "../examples/rollouts/lots.rs"]
mod lots;
#[path = "../examples/rollouts/replay.rs"]
mod replay;
#[path = "../examples/rollouts/traffic.rs"]
mod traffic;

use replay::{Ending, Scenario, learned, rollout};
use signals::release::{Arm, Decision, Judge, Judgement, Second, Settings, Test};
use traffic::{Fault, Noise, Traffic};

fn endings(scenario: &Scenario, seeds: std::ops::Range<u64>) -> Vec<Ending> {
    seeds.map(|seed| rollout(scenario, &scenario.settings, seed * 7919)).collect()
}

fn scenario(rate: f64, noise: Noise, fault: Fault) -> Scenario {
    // Never kept early, so that it is looked at as often as can be.
    let mut settings = Settings { limit_ms: 300_000, ..Settings::default() };
    settings.enough.doubt = 1e-300;
    Scenario { rate, noise, fault, settings }
}

fn taken_back(endings: &[Ending]) -> usize {
    endings.iter().filter(|ending| matches!(ending.decision, Decision::GoBack(_))).count()
}

#[test]
fn equal_releases_are_hardly_ever_taken_back() {
    // 1 % is promised: more than three of 150 would be bad luck once in five times, and the seeds are
    // fixed.
    for noise in [Noise::NONE, Noise::HARSH] {
        let found = taken_back(&endings(&scenario(50.0, noise, Fault::NONE), 0..150));
        assert!(found <= 3, "{found} of 150 with {noise:?}");
    }
}

#[test]
fn bad_releases_are_taken_back_for_what_is_bad() {
    let errors = scenario(100.0, Noise::NONE, Fault { errors: 0.05, latency: 1.0 });
    let slow = scenario(100.0, Noise::NONE, Fault { errors: 0.001, latency: 1.5 });
    let outage = scenario(100.0, Noise::NONE, Fault { errors: 1.0, latency: 1.0 });
    let cases: [(_, &[Test], u64); 3] = [
        (errors, &[Test::Errors], 90_000),
        (slow, &[Test::Level, Test::Tail], 120_000),
        (outage, &[Test::Outage], 5_000),
    ];
    for (scenario, tests, limit_ms) in cases {
        for ending in endings(&scenario, 0..25) {
            let Decision::GoBack(test) = ending.decision else { panic!("{:?}", ending.decision) };
            assert!(tests.contains(&test), "{test:?} instead of {tests:?}");
            assert!(test != Test::Outage || ending.failed <= 20, "{} failed", ending.failed);
            assert!(ending.took_ms <= limit_ms, "{} ms for {test:?}", ending.took_ms);
        }
    }
}

#[test]
fn what_clumps_and_wanders_is_learned() {
    let day = |noise| learned(20.0, noise, 1440, 1).dispersion();
    let (calm, harsh) = (day(Noise::NONE), day(Noise::HARSH));
    assert!(calm.errors < 1.3 && calm.level < 1.3 && calm.tail < 1.3, "{calm:?}");
    // Clumps of 1 and two more in the mean: 11/3 of the variance of single ones.
    assert!((3.0..4.5).contains(&harsh.errors), "{harsh:?}");
    assert!(harsh.level > 1.5, "{harsh:?}");
}

#[test]
fn a_judgement_follows_from_what_is_written_down() {
    for (fault, seed) in [(Fault::NONE, 3), (Fault { errors: 0.05, latency: 1.0 }, 4)] {
        let mut traffic = Traffic::new(100.0, Noise::HARSH, fault, seed);
        let (mut judge, mut seconds) = (Judge::new(Settings::default()), Vec::new());
        while judge.decision() == Decision::GoOn {
            let second = traffic.next(judge.share(), judge.look_ms());
            judge.observe(&second);
            seconds.push(second);
        }
        let judgement = Judgement::of(&judge, None, seconds);
        let text = serde_json::to_string(&judgement).expect("it can be written");
        let read: Judgement = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(read.again(), judgement);
        assert!(!judgement.sentence().is_empty());
    }
}

#[test]
fn too_little_traffic_is_undecided() {
    // Enough to begin with is not enough to exclude anything.
    for rate in [0.02, 0.4] {
        let found = endings(&scenario(rate, Noise::NONE, Fault::NONE), 0..5);
        assert!(found.iter().all(|ending| ending.decision == Decision::Undecided), "{rate}");
    }
}

#[test]
fn time_that_stands_still_or_jumps_is_no_evidence() {
    let mut judge = Judge::new(Settings::default());
    let empty = |at| Second { at: model::Timestamp(at), ..Second::default() };
    for at in [1_000, 1_000, 0, i64::MIN, i64::MAX, 5_000] {
        assert_eq!(judge.observe(&empty(at)), Decision::GoOn);
    }
    assert!(judge.elapsed_ms() <= 10_000, "{}", judge.elapsed_ms());
    // A day without a look is a few seconds at most.
    judge.observe(&empty(86_400_000));
    assert!(judge.elapsed_ms() <= 15_000, "{}", judge.elapsed_ms());
}

#[test]
fn what_people_ask_and_what_is_asked_by_ourselves_are_not_held_against_each_other() {
    // People ask little, mostly the old release, and what takes long and fails; we ask both alike.
    let end = |failing: u64| {
        let mut judge = Judge::new(Settings::default());
        let arm = |requests: u64, failed: u64, ln: u64| Arm {
            instances: 1,
            requests,
            failed,
            ln: requests * ln,
            ln_squares: requests * (ln * ln + 20_000),
            ..Arm::default()
        };
        let mut look = 0;
        while judge.decision() == Decision::GoOn {
            look += 1;
            let at = model::Timestamp(look * 1000);
            // Whoever answers, one of people's requests of ten fails.
            let (few, many) = (u64::from(look % 10 == 0), u64::from(look % 2 == 0));
            let people = Second { at, new: arm(few, 0, 3_400), old: arm(8, many, 3_400), is_own: false };
            let bad = if look % 3 == 0 { failing } else { 0 };
            let own = Second { at, new: arm(20, bad, 1_800), old: arm(20, 0, 1_800), is_own: true };
            judge.observe(&people);
            judge.observe(&own);
        }
        judge.decision()
    };
    assert!(matches!(end(0), Decision::Keep(_)), "{:?}", end(0));
    assert_eq!(end(4), Decision::GoBack(Test::Errors));
}
