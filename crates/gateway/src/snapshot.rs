//! What all threads read: the table in force, built once by the control thread, never changed.
//!
//! Endpoints and counters are shared between snapshots by identity, so that a new table keeps
//! their counts, their connections and what is known of their health.

use crate::counters::{Counters, Shard};
use crate::drain::Drain;
use crate::policy::Policy;
use crate::policy::breaker::{Breaker, Standing};
use crate::policy::limit::Places;
use crate::policy::queue::Line;
use crate::policy::retry::Budget;
use crate::rules::Rules;
use crate::seat::Seat;
use model::route::DEFAULT_WEIGHT;
use model::rule::HeaderEdits;
use model::service::Protocol;
use model::subnet::Cidr;
use model::traffic::Traffic;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Number of a bound listener, for the life of the process.
pub type ListenerId = u32;

#[derive(Default)]
pub struct Snapshot {
    pub routes: HashMap<ListenerId, Arc<Route>>,
    pub backends: HashMap<String, Arc<Backend>>,
    pub zones: HashMap<IpAddr, Arc<Zone>>,
    /// By the address they ask from.
    pub askers: HashMap<IpAddr, Arc<Asker>>,
    /// Numbers of services by the addresses they connect from.
    pub callers: HashMap<IpAddr, u32>,
    /// Endpoints by number that are to have nothing more to do, and until when.
    pub draining: HashMap<u64, Drain>,
}

/// Where the requests of one listener go.
pub struct Route {
    /// Of the table it is from.
    pub revision: u64,
    pub protocol: Protocol,
    pub public: bool,
    pub address: SocketAddr,
    pub counters: Arc<Counters>,
    /// For requests over HTTP; what none of them takes goes to the backend.
    pub rules: Rules,
    pub backend: Arc<Backend>,
    /// What handshakes need where TLS is spoken.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Every request is led to https at this port of the same host.
    pub https_port: Option<u16>,
    /// Changes to the header of answers to what no rule takes.
    pub edits: Option<HeaderEdits>,
    /// Load balancers speak here for their clients: from where; empty: from anywhere.
    pub proxied: Option<Box<[Cidr]>>,
}

