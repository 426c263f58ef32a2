//! The store: takes ticks, keeps them, does its housekeeping when asked to.
//!
//! Three calls drive it: [`Metrics::tick`] at each measurement, [`Metrics::sync`] once a second,
//! [`Metrics::maintain`] now and then. The time is always an argument.

use super::compact;
use super::files::KeepError;
use super::log::Log;
use super::recover;
use super::segment::{self, Damage, Name, SegmentFile};
use crate::Labels;
use crate::keep::column::ROWS_MAX;
use crate::keep::head::{Ends, Head, Rows, SeriesId, TargetId, TickError, Ticked, between};
use crate::keep::limits::{Limits, Offender, Refused};
use crate::keep::v1::footer::{Footer, Tables};
use crate::keep::v1::{Kind, Part, Tier};
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// How often memory becomes a segment.
pub const FLUSH_MS: i64 = 5 * 60_000;

/// So long the rows of targets whose samples are sent by others stay in memory at least: others of the
/// same time may come later.
const HELD_MS: i64 = 60_000;

/// Samples may be this far ahead of the clock.
const FUTURE_MS_MAX: i64 = 10 * 60_000;

/// Footers that are held for queries.
const FOOTERS_MAX: usize = 24;

#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub limits: Limits,
}

/// How the store is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    pub series: usize,
    pub segments: usize,
    /// What all files take.
    pub bytes: u64,
    /// Series that were refused since the start, and the newest of them.
    pub refused: u64,
    pub offenders: Vec<Offender>,
    /// Parts of files that were damaged and could be made again, or not.
    pub repaired: u64,
    pub lost: u64,
    /// Ticks that did not reach the log, because writing failed.
    pub unlogged: u64,
    /// Rows that were dropped from memory, because writing failed for long.
    pub dropped_rows: u64,
    /// The last failure to write, until writing works again.
    pub trouble: Option<String>,
}

/// Measurements in one directory, which belongs to this alone.
#[derive(Debug)]
pub struct Metrics {
    pub(super) directory: PathBuf,
    pub(super) limits: Limits,
    writer: Mutex<Writer>,
    /// Rows on their way to a segment.
    frozen: RwLock<Option<Arc<Frozen>>>,
    pub(super) segments: RwLock<Arc<Vec<Arc<SegmentFile>>>>,
    footers: Mutex<VecDeque<(u64, Arc<Footer>)>>,
    /// Held by the one that does the housekeeping.
    work: Mutex<()>,
    next_number: AtomicU64,
    now_ms: AtomicI64,
    /// No sample before this is taken: its segments were merged.
    pub(super) floor_ms: AtomicI64,
    pub(super) damage: Damage,
    /// Keeps the directory to this process.
    _lock: File,
}

#[derive(Debug)]
struct Writer {
    head: Head,
    /// None after a failure, until it can be written again.
    log: Option<Log>,
    next_log: u64,
    buffer: Vec<u8>,
    unlogged: u64,
    trouble: Option<String>,
}

