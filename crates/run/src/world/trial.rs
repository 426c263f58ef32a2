//! One service of a new release beside that of the release before: what both do is metered and judged.

use model::flow::{Counts, Latency, LatencyBucket};
use model::service::{JudgePolicy, RolloutPolicy, WithoutTraffic};
use model::{InstanceId, Service, Timestamp};
use plan::serving::Arms;
use signals::release::{Decision, Judge, Judgement, Meter, Second, Seen, Settings, Slow, overdue_ms, slow};
use std::collections::BTreeMap;

/// Looks that are written down; a judgement that takes longer than that has its limit before.
const SECONDS_MOST: usize = 2_000;
/// Part of the time of a canary that counts for an outage only.
const COLD_PART: u64 = 3;
/// Thousandths in a percent.
const THOUSANDTHS: u16 = 10;

pub(crate) struct Trial {
    judge: Judge,
    pub arms: Arms,
    new: Meter,
    old: Meter,
    slow: Option<Slow>,
    seconds: Vec<Second>,
    without_traffic: WithoutTraffic,
    /// Its shares grow; those of a canary are as declared, and end by the clock.
    grows: bool,
}

impl Trial {
    pub fn of(service: &Service, arms: Arms) -> Self {
        let rollout = &service.policy.rollout;
        let settings = match rollout.trial() {
            Some(judge) => of_trial(judge, service.replicas),
            None => of_canary(rollout),
        };
        Self {
            judge: Judge::new(settings),
            arms,
            // Nothing is slow until it is known what the old release takes.
            new: Meter::new(u64::MAX, overdue_ms(None)),
            old: Meter::new(u64::MAX, overdue_ms(None)),
            slow: None,
            seconds: Vec::new(),
            without_traffic: rollout.trial().map(|judge| judge.without_traffic).unwrap_or_default(),
            grows: rollout.trial().is_some(),
        }
    }

    /// Percent of what is new that the new release shall have.
    pub fn share(&self) -> u32 {
        u32::from(self.judge.share() / THOUSANDTHS)
    }

    pub fn look_ms(&self) -> u64 {
        self.judge.look_ms()
    }

    pub fn without_traffic(&self) -> WithoutTraffic {
        self.without_traffic
    }

    /// Ends by what is found; one of a canary ends by the clock unless something was found.
    pub fn observe(&mut self, at: Timestamp, seen: &BTreeMap<InstanceId, Seen>) -> Decision {
        let of = |ids: &[InstanceId]| -> BTreeMap<String, Seen> {
            ids.iter().filter_map(|id| Some((id.to_string(), seen.get(id)?.clone()))).collect()
        };
        let (new, old) = (of(&self.arms.new), of(&self.arms.old));
        self.learn_what_is_slow(&old);
        let second = Second { at, new: self.new.look(at, new), old: self.old.look(at, old) };
        if self.seconds.len() < SECONDS_MOST {
            self.seconds.push(second);
        }
        match self.judge.observe(&second) {
            Decision::Keep(_) | Decision::Undecided if !self.grows => Decision::GoOn,
            decision => decision,
        }
    }

    /// Ends it now; says whether that is how it ends.
    pub fn close(&mut self) -> bool {
        !self.grows && self.judge.close() != Decision::GoOn
    }

    /// By the old release's own answers, until something is compared with them.
    fn learn_what_is_slow(&mut self, old: &BTreeMap<String, Seen>) {
        if self.slow.is_some() || !self.judge.is_cold() {
            return;
        }
        let mut all = Latency::default();
        old.values().for_each(|seen| add_latency(&mut all, &seen.counts.latency));
        self.slow = slow(&all, self.judge.settings().tolerances.level);
        if let Some(slow) = self.slow {
            self.new.set_limits(slow.new_us, overdue_ms(self.slow));
            self.old.set_limits(slow.old_us, overdue_ms(self.slow));
        }
    }

    pub fn judgement(&self) -> Judgement {
        Judgement::of(&self.judge, self.slow, self.seconds.clone())
    }
}

