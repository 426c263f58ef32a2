//! The endpoints of all tables so far that still have work: who they are, and since when they are
//! to have nothing more to do. An endpoint that comes back is the same one as before.

use crate::drain::Drain;
use crate::policy::Policy;
use crate::policy::queue::Line;
use crate::policy::retry::Budget;
use crate::seat::Seat;
use crate::snapshot::{Backend, Endpoint, Moment};
use model::route::{Endpoint as Declared, RouteTable};
use model::traffic::Traffic;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Backend, instance, address.
type Key = (String, String, SocketAddr);

struct Known {
    endpoint: Arc<Endpoint>,
    /// From the first table that wanted nothing more of it.
    drain: Option<Drain>,
    drain_length: Duration,
}

pub struct Endpoints {
    threads: usize,
    present: HashMap<Key, Known>,
    /// Gone from the table with work under way.
    retired: HashMap<Key, Known>,
    /// Requests and connections for which a backend had nobody.
    without_endpoint: HashMap<String, Arc<AtomicU64>>,
    /// By backend, with what they were made from.
    policies: HashMap<String, (Traffic, Arc<Policy>, Arc<Budget>)>,
    /// Those that wait for an instance with room, by backend.
    lines: HashMap<String, Arc<Line<Seat>>>,
    next_number: u64,
    /// Of the backends of the table.
    numbers: HashMap<String, u32>,
    last_backend: u32,
}

impl Endpoints {
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            present: HashMap::new(),
            retired: HashMap::new(),
            without_endpoint: HashMap::new(),
            policies: HashMap::new(),
            lines: HashMap::new(),
            next_number: 0,
            numbers: HashMap::new(),
            last_backend: 0,
        }
    }

    /// Takes over what the table says of its endpoints.
    pub fn update(&mut self, table: &RouteTable, now_ms: Moment) {
        let mut gone = std::mem::take(&mut self.present);
        for (backend, declared) in
            table.backends.iter().flat_map(|(id, b)| b.endpoints.iter().map(move |e| (id, e)))
        {
            let key = key(backend, declared);
            let known = gone.remove(&key).or_else(|| self.retired.remove(&key));
            let mut known = known.unwrap_or_else(|| self.unknown(declared));
            known.drain_length = Duration::from_millis(declared.drain_ms);
            known.set_draining(declared.draining, now_ms);
            known.endpoint.gone.store(false, Relaxed);
            self.present.insert(key, known);
        }
        gone.values_mut().for_each(|known| {
            known.set_draining(true, now_ms);
            known.endpoint.gone.store(true, Relaxed);
        });
        // What has gone just now stays for one table more: a thread may still be choosing it.
        self.retired.retain(|_, known| known.endpoint.counters.active() > 0);
        self.retired.extend(gone);
        self.without_endpoint.retain(|backend, _| table.backends.contains_key(backend));
        self.policies.retain(|backend, _| table.backends.contains_key(backend));
        self.lines.retain(|backend, _| table.backends.contains_key(backend));
        self.numbers.retain(|backend, _| table.backends.contains_key(backend));
        for backend in table.backends.keys() {
            if !self.numbers.contains_key(backend) {
                self.last_backend += 1;
                self.numbers.insert(backend.clone(), self.last_backend);
            }
        }
    }

    fn unknown(&mut self, declared: &Declared) -> Known {
        self.next_number += 1;
        let (instance, address) = (declared.instance.clone(), declared.address);
        let endpoint = Arc::new(Endpoint::new(self.next_number, instance, address, self.threads));
        Known { endpoint, drain: None, drain_length: Duration::ZERO }
    }

    /// The backends of the table with those of their endpoints that take new work.
    pub fn backends<'t>(&mut self, table: &'t RouteTable) -> BTreeMap<&'t str, Arc<Backend>> {
        let mut backends = BTreeMap::new();
        for (id, declared) in &table.backends {
            let open = declared.endpoints.iter().filter(|endpoint| !endpoint.draining);
            let endpoints: Vec<(Arc<Endpoint>, u32)> = open
                .filter_map(|e| Some((self.present.get(&key(id, e))?.endpoint.clone(), e.weight)))
                .collect();
            let without_endpoint = self.without_endpoint.entry(id.clone()).or_default().clone();
            let hold = Duration::from_millis(declared.hold_ms);
            let (policy, budget) = self.policy(id, &declared.traffic);
            let line = self.lines.entry(id.clone()).or_default().clone();
            let limit = declared.traffic.limit.as_ref();
            declared.endpoints.iter().filter_map(|e| self.present.get(&key(id, e))).for_each(|known| {
                known.endpoint.places.declare(limit);
            });
            let number = self.numbers.get(id).copied().unwrap_or_default();
            let backend = Backend::with(id.clone(), endpoints, hold, without_endpoint, policy, budget, line);
            backends.insert(id.as_str(), Arc::new(Backend { number, ..backend }));
        }
        backends
    }

    /// What was counted goes on being counted where the policy is as before.
    fn policy(&mut self, backend: &str, traffic: &Traffic) -> (Arc<Policy>, Arc<Budget>) {
        let known = self.policies.get(backend);
        if let Some((_, policy, budget)) = known.filter(|(before, ..)| before == traffic) {
            return (policy.clone(), budget.clone());
        }
        let limiters = known.map(|(_, policy, _)| policy.rates.as_slice()).unwrap_or_default();
        let policy = Arc::new(Policy::new(traffic, limiters));
        let budget = known.map(|(.., budget)| budget.clone()).unwrap_or_default();
        self.policies.insert(backend.to_owned(), (traffic.clone(), policy.clone(), budget.clone()));
        (policy, budget)
    }

    /// Endpoints that are to have nothing more to do, by number.
    pub fn draining(&self) -> HashMap<u64, Drain> {
        self.all().filter_map(|known| Some((known.endpoint.number, known.drain?))).collect()
    }

    /// Connections and requests going to the instance now.
    pub fn active(&self, instance: &str) -> u64 {
        let of_it = self.all().filter(|known| known.endpoint.instance == instance);
        of_it.map(|known| known.endpoint.counters.active()).sum()
    }

    pub fn get(&self, backend: &str, declared: &Declared) -> Option<&Arc<Endpoint>> {
        self.present.get(&key(backend, declared)).map(|known| &known.endpoint)
    }

    pub fn without_endpoint(&self, backend: &str) -> u64 {
        self.without_endpoint.get(backend).map_or(0, |count| count.load(Relaxed))
    }

    /// Those that wait for one of its instances to have room; none if it has no limit.
    pub fn line(&self, backend: &str) -> Option<&Line<Seat>> {
        let (traffic, ..) = self.policies.get(backend)?;
        traffic.limit.as_ref()?;
        self.lines.get(backend).map(|line| &**line)
    }

    pub fn policy_of(&self, backend: &str) -> Option<&Policy> {
        self.policies.get(backend).map(|(_, policy, _)| &**policy)
    }

    /// Numbers of the table's backends, by their ids.
    pub fn numbers(&self) -> &HashMap<String, u32> {
        &self.numbers
    }

    fn all(&self) -> impl Iterator<Item = &Known> {
        self.present.values().chain(self.retired.values())
    }
}

