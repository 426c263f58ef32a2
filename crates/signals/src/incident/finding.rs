//! One signal that is outside its range.

use model::range::Level;
use model::{ReleaseId, ServiceName, StackName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whom a signal is about: a service, or this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
}

impl Subject {
    pub const MACHINE: Self = Self { stack: None, service: None };

    pub const fn service(stack: StackName, service: ServiceName) -> Self {
        Self { stack: Some(stack), service: Some(service) }
    }
}

/// `shop/web`, or `machine`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.stack, &self.service) {
            (Some(stack), Some(service)) => write!(f, "{stack}/{service}"),
            (Some(stack), None) => write!(f, "{stack}"),
            _ => f.write_str("machine"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub subject: Subject,
    /// Such as `p95`, or `disk /var`.
    pub signal: String,
    pub level: Level,
    /// The release in force when it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// With their units: `1.4 s`, `at most 400 ms`.
    pub value: String,
    pub range: String,
    /// How many widths beyond its range; infinite bounds count as 1,000.
    pub beyond: f64,
    pub since_ms: i64,
}

/// What stands for "beyond a hard bound" where findings are compared.
pub const BEYOND_BOUNDS: f64 = 1000.0;

impl Finding {
    /// `p95 is 1.4 s, normal is 20 ms to 60 ms`.
    pub fn sentence(&self) -> String {
        format!("{} is {}, normal is {}", self.signal, self.value, self.range)
    }
}
