//! What a directory of rows holds when it is opened: whole segments, logs to bring back, leftovers.

use super::segment::{DAMAGED, Name, Segment};
use crate::keep::disk::files::{KeepError, UNFINISHED, remove};
use crate::keep::disk::log::{file_name, parse_name};
use crate::keep::disk::recover::files;
use crate::logs::head::{Head, Sealed};
use crate::logs::limits::Limits;
use crate::logs::v1::wal::{Record, replay};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Found {
    pub segments: Vec<Arc<Segment>>,
    /// What was only in logs.
    pub blocks: Vec<Arc<Sealed>>,
    pub cursors: BTreeMap<String, String>,
    pub next_number: u64,
    pub next_log: u64,
    /// Files or records that could not be read.
    pub damaged: u64,
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
            found.segments.push(Arc::new(Segment::new(directory, name, bytes)));
        } else if file.ends_with(UNFINISHED) {
            remove(&directory.join(file))?;
        }
    }
    found.segments.sort_by_key(|segment| segment.name.number);
    let covered = found.segments.iter().map(|segment| segment.name.covers_log).max().unwrap_or(0);
    found.set_damaged_aside()?;
    found.take_cursors();
    logs.sort_unstable();
    found.bring_back(directory, limits, logs, covered)?;
    Ok(found)
}

impl Found {
    /// A segment whose footer cannot be read by either copy would fail each query.
    fn set_damaged_aside(&mut self) -> Result<(), KeepError> {
        let (whole, damaged): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.segments).into_iter().partition(|segment| segment.footer().is_ok());
        self.segments = whole;
        for segment in damaged {
            self.damaged += 1;
            let aside = segment.path.with_extension(DAMAGED);
            fs::rename(&segment.path, &aside).map_err(|source| KeepError::Write { path: aside, source })?;
        }
        Ok(())
    }

    fn take_cursors(&mut self) {
        let newest = self.segments.last().and_then(|segment| segment.footer().ok());
        self.cursors = newest.iter().flat_map(|footer| footer.cursors.iter().cloned()).collect();
    }

    fn bring_back(
        &mut self,
        directory: &Path,
        limits: &Limits,
        logs: Vec<u64>,
        covered: u64,
    ) -> Result<(), KeepError> {
        let mut head = Head::default();
        for number in logs {
            self.next_log = self.next_log.max(number + 1);
            let path = directory.join(file_name(number));
            if number <= covered {
                remove(&path)?;
                continue;
            }
            let bytes = fs::read(&path).map_err(|source| KeepError::Read { path, source })?;
            let (mut ids, mut records) = (HashMap::new(), 0);
            let damaged = replay(&bytes, |record| {
                records += 1;
                self.apply(&mut head, &mut ids, limits, record);
            });
            if records == 0 && damaged == 0 {
                remove(&directory.join(file_name(number)))?;
            }
            self.damaged += u64::from(damaged > 0);
        }
        self.blocks = head.take();
        self.damaged += u64::from(head.dropped_rows > 0);
        Ok(())
    }

    /// Does again what a log says. Rows whose stream's introduction was lost are left out.
    fn apply(&mut self, head: &mut Head, ids: &mut HashMap<u32, u32>, limits: &Limits, record: Record<'_>) {
        match record {
            Record::Stream { id, stream } => {
                if let Ok((now, _)) = head.stream(&stream, limits) {
                    ids.insert(id, now);
                }
            }
            Record::Rows { id, cursor, rows } => {
                if let Some(now) = ids.get(&id) {
                    rows.into_iter().for_each(|row| head.push(*now, row));
                } else {
                    self.damaged += 1;
                }
                if let Some((name, place)) = cursor {
                    self.cursors.insert(name.into(), place.into());
                }
            }
            Record::Cursor { name, place: "" } => {
                self.cursors.remove(name);
            }
            Record::Cursor { name, place } => {
                self.cursors.insert(name.into(), place.into());
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