impl Known {
    fn set_draining(&mut self, draining: bool, now_ms: Moment) {
        self.endpoint.closed.store(draining, Relaxed);
        let begun_ms = self.drain.map_or(now_ms, |drain| drain.begun_ms);
        self.drain = draining.then(|| Drain::new(begun_ms, self.drain_length));
    }
}

fn key(backend: &str, endpoint: &Declared) -> Key {
    (backend.to_owned(), endpoint.instance.clone(), endpoint.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Work;
    use model::route::{Backend as DeclaredBackend, DEFAULT_WEIGHT};

    fn table(draining: Option<bool>) -> RouteTable {
        let mut table = RouteTable::empty();
        let endpoint = |draining| Declared {
            instance: "web1".into(),
            address: "127.0.0.1:1".parse().expect("an address"),
            draining,
            drain_ms: 1_000,
            weight: DEFAULT_WEIGHT,
        };
        let endpoints = draining.map(endpoint).into_iter().collect();
        table.backends.insert(
            "s/web:80".into(),
            DeclaredBackend { endpoints, hold_ms: 0, traffic: Default::default() },
        );
        table
    }

    #[test]
    fn the_time_to_drain_runs_from_the_first_table_until_one_takes_it_back() {
        let mut endpoints = Endpoints::new(1);
        let end = |endpoints: &Endpoints| endpoints.draining().get(&1).map(|drain| drain.end_ms);
        endpoints.update(&table(Some(false)), 0);
        let endpoint = endpoints.present.values().next().expect("it is there").endpoint.clone();
        let work = Work::begin(endpoint.clone(), 0);
        assert_eq!(end(&endpoints), None);
        endpoints.update(&table(Some(true)), 100);
        endpoints.update(&table(Some(true)), 500);
        assert_eq!(end(&endpoints), Some(1_100));
        // Gone from the table altogether, it still finishes, and comes back as the same.
        endpoints.update(&table(None), 600);
        assert_eq!((end(&endpoints), endpoints.active("web1")), (Some(1_100), 1));
        endpoints.update(&table(Some(false)), 700);
        assert_eq!(end(&endpoints), None);
        assert!(
            !endpoint.closed.load(Relaxed)
                && endpoints.present.values().next().is_some_and(|k| k.endpoint.number == 1)
        );
        drop(work);
        endpoints.update(&table(None), 800);
        endpoints.update(&table(None), 900);
        assert!(endpoints.draining().is_empty(), "without work it is forgotten");
    }
}
