//! The port [`Samples`] over the store: memory, rows on their way, segments; fine before coarse.

use super::segment::{Damage, SegmentFile};
use super::store::Metrics;
use crate::keep::head::between;
use crate::keep::summary::expand_counter;
use crate::keep::v1::footer::{Block, Footer};
use crate::keep::v1::{Kind, Part, Tier};
use crate::values::{is_absent, is_live};
use crate::{Labels, Matcher, Points, Samples, SamplesError, Series, Want};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The most series that one selector may find.
const FOUND_MAX: usize = 50_000;

impl Samples for Metrics {
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Box<dyn Series + 'a>>, SamplesError> {
        let wants =
            |labels: &Labels| matchers.iter().all(|matcher| matcher.accepts(labels.get(&matcher.name)));
        // In this order, so that rows that move to a segment meanwhile are seen twice rather than never.
        let head = self.head_copy(from_ms, to_ms, wants);
        let frozen = self.frozen();
        let segments = self.segments();

        let mut found: HashMap<Labels, Kept<'a>> = HashMap::new();
        for (segment, to) in parts_of(&segments, from_ms, to_ms) {
            let Some(footer) = self.footer(&segment) else { continue };
            for series in footer.select(matchers) {
                let kept = entry(&mut found, footer.labels(series), &self.damage)?;
                let (segment, footer) = (segment.clone(), footer.clone());
                kept.filed.push(Filed { segment, footer, series, to });
            }
        }
        for rows in frozen.iter().flat_map(|frozen| &frozen.rows) {
            let range = between(&rows.times, from_ms, to_ms);
            for series in rows.series.iter().filter(|series| !range.is_empty() && wants(&series.labels)) {
                let kept = entry(&mut found, series.labels.clone(), &self.damage)?;
                kept.held.push((rows.times[range.clone()].to_vec(), series.values[range.clone()].to_vec()));
            }
        }
        for (labels, times, values) in head {
            entry(&mut found, labels, &self.damage)?.held.push((times, values));
        }
        Ok(found.into_values().map(|kept| Box::new(kept) as Box<dyn Series>).collect())
    }
}

impl Metrics {
    /// The labels of all series that have samples between two times, without reading any.
    pub fn labels(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Labels>, SamplesError> {
        let wants =
            |labels: &Labels| matchers.iter().all(|matcher| matcher.accepts(labels.get(&matcher.name)));
        let mut found: HashSet<Labels> = self.head_labels(from_ms, to_ms, wants).into_iter().collect();
        for rows in self.frozen().iter().flat_map(|frozen| &frozen.rows) {
            if !between(&rows.times, from_ms, to_ms).is_empty() {
                found.extend(rows.series.iter().map(|series| &series.labels).filter(|l| wants(l)).cloned());
            }
        }
        for (segment, _) in parts_of(&self.segments(), from_ms, to_ms) {
            let Some(footer) = self.footer(&segment) else { continue };
            found.extend(footer.select(matchers).into_iter().map(|series| footer.labels(series)));
            if found.len() > FOUND_MAX {
                return Err(SamplesError::TooManySeries { limit: FOUND_MAX });
            }
        }
        Ok(found.into_iter().collect())
    }
}

fn entry<'m, 'a>(
    found: &'m mut HashMap<Labels, Kept<'a>>,
    labels: Labels,
    damage: &'a Damage,
) -> Result<&'m mut Kept<'a>, SamplesError> {
    if found.len() >= FOUND_MAX && !found.contains_key(&labels) {
        return Err(SamplesError::TooManySeries { limit: FOUND_MAX });
    }
    Ok(found.entry(labels.clone()).or_insert_with(|| Kept {
        labels,
        filed: Vec::new(),
        held: Vec::new(),
        damage,
    }))
}

/// The segments for a range, and up to which time each counts: a coarse one only before the first
/// that is finer. In the order of time.
fn parts_of(segments: &[Arc<SegmentFile>], from_ms: i64, to_ms: i64) -> Vec<(Arc<SegmentFile>, i64)> {
    let mut parts = Vec::new();
    let mut to = to_ms;
    for tier in Tier::ALL {
        let of_tier = || segments.iter().filter(|segment| segment.name.tier == tier);
        parts.extend(
            of_tier()
                .filter(|segment| segment.name.overlaps(from_ms, to))
                .map(|segment| (segment.clone(), to)),
        );
        if let Some(first) = of_tier().map(|segment| segment.name.first).min() {
            to = to.min(first - 1);
        }
    }
    parts.sort_by_key(|(segment, _)| (segment.name.first, segment.name.number));
    parts
}

/// One series of the store.
struct Kept<'a> {
    labels: Labels,
    filed: Vec<Filed>,
    held: Vec<(Vec<i64>, Vec<f64>)>,
    damage: &'a Damage,
}