#[derive(Debug)]
pub(super) struct Frozen {
    pub rows: Vec<Rows>,
    pub covers_log: u64,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is whole: each change is made in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Opens the directory, and brings back what was only in the log.
    pub fn open(directory: &Path, settings: Settings, now_ms: i64) -> Result<Self, KeepError> {
        let lock = recover::lock(directory)?;
        let found = recover::look(directory, &settings.limits)?;
        let next_log = found.next_log;
        let metrics = Self {
            directory: directory.into(),
            limits: settings.limits.clone(),
            writer: Mutex::new(Writer {
                head: Head::new(settings.limits, next_log),
                log: None,
                next_log,
                buffer: Vec::new(),
                unlogged: 0,
                trouble: None,
            }),
            frozen: RwLock::new(None),
            floor_ms: AtomicI64::new(compact::floor(&found.segments)),
            segments: RwLock::new(Arc::new(found.segments)),
            footers: Mutex::default(),
            work: Mutex::default(),
            next_number: AtomicU64::new(found.next_number),
            now_ms: AtomicI64::new(now_ms),
            damage: Damage { lost: AtomicU64::new(found.damaged), ..Damage::default() },
            _lock: lock,
        };
        if !found.rows.is_empty() {
            let frozen = Frozen { rows: found.rows, covers_log: next_log - 1 };
            *metrics.frozen.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(frozen));
        }
        metrics.maintain(now_ms);
        Ok(metrics)
    }

    pub fn target(&self, name: &str, ends: Ends) -> Result<TargetId, Refused> {
        locked(&self.writer).head.target(name, ends)
    }

    /// The handle of a series, valid until it has no sample for some minutes.
    pub fn series(&self, target: TargetId, labels: &Labels, kind: Kind) -> Result<SeriesId, Refused> {
        locked(&self.writer).head.series(target, labels, kind)
    }

    /// Takes the values of a target at one time. A full disk does not stop it: see [`Status::trouble`].
    pub fn tick(
        &self,
        target: TargetId,
        time_ms: i64,
        values: &[(SeriesId, f64)],
    ) -> Result<Ticked, TickError> {
        if time_ms < self.floor_ms.load(Ordering::Relaxed) {
            return Err(TickError::TooOld);
        }
        if time_ms > self.now_ms.load(Ordering::Relaxed).saturating_add(FUTURE_MS_MAX) {
            return Err(TickError::Future);
        }
        let mut guard = locked(&self.writer);
        let writer = &mut *guard;
        writer.buffer.clear();
        let ticked = writer.head.tick(target, time_ms, values, &mut writer.buffer)?;
        writer.append();
        Ok(ticked)
    }

    /// Makes all ticks so far durable.
    pub fn sync(&self) -> Result<(), KeepError> {
        let (file, path) = {
            let mut writer = locked(&self.writer);
            writer.reopen(&self.directory)?;
            let Some(log) = &mut writer.log else { return Ok(()) };
            (log.take_dirty(), log.path().to_path_buf())
        };
        let Some(file) = file else { return Ok(()) };
        file.sync_data().map_err(|source| {
            // What the kernel could not write it may have forgotten: go on in a new file.
            let error = KeepError::Write { path, source };
            locked(&self.writer).fail(&error);
            error
        })
    }

    /// Writes segments, merges and sums up, drops what is too old or too much. Each failure leaves
    /// everything as it was; the next call tries again.
    pub fn maintain(&self, now_ms: i64) {
        let Ok(_working) = self.work.try_lock() else { return };
        self.now_ms.fetch_max(now_ms, Ordering::Relaxed);
        let done = self.flush(now_ms).and_then(|()| compact::run(self, now_ms));
        // Also when the disk is full: this is what makes room.
        let dropped = compact::drop_old(self, now_ms);
        let mut writer = locked(&self.writer);
        match done.and(dropped) {
            Ok(()) => writer.trouble = writer.trouble.take().filter(|_| writer.log.is_none()),
            Err(error) => writer.trouble = Some(told(&error)),
        }
    }

    /// Writes what is in memory to a segment, due or not: before the end of the process.
    pub fn close(self) -> Result<(), KeepError> {
        self.flush(i64::MAX)
    }

    fn flush(&self, now_ms: i64) -> Result<(), KeepError> {
        self.write_frozen()?;
        if self.freeze(now_ms)? { self.write_frozen() } else { Ok(()) }
    }

    /// Begins a new log and takes the rows out of memory, if they belong to an earlier interval.
    fn freeze(&self, now_ms: i64) -> Result<bool, KeepError> {
        let mut writer = locked(&self.writer);
        writer.reopen(&self.directory)?;
        if !writer.head.is_due(now_ms, FLUSH_MS, HELD_MS) {
            return Ok(false);
        }
        let number = writer.next_log;
        let log = Log::create(&self.directory, number)?;
        writer.next_log += 1;
        writer.log = Some(log);
        let held = if now_ms == i64::MAX { i64::MAX } else { now_ms.saturating_sub(HELD_MS) };
        writer.buffer.clear();
        let Writer { head, buffer, .. } = &mut *writer;
        let rows = head.take(number, held, buffer);
        if !writer.buffer.is_empty() {
            writer.append();
        }
        let frozen = Frozen { rows, covers_log: number - 1 };
        *self.frozen.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(frozen));
        Ok(true)
    }

    fn write_frozen(&self) -> Result<(), KeepError> {
        let frozen = self.frozen();
        let Some(frozen) = frozen else { return Ok(()) };
        let mut written = Vec::new();
        let windows = windows(&frozen.rows);
        for (at, window) in windows.iter().enumerate() {
            // Only the last one says that the log is not needed any more.
            let covers_log = if at + 1 == windows.len() { frozen.covers_log } else { 0 };
            written.push(Arc::new(self.write_rows(&frozen.rows, *window, covers_log)?));
        }
        self.replace_segments(&[], written);
        *self.frozen.write().unwrap_or_else(PoisonError::into_inner) = None;
        recover::remove_logs(&self.directory, frozen.covers_log)
    }

    fn write_rows(
        &self,
        rows: &[Rows],
        window: (i64, i64),
        covers_log: u64,
    ) -> Result<SegmentFile, KeepError> {
        let parts: Vec<(&Rows, std::ops::Range<usize>)> = rows
            .iter()
            .map(|rows| (rows, between(&rows.times, window.0, window.1)))
            .filter(|(_, range)| !range.is_empty())
            .collect();
        let mut tables = Tables::default();
        let ids: Vec<(u32, Vec<u32>)> = parts
            .iter()
            .map(|(rows, _)| {
                let target = tables.target(&rows.target);
                (
                    target,
                    rows.series
                        .iter()
                        .map(|series| tables.series(target, series.kind, &series.labels))
                        .collect(),
                )
            })
            .collect();
        let first = parts.iter().map(|(rows, range)| rows.times[range.start]).min().unwrap_or(window.0);
        let last = parts.iter().map(|(rows, range)| rows.times[range.end - 1]).max().unwrap_or(window.0);
        let name = Name { tier: Tier::Raw, number: self.next_number(), first, last, level: 0, covers_log };
        segment::write(&self.directory, name, tables, |writer| {
            for ((rows, range), (target, ids)) in parts.iter().zip(&ids) {
                for start in range.clone().step_by(ROWS_MAX) {
                    let range = start..range.end.min(start + ROWS_MAX);
                    writer.block(*target, &rows.times[range.clone()], |put| {
                        let columns = ids.iter().zip(&rows.series);
                        columns
                            .into_iter()
                            .try_for_each(|(id, series)| put(*id, Part::Last, &series.values[range.clone()]))
                    })?;
                }
            }
            Ok(())
        })
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn frozen(&self) -> Option<Arc<Frozen>> {
        self.frozen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn segments(&self) -> Arc<Vec<Arc<SegmentFile>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts new segments in the place of old ones, in the order of time.
    pub(super) fn replace_segments(&self, old: &[u64], new: Vec<Arc<SegmentFile>>) {
        let mut guard = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            guard.iter().filter(|segment| !old.contains(&segment.name.number)).cloned().collect();
        all.extend(new);
        all.sort_by_key(|segment| (segment.name.tier, segment.name.first, segment.name.number));
        *guard = Arc::new(all);
    }

    /// Series in memory between two times that `wants` says yes to.
    pub(super) fn head_copy(
        &self,
        from: i64,
        to: i64,
        wants: impl Fn(&Labels) -> bool,
    ) -> Vec<(Labels, Vec<i64>, Vec<f64>)> {
        locked(&self.writer).head.copy(from, to, wants)
    }

    /// The same without their samples.
    pub(super) fn head_labels(&self, from: i64, to: i64, wants: impl Fn(&Labels) -> bool) -> Vec<Labels> {
        locked(&self.writer).head.labels(from, to, wants)
    }

    /// The footer of a segment, held for the next query.
    pub(super) fn footer(&self, segment: &SegmentFile) -> Option<Arc<Footer>> {
        let number = segment.name.number;
        if let Some((_, footer)) = locked(&self.footers).iter().find(|(of, _)| *of == number) {
            return Some(footer.clone());
        }
        let Ok(footer) = segment.footer() else {
            self.damage.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let footer = Arc::new(footer);
        let mut footers = locked(&self.footers);
        footers.truncate(FOOTERS_MAX - 1);
        footers.push_front((number, footer.clone()));
        Some(footer)
    }

    pub(super) fn forget_footers(&self, numbers: &[u64]) {
        locked(&self.footers).retain(|(number, _)| !numbers.contains(number));
    }

    /// The time of the oldest sample; nothing when there is none.
    pub fn first_ms(&self) -> Option<i64> {
        let filed = self.segments().iter().map(|segment| segment.name.first).min();
        let frozen = self.frozen();
        let rows = frozen.iter().flat_map(|frozen| &frozen.rows);
        let moving = rows.filter_map(|rows| rows.times.first().copied()).min();
        let held = locked(&self.writer).head.times().map(|(first, _)| first);
        [filed, moving, held].into_iter().flatten().min()
    }

    pub fn status(&self) -> Status {
        let segments = self.segments();
        let writer = locked(&self.writer);
        Status {
            series: writer.head.series_count(),
            segments: segments.len(),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            refused: writer.head.offenders.refused,
            offenders: writer.head.offenders.newest().cloned().collect(),
            repaired: self.damage.repaired.load(Ordering::Relaxed),
            lost: self.damage.lost.load(Ordering::Relaxed),
            unlogged: writer.unlogged,
            dropped_rows: writer.head.dropped_rows,
            trouble: writer.trouble.clone(),
        }
    }
}

impl Writer {
    fn append(&mut self) {
        let Some(log) = &mut self.log else {
            self.unlogged += 1;
            return;
        };
        if let Err(error) = log.append(&self.buffer) {
            self.unlogged += 1;
            self.fail(&error);
        }
    }

    /// Nothing more goes to this log; the next one begins by saying everything again.
    fn fail(&mut self, error: &KeepError) {
        self.trouble = Some(told(error));
        self.log = None;
    }

    fn reopen(&mut self, directory: &Path) -> Result<(), KeepError> {
        if self.log.is_none() {
            let log = Log::create(directory, self.next_log)
                .inspect_err(|error| self.trouble = Some(told(error)))?;
            self.next_log += 1;
            self.head.introduce_again();
            self.head.use_log(log.number);
            self.log = Some(log);
        }
        Ok(())
    }
}

/// An error with its reasons, in one line.
fn told(error: &KeepError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The windows of raw segments that these rows fall into: no segment lies in two.
fn windows(rows: &[Rows]) -> Vec<(i64, i64)> {
    let length = Tier::Raw.window_ms();
    let mut starts: Vec<i64> =
        rows.iter().flat_map(|rows| &rows.times).map(|time| time.div_euclid(length) * length).collect();
    starts.sort_unstable();
    starts.dedup();
    starts.into_iter().map(|start| (start, start + length - 1)).collect()
}
