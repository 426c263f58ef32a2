//! `x-juchu.metrics` of a service: where its instances show metrics of their own.

use crate::DurationMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where metrics are by convention.
pub const PATH: &str = "/metrics";
/// How often they are read unless declared.
pub const INTERVAL: DurationMs = DurationMs::from_secs(10);
/// How often they can be read at most, and must be at least for a chart without gaps.
pub const INTERVAL_MIN: DurationMs = DurationMs::from_secs(1);
pub const INTERVAL_MAX: DurationMs = DurationMs::from_secs(120);
/// How long reading may take unless declared, where the interval is not shorter.
pub const TIMEOUT: DurationMs = DurationMs::from_secs(10);
/// Endpoints of one service.
pub const ENDPOINTS_MAX: usize = 8;
/// Labels that an endpoint adds.
pub const LABELS_MAX: usize = 16;
/// Bytes of such a label's value.
pub const LABEL_BYTES_MAX: usize = 256;
/// Labels that say whose samples are; nobody else gives them.
pub const OWN_LABELS: [&str; 4] = ["job", "instance", "service", "stack"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsEndpoint {
    /// Inside the instance.
    pub port: u16,
    /// With its query.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationMs>,
    /// The service's name unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Of each sample.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl MetricsEndpoint {
    pub fn new(port: u16) -> Self {
        Self {
            port,
            path: PATH.to_owned(),
            interval: None,
            timeout: None,
            job: None,
            labels: BTreeMap::new(),
        }
    }

    pub fn interval(&self) -> DurationMs {
        self.interval.unwrap_or(INTERVAL)
    }

    pub fn timeout(&self) -> DurationMs {
        self.timeout.unwrap_or(TIMEOUT).min(self.interval())
    }
}