/// A series in one segment.
struct Filed {
    segment: Arc<SegmentFile>,
    footer: Arc<Footer>,
    series: u32,
    to: i64,
}

impl Series for Kept<'_> {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, from_ms: i64, to_ms: i64, want: Want, into: &mut Points) -> Result<(), SamplesError> {
        for filed in
            self.filed.iter().filter(|filed| filed.segment.name.overlaps(from_ms, to_ms.min(filed.to)))
        {
            let blocks =
                filed.footer.blocks.iter().filter(|block| block.first <= to_ms && from_ms <= block.last);
            for block in blocks {
                // Damage is counted where it is found; the rest of the series is answered.
                let _ = filed.read(block, from_ms, to_ms.min(filed.to), want, self.damage, into);
            }
        }
        for (times, values) in &self.held {
            let range = between(times, from_ms, to_ms);
            push_raw(&times[range.clone()], &values[range], want, into);
        }
        Ok(())
    }
}

impl Filed {
    fn read(
        &self,
        block: &Block,
        from_ms: i64,
        to_ms: i64,
        want: Want,
        damage: &Damage,
        into: &mut Points,
    ) -> Result<(), super::segment::Unreadable> {
        let tier = self.segment.name.tier;
        let part = if tier == Tier::Raw { Part::Last } else { part_of(want) };
        let Some(values) = self.segment.values(block, self.series, part, damage)? else { return Ok(()) };
        let times = self.segment.times(block, damage)?;
        let range = between(&times, from_ms, to_ms);
        if tier == Tier::Raw {
            push_raw(&times[range.clone()], &values[range], want, into);
            return Ok(());
        }
        into.spacing_ms = into.spacing_ms.max(tier.spacing_ms());
        let is_counter = self.footer.series[self.series as usize].kind == Kind::Counter;
        if !is_counter || want != Want::Last {
            range.filter(|row| !is_absent(values[*row])).for_each(|row| into.push(times[row], values[row]));
            return Ok(());
        }
        let read = |part| self.segment.values(block, self.series, part, damage);
        let (first, rise) = (read(Part::First)?.unwrap_or_default(), read(Part::Rise)?.unwrap_or_default());
        for row in range.filter(|row| !is_absent(values[*row])) {
            if is_live(values[row]) && row < first.len() && row < rise.len() {
                expand_counter(times[row], first[row], rise[row], values[row], into);
            } else {
                into.push(times[row], values[row]);
            }
        }
        Ok(())
    }
}

fn part_of(want: Want) -> Part {
    match want {
        Want::Last => Part::Last,
        Want::Min => Part::Min,
        Want::Max => Part::Max,
        Want::Sum => Part::Sum,
        Want::Count => Part::Count,
    }
}

fn push_raw(times: &[i64], values: &[f64], want: Want, into: &mut Points) {
    let is_after = times.first().is_none_or(|first| into.times_ms.last().is_none_or(|last| last < first));
    if is_after && want != Want::Count && !values.iter().any(|value| is_absent(*value)) {
        into.times_ms.extend_from_slice(times);
        into.values.extend_from_slice(values);
        return;
    }
    for (time, value) in times.iter().zip(values).filter(|(_, value)| !is_absent(**value)) {
        let is_counted = want == Want::Count && is_live(*value);
        into.push(*time, if is_counted { 1.0 } else { *value });
    }
}
