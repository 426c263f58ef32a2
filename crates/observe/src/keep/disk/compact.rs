//! Housekeeping: small segments become one, raw ones are summed up, the oldest are dropped.
//!
//! ```text
//! raw: 5 min ─▶ 30 min ─▶ 2 h ─┬▶ kept for days
//!                              └▶ minutes: 2 h ─▶ day ─┬▶ kept for months
//!                                                      └▶ hours: day ─▶ 30 days, kept for years
//! ```

use super::files::{KeepError, remove};
use super::segment::{self, Damage, Name, Put, SegmentFile, SegmentWriter};
use super::store::Metrics;
use crate::keep::limits::Bound;
use crate::keep::summary::{Stretches, Summary};
use crate::keep::v1::footer::{Block, Footer, Tables};
use crate::keep::v1::{Kind, Part, Tier};
use crate::values::{ABSENT, is_absent};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A stretch of time whose segments of lower levels become one.
struct Stage {
    tier: Tier,
    length_ms: i64,
    level: u8,
    /// How many make it worth it.
    least: usize,
}

/// The last stage of each tier comes first: it may make the one before needless.
const STAGES: [Stage; 4] = [
    Stage { tier: Tier::Raw, length_ms: 2 * 3_600_000, level: 2, least: 1 },
    Stage { tier: Tier::Raw, length_ms: 30 * 60_000, level: 1, least: 2 },
    Stage { tier: Tier::Minutes, length_ms: 24 * 3_600_000, level: 1, least: 1 },
    Stage { tier: Tier::Hours, length_ms: 30 * 24 * 3_600_000, level: 1, least: 2 },
];

/// So long after the end of a stretch nothing comes in for it any more.
const GRACE_MS: i64 = 10 * 60_000;

/// Rows of a block after merging: more compress better, fewer are read faster.
const CHUNK_ROWS: usize = 1800;

/// Merges in one call; the next call goes on.
const MERGES_MAX: usize = 4;

impl Stage {
    fn is_last(&self) -> bool {
        self.length_ms == self.tier.window_ms()
    }

    fn slice(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.length_ms)
    }

    /// Segments that are due to become one, if any.
    fn due(&self, segments: &[Arc<SegmentFile>], now_ms: i64) -> Option<Vec<Arc<SegmentFile>>> {
        let mut slices: BTreeMap<i64, Vec<Arc<SegmentFile>>> = BTreeMap::new();
        for segment in segments
            .iter()
            .filter(|segment| segment.name.tier == self.tier && segment.name.level <= self.level)
        {
            slices.entry(self.slice(segment.name.first)).or_default().push(segment.clone());
        }
        let is_over =
            |slice: i64| (slice + 1).saturating_mul(self.length_ms).saturating_add(GRACE_MS) <= now_ms;
        slices.into_iter().filter(|(slice, _)| is_over(*slice)).map(|(_, found)| found).find(|found| {
            let fresh = found.iter().filter(|segment| segment.name.level < self.level).count();
            fresh > 0 && found.len() >= self.least
        })
    }
}

/// Whether a segment holds all that another one held, which a crash kept from being removed.
pub fn takes_place_of(newer: &Name, older: &Name) -> bool {
    if newer.tier != older.tier || newer.number <= older.number {
        return false;
    }
    let merged = STAGES.iter().any(|stage| {
        stage.tier == newer.tier
            && stage.level == newer.level
            && older.level <= newer.level
            && stage.slice(newer.first) == stage.slice(older.first)
    });
    merged
        || newer.level == 0
            && older.level == 0
            && source_window(newer).is_some_and(|window| Some(window) == source_window(older))
}

/// Which window of the finer tier a summary was made of.
fn source_window(name: &Name) -> Option<i64> {
    let finer = Tier::ALL.into_iter().find(|tier| tier.coarser() == Some(name.tier))?;
    Some(name.first.div_euclid(finer.window_ms()))
}

/// No sample before this is taken any more.
pub fn floor(segments: &[Arc<SegmentFile>]) -> i64 {
    let merged = segments.iter().filter(|segment| segment.name.tier == Tier::Raw && segment.name.level == 2);
    let window = Tier::Raw.window_ms();
    merged.map(|segment| (segment.name.first.div_euclid(window) + 1) * window).max().unwrap_or(i64::MIN)
}

