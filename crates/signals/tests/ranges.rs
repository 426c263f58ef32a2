//! One signal over days: what is learned, what is outside, what becomes of input that makes no sense.

use model::range::Bounds;
use signals::range::{EVERY_MS, Ranged, Reading, Rule, Side, Standing};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// A Monday, 00:00.
const START: i64 = 1_789_948_800_000;

fn rule() -> Rule {
    Rule { floor: 0.5, ..Rule::default() }
}

/// A value that wobbles a little, the same for the same time.
fn quiet(at_ms: i64) -> f64 {
    100.0 + ((at_ms / EVERY_MS * 7919) % 101) as f64 / 50.0
}

/// Evaluates from one time to another; the last reading.
fn run(ranged: &mut Ranged, rule: &Rule, from: i64, to: i64, value: impl Fn(i64) -> Option<f64>) -> Reading {
    let times = (from..to).step_by(EVERY_MS as usize);
    times.map(|at| ranged.evaluate(rule, at, value(at), true)).last().expect("a time at least")
}

fn warm(rule: &Rule) -> Ranged {
    let mut ranged = Ranged::default();
    let reading = run(&mut ranged, rule, START, START + 2 * DAY, |at| Some(quiet(at)));
    assert_eq!(reading.standing, Standing::Inside, "{reading:?}");
    ranged
}

const NOW: i64 = START + 2 * DAY;

#[test]
fn a_day_is_learned_before_a_band_counts() {
    let mut ranged = Ranged::default();
    let reading = run(&mut ranged, &rule(), START, START + DAY - HOUR, |at| Some(quiet(at)));
    assert_eq!((reading.standing, reading.band), (Standing::Learning, None));
    let reading = run(&mut ranged, &rule(), START + DAY - HOUR, START + DAY + HOUR, |at| Some(quiet(at)));
    let band = reading.band.expect("a band");
    assert!((100.0..100.2).contains(&band.low) && (101.8..=102.0).contains(&band.high), "{band:?}");
}

#[test]
fn a_band_left_is_found_at_the_second_evaluation_and_far_at_the_first() {
    let rule = rule();
    let mut ranged = warm(&rule);
    assert_eq!(ranged.evaluate(&rule, NOW, Some(106.0), true).standing, Standing::Edge);
    let outside = ranged.evaluate(&rule, NOW + EVERY_MS, Some(106.0), true);
    assert_eq!((outside.standing, outside.since_ms), (Standing::Outside, NOW + EVERY_MS));
    assert!(warm(&rule).evaluate(&rule, NOW, Some(900.0), true).standing == Standing::Far);
    assert!(warm(&rule).evaluate(&rule, NOW, Some(-900.0), true).beyond < -3.0);
}

#[test]
fn nothing_is_learned_outside_or_during_a_rollout() {
    let rule = rule();
    let mut ranged = warm(&rule);
    let reading = run(&mut ranged, &rule, NOW, NOW + 2 * DAY, |_| Some(150.0));
    assert!(reading.standing.is_out(), "two days of it do not make it normal: {reading:?}");
    let mut ranged = warm(&rule);
    for at in (NOW..NOW + DAY).step_by(EVERY_MS as usize) {
        ranged.evaluate(&rule, at, Some(102.5), false);
    }
    let band = ranged.evaluate(&rule, NOW + DAY, Some(102.5), false).band.expect("a band");
    assert!(band.high <= 102.0, "{band:?}");
}

#[test]
fn the_new_normal_is_normal_at_once_and_learned_from_then_on() {
    let rule = rule();
    let mut ranged = warm(&rule);
    run(&mut ranged, &rule, NOW, NOW + HOUR, |_| Some(150.0));
    let band = ranged.accept(&rule, NOW + HOUR).expect("there were values");
    assert!(band.high >= 150.0 && band.low < 101.0);
    let reading = ranged.evaluate(&rule, NOW + HOUR, Some(150.0), true);
    assert_eq!(reading.standing, Standing::Inside);
    let reading = run(&mut ranged, &rule, NOW + HOUR, NOW + 3 * DAY, |at| Some(50.0 + quiet(at)));
    assert_eq!(reading.standing, Standing::Inside);
    assert!(
        reading.band.is_some_and(|band| band.low >= 150.0),
        "what was before counts no more: {reading:?}"
    );
    assert_eq!(Ranged::default().accept(&rule, NOW), None, "there is nothing to accept");
}

