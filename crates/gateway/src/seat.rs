//! A place at an instance that has only so many. Whoever holds it may send one request; given back,
//! it goes to the first that waits for one.

use crate::policy::queue::Line;
use crate::snapshot::{Backend, Endpoint, Moment, Random};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub struct Seat {
    pub endpoint: Arc<Endpoint>,
    line: Arc<Line<Seat>>,
}

impl Seat {
    /// One of this instance's places, if there is one.
    pub fn at(endpoint: &Arc<Endpoint>, line: &Arc<Line<Self>>) -> Option<Self> {
        endpoint.places.take().then(|| Self { endpoint: endpoint.clone(), line: line.clone() })
    }

    /// The instance takes new work.
    pub fn is_open(&self) -> bool {
        !self.endpoint.closed.load(Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.endpoint.places.free();
        if self.line.waiting() > 0 && self.is_open() && !self.endpoint.breaker.is_left_alone() {
            self.line.serve(|| Self::at(&self.endpoint, &self.line));
        }
    }
}

impl Backend {
    /// A place at the instance that is chosen; `not` and `may_try` as for [`Backend::choose`].
    pub fn seat(&self, not: Option<u64>, may_try: bool, now: Moment, random: &Random) -> Option<Seat> {
        // Another thread may take the last place of the one that was chosen, but not of each.
        (0..=self.endpoints.len()).find_map(|_| {
            let chosen = self.choose(not, may_try, now, random)?;
            Seat::at(&chosen, &self.line)
        })
    }
}

/// An answer has begun, or its time is over, `waited` after the request was sent. A stream that has
/// no end of its own gives its place back where limits are measured: it says nothing about times,
/// and many of them would leave no place for what does.
pub fn answered(seat: &Cell<Option<Seat>>, waited: Duration, is_sample: bool, is_stream: bool, now: Moment) {
    let Some(held) = seat.take() else { return };
    let places = &held.endpoint.places;
    if !places.is_adaptive() {
        return seat.set(Some(held));
    }
    if is_sample {
        places.answered(waited.as_micros() as u64, now);
    }
    if !is_stream {
        seat.set(Some(held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::policy::queue::Settings;
    use model::traffic::{Limit, Priority, Queue, Traffic};

    fn backend(instances: u64, limit: u32) -> Backend {
        let traffic = Traffic { limit: Some(Limit::Fixed(limit)), ..Traffic::default() };
        let address = "127.0.0.1:1".parse().expect("a socket address");
        let endpoints = (0..instances).map(|n| {
            let endpoint = Arc::new(Endpoint::new(n, n.to_string(), address, 1));
            endpoint.places.declare(traffic.limit.as_ref());
            (endpoint, 100)
        });
        let policy = Arc::new(Policy::new(&traffic, &[]));
        let (id, endpoints) = ("s/web:80".to_owned(), endpoints.collect());
        Backend::with(id, endpoints, Duration::ZERO, Arc::default(), policy, Arc::default(), Arc::default())
    }

    #[test]
    fn every_place_is_used_and_none_twice() {
        let (backend, random) = (backend(3, 2), Random::new());
        let seats: Vec<Seat> = (0..6).map_while(|_| backend.seat(None, true, 0, &random)).collect();
        assert_eq!(seats.len(), 6);
        assert!(backend.seat(None, true, 0, &random).is_none());
        drop(seats);
        assert!(backend.seat(None, true, 0, &random).is_some());
    }

    #[test]
    fn what_is_new_waits_for_one_that_is_well_rather_than_to_meet_a_sick_one() {
        let (backend, random) = (backend(2, 1), Random::new());
        backend.endpoints[0].suspect(100);
        let seat = backend.seat(None, true, 50, &random).expect("one is well");
        assert_eq!(seat.endpoint.number, 1);
        assert!(backend.seat(None, true, 50, &random).is_none());
        backend.endpoints[1].suspect(100);
        assert!(backend.seat(None, true, 50, &random).is_some(), "none is well");
    }

    #[test]
    fn a_place_that_comes_free_is_handed_to_the_first_that_waits() {
        let (backend, random) = (backend(1, 1), Random::new());
        let seat = backend.seat(None, true, 0, &random).expect("it is free");
        let queue = Settings::new(&Queue::default());
        let mut first = backend.line.enter(Priority::Normal, &queue, false).expect("there is room");
        let mut second = backend.line.enter(Priority::Normal, &queue, false).expect("there is room");
        drop(seat);
        let seat = first.wait.try_recv().expect("it was handed over");
        assert!(second.wait.try_recv().is_err());
        // One that gets it and is gone at the same moment passes it on.
        drop((first, seat));
        let seat = second.wait.try_recv().expect("it was handed over");
        seat.endpoint.closed.store(true, Relaxed);
        let mut third = backend.line.enter(Priority::Normal, &queue, false).expect("there is room");
        drop(seat);
        assert!(third.wait.try_recv().is_err(), "nobody is sent to one that takes nothing new");
        assert!(backend.endpoints[0].places.has_room());
    }
}