pub fn run(metrics: &Metrics, now_ms: i64) -> Result<(), KeepError> {
    for _ in 0..MERGES_MAX {
        let segments = metrics.segments();
        let due = STAGES.iter().find_map(|stage| Some((stage, stage.due(&segments, now_ms)?)));
        let Some((stage, due)) = due else { return Ok(()) };
        merge(metrics, stage, &due)?;
    }
    Ok(())
}

fn merge(metrics: &Metrics, stage: &Stage, due: &[Arc<SegmentFile>]) -> Result<(), KeepError> {
    let sources = sources(due);
    let mut made = Vec::new();
    let mut old: Vec<Arc<SegmentFile>> = due.to_vec();
    if !sources.is_empty() {
        let plan = Plan::of(&sources, &metrics.damage);
        if let (true, Some(coarser)) = (stage.is_last(), stage.tier.coarser()) {
            let name = Name {
                tier: coarser,
                number: metrics.next_number(),
                level: 0,
                covers_log: 0,
                ..plan.name(due)
            };
            old.extend(metrics.segments().iter().filter(|other| takes_place_of(&name, &other.name)).cloned());
            made.push(Arc::new(plan.write_summary(metrics, name, stage.tier)?));
        }
        let name = Name { number: metrics.next_number(), level: stage.level, ..plan.name(due) };
        made.push(Arc::new(plan.write_merged(metrics, name)?));
    }
    let numbers: Vec<u64> = old.iter().map(|segment| segment.name.number).collect();
    metrics.replace_segments(&numbers, made);
    metrics.forget_footers(&numbers);
    metrics.floor_ms.fetch_max(floor(&metrics.segments()), Ordering::Relaxed);
    old.iter().try_for_each(|segment| remove(&segment.path))
}

struct Source {
    segment: Arc<SegmentFile>,
    footer: Footer,
}

/// Those that can be read; the end of each was checked when the store was opened.
fn sources(due: &[Arc<SegmentFile>]) -> Vec<Source> {
    let read = |segment: &Arc<SegmentFile>| {
        Some(Source { segment: segment.clone(), footer: segment.footer().ok()? })
    };
    let mut sources: Vec<Source> = due.iter().filter_map(read).collect();
    sources.sort_by_key(|source| (source.segment.name.first, source.segment.name.number));
    sources
}

/// Rows of a block that count: others are there already.
struct Piece {
    source: usize,
    block: usize,
    rows: Range<usize>,
}

/// What becomes of one target.
struct Target {
    id: u32,
    times: Vec<i64>,
    pieces: Vec<Piece>,
    /// Series of the new segment, in order, and which one it is in each source.
    series: BTreeMap<u32, (Kind, Vec<Option<u32>>)>,
}

struct Plan<'a> {
    sources: &'a [Source],
    damage: &'a Damage,
    tables: Tables,
    targets: Vec<Target>,
}

impl<'a> Plan<'a> {
    fn of(sources: &'a [Source], damage: &'a Damage) -> Self {
        let mut plan = Self { sources, damage, tables: Tables::default(), targets: Vec::new() };
        for (at, source) in sources.iter().enumerate() {
            for name in 0..source.footer.targets.len() as u32 {
                plan.target(source.footer.target_name(name));
            }
            for (series, entry) in source.footer.series.iter().enumerate() {
                let target = plan.target(source.footer.target_name(entry.target));
                let id = plan.tables.series(target as u32, entry.kind, &source.footer.labels(series as u32));
                let of = plan.targets[target].series.entry(id);
                let places = of.or_insert_with(|| (entry.kind, vec![None; sources.len()]));
                places.1[at] = Some(series as u32);
            }
        }
        for (at, source) in sources.iter().enumerate() {
            for (index, block) in source.footer.blocks.iter().enumerate() {
                plan.add_block(at, index, block);
            }
        }
        plan.targets.retain(|target| !target.times.is_empty());
        plan
    }

    fn target(&mut self, name: &str) -> usize {
        let id = self.tables.target(name);
        if id as usize == self.targets.len() {
            self.targets.push(Target { id, times: Vec::new(), pieces: Vec::new(), series: BTreeMap::new() });
        }
        id as usize
    }

