//! All of it: today, the days before, and who is there now.

use super::day::Day;
use super::distinct::Distinct;
use super::hit::Hit;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// Days kept beside today.
const DAYS_MAX: usize = 90;
/// Whoever asked for something so long ago at most is there now.
pub const PRESENT_MINUTES: i64 = 5;
/// Visitors of one minute that are counted exactly.
const MINUTE_EXACT: usize = 2_048;
const MINUTE_MS: i64 = 60_000;
/// How late a request may be told.
const LATE_MS: i64 = 10 * MINUTE_MS;

/// The key by which visitors are told apart, for one day only: then nobody can say any more whether
/// somebody of yesterday is somebody of today, or which address it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salt(pub [u8; 32]);

#[derive(Debug, Clone)]
pub struct Visits {
    salt: Salt,
    today: Day,
    /// Oldest first.
    past: VecDeque<Day>,
    /// Minute since 1970, and who was there; oldest first.
    minutes: VecDeque<(i64, Distinct)>,
    random: fn() -> Salt,
}

impl Visits {
    pub fn new(now_ms: i64, random: fn() -> Salt) -> Self {
        let today = Day::new(date(now_ms));
        Self { salt: random(), today, past: VecDeque::new(), minutes: VecDeque::new(), random }
    }

    pub(super) fn of(salt: Salt, today: Day, past: VecDeque<Day>, random: fn() -> Salt) -> Self {
        Self { salt, today, past, minutes: VecDeque::new(), random }
    }

    /// What comes late around midnight counts for the new day; what is of a day that is over, for none.
    pub fn add(&mut self, hit: &Hit<'_>) {
        self.advance(hit.time_ms);
        if date(hit.time_ms.saturating_add(LATE_MS)) < self.today.date {
            return;
        }
        let visitor = self.visitor(hit);
        if self.today.add(hit, visitor) {
            self.present(hit.time_ms.div_euclid(MINUTE_MS), visitor);
        }
    }

    /// Ends today when another day has begun.
    pub fn advance(&mut self, now_ms: i64) {
        let date = date(now_ms);
        if date <= self.today.date {
            return;
        }
        let ended = std::mem::replace(&mut self.today, Day::new(date));
        self.past.push_back(ended.end());
        while self.past.len() > DAYS_MAX {
            self.past.pop_front();
        }
        self.salt = (self.random)();
        self.minutes.clear();
    }

    fn visitor(&self, hit: &Hit<'_>) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.salt.0);
        for part in [hit.address(), &hit.agent] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes(hash[..8].try_into().expect("8 of 32 bytes"))
    }

    fn present(&mut self, minute: i64, visitor: u64) {
        let newest = self.minutes.back().map_or(minute, |(minute, _)| *minute);
        if minute > newest || self.minutes.is_empty() {
            self.minutes.push_back((minute, Distinct::new(MINUTE_EXACT)));
        }
        while self.minutes.len() > PRESENT_MINUTES as usize + 1 {
            self.minutes.pop_front();
        }
        // What comes late counts for the minute it belongs to, or the oldest.
        let place = self.minutes.iter_mut().rev().find(|(known, _)| *known <= minute);
        if let Some((_, visitors)) = place {
            visitors.add(visitor);
        }
    }

    /// How many different visitors asked for something in the last minutes.
    pub fn now(&self, now_ms: i64) -> u64 {
        let from = now_ms.div_euclid(MINUTE_MS) - PRESENT_MINUTES;
        let mut all = Distinct::new(MINUTE_EXACT * PRESENT_MINUTES as usize);
        let present = self.minutes.iter().filter(|(minute, _)| *minute > from);
        present.for_each(|(_, visitors)| all.join(visitors));
        all.count()
    }

    pub fn today(&self) -> &Day {
        &self.today
    }

    /// Oldest first, today last.
    pub fn days(&self) -> impl DoubleEndedIterator<Item = &Day> {
        self.past.iter().chain(std::iter::once(&self.today))
    }

    pub(super) fn parts(&self) -> (&Salt, &Day, &VecDeque<Day>) {
        (&self.salt, &self.today, &self.past)
    }
}

/// `2026-11-23`, in UTC.
fn date(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    fn salt() -> Salt {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        Salt([NUMBER.fetch_add(1, Ordering::Relaxed); 32])
    }

    const NOON: i64 = 1_795_348_800_000;
    const DAY_MS: i64 = 86_400_000;

    fn hit(time_ms: i64, client: &str, agent: &str, path: &str, status: u16) -> Hit<'static> {
        Hit {
            time_ms,
            client: client.to_owned().into(),
            agent: agent.to_owned().into(),
            host: "shop.example".into(),
            path: path.to_owned().into(),
            method: "GET".into(),
            status,
            micros: 1000,
            bytes: 10,
        }
    }

    #[test]
    fn a_visitor_is_an_address_and_a_browser_on_one_day() {
        let mut visits = Visits::new(NOON, salt);
        for (client, agent, path, status) in [
            ("10.0.0.1", "Firefox", "/", 200),
            ("10.0.0.1", "Firefox", "/a.css", 200),
            ("10.0.0.1", "Chrome", "/", 304),
            ("10.0.0.2", "Firefox", "/cart", 500),
            ("10.0.0.3", "Firefox", "/nothing", 404),
            ("10.0.0.4", "Googlebot", "/", 200),
        ] {
            visits.add(&hit(NOON, client, agent, path, status));
        }
        let totals = visits.today().totals();
        assert_eq!((totals.visitors, totals.requests, totals.pages, totals.files), (3, 5, 3, 1));
        assert_eq!((totals.refused, totals.failed, totals.bots, totals.bot_requests), (1, 1, 1, 1));
        let (name, page) = visits.today().pages.top(1)[0];
        assert_eq!((name, page.views, page.in_time), ("shop.example/", 2, 2));
        assert_eq!(visits.now(NOON), 3);
        assert_eq!(visits.now(NOON + PRESENT_MINUTES * MINUTE_MS), 0);
    }

    #[test]
    fn a_day_that_is_over_keeps_numbers_and_nobody() {
        let mut visits = Visits::new(NOON, salt);
        let before = visits.salt.clone();
        visits.add(&hit(NOON, "10.0.0.1", "Firefox", "/", 200));
        visits.add(&hit(NOON + DAY_MS, "10.0.0.1", "Firefox", "/", 200));
        // Of a day that is over: somebody else, and nobody now.
        visits.add(&hit(NOON, "10.0.0.9", "Firefox", "/", 200));
        let days: Vec<_> = visits.days().map(|day| (day.date.as_str(), day.totals().visitors)).collect();
        assert_eq!(days, [("2026-11-22", 1), ("2026-11-23", 1)]);
        assert_ne!(visits.salt, before, "the key is thrown away");
        for day in 2..200 {
            visits.add(&hit(NOON + day * DAY_MS, "10.0.0.1", "Firefox", "/", 200));
        }
        assert_eq!(visits.days().count(), DAYS_MAX + 1);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut visits = Visits::new(NOON, salt);
        for number in 0..20_000u32 {
            let client = std::net::Ipv4Addr::from(number).to_string();
            let path = format!("/{number}/{}", "x".repeat(300));
            visits.add(&hit(NOON + i64::from(number), &client, &"y".repeat(500), &path, 200));
        }
        let totals = visits.today().totals();
        let error = (totals.visitors as f64 / 20_000.0 - 1.0).abs();
        assert!(totals.is_estimate && error < 0.04, "{error}");
        assert!(super::super::v1::write(&visits, None).len() < 3 << 20);
    }
}