pub struct Backend {
    pub id: String,
    /// For as long as the tables have it; 0: it is in none.
    pub number: u32,
    /// Those that take new work.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The share of each endpoint, when they are not all as usual.
    pub weights: Option<Box<[u32]>>,
    /// How long what is new waits while nothing takes it.
    pub hold: Duration,
    pub without_endpoint: Arc<AtomicU64>,
    pub policy: Arc<Policy>,
    pub budget: Arc<Budget>,
    /// Those that wait for one of its instances to have room.
    pub line: Arc<Line<Seat>>,
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
    /// Gone from the table: it is not there to finish anything.
    pub gone: AtomicBool,
    /// Moment until which others are preferred.
    suspect_until: AtomicU64,
    pub breaker: Breaker,
    /// The requests it may have at a time.
    pub places: Places,
    /// When it last answered a request, to a tenth of a second.
    answered: AtomicU64,
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
            gone: AtomicBool::new(false),
            suspect_until: AtomicU64::new(0),
            breaker: Breaker::default(),
            places: Places::default(),
            answered: AtomicU64::new(0),
        }
    }
    /// It began to answer a request, whatever the answer is.
    pub fn answers(&self, now: Moment) {
        if self.answered.load(Relaxed) != now {
            self.answered.store(now, Relaxed);
        }
    }
    pub fn last_answer(&self) -> Moment {
        self.answered.load(Relaxed)
    }
    /// As people are told.
    pub fn standing(&self, now: Moment) -> model::flow::Standing {
        use model::flow::Standing as Told;
        match self.breaker.standing(now) {
            Standing::Ramp(share) => Told::Returning(share as u8),
            Standing::OnTrial => Told::OnTrial,
            Standing::Paused => Told::Paused,
            Standing::Serving if self.suspect_until.load(Relaxed) > now => Told::Suspect,
            Standing::Serving => Told::Serving,
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
    /// Endpoints with their weights, which are looked at only if they differ.
    pub fn new(
        id: String,
        endpoints: Vec<(Arc<Endpoint>, u32)>,
        hold: Duration,
        without_endpoint: Arc<AtomicU64>,
    ) -> Self {
        Self::with(
            id,
            endpoints,
            hold,
            without_endpoint,
            Arc::new(Policy::new(&Traffic::default(), &[])),
            Arc::default(),
            Arc::default(),
        )
    }

    pub fn with(
        id: String,
        endpoints: Vec<(Arc<Endpoint>, u32)>,
        hold: Duration,
        without_endpoint: Arc<AtomicU64>,
        policy: Arc<Policy>,
        budget: Arc<Budget>,
        line: Arc<Line<Seat>>,
    ) -> Self {
        // Shares that were asked for are drawn even when they are equal: who is compared by what it
        // does with its requests must not get fewer for being slower.
        let same = endpoints.iter().all(|(_, weight)| *weight == DEFAULT_WEIGHT);
        let weights = (!same).then(|| endpoints.iter().map(|(_, weight)| *weight).collect());
        let endpoints = endpoints.into_iter().map(|(endpoint, _)| endpoint).collect();
        Self { id, number: 0, endpoints, weights, hold, without_endpoint, policy, budget, line }
    }

    /// The less loaded of two chosen at random, or one by its weight; those that failed lately
    /// last, `not` only if it is the only one. One that is left alone gets a request on trial only
    /// if it may be sent again. None of them if all that are well are at their limit.
    pub fn choose(
        &self,
        not: Option<u64>,
        may_try: bool,
        now: Moment,
        random: &Random,
    ) -> Option<Arc<Endpoint>> {
        if let [only] = self.endpoints.as_slice() {
            return self.has_room(only).then(|| only.clone());
        }
        let chosen = self.choose_admitted(not, may_try, now, random)?;
        if chosen.breaker.standing(now) != Standing::OnTrial || chosen.breaker.try_it(now) {
            return Some(chosen);
        }
        // Another thread was quicker.
        self.choose_admitted(not, false, now, random)
    }

    fn choose_admitted(
        &self,
        not: Option<u64>,
        may_try: bool,
        now: Moment,
        random: &Random,
    ) -> Option<Arc<Endpoint>> {
        let lot = random.next();
        let admits = |e: &Endpoint| match e.breaker.standing(now) {
            Standing::Serving => true,
            // One lot for all that is asked of it here.
            Standing::Ramp(share) => mix(lot ^ e.number) % 100 < share,
            Standing::OnTrial => may_try,
            Standing::Paused => false,
        };
        let is_well =
            |e: &Endpoint| Some(e.number) != not && e.suspect_until.load(Relaxed) <= now && admits(e);
        // Rather than to one that is not well what is new waits for one that is.
        let may_be_sick = self.policy.limit.is_none() || !self.endpoints.iter().any(|e| is_well(e));
        let good = |e: &Endpoint| is_well(e) && self.has_room(e);
        let other = |e: &Endpoint| Some(e.number) != not && may_be_sick && self.has_room(e);
        match &self.weights {
            None => self.less_loaded(good, random).or_else(|| self.less_loaded(other, random)),
            Some(weights) => self
                .by_weight(weights, good, random)
                .or_else(|| self.by_weight(weights, other, random))
                // Nothing that has a share is left.
                .or_else(|| self.less_loaded(good, random))
                .or_else(|| self.less_loaded(other, random)),
        }
        .cloned()
    }

    fn has_room(&self, endpoint: &Endpoint) -> bool {
        self.policy.limit.is_none() || endpoint.places.has_room()
    }

    fn less_loaded(&self, wanted: impl Fn(&Endpoint) -> bool, random: &Random) -> Option<&Arc<Endpoint>> {
        let count = self.endpoints.iter().filter(|e| wanted(e)).count();
        if count == 0 {
            return None;
        }
        let first = random.below(count);
        let second = (first + 1 + random.below(count.max(2) - 1)) % count;
        let at = |index: usize| self.endpoints.iter().filter(|e| wanted(e)).nth(index);
        let (first, second) = (at(first)?, at(second)?);
        Some(if second.counters.active() < first.counters.active() { second } else { first })
    }

    /// One by chance, in proportion to the weights; never one of weight 0.
    fn by_weight(
        &self,
        weights: &[u32],
        wanted: impl Fn(&Endpoint) -> bool,
        random: &Random,
    ) -> Option<&Arc<Endpoint>> {
        let candidates = || self.endpoints.iter().zip(weights).filter(|(e, _)| wanted(e));
        let total: u64 = candidates().map(|(_, weight)| u64::from(*weight)).sum();
        if total == 0 {
            return None;
        }
        let mut left = random.next() % total;
        candidates()
            .find(|(_, weight)| match left.checked_sub(u64::from(**weight)) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            })
            .map(|(endpoint, _)| endpoint)
    }

    /// The same one for the same `client` as long as the endpoints are the same, whichever process
    /// is asked; by weight, and those that failed lately last.
    pub fn choose_for(&self, client: u64, now: Moment) -> Option<Arc<Endpoint>> {
        let weight = |index: usize| self.weights.as_ref().map_or(1, |weights| weights[index]);
        // Rendezvous: each endpoint draws a number from the client, heavier ones a greater one.
        let drawn = |(index, endpoint): (usize, &Arc<Endpoint>)| {
            let mixed = mix(client ^ fingerprint(endpoint.instance.bytes()));
            let chance = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            let share = -f64::from(weight(index)) / chance.ln();
            (endpoint.suspect_until.load(Relaxed) <= now, share)
        };
        let all = self.endpoints.iter().enumerate();
        let best = all.max_by(|a, b| {
            let (a, b) = (drawn(*a), drawn(*b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        best.map(|(_, endpoint)| endpoint.clone())
    }

    /// Whether one more may be left alone: half of them carry on.
    pub fn may_pause(&self, now: Moment) -> bool {
        let is_away =
            |e: &&Arc<Endpoint>| matches!(e.breaker.standing(now), Standing::Paused | Standing::OnTrial);
        (self.endpoints.iter().filter(is_away).count() + 1) * 2 <= self.endpoints.len()
    }

    /// Requests under way at all of them.
    pub fn active(&self) -> u64 {
        self.endpoints.iter().map(|endpoint| endpoint.counters.active()).sum()
    }

    /// Whether this one has been silent since `sent` while others of them answered.
    pub fn is_alone_silent(&self, endpoint: &Endpoint, sent: Moment) -> bool {
        let others = self.endpoints.iter().filter(|other| other.number != endpoint.number);
        endpoint.last_answer() <= sent && others.map(|other| other.last_answer()).max() > Some(sent)
    }

    /// Whether something takes new work that has not failed lately.
    pub fn has_trusted(&self, now: Moment) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.suspect_until.load(Relaxed) <= now)
    }

    /// Whether there is an endpoint beside this one.
    pub fn has_others(&self, number: u64) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.number != number)
    }
}