    fn add_block(&mut self, source: usize, index: usize, block: &Block) {
        // Times that cannot be read are counted as lost where they are read.
        let Ok(times) = self.sources[source].segment.times(block, self.damage) else { return };
        let name = self.sources[source].footer.target_name(block.target).to_owned();
        let at = self.target(&name);
        let target = &mut self.targets[at];
        let known = target.times.last().copied().unwrap_or(i64::MIN);
        let start = times.partition_point(|time| *time <= known && known != i64::MIN);
        if start < times.len() {
            target.times.extend_from_slice(&times[start..]);
            target.pieces.push(Piece { source, block: index, rows: start..times.len() });
        }
    }

    /// The name for what becomes of these segments.
    fn name(&self, due: &[Arc<SegmentFile>]) -> Name {
        let first = self.targets.iter().filter_map(|target| target.times.first()).min();
        let last = self.targets.iter().filter_map(|target| target.times.last()).max();
        let model = due[0].name;
        Name {
            first: first.copied().unwrap_or(model.first),
            last: last.copied().unwrap_or(model.last),
            covers_log: due.iter().map(|segment| segment.name.covers_log).max().unwrap_or(0),
            ..model
        }
    }

    /// The values of a series in all rows of its target; what cannot be read is absent.
    fn values(&self, target: &Target, places: &[Option<u32>], part: Part) -> Vec<f64> {
        let mut values = Vec::with_capacity(target.times.len());
        for piece in &target.pieces {
            let source = &self.sources[piece.source];
            let block = &source.footer.blocks[piece.block];
            let read = |series| source.segment.values(block, series, part, self.damage).ok().flatten();
            match places[piece.source].and_then(read) {
                Some(found) => values.extend_from_slice(&found[piece.rows.clone()]),
                None => values.extend(std::iter::repeat_n(ABSENT, piece.rows.len())),
            }
        }
        values
    }

    fn summary(&self, target: &Target, places: &[Option<u32>], kind: Kind) -> Summary {
        let of = |part| self.values(target, places, part);
        let of_counter = |part| if kind == Kind::Counter { of(part) } else { Vec::new() };
        Summary {
            last: of(Part::Last),
            min: of(Part::Min),
            max: of(Part::Max),
            sum: of(Part::Sum),
            count: of(Part::Count),
            first: of_counter(Part::First),
            rise: of_counter(Part::Rise),
        }
    }

    /// All samples in longer blocks. A target is read chunk by chunk, one series at a time.
    fn write_merged(&self, metrics: &Metrics, name: Name) -> Result<SegmentFile, KeepError> {
        let parts = if name.tier == Tier::Raw { &[Part::Last][..] } else { &ALL_PARTS };
        segment::write(&metrics.directory, name, self.tables.copy(), |writer| {
            self.targets.iter().flat_map(Target::chunks).try_for_each(|chunk| {
                writer.block(chunk.id, &chunk.times, |put| {
                    for (series, (_, places)) in &chunk.series {
                        for part in parts {
                            put_present(put, *series, *part, &self.values(&chunk, places, *part))?;
                        }
                    }
                    Ok(())
                })
            })
        })
    }

    fn write_summary(&self, metrics: &Metrics, name: Name, finer: Tier) -> Result<SegmentFile, KeepError> {
        segment::write(&metrics.directory, name, self.tables.copy(), |writer| {
            self.targets.iter().try_for_each(|target| self.put_summary(writer, target, name.tier, finer))
        })
    }

    fn put_summary(
        &self,
        writer: &mut SegmentWriter<'_>,
        target: &Target,
        tier: Tier,
        finer: Tier,
    ) -> io::Result<()> {
        let stretches = Stretches::of(&target.times, tier.spacing_ms());
        writer.block(target.id, &stretches.times, |put| {
            for (series, (kind, places)) in &target.series {
                let summary = match finer {
                    Tier::Raw => {
                        Summary::of_values(&self.values(target, places, Part::Last), &stretches, *kind)
                    }
                    _ => Summary::of_summary(&self.summary(target, places, *kind), &stretches, *kind),
                };
                for (part, values) in summary.parts() {
                    put_present(put, *series, part, values)?;
                }
            }
            Ok(())
        })
    }
}

const ALL_PARTS: [Part; 7] =
    [Part::Last, Part::Min, Part::Max, Part::Sum, Part::Count, Part::First, Part::Rise];

