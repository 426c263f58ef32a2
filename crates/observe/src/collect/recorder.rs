//! Brings the samples of one target into the store, tick by tick.
//!
//! A sample is recognised by a hash of its name and labels, first by its place in the last tick: in
//! the steady state nothing is allocated and no label is compared.

use super::Sink;
use crate::keep::{Ends, Kind, Metrics, SeriesId, TargetId, TickError};
use crate::{Labels, NAME};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// After so many ticks what was refused is asked for again.
const REFUSED_TICKS: u32 = 60;

#[derive(Debug)]
pub struct Recorder {
    target: String,
    ends: Ends,
    /// Labels of every sample, such as `job`.
    base: Vec<(String, String)>,
    id: Option<TargetId>,
    known: HashMap<u64, Option<SeriesId>>,
    /// The samples of the last tick in their order.
    order: Vec<(u64, Option<SeriesId>)>,
    values: Vec<(SeriesId, f64)>,
    place: usize,
    ticks: u32,
}

impl Recorder {
    pub fn new(target: impl Into<String>, ends: Ends, base: Vec<(String, String)>) -> Self {
        Self {
            target: target.into(),
            ends,
            base,
            id: None,
            known: HashMap::new(),
            order: Vec::new(),
            values: Vec::new(),
            place: 0,
            ticks: 0,
        }
    }

    /// Records what `collect` puts at a time.
    pub fn tick(
        &mut self,
        metrics: &Metrics,
        time_ms: i64,
        collect: impl FnOnce(&mut dyn Sink),
    ) -> Result<usize, TickError> {
        self.begin();
        let Ok(id) = metrics.target(&self.target, self.ends) else { return Err(TickError::UnknownTarget) };
        if self.id.replace(id) != Some(id) {
            self.forget();
        }
        collect(&mut Tick { recorder: self, metrics, id });
        self.order.truncate(self.place);
        let ticked = metrics.tick(id, time_ms, &self.values)?;
        if ticked.unknown > 0 {
            self.forget();
        }
        Ok(ticked.kept)
    }

    fn begin(&mut self) {
        self.values.clear();
        self.place = 0;
        self.ticks += 1;
        if self.ticks.is_multiple_of(REFUSED_TICKS) {
            self.known.retain(|_, id| id.is_some());
            self.order.retain(|(_, id)| id.is_some());
        }
    }

    fn forget(&mut self) {
        self.known.clear();
        self.order.clear();
        self.place = 0;
    }
}

struct Tick<'a> {
    recorder: &'a mut Recorder,
    metrics: &'a Metrics,
    id: TargetId,
}

impl Sink for Tick<'_> {
    fn put(&mut self, name: &str, kind: Kind, labels: &[(&str, &str)], value: f64) {
        let hash = hash(name, labels);
        let place = self.recorder.place;
        self.recorder.place += 1;
        let series = match self.recorder.order.get(place) {
            Some((known, series)) if *known == hash => *series,
            _ => self.find(place, hash, name, kind, labels),
        };
        if let Some(series) = series {
            self.recorder.values.push((series, value));
        }
    }
}

impl Tick<'_> {
    fn find(
        &mut self,
        place: usize,
        hash: u64,
        name: &str,
        kind: Kind,
        labels: &[(&str, &str)],
    ) -> Option<SeriesId> {
        let Self { recorder, metrics, id } = self;
        let series = *recorder.known.entry(hash).or_insert_with(|| {
            let own = labels.iter().copied();
            let base = recorder.base.iter().map(|(name, value)| (&**name, &**value));
            // What a collector says wins over what holds for all.
            let labels = Labels::new(std::iter::once((NAME, name)).chain(base).chain(own));
            metrics.series(*id, &labels, kind).ok()
        });
        match recorder.order.get_mut(place) {
            Some(slot) => *slot = (hash, series),
            None => recorder.order.push((hash, series)),
        }
        series
    }
}

fn hash(name: &str, labels: &[(&str, &str)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    labels.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::Settings;
    use crate::promql::{Query, Value};

    const START_MS: i64 = 1_790_000_000_000;

    #[test]
    fn samples_that_come_and_go_are_told_apart() {
        let directory = testkit::TempDir::new();
        let metrics = Metrics::open(directory.path(), Settings::default(), START_MS).unwrap();
        let base = vec![("job".to_owned(), "node".to_owned())];
        let mut recorder = Recorder::new("node", Ends::WhenMissing, base);
        for second in 0..5 {
            let kept = recorder.tick(&metrics, START_MS + second * 1000, |sink| {
                if second != 2 {
                    sink.gauge("a", &[("x", "1")], second as f64);
                }
                sink.counter("b", &[], 10.0 * second as f64);
            });
            assert_eq!(kept, Ok(if second == 2 { 1 } else { 2 }));
        }
        let value = |text: &str, second: i64| {
            let query = Query::parse(text).unwrap();
            match query.instant(&metrics, START_MS + second * 1000, &Default::default()).unwrap() {
                Value::Vector(answers) => answers.iter().map(|a| a.points.values[0]).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(value("a{x='1',job='node'}", 1), [1.0]);
        assert!(value("a", 2).is_empty(), "a series that is missing has ended");
        assert_eq!(value("a", 4), [4.0]);
        assert_eq!(value("b", 2), [20.0]);
    }
}
