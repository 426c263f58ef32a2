//! Samples that others send at their own times into the store: series found again by a hash of how they
//! were written, rows of one target put together.

use super::Taken;
use crate::Labels;
use crate::keep::{Ends, Kind, Metrics, SeriesId, TargetId, TickError};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Series that are found again without reading their labels; more, and all are asked for again.
const KNOWN_MAX: usize = 200_000;

/// A series as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    target: TargetId,
    series: SeriesId,
}

/// Whose a series is.
pub struct Made {
    pub target: String,
    pub labels: Labels,
    pub kind: Kind,
}

/// What is known of those who send.
#[derive(Debug, Default)]
pub struct Pusher {
    known: Mutex<HashMap<u64, Place>>,
}

/// Samples of one request.
pub struct Batch<'p> {
    metrics: &'p Metrics,
    known: MutexGuard<'p, HashMap<u64, Place>>,
    rows: HashMap<TargetId, BTreeMap<i64, Vec<(SeriesId, f64)>>>,
    pub taken: Taken,
    /// Some had to wait: the sender may come again.
    pub is_full: bool,
}

impl Pusher {
    /// Takes what `read` puts into a batch; it is read twice where the store has forgotten a series.
    /// Times of a target up to `align_ms` apart become one.
    pub fn take<E>(
        &self,
        metrics: &Metrics,
        align_ms: i64,
        mut read: impl FnMut(&mut Batch<'_>) -> Result<(), E>,
    ) -> Result<(Taken, bool), E> {
        for is_last in [false, true] {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let (taken, is_full) = (Taken::default(), false);
            let mut batch = Batch { metrics, known, rows: HashMap::new(), taken, is_full };
            read(&mut batch)?;
            if batch.tick(align_ms) || is_last {
                return Ok((batch.taken, batch.is_full));
            }
            batch.known.clear();
        }
        unreachable!("the last time counts")
    }
}

impl Batch<'_> {
    /// The series with this hash, made where it is new; none where the limits refuse it.
    pub fn series(&mut self, hash: u64, make: impl FnOnce() -> Made) -> Option<Place> {
        if let Some(place) = self.known.get(&hash) {
            return Some(*place);
        }
        let Made { target, labels, kind } = make();
        let found = self.metrics.target(&target, Ends::WhenTold);
        let found = found
            .and_then(|target| Ok(Place { target, series: self.metrics.series(target, &labels, kind)? }));
        match found {
            Ok(place) => {
                if self.known.len() >= KNOWN_MAX {
                    self.known.clear();
                }
                self.known.insert(hash, place);
                Some(place)
            }
            Err(why) => {
                let shown = labels.to_string();
                self.taken.refuse(1, format!("{}: {why}", &shown[..shown.floor_char_boundary(200)]));
                None
            }
        }
    }

    pub fn put(&mut self, place: Place, time_ms: i64, value: f64) {
        self.rows.entry(place.target).or_default().entry(time_ms).or_default().push((place.series, value));
    }

    /// False where the store knows a series or a target not any more.
    fn tick(&mut self, align_ms: i64) -> bool {
        let mut is_known = true;
        for (target, rows) in std::mem::take(&mut self.rows) {
            for (time_ms, values) in aligned(rows, align_ms) {
                let count = values.len() as u64;
                match self.metrics.tick(target, time_ms, &values) {
                    Ok(ticked) => {
                        is_known &= ticked.unknown == 0;
                        self.taken.taken += ticked.kept as u64;
                        if ticked.duplicate > 0 {
                            let why = "a series has two values at one time";
                            self.taken.refuse(ticked.duplicate as u64, why);
                        }
                        if ticked.unknown > 0 {
                            self.taken.refuse(ticked.unknown as u64, TickError::UnknownTarget);
                        }
                    }
                    Err(why) => {
                        is_known &= why != TickError::UnknownTarget;
                        self.is_full |= why == TickError::Full;
                        self.taken.refuse(count, why);
                    }
                }
            }
        }
        is_known
    }
}

/// Rows close together as one, unless a series is in both.
fn aligned(rows: BTreeMap<i64, Vec<(SeriesId, f64)>>, align_ms: i64) -> Vec<(i64, Vec<(SeriesId, f64)>)> {
    let mut done: Vec<(i64, Vec<(SeriesId, f64)>)> = Vec::with_capacity(rows.len());
    let mut in_last: HashSet<SeriesId> = HashSet::new();
    for (time, values) in rows {
        let is_close = align_ms > 0 && done.last().is_some_and(|(last, _)| time - last <= align_ms);
        if is_close && values.iter().all(|(series, _)| !in_last.contains(series)) {
            in_last.extend(values.iter().map(|(series, _)| *series));
            done.last_mut().expect("there is one").1.extend(values);
            continue;
        }
        in_last.clear();
        if align_ms > 0 {
            in_last.extend(values.iter().map(|(series, _)| *series));
        }
        done.push((time, values));
    }
    done
}
