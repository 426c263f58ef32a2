//! When a new instance takes the place of an old one: ready for a while, perhaps with a small share
//! first, then watched before the release is kept.

use crate::input::{Direction, Fallback, Input, InstanceView, Phase, Trial};
use crate::spec::spec_hash;
use model::service::UpdateConfig;
use model::{Digest, DurationMs, Release, Service, Timestamp};

/// How long a new instance must have been ready before it takes traffic over from an old one.
pub const MIN_HEALTHY: DurationMs = DurationMs(500);
/// How long a canary has its share.
pub const CANARY_TIME: DurationMs = DurationMs::from_secs(30);
/// How long a new release is compared with the one before at most.
pub const TRIAL_TIME: DurationMs = DurationMs::from_secs(600);
/// Percent that it has until it was first looked at.
pub const FIRST_SHARE: u32 = 5;
/// When nobody has decided for so long beyond that, the rollout goes on.
const TRIAL_GRACE: DurationMs = DurationMs::from_secs(60);
/// How long a replica that took over is watched before the release may be kept.
pub const MONITOR: DurationMs = DurationMs::from_secs(2);

/// Where an instance of the desired release is on its way into traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Unready,
    /// Ready, but not for long enough.
    Settling {
        until: Timestamp,
    },
    /// Has its small share.
    Canary {
        until: Timestamp,
    },
    /// In its place since this time.
    InPlace {
        since: Timestamp,
    },
}

/// What is the same for all replicas of one service.
pub(crate) struct Takeover<'a> {
    pub service: &'a Service,
    pub hash: Digest,
    /// The hash of the same service in the release before, if it differs.
    pub before: Option<Digest>,
    is_taking_over: bool,
    trial: Option<Trial>,
    direction: Direction,
    now: Timestamp,
}

impl<'a> Takeover<'a> {
    pub fn of(input: &Input<'_>, release: &Release, service: &'a Service) -> Self {
        Self::new(release, input.fallback, input.direction, service, input.now)
    }

    pub fn new(
        release: &Release,
        fallback: Option<Fallback<'_>>,
        direction: Direction,
        service: &'a Service,
        now: Timestamp,
    ) -> Self {
        let hash = spec_hash(release, service);
        let before = fallback.and_then(|f| {
            let previous = f.release.stack.services.get(&service.name)?;
            Some(spec_hash(f.release, previous)).filter(|before| *before != hash)
        });
        let is_taking_over = before.is_some() && fallback.is_some_and(|f| f.phase == Phase::TakingOver);
        let trial = fallback.and_then(|f| f.trials.get(&service.name).copied());
        Self { service, hash, before, is_taking_over, trial, direction, now }
    }

    pub fn is_current(&self, instance: &InstanceView) -> bool {
        instance.observed.spec.spec_hash == self.hash
    }

    /// It belongs to the release before.
    pub fn is_before(&self, instance: &InstanceView) -> bool {
        self.before.as_ref() == Some(&instance.observed.spec.spec_hash)
    }

    /// It has ended, but may be gone back to.
    pub fn may_return(&self, instance: &InstanceView) -> bool {
        self.is_taking_over && self.is_before(instance)
    }

    /// A release is being rolled out in which this service differs.
    pub fn is_under_way(&self) -> bool {
        self.is_taking_over
    }

    /// `takes_over` says whether another instance has the place so far; `canary` whether this may be
    /// the canary of its service.
    pub fn stage(&self, instance: &InstanceView, takes_over: bool, canary: bool) -> Stage {
        let Some(ready) = instance.ready_since.filter(|_| instance.is_running()) else {
            return Stage::Unready;
        };
        if !takes_over {
            return Stage::InPlace { since: ready };
        }
        let rollout = &self.service.policy.rollout;
        let settled = ready.plus(rollout.min_healthy.unwrap_or(MIN_HEALTHY));
        if self.now < settled {
            return Stage::Settling { until: settled };
        }
        let canary = canary && self.is_taking_over && self.direction == Direction::Forward;
        let beside = rollout.canary.is_some_and(|share| share.get() < 100) || rollout.trial().is_some();
        if !canary || !beside {
            return Stage::InPlace { since: settled };
        }
        let until = self.canary_until(settled);
        if self.now < until { Stage::Canary { until } } else { Stage::InPlace { since: until } }
    }

    /// Until when one that is ready since then serves beside the old one.
    fn canary_until(&self, settled: Timestamp) -> Timestamp {
        let rollout = &self.service.policy.rollout;
        match (rollout.trial(), self.trial.and_then(|trial| trial.over)) {
            (None, _) => settled.plus(rollout.canary_time.unwrap_or(CANARY_TIME)),
            (Some(_), Some(over)) => over.max(settled),
            (Some(judge), None) => settled.plus(judge.limit.unwrap_or(TRIAL_TIME)).plus(TRIAL_GRACE),
        }
    }

    /// Percent of what is new that all canaries have together.
    pub fn share(&self) -> u32 {
        let rollout = &self.service.policy.rollout;
        match rollout.trial() {
            Some(_) => self.trial.map_or(FIRST_SHARE, |trial| trial.share),
            None => rollout.canary.map_or(100, |share| u32::from(share.get())),
        }
    }

    /// Until when a replica that is in its place since then is watched.
    pub fn watched_until(&self, since: Timestamp) -> Option<Timestamp> {
        let monitor = match self.direction {
            Direction::Forward => self.service.update.monitor.unwrap_or(MONITOR),
            Direction::Back => self.service.rollback.as_ref().and_then(|r| r.monitor).unwrap_or_default(),
        };
        let until = since.plus(monitor);
        (self.is_taking_over && self.now < until).then_some(until)
    }

    /// The settings that rule this direction.
    pub fn config(&self) -> UpdateConfig {
        config(self.service, self.direction)
    }
}

/// `update_config` or `rollback_config`, whichever rules.
pub fn config(service: &Service, direction: Direction) -> UpdateConfig {
    match (direction, &service.rollback) {
        (Direction::Forward, _) => service.update.clone(),
        (Direction::Back, Some(declared)) => declared.clone(),
        // Going back is done at once unless something else is declared.
        (Direction::Back, None) => UpdateConfig { parallelism: Some(0), ..UpdateConfig::default() },
    }
}
