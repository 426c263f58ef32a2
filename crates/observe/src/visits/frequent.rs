//! What is asked for most, in bounded memory: when there are too many, the rarer half is counted
//! together.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Pages told apart at a time; at twice as many the rarer half goes.
pub const PAGES_MAX: usize = 2_000;
/// The server's part of the time that a page may take.
const SERVER_BUDGET_US: u64 = 400_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub views: u64,
    /// Answered with a status from 500 on.
    pub errors: u64,
    pub bytes: u64,
    pub micros: u64,
    pub slowest_us: u64,
    /// Answered within the server's part of the budget.
    pub in_time: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequent {
    pages: HashMap<String, Page>,
    /// Of pages that are not told apart any more.
    others: Page,
}

impl Page {
    pub fn add(&mut self, micros: u64, bytes: u64, is_error: bool) {
        self.views += 1;
        self.errors += u64::from(is_error);
        self.bytes = self.bytes.saturating_add(bytes);
        self.micros = self.micros.saturating_add(micros);
        self.slowest_us = self.slowest_us.max(micros);
        self.in_time += u64::from(micros <= SERVER_BUDGET_US);
    }

    fn join(&mut self, other: &Self) {
        self.views += other.views;
        self.errors += other.errors;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.micros = self.micros.saturating_add(other.micros);
        self.slowest_us = self.slowest_us.max(other.slowest_us);
        self.in_time += other.in_time;
    }
}

impl Frequent {
    pub fn page(&mut self, name: &str) -> &mut Page {
        if !self.pages.contains_key(name) && self.pages.len() >= 2 * PAGES_MAX {
            self.thin(PAGES_MAX);
        }
        self.pages.entry(name.to_owned()).or_default()
    }

    /// Leaves the most frequent.
    pub fn thin(&mut self, keep: usize) {
        if self.pages.len() <= keep {
            return;
        }
        let mut all: Vec<(String, Page)> = self.pages.drain().collect();
        all.sort_unstable_by(|a, b| b.1.views.cmp(&a.1.views).then_with(|| a.0.cmp(&b.0)));
        for (_, page) in all.drain(keep..) {
            self.others.join(&page);
        }
        self.pages.extend(all);
    }

    /// Adds what another has counted.
    pub fn join_all(&mut self, other: &Self) {
        for (name, page) in &other.pages {
            self.page(name).join(page);
        }
        self.others.join(&other.others);
    }

    /// The most frequent first.
    pub fn top(&self, count: usize) -> Vec<(&str, &Page)> {
        let mut all: Vec<_> = self.pages.iter().map(|(name, page)| (name.as_str(), page)).collect();
        all.sort_unstable_by(|a, b| b.1.views.cmp(&a.1.views).then_with(|| a.0.cmp(b.0)));
        all.truncate(count);
        all
    }

    pub fn others(&self) -> &Page {
        &self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_stay_however_many_come_once() {
        let mut frequent = Frequent::default();
        for number in 0..20_000u64 {
            frequent.page(&format!("/once/{number}")).add(1000, 10, false);
            if number % 4 == 0 {
                frequent.page("/").add(500_000, 10, number % 8 == 0);
            }
        }
        let top = frequent.top(1);
        assert_eq!((top[0].0, top[0].1.views, top[0].1.errors, top[0].1.in_time), ("/", 5_000, 2_500, 0));
        let all: u64 = frequent.top(usize::MAX).iter().map(|(_, page)| page.views).sum();
        assert_eq!(all + frequent.others().views, 25_000, "none is lost");
        assert!(frequent.pages.len() <= 2 * PAGES_MAX);
    }
}
