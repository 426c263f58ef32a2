//! What the two arms of a judgement did between two looks: whole numbers, so that they can be written down
//! and looked through again with the same outcome.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// How many units a natural logarithm of microseconds is counted in.
pub const LN_UNIT: f64 = model::flow::LN_UNIT as f64;

/// One release's part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 9]", into = "[u64; 9]")]
pub struct Arm {
    pub instances: u64,
    /// Answered or given up.
    pub requests: u64,
    /// Of them those that failed.
    pub failed: u64,
    /// Of them those that took longer than the arm's threshold.
    pub slow: u64,
    /// Neither answered nor given up, and by now for too long.
    pub overdue: u64,
    /// Sums of ln of microseconds and of its square, in units of [`LN_UNIT`] each.
    pub ln: u64,
    pub ln_squares: u64,
    pub cpu_us: u64,
    /// Of all its instances, at the end.
    pub memory_bytes: u64,
}

/// Both arms between two looks, a second or a part of one apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    pub at: Timestamp,
    pub new: Arm,
    pub old: Arm,
    /// Not people's requests, but our own to both alike.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_own: bool,
}

impl Arm {
    /// What is known the fate of.
    pub fn due(&self) -> u64 {
        self.requests.max(self.failed).saturating_add(self.overdue)
    }

    pub fn bad(&self) -> u64 {
        self.failed.saturating_add(self.overdue).min(self.due())
    }

    pub fn good(&self) -> u64 {
        self.due() - self.bad()
    }

    /// Share of requests that failed.
    pub fn failure_share(&self) -> Option<f64> {
        (self.due() > 0).then(|| self.bad() as f64 / self.due() as f64)
    }

    /// Mean of ln of microseconds.
    pub fn level(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.ln as f64 / LN_UNIT / self.requests as f64)
    }

    /// Sum of the squares of the distances from the mean of ln.
    pub fn spread(&self) -> f64 {
        let level = self.level().unwrap_or(0.0);
        let squares = self.ln_squares as f64 / (LN_UNIT * LN_UNIT);
        (squares - level * level * self.requests as f64).max(0.0)
    }

    /// Microseconds that are typical: the geometric mean.
    pub fn typical_us(&self) -> Option<f64> {
        self.level().map(f64::exp)
    }

    /// Both after each other. Of memory and instances the later ones.
    pub fn followed_by(&self, later: &Self) -> Self {
        let sum = |pick: fn(&Self) -> u64| pick(self).saturating_add(pick(later));
        Self {
            instances: later.instances,
            requests: sum(|a| a.requests),
            failed: sum(|a| a.failed),
            slow: sum(|a| a.slow),
            overdue: sum(|a| a.overdue),
            ln: sum(|a| a.ln),
            ln_squares: sum(|a| a.ln_squares),
            cpu_us: sum(|a| a.cpu_us),
            memory_bytes: later.memory_bytes,
        }
    }
}

/// The part of requests, known the fate of, that were the new release's.
pub fn share(new: &Arm, old: &Arm) -> f64 {
    new.due() as f64 / (new.due() as f64 + old.due() as f64)
}

impl From<[u64; 9]> for Arm {
    fn from(all: [u64; 9]) -> Self {
        let [instances, requests, failed, slow, overdue, ln, ln_squares, cpu_us, memory_bytes] = all;
        Self { instances, requests, failed, slow, overdue, ln, ln_squares, cpu_us, memory_bytes }
    }
}

impl From<Arm> for [u64; 9] {
    fn from(arm: Arm) -> Self {
        let Arm { instances, requests, failed, slow, overdue, ln, ln_squares, cpu_us, memory_bytes } = arm;
        [instances, requests, failed, slow, overdue, ln, ln_squares, cpu_us, memory_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_failures_than_requests_are_no_contradiction() {
        // Attempts that failed and were repeated elsewhere are not counted as requests.
        let arm = Arm { requests: 2, failed: 5, ..Arm::default() };
        assert_eq!((arm.due(), arm.bad(), arm.good()), (5, 5, 0));
        let none = Arm::default();
        assert_eq!((none.failure_share(), none.level(), none.spread()), (None, None, 0.0));
        assert!(share(&none, &none).is_nan());
    }

    #[test]
    fn a_second_is_written_as_a_few_numbers() {
        let new = Arm { instances: 1, requests: 50, failed: 2, ln: 500, ..Arm::default() };
        let second = Second { at: Timestamp(1000), new, ..Second::default() };
        let text = r#"{"at":1000,"new":[1,50,2,0,0,500,0,0,0],"old":[0,0,0,0,0,0,0,0,0]}"#;
        assert_eq!(serde_json::to_string(&second).expect("it can be written"), text);
        assert_eq!(serde_json::from_str::<Second>(text).expect("it can be read"), second);
        let own = Second { is_own: true, ..second };
        let text = serde_json::to_string(&own).expect("it can be written");
        assert_eq!(serde_json::from_str::<Second>(&text).expect("it can be read"), own);
    }
}
