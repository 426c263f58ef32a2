//! Who calls whom: counts for each pair of a caller and a backend, a part of them for each thread.
//! A connection looks for its part once and keeps it; the list of all pairs is locked only when a
//! thread meets a pair for the first time.

use crate::counters::{Shard, read};
use crate::http::connection::Client;
use crate::options::MAX_PAIRS;
use crate::quick::QuickMap;
use crate::snapshot::Backend;
use crate::stream::ClientStream;
use crate::wire::Counts;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A caller; services by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    Service(u32),
    Outside,
    Host,
    Unknown,
    /// More than are told apart, with the backend 0.
    Others,
}

/// A caller, and the number of a backend.
pub type Pair = (Who, u32);

const OTHERS: Pair = (Who::Others, 0);

/// The pairs of all threads.
#[derive(Default)]
pub struct Calls {
    pairs: Mutex<HashMap<Pair, Vec<Arc<Shard>>>>,
    is_full: AtomicBool,
    /// Changes when pairs are forgotten.
    epoch: AtomicU64,
}

impl Calls {
    fn pairs(&self) -> MutexGuard<'_, HashMap<Pair, Vec<Arc<Shard>>>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new part of a pair's counts; none where there are too many pairs.
    fn join(&self, pair: Pair) -> Option<Arc<Shard>> {
        let mut pairs = self.pairs();
        if pairs.len() >= MAX_PAIRS && pair != OTHERS && !pairs.contains_key(&pair) {
            self.is_full.store(true, Relaxed);
            return None;
        }
        let shard = Arc::<Shard>::default();
        pairs.entry(pair).or_default().push(shard.clone());
        Some(shard)
    }

    /// Forgets the pairs of which one end is no more. Callers without an instance are kept as long as
    /// there is room: they come back.
    pub fn retain(&self, has_backend: impl Fn(u32) -> bool, has_caller: impl Fn(u32) -> bool) {
        let mut pairs = self.pairs();
        let before = pairs.len();
        pairs.retain(|pair, _| *pair == OTHERS || has_backend(pair.1));
        if pairs.len() >= MAX_PAIRS {
            pairs.retain(|(who, _), _| !matches!(who, Who::Service(number) if !has_caller(*number)));
        }
        if pairs.len() < before {
            self.is_full.store(false, Relaxed);
            self.epoch.fetch_add(1, Relaxed);
        }
    }

    /// All that was counted.
    pub fn read(&self) -> Vec<(Pair, Counts)> {
        let counts = |shards: &[Arc<Shard>]| read(&shards.iter().map(|shard| &**shard).collect::<Vec<_>>());
        self.pairs().iter().map(|(pair, shards)| (*pair, counts(shards))).collect()
    }
}

/// One thread's parts.
#[derive(Default)]
pub struct OfThread {
    known: RefCell<QuickMap<Pair, Arc<Shard>>>,
    others: RefCell<Option<Arc<Shard>>>,
    epoch: Cell<u64>,
}

impl OfThread {
    /// Forgets what all threads have forgotten.
    pub fn follow(&self, calls: &Calls) {
        let epoch = calls.epoch.load(Relaxed);
        if self.epoch.replace(epoch) != epoch {
            self.known.borrow_mut().clear();
        }
    }

    fn part(&self, calls: &Calls, pair: Pair) -> Arc<Shard> {
        if let Some(shard) = self.known.borrow().get(&pair) {
            return shard.clone();
        }
        let joined = if calls.is_full.load(Relaxed) { None } else { calls.join(pair) };
        match joined {
            Some(shard) => {
                self.known.borrow_mut().insert(pair, shard.clone());
                shard
            }
            None => {
                let mut others = self.others.borrow_mut();
                others.get_or_insert_with(|| calls.join(OTHERS).expect("there is always room for it")).clone()
            }
        }
    }
}

/// Where the calls of one connection are counted.
#[derive(Default)]
pub struct Calling {
    who: Cell<Option<Who>>,
    /// Of the backend with this number.
    part: RefCell<Option<(u32, Arc<Shard>)>>,
}

impl Calling {
    pub fn of(who: Who) -> Self {
        Self { who: Cell::new(Some(who)), ..Self::default() }
    }
}

impl Client {
    /// Who is at the other end, looked up once.
    pub fn who(&self) -> Who {
        if let Some(who) = self.calling.who.get() {
            return who;
        }
        let who = self.look_up();
        self.calling.who.set(Some(who));
        who
    }

    fn look_up(&self) -> Who {
        let ip = self.peer.address.ip();
        let own = || self.stream.local_addr().is_ok_and(|local| local.ip().to_canonical() == ip);
        match self.worker.shared.snapshot.load().callers.get(&ip) {
            Some(number) => Who::Service(*number),
            // What a program here connects to is also where it connects from.
            None if ip.is_loopback() || own() => Who::Host,
            None if self.route.public => Who::Outside,
            None => Who::Unknown,
        }
    }

    /// Where calls to the backend are counted; nowhere for copies, which nobody asked for.
    pub fn called(&self, backend: &Backend) -> Option<Arc<Shard>> {
        self.count(backend, |_| ()).and(self.calling.part.borrow().as_ref().map(|(_, shard)| shard.clone()))
    }

    /// Counts a call to the backend.
    pub fn count<T>(&self, backend: &Backend, count: impl FnOnce(&Shard) -> T) -> Option<T> {
        if backend.number == 0 || matches!(self.stream, ClientStream::Nobody(_)) {
            return None;
        }
        let mut part = self.calling.part.borrow_mut();
        let part = match &mut *part {
            Some(part) if part.0 == backend.number => part,
            other => {
                let pair = (self.who(), backend.number);
                other.insert((backend.number, self.worker.calls.part(&self.worker.shared.calls, pair)))
            }
        };
        Some(count(&part.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_told_apart_up_to_a_limit_and_the_rest_is_counted_together() {
        let (calls, thread, other) = (Calls::default(), OfThread::default(), OfThread::default());
        for number in 0..MAX_PAIRS as u32 + 10 {
            thread.part(&calls, (Who::Service(number), 1)).request(200, 10);
            other.part(&calls, (Who::Service(number), 1)).request(200, 10);
        }
        let read = calls.read();
        let of =
            |pair: Pair| read.iter().find(|(known, _)| *known == pair).map(|(_, counts)| counts.requests);
        assert_eq!(read.len(), MAX_PAIRS + 1);
        assert_eq!((of((Who::Service(0), 1)), of(OTHERS)), (Some(2), Some(20)));
        assert_eq!(calls.pairs()[&OTHERS].len(), 2, "one part for each thread");
    }

    #[test]
    fn what_has_gone_makes_room() {
        let (calls, thread) = (Calls::default(), OfThread::default());
        for number in 0..MAX_PAIRS as u32 {
            thread.part(&calls, (Who::Service(number), 1 + number % 2)).request(200, 10);
        }
        thread.part(&calls, (Who::Host, 1)).request(200, 10);
        calls.retain(|_| true, |caller| caller != 7);
        thread.follow(&calls);
        assert!(calls.read().iter().all(|((who, _), _)| *who != Who::Service(7)));
        calls.retain(|backend| backend == 2, |_| false);
        thread.follow(&calls);
        assert_eq!(calls.read().len(), MAX_PAIRS / 2 - 1 + 1, "with room, callers without instances stay");
        thread.part(&calls, (Who::Host, 1)).request(200, 10);
        let host = calls.read().into_iter().find(|(pair, _)| *pair == (Who::Host, 1));
        assert_eq!(host.map(|(_, counts)| counts.requests), Some(1));
    }
}