#[test]
fn bounds_hold_without_a_band() {
    let bounds = Bounds::new(Some(1.0), None).expect("valid");
    let rule = Rule { bounds: Some(bounds), held: 1, learns: false, ..rule() };
    let mut ranged = Ranged::default();
    assert_eq!(ranged.evaluate(&rule, NOW, Some(1.0), true).standing, Standing::Learning);
    let reading = ranged.evaluate(&rule, NOW + EVERY_MS, Some(0.0), true);
    assert!(reading.standing.is_out() && reading.is_beyond_bounds);
}

#[test]
fn only_the_side_of_interest_counts() {
    let rule = Rule { side: Side::Above, ..rule() };
    let mut ranged = warm(&rule);
    let reading = run(&mut ranged, &rule, NOW, NOW + HOUR, |_| Some(0.0));
    assert_eq!((reading.standing, reading.beyond), (Standing::Inside, 0.0));
}

#[test]
fn a_value_that_is_none_says_nothing() {
    let rule = rule();
    let mut ranged = warm(&rule);
    for value in [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY)] {
        let reading = ranged.evaluate(&rule, NOW, value, true);
        assert_eq!((reading.standing, reading.value), (Standing::Unknown, None));
    }
    // What vanished while it was outside is so for five minutes more.
    run(&mut ranged, &rule, NOW, NOW + HOUR, |_| Some(900.0));
    let gone = run(&mut ranged, &rule, NOW + HOUR, NOW + HOUR + 4 * 60_000, |_| None);
    assert!(gone.standing.is_out());
    let gone = run(&mut ranged, &rule, NOW + HOUR + 4 * 60_000, NOW + HOUR + 6 * 60_000, |_| None);
    assert_eq!(gone.standing, Standing::Unknown);
}

#[test]
fn constant_negative_and_huge_values_have_bands() {
    for value in [0.0, -7.5, 1e300, -1e300, 1e-300] {
        let rule = Rule { floor: 0.0, ..rule() };
        let mut ranged = Ranged::default();
        let reading = run(&mut ranged, &rule, START, START + 2 * DAY, |_| Some(value));
        let band = reading.band.expect("a band");
        assert!(band.width.is_finite() && band.width > 0.0, "{value}: {band:?}");
        if value.abs() < 1e30 {
            assert!(!reading.standing.is_out(), "{value}: {reading:?}");
        }
    }
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let rule = rule();
    let mut ranged = warm(&rule);
    let back = ranged.evaluate(&rule, NOW - 6 * HOUR, Some(101.0), true);
    assert_eq!(back.standing, Standing::Inside);
    let reading = run(&mut ranged, &rule, NOW - 6 * HOUR, NOW, |at| Some(quiet(at)));
    assert_eq!(reading.standing, Standing::Inside);
    let ahead = ranged.evaluate(&rule, NOW + 30 * DAY, Some(101.0), true);
    assert_eq!((ahead.standing, ahead.band), (Standing::Learning, None), "a month later it is learned anew");
    // Outside is found however the clock goes.
    let mut ranged = warm(&rule);
    ranged.evaluate(&rule, NOW, Some(106.0), true);
    assert!(ranged.evaluate(&rule, NOW - DAY, Some(106.0), true).standing.is_out());
}

#[test]
fn the_state_is_read_back_as_it_was_written() {
    let rule = rule();
    let mut ranged = warm(&rule);
    ranged.evaluate(&rule, NOW, Some(900.0), true);
    let text = serde_json::to_string(&ranged).expect("JSON");
    let mut read: Ranged = serde_json::from_str(&text).expect("read");
    for at in [NOW + EVERY_MS, NOW + 2 * EVERY_MS] {
        let before = ranged.evaluate(&rule, at, Some(101.0), true);
        assert_eq!(read.evaluate(&rule, at, Some(101.0), true), before);
    }
    assert!(text.len() < 20_000, "{} bytes of two days", text.len());
}
