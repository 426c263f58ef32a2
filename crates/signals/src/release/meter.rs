//! From the gateway's counts, which only grow, to what one release did since the last look.

use super::second::Arm;
use model::Timestamp;
use model::flow::{Counts, Latency, LatencyBucket};
use std::collections::{BTreeMap, VecDeque};

/// Looks whose begun requests are remembered to tell which are overdue.
const LOOKS_KEPT: usize = 256;

/// What is seen of one instance at one moment, since it or the gateway started.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub counts: Counts,
    pub cpu_us: u64,
    pub memory_bytes: u64,
}

/// Follows the instances of one release.
#[derive(Debug, Clone)]
pub struct Meter {
    slow_us: u64,
    overdue_ms: u64,
    instances: BTreeMap<String, Followed>,
}

#[derive(Debug, Clone, Default)]
struct Followed {
    last: Seen,
    /// Under way when it was first seen: they began before.
    inherited: u64,
    /// Requests begun until a look and since the one before, newest last.
    begun: VecDeque<(Timestamp, u64)>,
    overdue: u64,
}

impl Meter {
    /// Requests are slow beyond `slow_us`, which is best an edge of the gateway's buckets, and overdue
    /// when they are under way for longer than `overdue_ms`.
    pub fn new(slow_us: u64, overdue_ms: u64) -> Self {
        Self { slow_us, overdue_ms, instances: BTreeMap::new() }
    }

    pub fn set_limits(&mut self, slow_us: u64, overdue_ms: u64) {
        (self.slow_us, self.overdue_ms) = (slow_us, overdue_ms);
    }

    /// What all instances did since the last look. One that was not there then has done nothing yet;
    /// one whose counts went back was started anew and is counted from nothing.
    pub fn look(&mut self, at: Timestamp, seen: BTreeMap<String, Seen>) -> Arm {
        let mut all = Arm { instances: seen.len() as u64, ..Arm::default() };
        self.instances.retain(|instance, _| seen.contains_key(instance));
        for (instance, now) in seen {
            all.memory_bytes = all.memory_bytes.saturating_add(now.memory_bytes);
            match self.instances.get_mut(&instance) {
                Some(followed) => {
                    add_arm(&mut all, &followed.advance(at, now, (self.slow_us, self.overdue_ms)))
                }
                None => {
                    let inherited = now.counts.active;
                    let followed = Followed { last: now, inherited, ..Followed::default() };
                    self.instances.insert(instance, followed);
                }
            }
        }
        all
    }
}

fn add_arm(all: &mut Arm, one: &Arm) {
    let (instances, memory_bytes) = (all.instances, all.memory_bytes);
    *all = Arm { instances, memory_bytes, ..all.followed_by(one) };
}

impl Followed {
    fn advance(&mut self, at: Timestamp, now: Seen, (slow_us, overdue_ms): (u64, u64)) -> Arm {
        if is_reset(&self.last.counts, &now.counts) {
            *self = Self::default();
        }
        let (before, after) = (&self.last.counts, &now.counts);
        let requests = after.requests - before.requests;
        let failed = failures(after).saturating_sub(failures(before));
        let ended = requests.max(failed);
        let begun = (after.active + ended).saturating_sub(before.active);
        let mut arm = Arm {
            instances: 0,
            requests,
            failed,
            slow: slower(after, slow_us).saturating_sub(slower(before, slow_us)).min(requests),
            overdue: 0,
            ln: after.latency.ln.saturating_sub(before.latency.ln),
            ln_squares: after.latency.ln_squares.saturating_sub(before.latency.ln_squares),
            cpu_us: now.cpu_us.saturating_sub(self.last.cpu_us),
            memory_bytes: 0,
        };
        arm.overdue = self.overdue_now(after.active, (at, begun), overdue_ms);
        self.last = now;
        arm
    }

    /// What is under way and did not begin lately began before.
    fn overdue_now(&mut self, active: u64, begun: (Timestamp, u64), overdue_ms: u64) -> u64 {
        let since = begun.0.0.saturating_sub_unsigned(overdue_ms);
        self.begun.push_back(begun);
        // The look at which what is kept began is the first that is not older.
        while self.begun.len() > LOOKS_KEPT || self.begun.front().is_some_and(|(at, _)| at.0 <= since) {
            self.begun.pop_front();
        }
        self.inherited = self.inherited.min(active);
        let recent: u64 = self.begun.iter().map(|(_, begun)| begun).sum();
        let overdue = active.saturating_sub(recent).saturating_sub(self.inherited);
        let newly = overdue.saturating_sub(self.overdue);
        self.overdue = overdue;
        newly
    }
}

fn is_reset(before: &Counts, after: &Counts) -> bool {
    after.requests < before.requests || after.errors < before.errors
}

