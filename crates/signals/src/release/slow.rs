//! From when on an answer counts as slow or overdue: by what the old release takes, at edges of the
//! gateway's buckets, frozen before anything is compared.

use super::verdict::Slow;
use model::flow::Latency;

/// What is slow of the old release.
const QUANTILE: f64 = 0.99;
/// Fewer answers say nothing of the slowest hundredth.
const FEWEST: u64 = 200;
/// Added to what the new release may take, beside the tolerance.
const GRACE_US: f64 = 2_000.0;
/// A request under way is overdue after this many times the slow time, within these bounds.
const OVERDUE_FACTOR: u64 = 4;
const OVERDUE_MS: std::ops::RangeInclusive<u64> = 5_000..=30_000;

/// None as long as the old release was asked too little.
pub fn slow(old: &Latency, tolerance: f64) -> Option<Slow> {
    if old.count() < FEWEST {
        return None;
    }
    let old_us = old.quantile_us(QUANTILE)?;
    let new_us = model::flow::bucket_edge_us(((1.0 + tolerance.max(0.0)) * old_us as f64 + GRACE_US) as u64);
    Some(Slow { new_us, old_us })
}

/// How long a request may be under way before it is overdue.
pub fn overdue_ms(slow: Option<Slow>) -> u64 {
    let ms = slow.map_or(0, |slow| slow.old_us.saturating_mul(OVERDUE_FACTOR) / 1_000);
    ms.clamp(*OVERDUE_MS.start(), *OVERDUE_MS.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::flow::LatencyBucket;

    #[test]
    fn what_is_slow_lies_at_edges_of_buckets() {
        let latency = |count, le_us| Latency {
            buckets: vec![LatencyBucket { le_us: 1024, count }, LatencyBucket { le_us, count: count / 50 }],
            ..Latency::default()
        };
        assert_eq!(slow(&latency(100, 65_536), 0.1), None);
        let found = slow(&latency(1000, 65_536), 0.1).expect("there are enough");
        assert_eq!(found, Slow { old_us: 65_536, new_us: 81_920 });
        assert_eq!((overdue_ms(None), overdue_ms(Some(found))), (5_000, 5_000));
        let slowest = slow(&latency(1000, u64::MAX), f64::NAN).expect("there are enough");
        assert_eq!(overdue_ms(Some(slowest)), 30_000);
    }
}
