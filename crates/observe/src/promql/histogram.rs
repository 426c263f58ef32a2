//! `histogram_quantile` and `histogram_fraction` over buckets with `le`.

/// A bucket: its upper bound and how many are in it and those below.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    pub upper: f64,
    pub count: f64,
}

/// Sorts, joins equal bounds and makes counts rise. `None` where no quantile can be had.
fn ordered(mut buckets: Vec<Bucket>) -> Option<Vec<Bucket>> {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    if buckets.last()?.upper != f64::INFINITY {
        return None;
    }
    let mut joined: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match joined.last_mut() {
            Some(last) if last.upper == bucket.upper => last.count += bucket.count,
            _ => joined.push(bucket),
        }
    }
    let mut most = f64::NEG_INFINITY;
    for bucket in &mut joined {
        most = most.max(bucket.count);
        bucket.count = most;
    }
    let is_enough = joined.len() >= 2 && joined[joined.len() - 1].count > 0.0;
    is_enough.then_some(joined)
}

pub fn quantile(q: f64, buckets: Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let Some(buckets) = ordered(buckets) else { return f64::NAN };
    let last = buckets.len() - 1;
    let mut rank = q * buckets[last].count;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank);
    if at == last {
        return buckets[last - 1].upper;
    }
    let end = buckets[at].upper;
    if at == 0 && end <= 0.0 {
        return end;
    }
    let (mut start, mut count) = (0.0, buckets[at].count);
    if at > 0 {
        start = buckets[at - 1].upper;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    start + (end - start) * (rank / count)
}

/// Which share lies between two bounds, as if each bucket were filled evenly.
pub fn fraction(lower: f64, upper: f64, buckets: Vec<Bucket>) -> f64 {
    let Some(buckets) = ordered(buckets) else { return f64::NAN };
    if lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let total = buckets[buckets.len() - 1].count;
    (below(upper, &buckets) - below(lower, &buckets)) / total
}

fn below(value: f64, buckets: &[Bucket]) -> f64 {
    let at = buckets.partition_point(|bucket| bucket.upper < value);
    let (Some(bucket), before) = (buckets.get(at), at.checked_sub(1).map(|at| buckets[at])) else {
        return buckets[buckets.len() - 1].count;
    };
    let (start, count) = match before {
        Some(before) => (before.upper, before.count),
        None if bucket.upper > 0.0 => (0.0, 0.0),
        None => return if value >= bucket.upper { bucket.count } else { 0.0 },
    };
    if value <= start {
        return count;
    }
    match bucket.upper.is_infinite() {
        true => {
            if value.is_infinite() {
                bucket.count
            } else {
                count
            }
        }
        false => count + (bucket.count - count) * (value - start) / (bucket.upper - start),
    }
}
