//! `x-juchu.probes` of a service: addresses that are asked again and again.

use crate::DurationMs;
use serde::{Deserialize, Serialize};

/// How often an address is asked unless declared.
pub const INTERVAL: DurationMs = DurationMs::from_secs(30);
pub const INTERVAL_MIN: DurationMs = DurationMs::from_secs(5);
pub const INTERVAL_MAX: DurationMs = DurationMs::from_secs(120);
/// For all of an answer unless declared, where the interval is not shorter.
pub const TIMEOUT: DurationMs = DurationMs::from_secs(10);
/// Addresses of one service.
pub const PROBES_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Probe {
    /// `https://example.org/page`.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationMs>,
    /// Any certificate will do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

impl Probe {
    pub fn interval(&self) -> DurationMs {
        self.interval.unwrap_or(INTERVAL)
    }

    pub fn timeout(&self) -> DurationMs {
        self.timeout.unwrap_or(TIMEOUT).min(self.interval())
    }
}