fn put_present(put: &mut Put<'_>, series: u32, part: Part, values: &[f64]) -> io::Result<()> {
    if values.iter().all(|value| is_absent(*value)) { Ok(()) } else { put(series, part, values) }
}

impl Target {
    /// The same target in stretches of [`CHUNK_ROWS`] rows.
    fn chunks(&self) -> impl Iterator<Item = Self> {
        (0..self.times.len()).step_by(CHUNK_ROWS).map(|start| {
            let end = self.times.len().min(start + CHUNK_ROWS);
            Self {
                id: self.id,
                times: self.times[start..end].to_vec(),
                pieces: self.pieces_between(start, end),
                series: self.series.clone(),
            }
        })
    }

    fn pieces_between(&self, start: usize, end: usize) -> Vec<Piece> {
        let mut at = 0;
        let mut found = Vec::new();
        for piece in &self.pieces {
            let (from, to) = (start.max(at), end.min(at + piece.rows.len()));
            if from < to {
                let rows = piece.rows.start + from - at..piece.rows.start + to - at;
                found.push(Piece { source: piece.source, block: piece.block, rows });
            }
            at += piece.rows.len();
        }
        found
    }
}

/// Drops what is older than its tier is kept, and the oldest of what takes too much.
pub fn drop_old(metrics: &Metrics, now_ms: i64) -> Result<(), KeepError> {
    let limits = &metrics.limits;
    let all = metrics.segments();
    let mut dropped: Vec<Arc<SegmentFile>> = Vec::new();
    for (tier, bound) in
        [(Tier::Raw, limits.raw), (Tier::Minutes, limits.minutes), (Tier::Hours, limits.hours)]
    {
        let of_tier: Vec<_> = all.iter().filter(|segment| segment.name.tier == tier).cloned().collect();
        dropped.extend(too_much(of_tier, bound, now_ms));
    }
    if dropped.is_empty() {
        return Ok(());
    }
    let numbers: Vec<u64> = dropped.iter().map(|segment| segment.name.number).collect();
    metrics.replace_segments(&numbers, Vec::new());
    metrics.forget_footers(&numbers);
    dropped.iter().try_for_each(|segment| remove(&segment.path))
}

/// Of segments in the order of time, those to drop.
fn too_much(segments: Vec<Arc<SegmentFile>>, bound: Bound, now_ms: i64) -> Vec<Arc<SegmentFile>> {
    let oldest = now_ms.saturating_sub(i64::try_from(bound.age.as_millis()).unwrap_or(i64::MAX));
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut dropped = Vec::new();
    for segment in segments {
        if segment.name.last >= oldest && bytes <= bound.bytes {
            break;
        }
        bytes -= segment.bytes;
        dropped.push(segment);
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tier: Tier, number: u64, first: i64, level: u8) -> Name {
        Name { tier, number, first, last: first + 1000, level, covers_log: 0 }
    }

    #[test]
    fn only_what_was_merged_is_a_leftover() {
        let hour = 3_600_000;
        let merged = name(Tier::Raw, 9, 2 * hour, 2);
        assert!(takes_place_of(&merged, &name(Tier::Raw, 3, 3 * hour, 0)));
        assert!(takes_place_of(&merged, &name(Tier::Raw, 3, 2 * hour, 1)));
        assert!(!takes_place_of(&merged, &name(Tier::Raw, 10, 3 * hour, 0)), "it came later");
        assert!(!takes_place_of(&merged, &name(Tier::Raw, 3, 4 * hour, 0)), "another window");
        assert!(!takes_place_of(&merged, &name(Tier::Minutes, 3, 2 * hour, 0)), "another tier");
        assert!(takes_place_of(
            &name(Tier::Minutes, 9, 2 * hour, 0),
            &name(Tier::Minutes, 8, 2 * hour + 5, 0)
        ));
        assert!(!takes_place_of(&name(Tier::Raw, 9, 2 * hour, 0), &name(Tier::Raw, 8, 2 * hour, 0)));
    }

    #[test]
    fn names_of_files_come_back() {
        let name = name(Tier::Hours, 7, 1_790_000_000_000, 1);
        assert_eq!(Name::parse(&name.file()), Some(name));
        assert_eq!(Name::parse("raw-1-2-3-4.seg"), None);
        assert_eq!(Name::parse("000000000001.wal"), None);
    }
}