fn of_trial(judge: &JudgePolicy, replicas: u32) -> Settings {
    // One new instance carries no more than its part of all.
    let most = (1000 / replicas.clamp(2, 20)) as u16;
    let mut settings = Settings::default().with_most(most);
    if let Some(cold) = judge.cold_start {
        settings.cold_ms = cold.0;
        // The last share begins when everything counts.
        let stages = settings.stages.len() as u64;
        for (stage, number) in settings.stages.iter_mut().zip(0..) {
            stage.from_ms = cold.0 * number / (stages - 1).max(1);
        }
    }
    settings.limit_ms = judge.limit.map_or(settings.limit_ms, |limit| limit.0);
    if judge.without_traffic == WithoutTraffic::Wait {
        settings.patience_ms = settings.limit_ms;
    }
    settings
}

fn of_canary(rollout: &RolloutPolicy) -> Settings {
    let share = rollout.canary.map_or(1, |share| u16::from(share.get()).max(1));
    let usual = Settings::default();
    let time = rollout.canary_time.unwrap_or(plan::CANARY_TIME).0;
    let mut settings = usual.with_share(share * THOUSANDTHS);
    settings.cold_ms = settings.cold_ms.min(time / COLD_PART);
    // It is asked until the clock ends it.
    settings.limit_ms = u64::MAX;
    settings.patience_ms = u64::MAX;
    settings
}

/// What one instance did by all backends it is behind.
pub fn add(all: &mut Counts, one: &Counts) {
    all.connections += one.connections;
    all.active += one.active;
    all.requests += one.requests;
    all.errors += one.errors;
    for (class, more) in all.classes.iter_mut().zip(one.classes) {
        *class += more;
    }
    add_latency(&mut all.latency, &one.latency);
}

fn add_latency(all: &mut Latency, one: &Latency) {
    all.sum_us += one.sum_us;
    all.ln += one.ln;
    all.ln_squares += one.ln_squares;
    let mut buckets: BTreeMap<u64, u64> = all.buckets.iter().map(|b| (b.le_us, b.count)).collect();
    one.buckets.iter().for_each(|b| *buckets.entry(b.le_us).or_default() += b.count);
    all.buckets = buckets.into_iter().map(|(le_us, count)| LatencyBucket { le_us, count }).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DurationMs, Percent};

    #[test]
    fn settings_follow_from_what_is_declared() {
        let judge = JudgePolicy { cold_start: Some(DurationMs(4000)), ..JudgePolicy::default() };
        let of_four = of_trial(&judge, 4).checked();
        let stages: Vec<_> = of_four.stages.iter().map(|stage| (stage.from_ms, stage.share)).collect();
        assert_eq!(stages, [(0, 50), (2000, 250), (4000, 250)]);
        let waits = JudgePolicy { without_traffic: WithoutTraffic::Wait, ..judge };
        assert_eq!(of_trial(&waits, 1).patience_ms, of_trial(&waits, 1).limit_ms);
        let canary =
            RolloutPolicy { canary: Some(Percent::parse("10%").expect("valid")), ..Default::default() };
        let settings = of_canary(&canary).checked();
        assert_eq!((settings.share_at(0), settings.cold_ms), (100, 10_000));
    }

    #[test]
    fn an_instance_behind_two_ports_is_one() {
        let bucket = |le_us, count| LatencyBucket { le_us, count };
        let latency = |buckets| Latency { buckets, ln: 5, ..Latency::default() };
        let one = Counts { requests: 3, latency: latency(vec![bucket(20, 3)]), ..Counts::default() };
        let other =
            Counts { requests: 2, latency: latency(vec![bucket(16, 1), bucket(20, 1)]), ..Counts::default() };
        let mut all = one;
        add(&mut all, &other);
        assert_eq!((all.requests, all.latency.ln), (5, 10));
        assert_eq!(all.latency.buckets, [bucket(16, 1), bucket(20, 4)]);
    }
}
