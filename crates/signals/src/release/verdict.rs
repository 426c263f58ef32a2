//! How a judgement ends, with every number it can be made again from.

use super::after::After;
use super::judge::Judge;
use super::past::Usual;
use super::second::{Arm, Second};
use super::settings::{Chances, Settings};
use serde::{Deserialize, Serialize};

/// Version of the form of [`Judgement`].
pub const FORM: u32 = 1;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// So many failures that no cold start excuses them.
    Outage,
    Errors,
    /// How long an answer usually takes.
    Level,
    /// How many take long.
    Tail,
    /// Requests that are never answered.
    Count,
    Cpu,
    Memory,
}

impl Test {
    pub const ALL: &[Self] =
        &[Self::Outage, Self::Errors, Self::Level, Self::Tail, Self::Count, Self::Cpu, Self::Memory];

    pub fn chance(self, chances: &Chances) -> f64 {
        match self {
            Self::Outage => chances.outage,
            Self::Errors => chances.errors,
            Self::Level => chances.level,
            Self::Tail => chances.tail,
            Self::Count => chances.count,
            Self::Cpu => chances.cpu,
            Self::Memory => chances.memory,
        }
    }

    /// As people are told.
    pub fn word(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Errors => "errors",
            Self::Level => "time to answer",
            Self::Tail => "slow answers",
            Self::Count => "lost requests",
            Self::Cpu => "processor time",
            Self::Memory => "memory",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// It was shown not to be much worse.
    Shown,
    /// It was not found to be worse in all the time there is.
    NoAlarm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    GoOn,
    GoBack(Test),
    Keep(Ground),
    /// There was too little traffic to say anything.
    Undecided,
}

/// Evidence as logarithms: the release is taken back when the first reaches the second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub test: Test,
    #[serde(deserialize_with = "number_or_none")]
    pub evidence: f64,
    pub needed: f64,
}

/// JSON has no infinity; where nothing was compared there is no evidence.
fn number_or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NEG_INFINITY))
}

/// Beyond what an answer counts as slow, by arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    pub new_us: u64,
    pub old_us: u64,
}

/// A judgement as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub form: u32,
    pub settings: Settings,
    pub slow: Option<Slow>,
    pub decision: Decision,
    pub took_ms: u64,
    pub findings: Vec<Finding>,
    /// What both did, without what was cold.
    pub new: Arm,
    pub old: Arm,
    pub seconds: Vec<Second>,
    /// Held against what was before, which is none where too little was known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_after: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual: Option<Usual>,
}

impl Judgement {
    pub fn of(judge: &Judge, slow: Option<Slow>, seconds: Vec<Second>) -> Self {
        let (new, old) = match judge.decision() {
            // It was found while cold.
            Decision::GoBack(Test::Outage) => judge.all(),
            _ => judge.judged(),
        };
        Self {
            form: FORM,
            settings: judge.settings().clone(),
            slow,
            decision: judge.decision(),
            took_ms: judge.elapsed_ms(),
            findings: judge.findings(),
            new,
            old,
            seconds,
            is_after: false,
            usual: None,
        }
    }

    /// The same from its seconds and settings alone.
    pub fn again(&self) -> Self {
        if self.is_after {
            let mut after = After::new(self.settings.clone(), self.usual);
            self.seconds.iter().for_each(|second| {
                after.observe(second);
            });
            if self.decision != Decision::GoOn {
                after.close();
            }
            return after.judgement(self.slow, self.seconds.clone());
        }
        let mut judge = Judge::new(self.settings.clone());
        self.seconds.iter().for_each(|second| {
            judge.observe(second);
        });
        // It was ended before its time.
        if self.decision != Decision::GoOn {
            judge.close();
        }
        Self::of(&judge, self.slow, self.seconds.clone())
    }

    /// The test that found most, beside what it needs.
    pub fn strongest(&self) -> Option<&Finding> {
        self.findings.iter().max_by(|a, b| (a.evidence - a.needed).total_cmp(&(b.evidence - b.needed)))
    }
}
