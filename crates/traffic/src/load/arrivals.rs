//! When which request begins: a function of the seed, made before anything is measured.

use crate::report::Kind;

/// Parts in a thousand of each kind.
const MIX: [(Kind, u32); 5] =
    [(Kind::KeepAlive, 900), (Kind::Close, 80), (Kind::SlowBody, 10), (Kind::Chunks, 9), (Kind::Upload, 1)];
/// A slow body takes between these.
const SLOW_MS: (u64, u64) = (1000, 3000);
/// An answer in chunks takes between these.
const CHUNKS_MS: (u64, u64) = (1000, 2000);
/// An upload takes so long: 64 MiB/s, so that the sender itself is no burden.
const UPLOAD_MS: u64 = 160;

/// A small generator of random numbers (xorshift64*): same seed, same load.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Above 0, at most 1.
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// One request that is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// From the start of the run.
    pub at_us: u64,
    pub kind: Kind,
    /// How long it is to take by itself.
    pub planned_us: u64,
}

/// Arrivals as of many people who know nothing of each other: gaps are exponential.
pub struct Arrivals {
    random: Random,
    rate: f64,
    at_us: f64,
    left: u64,
}

impl Arrivals {
    pub fn new(seed: u64, rate: u64, requests: u64) -> Self {
        Self { random: Random::new(seed), rate: rate as f64, at_us: 0.0, left: requests }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        self.left = self.left.checked_sub(1)?;
        self.at_us += -self.random.share().ln() * 1e6 / self.rate;
        let kind = kind(self.random.below(1000) as u32);
        let (from, to) = match kind {
            Kind::SlowBody => SLOW_MS,
            Kind::Chunks => CHUNKS_MS,
            Kind::Upload => (UPLOAD_MS, UPLOAD_MS + 1),
            _ => (0, 1),
        };
        let planned_us = (from + self.random.below(to - from)) * 1000;
        Some(Arrival { at_us: self.at_us as u64, kind, planned_us })
    }
}

fn kind(mut point: u32) -> Kind {
    for (kind, parts) in MIX {
        match point.checked_sub(parts) {
            Some(rest) => point = rest,
            None => return kind,
        }
    }
    Kind::KeepAlive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_a_whole() {
        assert_eq!(MIX.iter().map(|(_, parts)| parts).sum::<u32>(), 1000);
    }

    #[test]
    fn the_load_is_as_asked_for_and_the_same_again() {
        let arrivals: Vec<Arrival> = Arrivals::new(1, 1000, 100_000).collect();
        assert_eq!(arrivals, Arrivals::new(1, 1000, 100_000).collect::<Vec<_>>());
        assert_ne!(arrivals, Arrivals::new(2, 1000, 100_000).collect::<Vec<_>>());
        let seconds = arrivals.last().expect("many").at_us as f64 / 1e6;
        assert!((seconds - 100.0).abs() < 2.0, "{seconds}");
        for (kind, parts) in MIX {
            let found = arrivals.iter().filter(|a| a.kind == kind).count();
            let expect = parts as usize * 100;
            assert!(found.abs_diff(expect) < expect / 10 + 40, "{kind:?}: {found} of {expect}");
        }
        let slow = arrivals.iter().filter(|a| a.kind == Kind::SlowBody);
        assert!(slow.clone().all(|a| (1_000_000..3_000_000).contains(&a.planned_us)));
    }
}