/// What names mean to those who ask one address.
pub struct Zone {
    pub names: HashMap<String, Vec<IpAddr>>,
    pub reverse: HashMap<IpAddr, String>,
    pub forward: bool,
    /// The network's own name, lower case; empty if it has none.
    pub domain: String,
}

/// What one instance's names mean beyond that.
pub struct Asker {
    pub zones: Vec<IpAddr>,
    pub aliases: HashMap<String, String>,
    pub servers: Vec<IpAddr>,
}

/// A number for some bytes, the same in every process.
pub fn fingerprint(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads a number over all others, the same in every process.
pub fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
        mix(state)
    }
    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighted(weights: &[u32]) -> Backend {
        let address = "127.0.0.1:1".parse().expect("a socket address");
        let endpoint = |n: u64| Arc::new(Endpoint::new(n, n.to_string(), address, 1));
        let endpoints = weights.iter().zip(0..).map(|(weight, n)| (endpoint(n), *weight)).collect();
        Backend::new("s/web:80".into(), endpoints, Duration::ZERO, Arc::default())
    }

    fn backend(count: u64) -> Backend {
        weighted(&vec![100; count as usize])
    }

    /// How often each is chosen.
    fn shares(backend: &Backend, times: usize) -> Vec<usize> {
        let random = Random::new();
        let mut seen = vec![0; backend.endpoints.len()];
        for _ in 0..times {
            seen[backend.choose(None, true, 0, &random).expect("some are there").number as usize] += 1;
        }
        seen
    }

    #[test]
    fn the_less_loaded_of_two_is_chosen() {
        let backend = backend(2);
        let _work = Work::begin(backend.endpoints[0].clone(), 0);
        let random = Random::new();
        for _ in 0..50 {
            assert_eq!(backend.choose(None, true, 0, &random).expect("two are there").number, 1);
        }
    }

    #[test]
    fn a_suspect_is_taken_only_when_nothing_else_is_left() {
        let backend = backend(3);
        backend.endpoints[0].suspect(100);
        let random = Random::new();
        for _ in 0..50 {
            assert_ne!(backend.choose(None, true, 99, &random).expect("two are good").number, 0);
            assert_eq!(backend.choose(Some(1), true, 99, &random).expect("one is good").number, 2);
        }
        for endpoint in &backend.endpoints[1..] {
            endpoint.suspect(100);
        }
        assert!(backend.choose(None, true, 99, &random).is_some());
        assert!(self::backend(0).choose(None, true, 0, &random).is_none());
    }

    #[test]
    fn idle_endpoints_share_the_work() {
        let seen = shares(&backend(4), 1000);
        assert!(seen.iter().all(|&count| count > 150), "{seen:?}");
    }

    #[test]
    fn weights_are_shares_of_what_is_new() {
        const TIMES: usize = 20_000;
        for weights in [&[95, 5][..], &[50, 50], &[100, 10, 1], &[1, 0, 3], &[u32::MAX, u32::MAX, 1]] {
            let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            let backend = weighted(weights);
            // Load does not shift shares: a slow canary must not starve.
            let _work = Work::begin(backend.endpoints[0].clone(), 0);
            for (count, weight) in shares(&backend, TIMES).into_iter().zip(weights) {
                let share = f64::from(*weight) / total as f64;
                let expect = share * TIMES as f64;
                // Five standard deviations: one run in a million fails by chance.
                let bound = 5.0 * (TIMES as f64 * share * (1.0 - share)).sqrt();
                assert!((count as f64 - expect).abs() <= bound, "{weights:?}: {count} for {expect}");
            }
        }
    }

    #[test]
    fn without_weight_an_endpoint_is_the_last_resort() {
        let backend = weighted(&[0, 100]);
        let random = Random::new();
        backend.endpoints[1].suspect(100);
        for _ in 0..50 {
            assert_eq!(backend.choose(None, true, 0, &random).expect("one has a share").number, 1);
            assert_eq!(backend.choose(Some(1), true, 0, &random).expect("another is there").number, 0);
        }
        assert_eq!(shares(&weighted(&[0]), 10), [10]);
        assert!(shares(&weighted(&[0, 0]), 1000).iter().all(|&count| count > 300));
    }
}
