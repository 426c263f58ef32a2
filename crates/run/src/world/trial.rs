//! One service of a new release beside that of the release before: what both do is metered and judged.

use super::asked::{Asker, EACH_S, Places};
use model::flow::Latency;
use model::service::{JudgePolicy, RolloutPolicy, WithoutTraffic};
use model::{DurationMs, InstanceId, Service, Timestamp};
use plan::serving::Arms;
use signals::release::{
    After, Arm, Decision, Judge, Judgement, Learner, Meter, Second, Seen, Settings, Slow, Usual, add_latency,
    overdue_ms, slow,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Looks that are written down; a judgement that takes longer than that has its limit before.
const SECONDS_MOST: usize = 4_000;
/// Part of the time of a canary that counts for an outage only.
const COLD_PART: u64 = 3;
/// How long one that has all the traffic is held against what was before, unless declared.
const AFTER_LIMIT_MS: u64 = 120_000;
/// When nobody has decided for so long beyond that, the change ends without a verdict.
const AFTER_GRACE: DurationMs = DurationMs::from_secs(60);
/// Thousandths in a percent.
const THOUSANDTHS: u16 = 10;

/// Beside the release before, or held against what that did.
enum Judging {
    Beside(Box<Judge>),
    After(Box<After>),
}

pub(crate) struct Trial {
    judge: Judging,
    pub arms: Arms,
    new: Meter,
    old: Meter,
    slow: Option<Slow>,
    /// Asks both itself where people ask too little, and what came of that.
    asker: Option<Asker>,
    own: [Meter; 2],
    /// It has asked: what a request of people's costs is no longer known.
    has_asked: bool,
    /// Until when the change waits for its end, and that this is over.
    pub waited_until: Option<Timestamp>,
    pub is_overdue: bool,
    last: Option<Timestamp>,
    seconds: Vec<Second>,
    without_traffic: WithoutTraffic,
    /// Its shares grow; those of a canary are as declared, and end by the clock.
    grows: bool,
}

impl Trial {
    pub fn of(service: &Service, arms: Arms, noise: &Learner, asker: Option<Asker>) -> Self {
        let rollout = &service.policy.rollout;
        let settings = match rollout.trial() {
            Some(judge) => of_trial(judge, service.replicas),
            None => of_canary(rollout),
        };
        // Nothing is slow until it is known what the old release takes.
        let meter = || Meter::new(u64::MAX, overdue_ms(None));
        Self {
            judge: Judging::Beside(Box::new(Judge::new(settings.with_noise_of(noise)))),
            arms,
            new: meter(),
            old: meter(),
            slow: None,
            asker,
            own: [meter(), meter()],
            has_asked: false,
            waited_until: None,
            is_overdue: false,
            last: None,
            seconds: Vec::new(),
            without_traffic: rollout.trial().map(|judge| judge.without_traffic).unwrap_or_default(),
            grows: rollout.trial().is_some(),
        }
    }

    /// Of instances that the old ones had to make room for.
    pub fn after(
        service: &Service,
        new: Vec<InstanceId>,
        now: Timestamp,
        noise: &Learner,
        usual: Option<Usual>,
    ) -> Self {
        let mut trial = Self::of(service, Arms { new, old: Vec::new() }, noise, None);
        let mut settings = match service.policy.rollout.trial() {
            Some(judge) => of_trial(judge, service.replicas),
            None => Settings::default(),
        };
        let declared = service.policy.rollout.trial().and_then(|judge| judge.limit);
        settings.limit_ms = declared.map_or(AFTER_LIMIT_MS, |limit| limit.0);
        trial.waited_until = Some(now.plus(DurationMs(settings.limit_ms)).plus(AFTER_GRACE));
        trial.judge = Judging::After(Box::new(After::new(settings.with_noise_of(noise), usual)));
        trial
    }

    pub fn is_after(&self) -> bool {
        matches!(self.judge, Judging::After(_))
    }

    /// Percent of what is new that the new release shall have.
    pub fn share(&self) -> u32 {
        match &self.judge {
            Judging::Beside(judge) => u32::from(judge.share() / THOUSANDTHS),
            Judging::After(_) => 100,
        }
    }

    pub fn look_ms(&self) -> u64 {
        match &self.judge {
            Judging::Beside(judge) => judge.look_ms(),
            Judging::After(after) => after.look_ms(),
        }
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
        let (new, old) = (self.new.look(at, new), self.old.look(at, old));
        let mut people = Second { at, new, old, is_own: false };
        let own = self.ask(&people);
        if self.has_asked {
            (people.new.cpu_us, people.old.cpu_us) = (0, 0);
        }
        let mut decision = self.judged(people);
        if let Some(own) = own.filter(|_| decision == Decision::GoOn) {
            decision = self.judged(own);
        }
        match decision {
            Decision::Keep(_) | Decision::Undecided if !self.grows => Decision::GoOn,
            decision => decision,
        }
    }

    fn judged(&mut self, second: Second) -> Decision {
        if self.seconds.len() < SECONDS_MOST {
            self.seconds.push(second);
        }
        match &mut self.judge {
            Judging::Beside(judge) => judge.observe(&second),
            Judging::After(after) => after.observe(&second),
        }
    }

    /// Has both asked while people ask them too little; what was asked since the last look.
    fn ask(&mut self, people: &Second) -> Option<Second> {
        let asker = self.asker.as_ref()?;
        let step_ms = self.last.replace(people.at).map(|last| people.at.since(last).0)?;
        let enough = EACH_S.saturating_mul(step_ms) / 1000;
        asker.set_needed(people.new.due() + people.old.due() < enough);
        let mut counts = asker.counts();
        let mut of = |ids: &[InstanceId]| -> BTreeMap<String, Seen> {
            let seen = |counts| Seen { counts, ..Seen::default() };
            // From nothing on: what nobody was asked yet is known, too.
            ids.iter().map(|id| (id.to_string(), seen(counts.remove(id).unwrap_or_default()))).collect()
        };
        let (new, old) = (of(&self.arms.new), of(&self.arms.old));
        let [new, old] = [(0, new), (1, old)].map(|(arm, seen)| self.own[arm].look(people.at, seen));
        self.has_asked |= new.due() + old.due() > 0;
        // Memory is that of the instances, whoever asks.
        let with_memory =
            |arm, of: &Arm| Arm { instances: of.instances, memory_bytes: of.memory_bytes, ..arm };
        let (new, old) = (with_memory(new, &people.new), with_memory(old, &people.old));
        (new.due() + old.due() > 0).then_some(Second { at: people.at, new, old, is_own: true })
    }

    pub fn set_places(&self, place: impl Fn(&InstanceId) -> Option<IpAddr>) {
        let of = |ids: &[InstanceId]| -> Places {
            ids.iter().filter_map(|id| Some((id.clone(), place(id)?))).collect()
        };
        if let Some(asker) = &self.asker {
            asker.set_places([of(&self.arms.new), of(&self.arms.old)]);
        }
    }

    /// Ends it now; says whether that is how it ends.
    pub fn close(&mut self) -> bool {
        match &mut self.judge {
            Judging::Beside(judge) => !self.grows && judge.close() != Decision::GoOn,
            Judging::After(_) => false,
        }
    }

    /// By the old release's own answers, until something is compared with them.
    fn learn_what_is_slow(&mut self, old: &BTreeMap<String, Seen>) {
        let Judging::Beside(judge) = &self.judge else { return };
        if self.slow.is_some() || !judge.is_cold() {
            return;
        }
        let tolerance = judge.settings().tolerances.level;
        let mut all = Latency::default();
        old.values().for_each(|seen| add_latency(&mut all, &seen.counts.latency));
        self.slow = slow(&all, tolerance);
        if let Some(slow) = self.slow {
            let [own_new, own_old] = &mut self.own;
            for (meters, slow_us) in
                [([&mut self.new, own_new], slow.new_us), ([&mut self.old, own_old], slow.old_us)]
            {
                meters.into_iter().for_each(|meter| meter.set_limits(slow_us, overdue_ms(self.slow)));
            }
        }
    }

    pub fn judgement(&self) -> Judgement {
        match &self.judge {
            Judging::Beside(judge) => Judgement::of(judge, self.slow, self.seconds.clone()),
            Judging::After(after) => after.judgement(self.slow, self.seconds.clone()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use model::Percent;

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
}
