//! The store of rows: takes them, keeps them, does its housekeeping when asked to.
//!
//! Three calls drive it: [`Logs::append`] as rows come, [`Logs::sync`] once a second,
//! [`Logs::maintain`] now and then. The time is always an argument.

use super::recover;
use super::segment::{self, Damage, Segment};
use crate::keep::KeepError;
use crate::keep::disk::files::remove;
use crate::keep::disk::log::Log;
use crate::keep::disk::recover::lock;
use crate::logs::head::{Head, Refused, Sealed};
use crate::logs::limits::{
    CURSOR_BYTES_MAX, CURSORS_MAX, FLUSH_AGE, FUTURE_MAX, HELD_BYTES_MAX, Limits, SEGMENT_BYTES,
};
use crate::logs::row::{Level, Row, Stream};
use crate::logs::v1::wal::{RECORD_TEXT_BYTES, put_cursor, put_rows, put_stream};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Rows, and bytes of them, that are held for those who follow.
const RECENT_ROWS_MAX: usize = 20_000;
const RECENT_BYTES_MAX: usize = 8 << 20;

/// How the store is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    pub segments: usize,
    /// What all segments take.
    pub bytes: u64,
    /// Rows and bytes of text that came in since the start.
    pub rows: u64,
    pub text_bytes: u64,
    /// Rows that were cut, for they were too long.
    pub cut_rows: u64,
    /// Rows of streams beyond the limit.
    pub refused_rows: u64,
    /// Blocks that were damaged and could be made again, or not; files and records that are lost.
    pub repaired: u64,
    pub lost: u64,
    /// Rows that did not reach the log, because writing failed.
    pub unlogged: u64,
    /// Rows that were dropped from memory, because writing failed for long.
    pub dropped_rows: u64,
    /// The last failure to write, until writing works again.
    pub trouble: Option<String>,
}

/// A row for those who follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    pub number: u64,
    pub stream: Arc<Stream>,
    pub time_ns: i64,
    pub level: Level,
    pub text: Arc<str>,
}

/// Rows in one directory, which belongs to this alone.
#[derive(Debug)]
pub struct Logs {
    directory: PathBuf,
    limits: Limits,
    writer: Mutex<Writer>,
    /// Blocks on their way to a segment.
    frozen: RwLock<Option<Arc<Frozen>>>,
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    /// Held by the one that does the housekeeping.
    work: Mutex<()>,
    /// Held while blocks move from memory to a segment, so that a search sees each once. Comes before
    /// the other locks.
    pub(super) moving: RwLock<()>,
    next_number: AtomicU64,
    now_ns: AtomicI64,
    followers: AtomicUsize,
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
    /// Streams up to this number are introduced in the log.
    introduced: u32,
    buffer: Vec<u8>,
    cursors: BTreeMap<String, String>,
    /// When the oldest row in memory came.
    since_ns: Option<i64>,
    /// Rows in memory are not in a log: they become a segment as soon as one can be written.
    is_unlogged: bool,
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    next_recent: u64,
    status: Status,
}

