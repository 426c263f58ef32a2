//! What a judgement is asked for: how often it may be wrong, what is tolerated, how long it takes.

use super::dispersion::{Dispersion, Learned, Learner};
use serde::{Deserialize, Serialize};

/// Shares are counted in thousandths.
pub const WHOLE: u16 = 1000;
/// No judgement takes longer: each of its seconds is written down.
pub const LONGEST_MS: u64 = 1_200_000;

/// How often both are looked at: more often at first, when all that counts is an outage.
const LOOK_MS: u64 = 1_000;
const LOOK_COLD_MS: u64 = 250;

/// No lasting differences between replicas excuse a release that takes so much longer.
const MOST_TOLERANCE: f64 = 0.5;

/// A share of what is new and from when on the new release has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub from_ms: u64,
    pub share: u16,
}

/// Chances of taking an equal release back, by test. In all 1 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chances {
    pub outage: f64,
    pub errors: f64,
    pub level: f64,
    pub tail: f64,
    pub count: f64,
    pub cpu: f64,
    pub memory: f64,
}

/// What the old release may be exceeded by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tolerances {
    /// Share of failures beyond those of the old one.
    pub errors: f64,
    /// The same while the new one is cold.
    pub outage: f64,
    /// Share of slow ones beyond those of the old one.
    pub tail: f64,
    /// Parts of its time to answer, of its processor time for each request, of its memory.
    pub level: f64,
    pub cpu: f64,
    pub memory: f64,
}

/// What has to be shown, with a chance of `doubt` to be wrong, before a release is kept early.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Enough {
    pub doubt: f64,
    pub errors: f64,
    pub tail: f64,
    pub level: f64,
    /// Share of failures that must be excluded at the end, or it is said that nothing is known.
    pub least: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub stages: Vec<Stage>,
    /// What the new release does at first is not held against it, an outage excepted.
    pub cold_ms: u64,
    /// With fewer requests than `fewest` until then nothing can be said.
    pub patience_ms: u64,
    pub fewest: u64,
    pub limit_ms: u64,
    pub chances: Chances,
    pub tolerances: Tolerances,
    pub enough: Enough,
    pub dispersion: Dispersion,
    /// From what the dispersion was learned; none: it is the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
}

impl Default for Settings {
    fn default() -> Self {
        let stage = |from_s: u64, share| Stage { from_ms: from_s * 1000, share };
        Self {
            stages: vec![stage(0, 50), stage(15, 250), stage(30, 500)],
            cold_ms: 30_000,
            patience_ms: 60_000,
            fewest: 10,
            limit_ms: 600_000,
            chances: Chances {
                outage: 0.0015,
                errors: 0.003,
                level: 0.003,
                tail: 0.001,
                count: 0.0005,
                cpu: 0.0005,
                memory: 0.0005,
            },
            tolerances: Tolerances {
                errors: 0.001,
                outage: 0.1,
                tail: 0.001,
                level: 0.09,
                cpu: 0.25,
                memory: 0.5,
            },
            enough: Enough { doubt: 0.05, errors: 0.005, tail: 0.02, level: 0.14, least: 0.05 },
            dispersion: Dispersion::default(),
            learned: None,
        }
    }
}

impl Settings {
    /// With the noise of the release before, where enough of it is known.
    pub fn with_noise_of(mut self, learner: &Learner) -> Self {
        if let Some((dispersion, learned)) = learner.noise() {
            self.dispersion = dispersion;
            self.learned = Some(learned);
            self.tolerances.level = learner.tolerance(self.tolerances.level).min(MOST_TOLERANCE);
        }
        self
    }

    /// With no share above `most`, which is what the new instances can carry.
    pub fn with_most(mut self, most: u16) -> Self {
        self.stages.iter_mut().for_each(|stage| stage.share = stage.share.min(most));
        self
    }

    /// With one share all the time.
    pub fn with_share(mut self, share: u16) -> Self {
        self.stages = vec![Stage { from_ms: 0, share }];
        self
    }

