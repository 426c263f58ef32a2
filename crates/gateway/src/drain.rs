//! When connections are ended whose instance, or whose whole gateway, is to finish: what can be
//! ended politely is asked to, spread over the time there is; the rest is cut at its end.
//!
//! ```text
//! begun ──── events and frames, one after the other ──── margin ── end: what is left is cut
//!      └──── bytes: all of it (an instance drains) ───── FIN ─────┘
//! ```

use crate::snapshot::{Moment, Random};
use crate::watch::{NEVER, Occupation, Registry, Watch};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// What the last one asked may still take for its goodbye, and its part of the whole time at most.
const GOODBYE: Duration = Duration::from_secs(2);
const GOODBYE_PART: u64 = 5;
/// The same for sessions of bytes, which only have to notice an end.
pub const FAREWELL: Duration = Duration::from_millis(500);
const FAREWELL_PART: u64 = 10;

/// The time something has to finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    pub begun_ms: Moment,
    pub end_ms: Moment,
}

impl Drain {
    pub fn new(begun_ms: Moment, length: Duration) -> Self {
        let length = u64::try_from(length.as_millis()).unwrap_or(NEVER);
        // Never is the word for "not planned".
        Self { begun_ms, end_ms: begun_ms.saturating_add(length).min(NEVER - 1) }
    }

    fn before_end(&self, most: Duration, part: u64) -> Moment {
        let length = self.end_ms - self.begun_ms;
        self.end_ms - (most.as_millis() as u64).min(length / part)
    }
}

/// Who drains: one instance while the gateway goes on, or the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Endpoint,
    Gateway,
}

/// Plans for what has begun to drain since the last look, and does what is due. Returns whether
/// anything is planned.
pub fn look(
    registry: &Registry,
    endpoints: &HashMap<u64, Drain>,
    gateway: Option<Drain>,
    now_ms: Moment,
    random: &Random,
) -> bool {
    let mut planned = false;
    let mut fresh: Vec<(Rc<Watch>, Drain, Whose)> = Vec::new();
    registry.each(|watch| match drain_of(watch, endpoints, gateway) {
        None => watch.drain.forget(),
        Some((drain, whose)) => {
            planned = true;
            let (first, last) = window(watch.occupation(), drain, whose);
            watch.drain.cut_at.set(drain.end_ms);
            if first == NEVER {
                watch.drain.end_at.set(NEVER);
            } else if watch.drain.end_at.get() > last {
                fresh.push((watch.clone(), drain, whose));
            }
        }
    });
    let count = fresh.len() as u64;
    for (index, (watch, drain, whose)) in fresh.iter().enumerate() {
        let (first, last) = window(watch.occupation(), *drain, *whose);
        let first = first.max(now_ms).min(last);
        // One after the other, each somewhere in its own part: spread, and not in step.
        let part = (index as u64 * PARTS + random.below(PARTS as usize) as u64) as u128;
        let offset = u128::from(last - first) * part / u128::from(count * PARTS);
        watch.drain.end_at.set(first + offset as u64);
    }
    if planned {
        registry.each(|watch| watch.fire(now_ms));
    }
    planned
}

/// Steps within one connection's part of the time.
const PARTS: u64 = 1024;

/// The time that ends first of those that concern the connection.
fn drain_of(
    watch: &Watch,
    endpoints: &HashMap<u64, Drain>,
    gateway: Option<Drain>,
) -> Option<(Drain, Whose)> {
    let endpoint = match watch.drain.endpoint.get() {
        0 => None,
        number => endpoints.get(&number).copied(),
    };
    match (endpoint, gateway) {
        (Some(endpoint), Some(gateway)) if gateway.end_ms < endpoint.end_ms => {
            Some((gateway, Whose::Gateway))
        }
        (Some(endpoint), _) => Some((endpoint, Whose::Endpoint)),
        (None, gateway) => gateway.map(|gateway| (gateway, Whose::Gateway)),
    }
}

