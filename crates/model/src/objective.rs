//! `x-juchu.objectives` of a service: which share of its requests is to be answered, and how quickly.

use crate::DurationMs;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an answer may take at least, and at most, to be an objective.
pub const WITHIN_MIN: DurationMs = DurationMs(1);
pub const WITHIN_MAX: DurationMs = DurationMs(30_000);

const WHOLE_PPM: f64 = 1e6;
const LEAST_PPM: u32 = 500_000;
/// 99.999 %: below that share measuring says nothing.
const MOST_PPM: u32 = 999_990;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an objective is a share between 50% and 99.999%")]
pub struct TargetError;

/// A share of requests that is to go well, such as 99.9 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Target {
    ppm: u32,
}

impl Target {
    pub fn new(share: f64) -> Result<Self, TargetError> {
        let ppm = (share * WHOLE_PPM).round();
        let is_one = share.is_finite() && (f64::from(LEAST_PPM)..=f64::from(MOST_PPM)).contains(&ppm);
        if is_one { Ok(Self { ppm: ppm as u32 }) } else { Err(TargetError) }
    }

    /// Reads `99.9%` and `0.999`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let share = match text.trim().strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
            None => text.trim().parse(),
        };
        Self::new(share.map_err(|_| TargetError)?)
    }

    /// 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.ppm) / WHOLE_PPM
    }

    /// The share that may go wrong.
    pub fn allowed(self) -> f64 {
        (WHOLE_PPM - f64::from(self.ppm)) / WHOLE_PPM
    }
}

impl TryFrom<f64> for Target {
    type Error = TargetError;

    fn try_from(share: f64) -> Result<Self, TargetError> {
        Self::new(share)
    }
}

impl From<Target> for f64 {
    fn from(target: Target) -> Self {
        target.share()
    }
}

/// `99.9 %`
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.4}", f64::from(self.ppm) / 1e4);
        write!(f, "{} %", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A share with as many digits as tell it from all: `99.93 %`, `98.2 %`.
pub fn share_text(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent > 99.0 { 3 } else { 1 };
    let text = format!("{percent:.digits$}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// So many answers within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quickness {
    pub target: Target,
    pub within: DurationMs,
}

/// What a service promises; nothing unless declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Objectives {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Quickness>,
}

impl Objectives {
    pub const fn is_empty(&self) -> bool {
        self.availability.is_none() && self.latency.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_shares_that_leave_something_to_fail() {
        for (text, expect) in
            [("99.9%", "99.9 %"), ("0.995", "99.5 %"), (" 99.999 % ", "99.999 %"), ("50%", "50 %")]
        {
            assert_eq!(Target::parse(text).map(|target| target.to_string()).as_deref(), Ok(expect), "{text}");
        }
        for text in ["100%", "1", "49%", "99.9", "", "%", "NaN", "-1", "1e400"] {
            assert_eq!(Target::parse(text), Err(TargetError), "{text}");
        }
        let target = Target::parse("99.9%").expect("valid");
        assert!((target.allowed() - 0.001).abs() < 1e-12);
        let text = serde_json::to_string(&target).expect("a number");
        assert_eq!(serde_json::from_str::<Target>(&text).ok(), Some(target), "{text}");
        assert!(serde_json::from_str::<Target>("1.0").is_err());
    }
}