#[derive(Debug)]
pub(super) struct Frozen {
    pub blocks: Vec<Arc<Sealed>>,
    covers_log: u64,
    cursors: Vec<(String, String)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is whole: each change is made in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Logs {
    /// Opens the directory, and brings back what was only in the log.
    pub fn open(directory: &Path, limits: Limits, now_ns: i64) -> Result<Self, KeepError> {
        let lock = lock(directory)?;
        let found = recover::look(directory, &limits)?;
        let logs = Self {
            directory: directory.into(),
            limits,
            writer: Mutex::new(Writer::new(found.next_log, found.cursors)),
            frozen: RwLock::new(None),
            segments: RwLock::new(Arc::new(found.segments)),
            work: Mutex::default(),
            moving: RwLock::new(()),
            next_number: AtomicU64::new(found.next_number),
            now_ns: AtomicI64::new(now_ns),
            followers: AtomicUsize::new(0),
            damage: Damage { lost: AtomicU64::new(found.damaged), ..Damage::default() },
            _lock: lock,
        };
        if !found.blocks.is_empty() {
            let cursors = locked(&logs.writer).cursors_copy();
            logs.set_frozen(Some(Frozen { blocks: found.blocks, covers_log: found.next_log - 1, cursors }));
        }
        logs.maintain(now_ns);
        Ok(logs)
    }

    /// Takes rows of one stream, and with them the place in a file up to which they were read. A full
    /// disk does not stop it: see [`Status::trouble`].
    pub fn append(
        &self,
        stream: &Stream,
        rows: &[Row<'_>],
        cursor: Option<(&str, &str)>,
    ) -> Result<(), Refused> {
        let latest = self.now_ns.load(Ordering::Relaxed).saturating_add(FUTURE_MAX.as_nanos() as i64);
        let mut writer = locked(&self.writer);
        let result = writer.append(stream, rows, cursor, &self.limits, latest);
        if result.is_err() {
            writer.status.refused_rows += rows.len() as u64;
        } else if self.followers.load(Ordering::Relaxed) > 0 {
            writer.remember(stream, rows, &self.limits);
        }
        result
    }

    /// The place that was given with the last rows under this name.
    pub fn cursor(&self, name: &str) -> Option<String> {
        locked(&self.writer).cursors.get(name).cloned()
    }

    pub fn cursor_names(&self) -> Vec<String> {
        locked(&self.writer).cursors.keys().cloned().collect()
    }

    /// Nothing more comes from there.
    pub fn forget_cursor(&self, name: &str) {
        let mut writer = locked(&self.writer);
        if writer.cursors.remove(name).is_some() {
            writer.buffer.clear();
            let Writer { buffer, .. } = &mut *writer;
            put_cursor(buffer, name, "");
            writer.append_buffer(0);
        }
    }

    /// Makes all rows so far durable.
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

    /// Writes segments that are due, drops what is too old or too much. Each failure leaves everything
    /// as it was; the next call tries again.
    pub fn maintain(&self, now_ns: i64) {
        let Ok(_working) = self.work.try_lock() else { return };
        self.now_ns.fetch_max(now_ns, Ordering::Relaxed);
        let done = self.flush(now_ns, false);
        // Also when the disk is full: this is what makes room.
        let dropped = self.drop_old(now_ns);
        let mut writer = locked(&self.writer);
        match done.and(dropped) {
            Ok(()) => writer.status.trouble = writer.status.trouble.take().filter(|_| writer.log.is_none()),
            Err(error) => writer.status.trouble = Some(told(&error)),
        }
    }

    /// Writes what is in memory to a segment, due or not: before the end of the process.
    pub fn close(self) -> Result<(), KeepError> {
        self.flush(self.now_ns.load(Ordering::Relaxed), true)
    }

    fn flush(&self, now_ns: i64, always: bool) -> Result<(), KeepError> {
        self.write_frozen()?;
        if self.freeze(now_ns, always)? { self.write_frozen() } else { Ok(()) }
    }

    /// Begins a new log and takes the rows out of memory, if they are many or old.
    fn freeze(&self, now_ns: i64, always: bool) -> Result<bool, KeepError> {
        let _moving = self.moving.write().unwrap_or_else(PoisonError::into_inner);
        let mut writer = locked(&self.writer);
        writer.reopen(&self.directory)?;
        let is_old = |since: i64| now_ns.saturating_sub(since) >= FLUSH_AGE.as_nanos() as i64;
        if writer.since_ns.is_none() && !writer.head.is_empty() {
            writer.since_ns = Some(now_ns);
        }
        let is_due = always
            || writer.is_unlogged
            || writer.head.sealed_bytes >= SEGMENT_BYTES
            || writer.since_ns.is_some_and(is_old);
        if !is_due || writer.head.is_empty() {
            return Ok(false);
        }
        let number = writer.next_log;
        let log = Log::create(&self.directory, number)?;
        writer.next_log += 1;
        writer.log = Some(log);
        writer.introduced = 0;
        writer.since_ns = None;
        writer.is_unlogged = false;
        let (blocks, cursors) = (writer.head.take(), writer.cursors_copy());
        self.set_frozen(Some(Frozen { blocks, covers_log: number - 1, cursors }));
        Ok(true)
    }

    fn write_frozen(&self) -> Result<(), KeepError> {
        let Some(frozen) = self.frozen() else { return Ok(()) };
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let Frozen { blocks, covers_log, cursors } = &*frozen;
        let written = segment::write(&self.directory, number, *covers_log, blocks, cursors.clone())?;
        {
            let _moving = self.moving.write().unwrap_or_else(PoisonError::into_inner);
            self.change_segments(|all| all.push(Arc::new(written)));
            self.set_frozen(None);
        }
        recover::remove_logs(&self.directory, *covers_log)
    }

    fn drop_old(&self, now_ns: i64) -> Result<(), KeepError> {
        let all = self.segments();
        let oldest = now_ns.saturating_sub(i64::try_from(self.limits.age.as_nanos()).unwrap_or(i64::MAX));
        let mut total: u64 = all.iter().map(|segment| segment.bytes).sum();
        let mut dropped = Vec::new();
        // The newest one says which logs are done with and up to where files were read.
        for segment in all.iter().rev().skip(1).rev() {
            if segment.name.last_ns < oldest || total > self.limits.bytes {
                total -= segment.bytes;
                dropped.push(segment.clone());
            }
        }
        if dropped.is_empty() {
            return Ok(());
        }
        self.change_segments(|all| {
            all.retain(|one| dropped.iter().all(|gone| gone.name.number != one.name.number));
        });
        dropped.iter().try_for_each(|segment| remove(&segment.path))
    }

    fn change_segments(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>)) {
        let mut guard = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = guard.to_vec();
        change(&mut all);
        *guard = Arc::new(all);
    }

    fn set_frozen(&self, frozen: Option<Frozen>) {
        *self.frozen.write().unwrap_or_else(PoisonError::into_inner) = frozen.map(Arc::new);
    }

    pub(super) fn frozen(&self) -> Option<Arc<Frozen>> {
        self.frozen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Blocks in memory: full ones, and those being filled.
    #[allow(clippy::type_complexity)]
    pub(super) fn in_memory(
        &self,
    ) -> (Vec<Arc<Sealed>>, Vec<(Arc<Stream>, Arc<crate::logs::block::OpenBlock>)>) {
        let writer = locked(&self.writer);
        (writer.head.sealed().collect(), writer.head.opens())
    }

    /// From now on new rows are held for somebody who follows.
    pub fn follow(&self) -> Following<'_> {
        self.followers.fetch_add(1, Ordering::Relaxed);
        let after = locked(&self.writer).next_recent;
        Following { logs: self, after }
    }

    pub fn status(&self) -> Status {
        let segments = self.segments();
        let writer = locked(&self.writer);
        Status {
            segments: segments.len(),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            repaired: self.damage.repaired.load(Ordering::Relaxed),
            lost: self.damage.lost.load(Ordering::Relaxed),
            dropped_rows: writer.head.dropped_rows,
            ..writer.status.clone()
        }
    }
}

/// Somebody who follows; dropped, rows are not held for them any more.
#[derive(Debug)]
pub struct Following<'a> {
    logs: &'a Logs,
    after: u64,
}

