//! Times by size, in logarithmic steps: any number of them in 30 kB, each within 1.6 %.

/// Steps for each doubling.
const STEPS: u64 = 64;
/// The largest time that is told apart: 2^32 µs, more than an hour.
const LARGEST_POWER: u64 = 32;
const BUCKETS: usize = ((LARGEST_POWER - 4) * STEPS) as usize;

#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    pub total: u64,
    pub largest_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, largest_us: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, us: u64) {
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.largest_us = self.largest_us.max(us);
    }

    /// The time that so large a share stayed at or below.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(index as u64).min(self.largest_us);
            }
        }
        self.largest_us
    }
}

/// Below 128 one bucket for each microsecond, then 64 for each doubling.
fn bucket(us: u64) -> usize {
    let us = us.min((1 << LARGEST_POWER) - 1);
    let power = (us | STEPS).ilog2() - STEPS.ilog2();
    (u64::from(power) * STEPS + (us >> power)) as usize
}

/// The largest time of a bucket.
fn upper(index: u64) -> u64 {
    if index < 2 * STEPS {
        return index;
    }
    let power = index / STEPS - 1;
    ((index - power * STEPS + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_a_bucket_that_is_hardly_larger() {
        let mut us = 0;
        while us < 1 << LARGEST_POWER {
            let upper = upper(bucket(us) as u64);
            assert!(upper >= us && upper - us <= us / STEPS, "{us} is told as {upper}");
            us += 1 + us / 77;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.add(us));
        let near = |share, expect: u64| {
            let found = histogram.quantile_us(share);
            assert!(found.abs_diff(expect) <= expect / 60 + 1, "{share}: {found}, not {expect}");
        };
        near(0.5, 500);
        near(0.99, 990);
        assert_eq!(histogram.quantile_us(1.0), 1000);
        assert_eq!(Histogram::default().quantile_us(0.99), 0);
    }
}
