//! Counts without contention: each worker thread writes its own shard, readers add them up.

use crate::wire::{Counts, Latency, LatencyBucket};
use model::flow::{LN_UNIT, QUICKEST_US};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Four buckets for each doubling from 16 µs to 268 s, and one below.
const BUCKETS: usize = 1 + 24 * 4;
const LOWEST_US: u64 = QUICKEST_US;

/// The counts of one thread; only that thread writes here.
#[repr(align(128))]
pub struct Shard {
    connections: AtomicU64,
    active: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    classes: [AtomicU64; 5],
    latency_sum_us: AtomicU64,
    latency_ln: AtomicU64,
    latency_ln_squares: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            connections: AtomicU64::default(),
            active: AtomicU64::default(),
            requests: AtomicU64::default(),
            errors: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            classes: Default::default(),
            latency_sum_us: AtomicU64::default(),
            latency_ln: AtomicU64::default(),
            latency_ln_squares: AtomicU64::default(),
            latency: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

/// Adds without a locked instruction, which is right because a shard has a single writer.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

impl Shard {
    pub fn connection(&self) {
        add(&self.connections, 1);
    }
    pub fn begin(&self) {
        add(&self.active, 1);
    }
    pub fn end(&self) {
        add(&self.active, u64::MAX);
    }
    pub fn error(&self) {
        add(&self.errors, 1);
    }
    pub fn received(&self, bytes: u64) {
        add(&self.bytes_in, bytes);
    }
    pub fn sent(&self, bytes: u64) {
        add(&self.bytes_out, bytes);
    }
    /// One finished HTTP request with its status and duration.
    pub fn request(&self, status: u16, micros: u64) {
        self.take(&Sample::new(status, micros));
    }
    pub fn take(&self, sample: &Sample) {
        add(&self.requests, 1);
        if let Some(class) = self.classes.get(sample.class) {
            add(class, 1);
        }
        add(&self.latency_sum_us, sample.micros);
        add(&self.latency_ln, sample.ln);
        add(&self.latency_ln_squares, sample.ln * sample.ln);
        add(&self.latency[sample.bucket], 1);
    }
}

/// One finished request, made ready to be counted in several places.
pub struct Sample {
    class: usize,
    micros: u64,
    ln: u64,
    bucket: usize,
}

impl Sample {
    pub fn new(status: u16, micros: u64) -> Self {
        let class = (status / 100).wrapping_sub(1) as usize;
        Self { class, micros, ln: ln(micros), bucket: bucket(micros) }
    }
}

/// ln of the numbers from 1 to 2 in steps of 1/256, in parts of 2⁻¹⁶ of [`LN_UNIT`].
const LN_TABLE: [u32; 256] = ln_table();
const LN_FRACTION: u32 = 16;

const fn ln_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        // The middle of the step, by the series of 2·artanh((y − 1) / (y + 1)).
        let y = 1.0 + (at as f64 + 0.5) / 256.0;
        let z = (y - 1.0) / (y + 1.0);
        let (mut sum, mut power, mut odd) = (0.0, z, 1.0);
        while odd < 30.0 {
            sum += power / odd;
            power *= z * z;
            odd += 2.0;
        }
        table[at] = (2.0 * sum * (LN_UNIT << LN_FRACTION) as f64) as u32;
        at += 1;
    }
    table
}

/// ln in parts of [`LN_UNIT`], to the next whole one; that of 0 is that of 1.
fn ln(micros: u64) -> u64 {
    const OCTAVE: u64 = (std::f64::consts::LN_2 * (LN_UNIT << LN_FRACTION) as f64) as u64;
    let micros = micros.max(1);
    let octave = micros.ilog2();
    let step = (micros << (63 - octave)) >> 55 & 0xff;
    (u64::from(octave) * OCTAVE + u64::from(LN_TABLE[step as usize])) >> LN_FRACTION
}

fn bucket(micros: u64) -> usize {
    if micros < LOWEST_US {
        return 0;
    }
    let octave = micros.ilog2() as usize;
    let quarter = (micros >> (octave - 2)) as usize & 3;
    (1 + (octave - 4) * 4 + quarter).min(BUCKETS - 1)
}

/// Upper edge of a bucket.
fn edge_us(bucket: usize) -> u64 {
    if bucket == 0 {
        return LOWEST_US;
    }
    let (octave, quarter) = ((bucket - 1) / 4 + 4, (bucket as u64 - 1) % 4);
    (1 << octave) + (quarter + 1) * (1 << (octave - 2))
}

/// Counts of one of very many things, most of which never happen: a thread's part is made when it
/// is first written to.
pub struct Lazy {
    shards: Box<[OnceLock<Box<Shard>>]>,
}