    /// As it can be judged by: numbers that are none are those of the default.
    pub fn checked(mut self) -> Self {
        let usual = Self::default();
        let chance = |value: &mut f64, usual: f64| {
            if !(*value > 0.0 && *value < 1.0) {
                *value = usual;
            }
        };
        let (all, defaults) = (&mut self.chances, &usual.chances);
        chance(&mut all.outage, defaults.outage);
        chance(&mut all.errors, defaults.errors);
        chance(&mut all.level, defaults.level);
        chance(&mut all.tail, defaults.tail);
        chance(&mut all.count, defaults.count);
        chance(&mut all.cpu, defaults.cpu);
        chance(&mut all.memory, defaults.memory);
        let (all, defaults) = (&mut self.tolerances, &usual.tolerances);
        chance(&mut all.errors, defaults.errors);
        chance(&mut all.outage, defaults.outage);
        chance(&mut all.tail, defaults.tail);
        chance(&mut all.level, defaults.level);
        chance(&mut all.cpu, defaults.cpu);
        chance(&mut all.memory, defaults.memory);
        let (all, defaults) = (&mut self.enough, &usual.enough);
        chance(&mut all.doubt, defaults.doubt);
        chance(&mut all.errors, defaults.errors);
        chance(&mut all.tail, defaults.tail);
        chance(&mut all.level, defaults.level);
        chance(&mut all.least, defaults.least);
        // What is not found must not be what is kept.
        all.level = all.level.max(self.tolerances.level + 0.05);
        let noise = &mut self.dispersion;
        for (varies, usual) in [
            (&mut noise.errors, usual.dispersion.errors),
            (&mut noise.tail, usual.dispersion.tail),
            (&mut noise.level, usual.dispersion.level),
        ] {
            *varies = if varies.is_finite() && *varies >= 1.0 { *varies } else { usual };
        }
        self.limit_ms = self.limit_ms.min(LONGEST_MS);
        self.stages.retain(|stage| stage.share > 0 && stage.share < WHOLE);
        if self.stages.is_empty() {
            self.stages = usual.stages;
        }
        self.stages.sort_by_key(|stage| stage.from_ms);
        self
    }

    /// The share at a time since the beginning.
    pub fn share_at(&self, elapsed_ms: u64) -> u16 {
        let begun = self.stages.iter().rev().find(|stage| stage.from_ms <= elapsed_ms);
        begun.or(self.stages.first()).map_or(WHOLE / 2, |stage| stage.share)
    }

    /// How long to wait until the next look.
    pub fn look_ms(&self, elapsed_ms: u64) -> u64 {
        if elapsed_ms < self.cold_ms { LOOK_COLD_MS } else { LOOK_MS }
    }

    /// When the last share is reached.
    pub fn last_stage_ms(&self) -> u64 {
        self.stages.last().map_or(0, |stage| stage.from_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_their_stages() {
        let settings = Settings::default().with_most(250).checked();
        let shares: Vec<u16> =
            [0, 14_999, 15_000, 30_000, u64::MAX].iter().map(|at| settings.share_at(*at)).collect();
        assert_eq!(shares, [50, 50, 250, 250, 250]);
        assert_eq!(settings.last_stage_ms(), 30_000);
    }

    #[test]
    fn settings_nobody_can_judge_by_are_those_of_the_default() {
        let mut settings = Settings { limit_ms: u64::MAX, stages: Vec::new(), ..Settings::default() };
        settings.chances.errors = f64::NAN;
        settings.tolerances.level = -1.0;
        settings.enough.doubt = 7.0;
        settings.dispersion.tail = f64::NAN;
        let usual = Settings { limit_ms: LONGEST_MS, ..Settings::default() };
        assert_eq!(settings.checked(), usual.checked());
        for share in [0, WHOLE] {
            assert_eq!(Settings::default().with_share(share).checked().stages, Settings::default().stages);
        }
        let wide = Settings {
            tolerances: Tolerances { level: 0.3, ..Settings::default().tolerances },
            ..Settings::default()
        };
        assert_eq!(wide.checked().enough.level, 0.35);
    }
}
