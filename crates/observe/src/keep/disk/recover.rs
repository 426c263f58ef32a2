//! What a directory holds when it is opened: whole segments, logs to bring back, leftovers.

use super::compact;
use super::files::{KeepError, UNFINISHED, remove};
use super::log::{file_name, parse_name};
use super::segment::{DAMAGED, Name, SegmentFile};
use crate::keep::head::{Ends, Head, Rows, SeriesId, TargetId};
use crate::keep::limits::Limits;
use crate::keep::v1::log::{Record, replay};
use crate::values::is_absent;
use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Found {
    pub segments: Vec<Arc<SegmentFile>>,
    pub rows: Vec<Rows>,
    pub next_number: u64,
    pub next_log: u64,
    /// Files or records that could not be read.
    pub damaged: u64,
}

/// The directory, made where there is none, for this process alone.
pub fn lock(directory: &Path) -> Result<File, KeepError> {
    let broken = |source| KeepError::Directory { path: directory.into(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(broken)?;
    let file = File::create(directory.join("lock")).map_err(broken)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(KeepError::InUse { path: directory.into() }),
        Err(TryLockError::Error(source)) => Err(broken(source)),
    }
}

pub fn look(directory: &Path, limits: &Limits) -> Result<Found, KeepError> {
    let mut found = Found { next_log: 1, next_number: 1, ..Found::default() };
    let mut logs = Vec::new();
    for (file, bytes) in files(directory)? {
        if let Some(number) = parse_name(&file) {
            logs.push(number);
        } else if let Some(name) = Name::parse(&file) {
            found.next_number = found.next_number.max(name.number + 1);
            found.next_log = found.next_log.max(name.covers_log + 1);
            found.segments.push(Arc::new(SegmentFile::new(directory, name, bytes)));
        } else if file.ends_with(UNFINISHED) {
            remove(&directory.join(file))?;
        }
    }
    found.set_damaged_aside()?;
    found.remove_leftovers()?;
    found.segments.sort_by_key(|segment| (segment.name.tier, segment.name.first, segment.name.number));
    let covered = found.segments.iter().map(|segment| segment.name.covers_log).max().unwrap_or(0);
    logs.sort_unstable();
    found.bring_back(directory, limits, logs, covered)?;
    Ok(found)
}

pub fn files(directory: &Path) -> Result<Vec<(String, u64)>, KeepError> {
    let broken = |source| KeepError::Directory { path: directory.into(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(broken)? {
        let entry = entry.map_err(broken)?;
        if let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) {
            files.push((name, metadata.len()));
        }
    }
    Ok(files)
}

impl Found {
    /// A segment whose footer cannot be read by either copy would fail each query.
    fn set_damaged_aside(&mut self) -> Result<(), KeepError> {
        let (whole, damaged): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.segments).into_iter().partition(|segment| segment.has_readable_end());
        self.segments = whole;
        for segment in damaged {
            self.damaged += 1;
            let aside = segment.path.with_extension(DAMAGED);
            fs::rename(&segment.path, &aside).map_err(|source| KeepError::Write { path: aside, source })?;
        }
        self.damaged += self.segments.iter().filter(|segment| !segment.has_whole_header()).count() as u64;
        Ok(())
    }

    /// A crash between the end of a merge and the removal of what was merged leaves both.
    fn remove_leftovers(&mut self) -> Result<(), KeepError> {
        let names: Vec<Name> = self.segments.iter().map(|segment| segment.name).collect();
        let (leftovers, rest) = std::mem::take(&mut self.segments)
            .into_iter()
            .partition(|segment| names.iter().any(|other| compact::takes_place_of(other, &segment.name)));
        self.segments = rest;
        let leftovers: Vec<Arc<SegmentFile>> = leftovers;
        leftovers.iter().try_for_each(|segment| remove(&segment.path))
    }

    fn bring_back(
        &mut self,
        directory: &Path,
        limits: &Limits,
        logs: Vec<u64>,
        covered: u64,
    ) -> Result<(), KeepError> {
        let mut head = Head::new(limits.clone(), 0);
        for number in logs {
            self.next_log = self.next_log.max(number + 1);
            let path = directory.join(file_name(number));
            if number <= covered {
                remove(&path)?;
                continue;
            }
            let bytes = fs::read(&path).map_err(|source| KeepError::Read { path, source })?;
            let replayed = replay(&bytes);
            self.damaged += u64::from(replayed.damaged_bytes > 0);
            apply(&mut head, replayed.records);
        }
        self.rows = head.take(0, i64::MAX, &mut Vec::new());
        self.rows.retain(|rows| !rows.times.is_empty());
        Ok(())
    }
}

/// Does again what a log says. What the limits or a lost introduction forbid is left out.
fn apply(head: &mut Head, records: Vec<Record>) {
    let mut targets: HashMap<u32, TargetId> = HashMap::new();
    let mut series: HashMap<(u32, u32), SeriesId> = HashMap::new();
    let mut forgotten = Vec::new();
    for record in records {
        match record {
            Record::Target { target, is_scraped, name } => {
                let ends = if is_scraped { Ends::WhenMissing } else { Ends::WhenTold };
                if let Ok(id) = head.target(&name, ends) {
                    targets.insert(target, id);
                    series.retain(|(of, _), _| *of != target);
                }
            }
            Record::Series { target, slot, kind, labels } => {
                let Some(id) = targets.get(&target) else { continue };
                if let Ok(id) = head.series(*id, &labels, kind) {
                    series.insert((target, slot), id);
                }
            }
            Record::Row { target, time_ms, values } => {
                let Some(id) = targets.get(&target) else { continue };
                let values: Vec<(SeriesId, f64)> = (0..)
                    .zip(values)
                    .filter(|(_, value)| !is_absent(*value))
                    .filter_map(|(slot, value)| Some((*series.get(&(target, slot))?, value)))
                    .collect();
                forgotten.clear();
                // Out of order only where a record was written twice: it is there already.
                let _ = head.tick(*id, time_ms, &values, &mut forgotten);
            }
        }
    }
}

/// Removes the logs up to and with this number.
pub fn remove_logs(directory: &Path, covered: u64) -> Result<(), KeepError> {
    for (file, _) in files(directory)? {
        if parse_name(&file).is_some_and(|number| number <= covered) {
            remove(&directory.join(file))?;
        }
    }
    Ok(())
}