impl Lazy {
    pub fn new(threads: usize) -> Self {
        Self { shards: (0..threads).map(|_| OnceLock::new()).collect() }
    }
    pub fn shard(&self, thread: usize) -> &Shard {
        self.shards[thread].get_or_init(Box::default)
    }
    pub fn read(&self) -> Counts {
        let shards: Vec<&Shard> = self.shards.iter().filter_map(|shard| Some(&**shard.get()?)).collect();
        read(&shards)
    }
}

/// One thing's counts over all threads.
pub struct Counters {
    shards: Box<[Shard]>,
}

impl Counters {
    pub fn new(threads: usize) -> Self {
        Self { shards: (0..threads).map(|_| Shard::default()).collect() }
    }
    pub fn shard(&self, thread: usize) -> &Shard {
        &self.shards[thread]
    }
    /// Connections (TCP) or requests (HTTP) under way.
    pub fn active(&self) -> u64 {
        self.shards.iter().fold(0, |sum: u64, shard| sum.wrapping_add(shard.active.load(Relaxed)))
    }
    /// The same of one thread.
    pub fn active_of(&self, thread: usize) -> u64 {
        self.shards[thread].active.load(Relaxed)
    }
    pub fn read(&self) -> Counts {
        read(&self.shards.iter().collect::<Vec<_>>())
    }
}

pub fn read(shards: &[&Shard]) -> Counts {
    let sum = |pick: fn(&Shard) -> &AtomicU64| shards.iter().map(|s| pick(s).load(Relaxed)).sum::<u64>();
    Counts {
        connections: sum(|s| &s.connections),
        active: shards.iter().fold(0, |sum: u64, shard| sum.wrapping_add(shard.active.load(Relaxed))),
        requests: sum(|s| &s.requests),
        errors: sum(|s| &s.errors),
        bytes_in: sum(|s| &s.bytes_in),
        bytes_out: sum(|s| &s.bytes_out),
        classes: std::array::from_fn(|i| shards.iter().map(|s| s.classes[i].load(Relaxed)).sum()),
        latency: Latency {
            sum_us: sum(|s| &s.latency_sum_us),
            ln: sum(|s| &s.latency_ln),
            ln_squares: sum(|s| &s.latency_ln_squares),
            buckets: buckets(shards),
        },
    }
}

fn buckets(shards: &[&Shard]) -> Vec<LatencyBucket> {
    (0..BUCKETS)
        .map(|i| LatencyBucket {
            le_us: edge_us(i),
            count: shards.iter().map(|s| s.latency[i].load(Relaxed)).sum(),
        })
        .filter(|bucket| bucket.count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_below_the_edge_of_its_bucket() {
        for micros in (0..2000).chain([16_383, 16_384, 1_000_000, 200_000_000]) {
            let at = bucket(micros);
            assert!(micros < edge_us(at), "{micros} in {at}");
            assert!(at == 0 || micros >= edge_us(at - 1), "{micros} in {at}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_edges_are_those_that_others_know() {
        for at in 1..BUCKETS {
            let (below, edge) = (edge_us(at - 1), edge_us(at));
            assert_eq!(model::flow::bucket_edge_us(edge), edge);
            assert_eq!(model::flow::bucket_edge_us(below + 1), edge);
        }
        assert_eq!(model::flow::bucket_edge_us(0), LOWEST_US);
        assert_eq!(model::flow::bucket_edge_us(u64::MAX), u64::MAX);
    }

    #[test]
    fn logarithms_from_the_table_are_right_to_less_than_a_part() {
        for micros in (1..5000).chain([65_535, 1_000_003, 268_435_456, u64::MAX]) {
            let exact = (micros as f64).ln() * LN_UNIT as f64;
            // The step of the table adds half a part at most.
            assert!((ln(micros) as f64 - exact).abs() <= 1.5, "{micros}: {} for {exact}", ln(micros));
        }
        assert_eq!(ln(0), ln(1));
    }

    #[test]
    fn shards_add_up() {
        let counters = Counters::new(2);
        counters.shard(0).begin();
        counters.shard(1).begin();
        counters.shard(1).end();
        for micros in [100, 100, 100, 5_000] {
            counters.shard(1).request(200, micros);
        }
        counters.shard(0).request(503, 20);
        let counts = counters.read();
        assert_eq!((counts.active, counts.requests, counts.classes[1], counts.classes[4]), (1, 5, 4, 1));
        assert_eq!(counts.latency.quantile_us(0.5), Some(112));
        assert!(counts.latency.quantile_us(0.99) >= Some(5_000));
    }
}
