//! What is tried again, and how much of it: a share of what is under way, so that trying again never
//! becomes the load that keeps a service down. Share and least number are Envoy's retry budget.

use model::traffic::Retries;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Share of the requests under way that may be repetitions, in percent.
const BUDGET_PERCENT: u64 = 20;
/// So many may always be.
const LEAST: u64 = 3;
/// Attempts beyond the first, unless declared.
const ATTEMPTS: u32 = 2;
/// Statuses by which an instance says that another one may do better.
const STATUSES: [u16; 3] = [502, 503, 504];

pub struct Settings {
    /// Beyond the first.
    pub attempts: u32,
    pub statuses: Vec<u16>,
    percent: u64,
}

impl Settings {
    pub fn new(declared: &Retries) -> Self {
        Self {
            attempts: declared.attempts.unwrap_or(ATTEMPTS),
            statuses: declared.on.clone().unwrap_or_else(|| STATUSES.to_vec()),
            percent: declared.budget.map_or(BUDGET_PERCENT, |budget| budget.get().into()),
        }
    }

    /// Whether one more may be under way beside these.
    fn allows(&self, under_way: u64, repeated: u64) -> bool {
        repeated < LEAST.max(under_way * self.percent / 100)
    }
}

/// The repetitions for one backend that are under way.
#[derive(Default)]
pub struct Budget {
    repeated: AtomicU32,
}

impl Budget {
    /// A place for one more; it is free again when dropped.
    pub fn take<'b>(&'b self, settings: &Settings, under_way: u64) -> Option<Taken<'b>> {
        let before = self.repeated.fetch_add(1, Relaxed);
        let taken = Taken(self);
        settings.allows(under_way, u64::from(before)).then_some(taken)
    }
}

pub struct Taken<'b>(&'b Budget);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.repeated.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_may_be_repeated_and_three_always() {
        let (settings, budget) = (Settings::new(&Retries::default()), Budget::default());
        let mut taken: Vec<Taken<'_>> = Vec::new();
        for _ in 0..3 {
            taken.push(budget.take(&settings, 1).expect("three are always possible"));
        }
        assert!(budget.take(&settings, 19).is_none());
        taken.extend((0..17).map(|_| budget.take(&settings, 100).expect("a fifth of 100")));
        assert!(budget.take(&settings, 100).is_none());
        taken.pop();
        assert!(budget.take(&settings, 100).is_some());
        drop(taken);
        assert_eq!(budget.repeated.load(Relaxed), 0);
    }

    #[test]
    fn nothing_is_repeated_where_that_is_declared() {
        let none = Retries { attempts: Some(0), on: Some(Vec::new()), budget: None };
        let settings = Settings::new(&none);
        assert_eq!((settings.attempts, settings.statuses.len()), (0, 0));
    }
}
