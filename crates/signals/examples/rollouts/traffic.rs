//! Replayed traffic of a service: two arms, request by request, with the noise of real machines.

use crate::lots::Lots;
use model::Timestamp;
use model::flow::{Latency, LatencyBucket, bucket_edge_us};
use signals::release::{Arm, LN_UNIT, Second, Slow, slow};

const MEDIAN_US: f64 = 50_000.0;
const DEVIATION: f64 = 0.8;
const BASE_ERRORS: f64 = 0.001;
/// Seconds after which a replica's noise is forgotten.
const MEMORY_S: f64 = 20.0;

/// What makes equal releases look different.
#[derive(Debug, Clone, Copy, Default)]
pub struct Noise {
    /// Load and time to answer come and go for both.
    pub drift: f64,
    /// Standard deviation of one replica's time to answer, with memory.
    pub replica: f64,
    /// Standard deviation of what stays different.
    pub lasting: f64,
    /// Errors come so many at a time in the mean.
    pub clump: f64,
    pub cold_start: bool,
}

impl Noise {
    pub const NONE: Self = Self { drift: 0.0, replica: 0.0, lasting: 0.0, clump: 1.0, cold_start: false };
    pub const HARSH: Self = Self { drift: 0.15, replica: 0.05, lasting: 0.03, clump: 3.0, cold_start: true };
}

/// What is wrong with the new release.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub errors: f64,
    pub latency: f64,
}

impl Fault {
    pub const NONE: Self = Self { errors: BASE_ERRORS, latency: 1.0 };
}

struct Replica {
    errors: f64,
    factor: f64,
    noise: f64,
    /// Failures of a clump that are still to come.
    failing: u64,
    is_cold: bool,
}

pub struct Traffic {
    rate: f64,
    noise: Noise,
    phase: f64,
    period_s: f64,
    now_ms: u64,
    new: Replica,
    old: Replica,
    lots: Lots,
    slow: Option<Slow>,
}

impl Traffic {
    pub fn new(rate: f64, noise: Noise, fault: Fault, seed: u64) -> Self {
        let mut lots = Lots::new(seed);
        let replica = |errors: f64, factor: f64, is_cold: bool, lots: &mut Lots| Replica {
            errors,
            factor: factor * (noise.lasting * lots.normal()).exp(),
            noise: noise.replica * lots.normal(),
            failing: 0,
            is_cold,
        };
        let new = replica(fault.errors, fault.latency, noise.cold_start, &mut lots);
        // The difference between both is what the noise says.
        let old = Replica { factor: 1.0, ..replica(BASE_ERRORS, 1.0, false, &mut lots) };
        let (phase, period_s) = (lots.part() * std::f64::consts::TAU, 300.0 + 900.0 * lots.part());
        let mut traffic = Self { rate, noise, phase, period_s, now_ms: 0, new, old, lots, slow: None };
        traffic.slow = traffic.what_is_slow();
        traffic
    }

    /// With the same limit for both, as replicas of one release have it.
    pub fn of_equals(mut self) -> Self {
        self.slow = self.slow.map(|slow| Slow { new_us: slow.old_us, ..slow });
        self
    }

    /// By the old release's answers of the time before.
    fn what_is_slow(&mut self) -> Option<Slow> {
        const ANSWERS: usize = 5_000;
        let mut buckets = std::collections::BTreeMap::new();
        for _ in 0..ANSWERS {
            let micros = (MEDIAN_US.ln() + DEVIATION * self.lots.normal()).exp();
            *buckets.entry(bucket_edge_us(micros as u64 + 1)).or_default() += 1;
        }
        let buckets = buckets.into_iter().map(|(le_us, count)| LatencyBucket { le_us, count }).collect();
        slow(&Latency { buckets, ..Latency::default() }, 0.1)
    }

    /// The next look after so long a time, in which the new release has this share (in thousandths).
    pub fn next(&mut self, share: u16, after_ms: u64) -> Second {
        let (age, span_s) = (self.now_ms as f64 / 1e3, after_ms as f64 / 1e3);
        let wave = (std::f64::consts::TAU * age / self.period_s + self.phase).sin();
        let load = 1.0 + self.noise.drift * wave;
        let (mut new, mut old) =
            (Arm { instances: 1, ..Arm::default() }, Arm { instances: 1, ..Arm::default() });
        for replica in [&mut self.new, &mut self.old] {
            let kept = (-span_s / MEMORY_S).exp();
            let fresh = self.noise.replica * (1.0 - kept * kept).sqrt();
            replica.noise = kept * replica.noise + fresh * self.lots.normal();
        }
        for _ in 0..self.lots.poisson(self.rate * load * span_s) {
            let is_new = self.lots.hits(f64::from(share) / 1000.0);
            let (replica, arm, limit) = match is_new {
                true => (&mut self.new, &mut new, self.slow.map(|slow| slow.new_us)),
                false => (&mut self.old, &mut old, self.slow.map(|slow| slow.old_us)),
            };
            replica.serve(arm, limit, age, load, self.noise.clump, &mut self.lots);
        }
        self.now_ms += after_ms;
        Second { at: Timestamp(self.now_ms as i64), new, old, is_own: false }
    }
}

impl Replica {
    fn serve(
        &mut self,
        arm: &mut Arm,
        slow_us: Option<u64>,
        age: f64,
        load: f64,
        clump: f64,
        lots: &mut Lots,
    ) {
        let cold = if self.is_cold { 1.0 + 2.0 * (-age / 7.0).exp() } else { 1.0 };
        let errors = if self.is_cold && age < 3.0 { self.errors.max(0.05) } else { self.errors };
        if self.failing == 0 && lots.hits(errors / clump) {
            self.failing = 1 + lots.poisson(clump - 1.0);
        }
        arm.requests += 1;
        if self.failing > 0 {
            self.failing -= 1;
            arm.failed += 1;
        }
        let level =
            MEDIAN_US.ln() + DEVIATION * lots.normal() + self.noise + (self.factor * cold * load).ln();
        arm.slow += u64::from(slow_us.is_some_and(|limit| level.exp() > limit as f64));
        let units = (level * LN_UNIT) as u64;
        arm.ln += units;
        arm.ln_squares += units * units;
    }
}