/// From when to when the connection may be asked to end; from [`NEVER`] if it ends by itself.
fn window(occupation: Occupation, drain: Drain, whose: Whose) -> (Moment, Moment) {
    let last = drain.before_end(GOODBYE, GOODBYE_PART);
    match (occupation, whose) {
        (Occupation::Request, _) => (NEVER, NEVER),
        (Occupation::Events | Occupation::Frames, _) | (Occupation::Bytes, Whose::Gateway) => {
            (drain.begun_ms, last)
        }
        (Occupation::Bytes, Whose::Endpoint) => {
            let farewell = drain.before_end(FAREWELL, FAREWELL_PART);
            (farewell, farewell)
        }
        // Late, so that most have come with a request before, whose answer could say it.
        (Occupation::Idle, _) => (last - (last - drain.begun_ms) / 5, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Registered, Side};
    use std::sync::Arc;
    use std::time::Instant;

    struct World {
        registry: Rc<Registry>,
        random: Random,
        draining: HashMap<u64, Drain>,
    }

    impl World {
        fn new() -> Self {
            let registry = Rc::new(Registry::new(Instant::now(), Arc::default()));
            Self { registry, random: Random::new(), draining: HashMap::new() }
        }
        fn connect(&self, endpoint: u64, occupation: Occupation) -> Registered {
            let watch = self.registry.register(0);
            watch.join(endpoint);
            watch.occupy(occupation);
            watch
        }
        fn look(&self, now_ms: u64) {
            look(&self.registry, &self.draining, None, now_ms, &self.random);
        }
    }

    #[test]
    fn streams_are_asked_evenly_over_the_time_and_cut_at_its_end() {
        let mut world = World::new();
        let streams: Vec<_> = (0..100).map(|_| world.connect(1, Occupation::Frames)).collect();
        let other = world.connect(2, Occupation::Frames);
        world.draining.insert(1, Drain::new(1_000, Duration::from_secs(10)));
        let asked = |at: u64| {
            world.look(at);
            streams.iter().filter(|watch| watch.ending()).count()
        };
        assert!(asked(1_000) <= 1);
        for (at, expect) in [(3_000, 25), (5_000, 50), (7_000, 75), (9_000, 100)] {
            let asked = asked(at);
            assert!(asked.abs_diff(expect) <= 1, "{asked} at {at}");
        }
        assert!(streams.iter().all(|watch| !watch.is_cut()));
        world.look(11_000);
        assert!(streams.iter().all(|watch| watch.is_cut()));
        assert!(!other.ending() && !other.is_cut());
    }

    #[test]
    fn requests_and_bytes_have_the_whole_time() {
        let mut world = World::new();
        let (request, bytes) = (world.connect(1, Occupation::Request), world.connect(1, Occupation::Bytes));
        world.draining.insert(1, Drain::new(0, Duration::from_secs(10)));
        world.look(9_499);
        assert!(!request.ending() && !bytes.ending());
        world.look(9_500);
        assert!(!request.ending() && bytes.ending() && !bytes.is_cut());
        world.look(10_000);
        assert!(request.is_cut() && bytes.is_cut());
    }

    #[test]
    fn what_drains_no_longer_goes_on() {
        let mut world = World::new();
        let streams: Vec<_> = (0..10).map(|_| world.connect(1, Occupation::Events)).collect();
        world.draining.insert(1, Drain::new(0, Duration::from_secs(10)));
        world.look(0);
        world.look(4_000);
        let asked = streams.iter().filter(|watch| watch.ending()).count();
        world.draining.clear();
        world.look(4_100);
        world.look(60_000);
        assert_eq!(streams.iter().filter(|watch| watch.ending()).count(), asked);
        assert!((4..=6).contains(&asked), "{asked}");
        assert!(streams.iter().all(|watch| !watch.is_cut()));
    }

    #[test]
    fn a_stream_that_begins_late_still_has_a_goodbye() {
        let mut world = World::new();
        let watch = world.connect(1, Occupation::Request);
        world.draining.insert(1, Drain::new(0, Duration::from_secs(10)));
        world.look(7_900);
        watch.occupy(Occupation::Frames);
        watch.attend(Side::Output, true);
        world.look(7_950);
        world.look(8_000);
        assert!(watch.ending() && !watch.is_cut());
    }

    #[test]
    fn no_time_at_all_is_an_end_at_once() {
        let mut world = World::new();
        let watch = world.connect(1, Occupation::Request);
        world.draining.insert(1, Drain::new(500, Duration::ZERO));
        world.look(500);
        assert!(watch.is_cut());
    }
}