impl Following<'_> {
    /// What came since the last call, and how many rows went by unseen because it was long ago.
    pub fn more(&mut self) -> (Vec<Recent>, u64) {
        let writer = locked(&self.logs.writer);
        let first = writer.recent.front().map_or(writer.next_recent, |row| row.number);
        let missed = first.saturating_sub(self.after);
        let rows = writer.recent.iter().filter(|row| row.number >= self.after).cloned().collect();
        self.after = writer.next_recent;
        (rows, missed)
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        if self.logs.followers.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut writer = locked(&self.logs.writer);
            writer.recent = VecDeque::new();
            writer.recent_bytes = 0;
        }
    }
}

impl Writer {
    fn new(next_log: u64, cursors: BTreeMap<String, String>) -> Self {
        Self {
            head: Head::default(),
            log: None,
            next_log,
            introduced: 0,
            buffer: Vec::new(),
            cursors,
            since_ns: None,
            is_unlogged: false,
            recent: VecDeque::new(),
            recent_bytes: 0,
            next_recent: 0,
            status: Status::default(),
        }
    }

    fn append(
        &mut self,
        stream: &Stream,
        rows: &[Row<'_>],
        cursor: Option<(&str, &str)>,
        limits: &Limits,
        latest_ns: i64,
    ) -> Result<(), Refused> {
        if let Some((name, place)) = cursor {
            self.set_cursor(name, place)?;
        }
        let (id, _) = self.head.stream(stream, limits)?;
        self.buffer.clear();
        for unknown in self.introduced..=id {
            put_stream(&mut self.buffer, unknown, self.head.stream_of(unknown));
        }
        let mut cut = Vec::with_capacity(rows.len());
        for row in rows {
            let text = &row.text[..row.text.floor_char_boundary(limits.row_bytes)];
            self.status.cut_rows += u64::from(text.len() < row.text.len());
            cut.push(Row { time_ns: row.time_ns.clamp(0, latest_ns), text, ..*row });
        }
        let mut rest = &cut[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            // The place counts only with the last of them.
            put_rows(&mut self.buffer, id, cursor.filter(|_| later.is_empty()), now);
            rest = later;
        }
        if let (true, Some((name, place))) = (rows.is_empty(), cursor) {
            put_cursor(&mut self.buffer, name, place);
        }
        if self.append_buffer(rows.len() as u64) {
            self.introduced = self.introduced.max(id + 1);
        }
        for row in cut {
            self.status.text_bytes += row.text.len() as u64;
            self.head.push(id, row);
        }
        self.status.rows += rows.len() as u64;
        Ok(())
    }

    fn set_cursor(&mut self, name: &str, place: &str) -> Result<(), Refused> {
        debug_assert!(name.len() <= CURSOR_BYTES_MAX && place.len() <= CURSOR_BYTES_MAX, "places are short");
        if !self.cursors.contains_key(name) && self.cursors.len() >= CURSORS_MAX {
            return Err(Refused::Cursors { limit: CURSORS_MAX });
        }
        self.cursors.insert(name.into(), place.into());
        Ok(())
    }

    /// Whether what is in the buffer is in the log now.
    fn append_buffer(&mut self, rows: u64) -> bool {
        let Some(log) = &mut self.log else {
            self.status.unlogged += rows;
            self.is_unlogged = true;
            return false;
        };
        match log.append(&self.buffer) {
            Ok(()) => true,
            Err(error) => {
                self.status.unlogged += rows;
                self.is_unlogged = true;
                self.fail(&error);
                false
            }
        }
    }

    /// Nothing more goes to this log; the next one introduces all streams again.
    fn fail(&mut self, error: &KeepError) {
        self.status.trouble = Some(told(error));
        self.log = None;
        self.introduced = 0;
    }

    fn reopen(&mut self, directory: &Path) -> Result<(), KeepError> {
        if self.log.is_none() {
            let log = Log::create(directory, self.next_log)
                .inspect_err(|error| self.status.trouble = Some(told(error)))?;
            self.log = Some(log);
            self.introduced = 0;
            self.next_log += 1;
        }
        Ok(())
    }

    fn cursors_copy(&self) -> Vec<(String, String)> {
        self.cursors.iter().map(|(name, place)| (name.clone(), place.clone())).collect()
    }

    fn remember(&mut self, stream: &Stream, rows: &[Row<'_>], limits: &Limits) {
        let stream = Arc::new(stream.clone());
        for row in rows {
            let text: Arc<str> = row.text[..row.text.floor_char_boundary(limits.row_bytes)].into();
            self.recent_bytes += text.len();
            let (number, time_ns, level) = (self.next_recent, row.time_ns, row.level);
            self.recent.push_back(Recent { number, stream: stream.clone(), time_ns, level, text });
            self.next_recent += 1;
        }
        while self.recent.len() > RECENT_ROWS_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.text.len();
        }
    }
}

/// How many of the rows fit into one record, at least one.
fn fitting(rows: &[Row<'_>]) -> usize {
    let mut bytes = 0;
    let fits = rows.iter().take_while(|row| {
        bytes += row.text.len() + 16;
        bytes <= RECORD_TEXT_BYTES
    });
    fits.count().max(1)
}

fn told(error: &KeepError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

const _: () = assert!(HELD_BYTES_MAX >= 2 * SEGMENT_BYTES, "a segment fits into memory while one is written");
