//! The port to who visits what: counts by the day, bots apart, without cookies or addresses.
//!
//! The forms here are version 1 of the API; fields are added, never renamed.

use async_trait::async_trait;
use model::Report;
use serde::{Deserialize, Serialize};

/// The most days that are asked for.
pub const DAYS_MAX: u32 = 91;

#[async_trait]
pub trait Visits: Send + Sync {
    /// The last so many days, today included.
    async fn report(&self, days: u32) -> Result<VisitReport, Report>;
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitReport {
    /// Different visitors of the last minutes.
    pub now: u64,
    pub now_minutes: u64,
    /// Oldest first, today last.
    pub days: Vec<VisitDay>,
    /// Of all these days, the most viewed first.
    pub pages: Vec<VisitedPage>,
    /// Views of pages that are too many to be told apart.
    #[serde(default)]
    pub other_views: u64,
}

/// One day in UTC. All but `bots` and `bot_requests` is of people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitDay {
    pub date: String,
    pub visitors: u64,
    /// The visitors were too many to be counted one by one: within one percent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_estimate: bool,
    pub requests: u64,
    pub pages: u64,
    pub files: u64,
    pub calls: u64,
    /// Answered with a status from 400 to 499, and from 500 on.
    pub refused: u64,
    pub failed: u64,
    pub bytes: u64,
    pub bots: u64,
    pub bot_requests: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitedPage {
    /// Host and path.
    pub name: String,
    pub views: u64,
    pub failed: u64,
    pub bytes: u64,
    /// Of the server.
    pub mean_us: u64,
    pub slowest_us: u64,
    /// Views that the server answered within its 0.4 s of a page's 0.8 s.
    pub in_time: u64,
}

impl VisitedPage {
    /// Whole percent of the views that were in time, rounded down.
    pub fn in_time_percent(&self) -> u64 {
        (self.in_time * 100).checked_div(self.views).unwrap_or(100)
    }
}
