//! One day: who came and what was asked for. A day that is over keeps numbers only.

use super::distinct::Distinct;
use super::frequent::Frequent;
use super::hit::{Hit, Sort, is_bot, sort};
use serde::{Deserialize, Serialize};

/// Visitors that are counted exactly; beyond, within one percent.
const VISITORS_EXACT: usize = 16_384;
const BOTS_EXACT: usize = 2_048;
/// Pages that a day keeps when it is over.
const PAGES_KEPT: usize = 100;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Different visitors, bots apart.
    pub visitors: u64,
    /// There were so many visitors that they are not counted one by one.
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// `2026-11-23`, in UTC.
    pub date: String,
    totals: Totals,
    /// Gone when the day is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    people: Option<(Distinct, Distinct)>,
    pub pages: Frequent,
}

impl Day {
    pub fn new(date: String) -> Self {
        let people = Some((Distinct::new(VISITORS_EXACT), Distinct::new(BOTS_EXACT)));
        Self { date, totals: Totals::default(), people, pages: Frequent::default() }
    }

    /// Counts a request of the visitor with this hash; says whether a person sent it.
    pub fn add(&mut self, hit: &Hit<'_>, visitor: u64) -> bool {
        let is_refused = (400..500).contains(&hit.status);
        let Some((visitors, bots)) = &mut self.people else { return false };
        if is_bot(&hit.agent) {
            bots.add(visitor);
            self.totals.bot_requests += 1;
            return false;
        }
        // Whoever only asks for what is not there visits nothing.
        if !is_refused {
            visitors.add(visitor);
        }
        let totals = &mut self.totals;
        totals.requests += 1;
        totals.refused += u64::from(is_refused);
        totals.failed += u64::from(hit.status >= 500);
        totals.bytes = totals.bytes.saturating_add(hit.bytes);
        if !is_refused {
            match sort(&hit.method, &hit.path) {
                Sort::Page => {
                    totals.pages += 1;
                    self.pages.page(&hit.name()).add(hit.micros, hit.bytes, hit.status >= 500);
                }
                Sort::File => totals.files += 1,
                Sort::Call => totals.calls += 1,
            }
        }
        !is_refused
    }

    pub fn totals(&self) -> Totals {
        let mut totals = self.totals.clone();
        if let Some((visitors, bots)) = &self.people {
            totals.visitors = visitors.count();
            totals.is_estimate = visitors.is_estimate();
            totals.bots = bots.count();
        }
        totals
    }

    /// Forgets who it was.
    pub fn end(mut self) -> Self {
        self.totals = self.totals();
        self.people = None;
        self.pages.thin(PAGES_KEPT);
        self
    }
}