/// An attempt that failed and was the last of its request counts both as an error and as an answer
/// of class 5xx, so the greater of both is taken.
fn failures(counts: &Counts) -> u64 {
    counts.errors.max(counts.classes[4])
}

/// Requests beyond the bucket that ends at `slow_us`.
fn slower(counts: &Counts, slow_us: u64) -> u64 {
    counts.latency.buckets.iter().filter(|bucket| bucket.le_us > slow_us).map(|bucket| bucket.count).sum()
}

/// What one instance did by all backends it is behind.
pub fn add(all: &mut Counts, one: &Counts) {
    all.connections += one.connections;
    all.active += one.active;
    all.requests += one.requests;
    all.errors += one.errors;
    for (class, more) in all.classes.iter_mut().zip(one.classes) {
        *class += more;
    }
    add_latency(&mut all.latency, &one.latency);
}

pub fn add_latency(all: &mut Latency, one: &Latency) {
    all.sum_us += one.sum_us;
    all.ln += one.ln;
    all.ln_squares += one.ln_squares;
    let mut buckets: BTreeMap<u64, u64> = all.buckets.iter().map(|b| (b.le_us, b.count)).collect();
    one.buckets.iter().for_each(|b| *buckets.entry(b.le_us).or_default() += b.count);
    all.buckets = buckets.into_iter().map(|(le_us, count)| LatencyBucket { le_us, count }).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64, errors: u64, active: u64) -> Counts {
        let buckets = vec![
            LatencyBucket { le_us: 1024, count: requests / 2 },
            LatencyBucket { le_us: 2048, count: requests - requests / 2 },
        ];
        let latency = Latency { ln: requests * 1700, ln_squares: requests * 11_000, buckets, sum_us: 0 };
        Counts { requests, errors, active, latency, ..Counts::default() }
    }

    fn look_at(meter: &mut Meter, at: i64, seen: &[(&str, Counts)]) -> Arm {
        let one = |(name, counts): &(&str, Counts)| {
            ((*name).to_owned(), Seen { counts: counts.clone(), ..Seen::default() })
        };
        meter.look(Timestamp(at), seen.iter().map(one).collect())
    }

    fn look(meter: &mut Meter, seen: &[(&str, Counts)]) -> Arm {
        look_at(meter, 0, seen)
    }

    #[test]
    fn instances_are_counted_from_when_they_are_first_seen() {
        let mut meter = Meter::new(1024, 3000);
        assert_eq!(look(&mut meter, &[("a", counts(100, 5, 0))]).due(), 0);
        let arm = look(&mut meter, &[("a", counts(110, 6, 0)), ("b", counts(40, 0, 0))]);
        assert_eq!((arm.instances, arm.requests, arm.failed, arm.slow), (2, 10, 1, 5));
        let arm = look(&mut meter, &[("a", counts(110, 6, 0)), ("b", counts(44, 0, 0))]);
        assert_eq!((arm.requests, arm.failed), (4, 0));
        assert_eq!(look(&mut meter, &[]), Arm::default());
    }

    #[test]
    fn counts_that_go_back_begin_anew() {
        let mut meter = Meter::new(1024, 3000);
        look(&mut meter, &[("a", counts(100, 5, 9))]);
        let arm = look(&mut meter, &[("a", counts(7, 1, 0))]);
        assert_eq!((arm.requests, arm.failed, arm.overdue), (7, 1, 0));
        assert_eq!(arm.ln, 7 * 1700);
    }

    #[test]
    fn what_never_ends_becomes_overdue_once() {
        let mut meter = Meter::new(1024, 3000);
        // Two were under way before: nobody knows since when.
        look(&mut meter, &[("a", counts(0, 0, 2))]);
        let overdue: Vec<u64> = [5, 8, 8, 8, 8, 8, 8, 2]
            .into_iter()
            .zip(1..)
            .map(|(active, second)| {
                look_at(&mut meter, second * 1000, &[("a", counts(0, 0, active))]).overdue
            })
            .collect();
        assert_eq!(overdue, [0, 0, 0, 3, 3, 0, 0, 0]);
    }

    #[test]
    fn an_instance_behind_two_ports_is_one() {
        let bucket = |le_us, count| LatencyBucket { le_us, count };
        let latency = |buckets| Latency { buckets, ln: 5, ..Latency::default() };
        let one = Counts { requests: 3, latency: latency(vec![bucket(20, 3)]), ..Counts::default() };
        let other =
            Counts { requests: 2, latency: latency(vec![bucket(16, 1), bucket(20, 1)]), ..Counts::default() };
        let mut all = one;
        add(&mut all, &other);
        assert_eq!((all.requests, all.latency.ln), (5, 10));
        assert_eq!(all.latency.buckets, [bucket(16, 1), bucket(20, 4)]);
    }
}
