//! What all threads read: the table in force, built once by the control thread, never changed.
//!
//! Endpoints and counters are shared between snapshots by identity, so that a new table keeps
//! their counts, their connections and what is known of their health.

use crate::counters::{Counters, Shard};
use model::service::Protocol;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Number of a bound listener, for the life of the process.
pub type ListenerId = u32;

#[derive(Default)]
pub struct Snapshot {
    pub routes: HashMap<ListenerId, Arc<Route>>,
    pub zones: HashMap<IpAddr, Arc<Zone>>,
}

/// Where the requests of one listener go. Rules by host and path would stand here.
pub struct Route {
    /// Of the table it is from.
    pub revision: u64,
    pub protocol: Protocol,
    pub public: bool,
    pub address: SocketAddr,
    pub counters: Arc<Counters>,
    pub backend: Arc<Backend>,
}

pub struct Backend {
    pub id: String,
    /// Those that take new work.
    pub endpoints: Vec<Arc<Endpoint>>,
    pub without_endpoint: Arc<AtomicU64>,
}

/// One instance's address behind one backend, for as long as any table names it.
pub struct Endpoint {
    /// Number for the life of the process: the key of the threads' pools.
    pub number: u64,
    pub instance: String,
    pub address: SocketAddr,
    pub counters: Counters,
    /// Takes nothing new: draining, or gone from the table.
    pub closed: AtomicBool,
    /// Moment until which others are preferred.
    suspect_until: AtomicU64,
}

/// Milliseconds since the process started.
pub type Moment = u64;

impl Endpoint {
    pub fn new(number: u64, instance: String, address: SocketAddr, threads: usize) -> Self {
        Self {
            number,
            instance,
            address,
            counters: Counters::new(threads),
            closed: AtomicBool::new(false),
            suspect_until: AtomicU64::new(0),
        }
    }
    pub fn suspect(&self, until: Moment) {
        self.suspect_until.store(until, Relaxed);
    }
    pub fn trusted(&self) {
        if self.suspect_until.load(Relaxed) != 0 {
            self.suspect_until.store(0, Relaxed);
        }
    }
}

/// Work under way at an endpoint; ends when dropped.
pub struct Work {
    pub endpoint: Arc<Endpoint>,
    thread: usize,
}

impl Work {
    pub fn begin(endpoint: Arc<Endpoint>, thread: usize) -> Self {
        endpoint.counters.shard(thread).begin();
        Self { endpoint, thread }
    }
    pub fn shard(&self) -> &Shard {
        self.endpoint.counters.shard(self.thread)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shard().end();
    }
}

impl Backend {
    /// The less loaded of two chosen at random, those that failed lately last, `not` only if it is
    /// the only one.
    pub fn choose(&self, not: Option<u64>, now: Moment, random: &Random) -> Option<Arc<Endpoint>> {
        if let [only] = self.endpoints.as_slice() {
            return Some(only.clone());
        }
        let good = |e: &&Arc<Endpoint>| Some(e.number) != not && e.suspect_until.load(Relaxed) <= now;
        let other = |e: &&Arc<Endpoint>| Some(e.number) != not;
        self.less_loaded(good, random).or_else(|| self.less_loaded(other, random)).cloned()
    }

    fn less_loaded(
        &self,
        wanted: impl Fn(&&Arc<Endpoint>) -> bool,
        random: &Random,
    ) -> Option<&Arc<Endpoint>> {
        let count = self.endpoints.iter().filter(&wanted).count();
        if count == 0 {
            return None;
        }
        let first = random.below(count);
        let second = (first + 1 + random.below(count.max(2) - 1)) % count;
        let at = |index: usize| self.endpoints.iter().filter(&wanted).nth(index);
        let (first, second) = (at(first)?, at(second)?);
        Some(if second.counters.active() < first.counters.active() { second } else { first })
    }
}

/// What names mean to those who ask one address.
pub struct Zone {
    pub names: HashMap<String, Vec<IpAddr>>,
    pub reverse: HashMap<IpAddr, String>,
    pub forward: bool,
}

/// A small generator for choices that nobody gains from guessing.
pub struct Random(Cell<u64>);

impl Random {
    pub fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(Cell::new(RandomState::new().hash_one(0u64) | 1))
    }
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(count: u64) -> Backend {
        let address = "127.0.0.1:1".parse().expect("a socket address");
        let endpoints = (0..count).map(|n| Arc::new(Endpoint::new(n, n.to_string(), address, 1))).collect();
        Backend { id: "s/web:80".into(), endpoints, without_endpoint: Arc::default() }
    }

    #[test]
    fn the_less_loaded_of_two_is_chosen() {
        let backend = backend(2);
        let _work = Work::begin(backend.endpoints[0].clone(), 0);
        let random = Random::new();
        for _ in 0..50 {
            assert_eq!(backend.choose(None, 0, &random).expect("two are there").number, 1);
        }
    }

    #[test]
    fn a_suspect_is_taken_only_when_nothing_else_is_left() {
        let backend = backend(3);
        backend.endpoints[0].suspect(100);
        let random = Random::new();
        for _ in 0..50 {
            assert_ne!(backend.choose(None, 99, &random).expect("two are good").number, 0);
            assert_eq!(backend.choose(Some(1), 99, &random).expect("one is good").number, 2);
        }
        for endpoint in &backend.endpoints[1..] {
            endpoint.suspect(100);
        }
        assert!(backend.choose(None, 99, &random).is_some());
        assert!(self::backend(0).choose(None, 0, &random).is_none());
    }

    #[test]
    fn idle_endpoints_share_the_work() {
        let backend = backend(4);
        let random = Random::new();
        let mut seen = [0u32; 4];
        for _ in 0..1000 {
            seen[backend.choose(None, 0, &random).expect("four are there").number as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 150), "{seen:?}");
    }
}
