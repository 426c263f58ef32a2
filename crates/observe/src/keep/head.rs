//! The newest samples, in memory, and the bytes of the log that bring them back after a crash.
//!
//! Series of one target share their times. A series or target without a sample for a whole
//! interval is let go of; its handle is then unknown and must be asked for again.

use super::limits::{Limits, Offenders, Refused};
use super::v1::{Kind, log};
use crate::Labels;
use crate::values::{ABSENT, STALE, is_absent, is_live};
use std::collections::HashMap;

/// Rows of a target that are held when they cannot be written to a segment; then the oldest go.
pub const ROWS_MAX: usize = 2048;

/// A target, as [`Head::target`] names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TargetId {
    index: u32,
    generation: u32,
}

/// A series of a target, as [`Head::series`] names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesId {
    target: u32,
    slot: u32,
    generation: u32,
}

/// Who says when a series ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// A series that is missing in a tick has ended: all are read at each tick.
    WhenMissing,
    /// Only its sender.
    WhenTold,
}

/// What became of a tick.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Ticked {
    pub kept: usize,
    /// Handles that were let go of; ask for them again.
    pub unknown: usize,
    /// Values that differ from the one that their series has at this time; the first counts.
    pub duplicate: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TickError {
    #[error("the target is not known any more")]
    UnknownTarget,
    #[error("the samples are older than others of their target")]
    OutOfOrder,
    #[error("the samples are older than what is still open for writing")]
    TooOld,
    #[error("the samples lie in the future")]
    Future,
    #[error("too many samples of the target wait to be written")]
    Full,
}

/// Rows that do not change any more: of one target.
#[derive(Debug)]
pub struct Rows {
    pub target: String,
    pub times: Vec<i64>,
    pub series: Vec<RowSeries>,
}

#[derive(Debug)]
pub struct RowSeries {
    pub labels: Labels,
    pub kind: Kind,
    pub values: Vec<f64>,
}

#[derive(Debug)]
struct Target {
    name: String,
    ends: Ends,
    generation: u32,
    slots: Vec<Slot>,
    by_labels: HashMap<Labels, u32>,
    free: Vec<u32>,
    times: Vec<i64>,
    /// The time of the last row, also when its rows were taken away.
    last_time: i64,
    /// The time of the last row that was taken away.
    taken_until: i64,
    /// The log that knows the name of this target.
    in_log: u64,
    is_used: bool,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    labels: Labels,
    kind: Kind,
    values: Vec<f64>,
    /// Whether the last row had a value.
    was_live: bool,
    in_log: u64,
}

#[derive(Debug)]
pub struct Head {
    limits: Limits,
    targets: Vec<Target>,
    by_name: HashMap<String, u32>,
    series: usize,
    /// The number of the log that is written now.
    log: u64,
    pub offenders: Offenders,
    /// Rows that had to be dropped because they could not be written.
    pub dropped_rows: u64,
}

impl Head {
    pub fn new(limits: Limits, log: u64) -> Self {
        Self {
            limits,
            targets: Vec::new(),
            by_name: HashMap::new(),
            series: 0,
            log,
            offenders: Offenders::default(),
            dropped_rows: 0,
        }
    }

    pub fn series_count(&self) -> usize {
        self.series
    }

    /// The target of this name, made where there is none.
    pub fn target(&mut self, name: &str, ends: Ends) -> Result<TargetId, Refused> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(TargetId { index: *index, generation: self.targets[*index as usize].generation });
        }
        let free = self.targets.iter().position(|target| !target.is_used);
        let index = free.unwrap_or(self.targets.len());
        let is_sent = |target: &&Target| target.is_used && target.ends == Ends::WhenTold;
        let limit = match ends {
            Ends::WhenTold if self.targets.iter().filter(is_sent).count() >= self.limits.sent_targets => {
                Some(self.limits.sent_targets)
            }
            _ => (index >= self.limits.targets).then_some(self.limits.targets),
        };
        if let Some(limit) = limit {
            let why = Refused::Targets { limit };
            self.offenders.note(name, &Labels::default(), why.clone());
            return Err(why);
        }
        let generation = free.map_or(0, |at| self.targets[at].generation);
        let target = Target::new(name, ends, generation);
        match free {
            Some(at) => self.targets[at] = target,
            None => self.targets.push(target),
        }
        self.by_name.insert(name.into(), index as u32);
        Ok(TargetId { index: index as u32, generation })
    }

    fn known(&self, target: TargetId) -> Option<usize> {
        let index = target.index as usize;
        let found = self.targets.get(index)?;
        (found.is_used && found.generation == target.generation).then_some(index)
    }

    /// The series of these labels, made where there is none and the limits allow it.
    pub fn series(&mut self, target: TargetId, labels: &Labels, kind: Kind) -> Result<SeriesId, Refused> {
        let Some(index) = self.known(target) else {
            return Err(Refused::Targets { limit: self.limits.targets });
        };
        let found = &self.targets[index];
        if let Some(slot) = found.by_labels.get(labels) {
            let generation = found.slots[*slot as usize].generation;
            return Ok(SeriesId { target: target.index, slot: *slot, generation });
        }
        if let Err(why) = self.room_for(index, labels) {
            self.offenders.note(&self.targets[index].name, labels, why.clone());
            return Err(why);
        }
        self.series += 1;
        let (slot, generation) = self.targets[index].add(labels, kind);
        Ok(SeriesId { target: target.index, slot, generation })
    }

    fn room_for(&self, target: usize, labels: &Labels) -> Result<(), Refused> {
        self.limits.check(labels)?;
        if self.targets[target].by_labels.len() >= self.limits.series_per_target {
            return Err(Refused::SeriesOfTarget { limit: self.limits.series_per_target });
        }
        if self.targets[target].ends == Ends::WhenTold {
            let sent = self.targets.iter().filter(|target| target.ends == Ends::WhenTold);
            let limit = self.limits.sent_series;
            if sent.map(|target| target.by_labels.len()).sum::<usize>() >= limit {
                return Err(Refused::Series { limit });
            }
        }
        if self.series >= self.limits.series {
            return Err(Refused::Series { limit: self.limits.series });
        }
        Ok(())
    }

    /// Takes the values of a target at one time, and appends to `log` what brings them back. A second
    /// call with the same time adds to the first.
    pub fn tick(
        &mut self,
        target: TargetId,
        time_ms: i64,
        values: &[(SeriesId, f64)],
        log: &mut Vec<u8>,
    ) -> Result<Ticked, TickError> {
        let index = self.known(target).ok_or(TickError::UnknownTarget)?;
        let found = &mut self.targets[index];
        let row = match found.ends {
            Ends::WhenMissing if time_ms < found.last_time => return Err(TickError::OutOfOrder),
            Ends::WhenMissing => {
                self.dropped_rows += found.begin_row(time_ms);
                found.times.len() - 1
            }
            Ends::WhenTold => found.row_of(time_ms)?,
        };
        let mut ticked = Ticked::default();
        for (series, value) in values {
            match found.slots.get_mut(series.slot as usize) {
                Some(slot) if series.target == target.index && slot.generation == series.generation => {
                    let place = &mut slot.values[row];
                    if found.ends == Ends::WhenTold
                        && !is_absent(*place)
                        && place.to_bits() != value.to_bits()
                    {
                        ticked.duplicate += 1;
                        continue;
                    }
                    *place = *value;
                    ticked.kept += 1;
                }
                _ => ticked.unknown += 1,
            }
        }
        found.put_row(index as u32, row, self.log, log);
        Ok(ticked)
    }

    /// Takes all rows away and goes on with the log of this number. What had no sample is let go of. Of
    /// targets whose samples are sent by others the rows from `held_ms` on stay, for more may come at
    /// their times; they are said again to the new log.
    pub fn take(&mut self, log: u64, held_ms: i64, again: &mut Vec<u8>) -> Vec<Rows> {
        self.log = log;
        let mut taken = Vec::new();
        for (index, target) in self.targets.iter_mut().enumerate().filter(|(_, target)| target.is_used) {
            let before = target.by_labels.len();
            let held = target.held(held_ms);
            if held > 0 && held == target.times.len() {
                target.say_again(index as u32, log, again);
                continue;
            }
            if target.times.is_empty() {
                self.by_name.remove(&target.name);
                target.release();
                self.series -= before;
                continue;
            }
            taken.push(target.take_rows(held));
            self.series -= before - target.by_labels.len();
            target.say_again(index as u32, log, again);
        }
        taken
    }

    /// Copies of the rows of series that `wants` says yes to, between two times.
    pub fn copy(
        &self,
        from_ms: i64,
        to_ms: i64,
        wants: impl Fn(&Labels) -> bool,
    ) -> Vec<(Labels, Vec<i64>, Vec<f64>)> {
        let mut found = Vec::new();
        for target in self.targets.iter().filter(|target| target.is_used) {
            let rows = between(&target.times, from_ms, to_ms);
            if rows.is_empty() {
                continue;
            }
            for slot in target.slots.iter().filter(|slot| slot.is_used() && wants(&slot.labels)) {
                found.push((
                    slot.labels.clone(),
                    target.times[rows.clone()].to_vec(),
                    slot.values[rows.clone()].to_vec(),
                ));
            }
        }
        found
    }

    /// The labels of series that `wants` says yes to, of targets with rows between two times.
    pub fn labels(&self, from_ms: i64, to_ms: i64, wants: impl Fn(&Labels) -> bool) -> Vec<Labels> {
        let has_rows =
            |target: &&Target| target.is_used && !between(&target.times, from_ms, to_ms).is_empty();
        let slots = self.targets.iter().filter(has_rows).flat_map(|target| &target.slots);
        slots.filter(|slot| slot.is_used() && wants(&slot.labels)).map(|slot| slot.labels.clone()).collect()
    }

    /// Whether rows wait that belong to an earlier interval of this length. Rows that others sent wait
    /// for those of this machine, so that both go at once.
    pub fn is_due(&self, now_ms: i64, interval_ms: i64, held_ms: i64) -> bool {
        self.targets.iter().any(|target| match (target.times.first(), target.ends) {
            (None, _) => false,
            (Some(first), Ends::WhenMissing) => {
                first.div_euclid(interval_ms) < now_ms.div_euclid(interval_ms)
            }
            (Some(first), Ends::WhenTold) => now_ms.saturating_sub(*first) >= interval_ms + 2 * held_ms,
        })
    }

    /// The oldest and the newest time in memory.
    pub fn times(&self) -> Option<(i64, i64)> {
        let rows = || self.targets.iter().map(|target| &target.times);
        Some((
            rows().filter_map(|times| times.first()).min().copied()?,
            rows().filter_map(|times| times.last()).max().copied()?,
        ))
    }

    /// Goes on with the log of this number.
    pub fn use_log(&mut self, log: u64) {
        self.log = log;
    }

    /// Forgets what the log knows: the next ticks say it again.
    pub fn introduce_again(&mut self) {
        for target in &mut self.targets {
            target.in_log = u64::MAX;
            target.slots.iter_mut().for_each(|slot| slot.in_log = u64::MAX);
        }
    }
}

impl Target {
    fn new(name: &str, ends: Ends, generation: u32) -> Self {
        Self {
            name: name.into(),
            ends,
            generation,
            slots: Vec::new(),
            by_labels: HashMap::new(),
            free: Vec::new(),
            times: Vec::new(),
            last_time: i64::MIN,
            taken_until: i64::MIN,
            in_log: u64::MAX,
            is_used: true,
        }
    }

    fn add(&mut self, labels: &Labels, kind: Kind) -> (u32, u32) {
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        let generation = self.slots.get(slot as usize).map_or(0, |slot| slot.generation);
        let values = vec![ABSENT; self.times.len()];
        let made =
            Slot { generation, labels: labels.clone(), kind, values, was_live: false, in_log: u64::MAX };
        match self.slots.get_mut(slot as usize) {
            Some(place) => *place = made,
            None => self.slots.push(made),
        }
        self.by_labels.insert(labels.clone(), slot);
        (slot, generation)
    }

    /// Makes the row of this time the last one. Returns how many had to go for it.
    fn begin_row(&mut self, time_ms: i64) -> u64 {
        if self.times.last() == Some(&time_ms) {
            return 0;
        }
        let surplus = (self.times.len() + 1).saturating_sub(ROWS_MAX);
        self.times.drain(..surplus);
        for slot in &mut self.slots {
            slot.values.drain(..surplus.min(slot.values.len()));
            if let Some(last) = slot.values.last() {
                slot.was_live = is_live(*last);
            }
            let has_ended = slot.was_live && self.ends == Ends::WhenMissing;
            if slot.is_used() {
                slot.values.push(if has_ended { STALE } else { ABSENT });
            }
        }
        self.times.push(time_ms);
        self.last_time = time_ms;
        surplus as u64
    }

    /// The row of this time, which may lie between others: senders put one time into several messages and
    /// send them side by side.
    fn row_of(&mut self, time_ms: i64) -> Result<usize, TickError> {
        let row = self.times.partition_point(|time| *time < time_ms);
        if self.times.get(row) == Some(&time_ms) {
            return Ok(row);
        }
        if time_ms <= self.taken_until {
            return Err(TickError::OutOfOrder);
        }
        if self.times.len() >= ROWS_MAX {
            return Err(TickError::Full);
        }
        self.times.insert(row, time_ms);
        self.slots.iter_mut().filter(|slot| slot.is_used()).for_each(|slot| slot.values.insert(row, ABSENT));
        self.last_time = self.last_time.max(time_ms);
        Ok(row)
    }

    /// How many of the newest rows stay when the others are taken.
    fn held(&self, held_ms: i64) -> usize {
        match self.ends {
            Ends::WhenMissing => 0,
            Ends::WhenTold => self.times.len() - self.times.partition_point(|time| *time < held_ms),
        }
    }

    fn say_again(&mut self, index: u32, number: u64, log: &mut Vec<u8>) {
        (0..self.times.len()).for_each(|row| self.put_row(index, row, number, log));
    }

    /// Appends a row to the log, and before it what the log does not know yet.
    fn put_row(&mut self, index: u32, row: usize, number: u64, log: &mut Vec<u8>) {
        if self.in_log != number {
            let (is_scraped, name) = (self.ends == Ends::WhenMissing, self.name.clone());
            log::put(log, &log::Record::Target { target: index, is_scraped, name });
            self.in_log = number;
        }
        for (at, slot) in
            self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.in_log != number && slot.is_used())
        {
            let (kind, labels) = (slot.kind, slot.labels.clone());
            log::put(log, &log::Record::Series { target: index, slot: at as u32, kind, labels });
            slot.in_log = number;
        }
        let values = self.slots.iter().map(|slot| slot.values.get(row).copied().unwrap_or(ABSENT));
        log::put_row(log, index, self.times[row], values);
    }

    /// All rows but so many of the newest.
    fn take_rows(&mut self, held: usize) -> Rows {
        let split = self.times.len() - held;
        let newest = self.times.split_off(split);
        let times = std::mem::replace(&mut self.times, newest);
        self.taken_until = times.last().copied().unwrap_or(self.taken_until);
        let mut series = Vec::with_capacity(self.by_labels.len());
        for (at, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_used()) {
            let mut newest = Vec::with_capacity(slot.values.len());
            newest.extend_from_slice(&slot.values[split..]);
            let mut values = std::mem::replace(&mut slot.values, newest);
            let is_quiet = !values.iter().any(|value| is_live(*value));
            values.truncate(split);
            slot.was_live = values.last().is_some_and(|value| is_live(*value));
            let (labels, kind) = (slot.labels.clone(), slot.kind);
            if is_quiet {
                self.by_labels.remove(&labels);
                slot.release();
                self.free.push(at as u32);
            }
            series.push(RowSeries { labels, kind, values });
        }
        Rows { target: self.name.clone(), times, series }
    }

    /// Lets go of the target and all its series.
    fn release(&mut self) {
        *self = Self { is_used: false, ..Self::new("", self.ends, self.generation.wrapping_add(1)) };
    }
}

impl Slot {
    /// A slot that was let go of has no labels; a series needs one.
    fn is_used(&self) -> bool {
        !self.labels.is_empty()
    }

    fn release(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.labels = Labels::default();
        self.values = Vec::new();
        self.was_live = false;
    }
}

/// The rows with `from <= time <= to`.
pub fn between(times: &[i64], from_ms: i64, to_ms: i64) -> std::ops::Range<usize> {
    let start = times.partition_point(|time| *time < from_ms);
    start..times.partition_point(|time| *time <= to_ms).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::is_stale;

    fn head() -> (Head, TargetId) {
        let limits = Limits { series_per_target: 3, targets: 2, ..Limits::default() };
        let mut head = Head::new(limits, 1);
        let target = head.target("node", Ends::WhenMissing).unwrap();
        (head, target)
    }

    fn labels(name: &str) -> Labels {
        Labels::new([(crate::NAME, name)])
    }

    #[test]
    fn a_series_that_is_missing_has_ended_once() {
        let (mut head, target) = head();
        let a = head.series(target, &labels("a"), Kind::Gauge).unwrap();
        let b = head.series(target, &labels("b"), Kind::Gauge).unwrap();
        let mut log = Vec::new();
        head.tick(target, 1, &[(a, 1.0), (b, 2.0)], &mut log).unwrap();
        head.tick(target, 2, &[(a, 1.0)], &mut log).unwrap();
        let first = head.take(2, i64::MAX, &mut Vec::new());
        head.tick(target, 3, &[(a, 1.0)], &mut log).unwrap();
        assert!(is_stale(first[0].series[1].values[1]));
        let second = head.take(3, i64::MAX, &mut Vec::new());
        assert!(!is_live(second[0].series[1].values[0]) && !is_stale(second[0].series[1].values[0]));
        // b had no sample for a whole interval.
        let ticked = head.tick(target, 4, &[(a, 1.0), (b, 1.0)], &mut log).unwrap();
        assert_eq!(ticked, Ticked { kept: 1, unknown: 1, duplicate: 0 });
        assert_eq!(head.series_count(), 1);
        assert!(head.series(target, &labels("b"), Kind::Gauge).is_ok());
    }

    #[test]
    fn samples_of_others_come_in_any_order_and_once() {
        let (mut head, _) = head();
        let target = head.target("sent", Ends::WhenTold).unwrap();
        let a = head.series(target, &labels("a"), Kind::Gauge).unwrap();
        let b = head.series(target, &labels("b"), Kind::Gauge).unwrap();
        let mut log = Vec::new();
        let mut tick =
            |head: &mut Head, time, values: &[(SeriesId, f64)]| head.tick(target, time, values, &mut log);
        tick(&mut head, 10, &[(a, 1.0)]).unwrap();
        tick(&mut head, 30, &[(a, 3.0), (b, 3.5)]).unwrap();
        tick(&mut head, 20, &[(a, 2.0)]).unwrap();
        let both = tick(&mut head, 10, &[(a, 7.0), (b, 1.5)]).unwrap();
        assert_eq!(both, Ticked { kept: 1, unknown: 0, duplicate: 1 });
        let again = tick(&mut head, 10, &[(a, 1.0)]).unwrap();
        assert_eq!(again, Ticked { kept: 1, unknown: 0, duplicate: 0 }, "the same once more is no mistake");
        // The newest stay when rows are taken: others of their times may come.
        let mut again = Vec::new();
        let rows = head.take(2, 20, &mut again);
        assert_eq!((&rows[0].times[..], rows[0].series[1].values[0]), (&[10][..], 1.5));
        assert!(!again.is_empty());
        tick(&mut head, 25, &[(b, 2.5)]).unwrap();
        tick(&mut head, 30, &[(a, 3.0)]).unwrap();
        assert_eq!(tick(&mut head, 10, &[(b, 9.0)]), Err(TickError::OutOfOrder));
        let rows = head.take(3, i64::MAX, &mut again);
        assert_eq!(rows[0].times, [20, 25, 30]);
        assert_eq!((rows[0].series[0].values[2], rows[0].series[1].values[1]), (3.0, 2.5));
    }

    #[test]
    fn rows_that_stay_are_said_again_to_the_new_log() {
        let (mut head, _) = head();
        let target = head.target("sent", Ends::WhenTold).unwrap();
        let a = head.series(target, &labels("a"), Kind::Gauge).unwrap();
        let mut log = Vec::new();
        for time in [10, 20, 30] {
            head.tick(target, time, &[(a, 1.0)], &mut log).unwrap();
        }
        let mut again = log::header(2).to_vec();
        head.take(2, 20, &mut again);
        let records = log::replay(&again).records;
        let times = records.iter().filter_map(|record| match record {
            log::Record::Row { time_ms, .. } => Some(*time_ms),
            _ => None,
        });
        assert_eq!((times.collect::<Vec<_>>(), records.len()), (vec![20, 30], 4));
        assert!(!head.is_due(35, 10, 10) && head.is_due(50, 10, 10));
    }

    #[test]
    fn a_sender_is_told_when_too_many_rows_wait() {
        let (mut head, _) = head();
        let target = head.target("sent", Ends::WhenTold).unwrap();
        let a = head.series(target, &labels("a"), Kind::Gauge).unwrap();
        let mut log = Vec::new();
        for time in 0..ROWS_MAX as i64 {
            head.tick(target, time, &[(a, 1.0)], &mut log).unwrap();
        }
        assert_eq!(head.tick(target, 9999, &[(a, 1.0)], &mut log), Err(TickError::Full));
        assert_eq!(head.dropped_rows, 0);
    }

    #[test]
    fn limits_name_the_newest_offender_and_the_rest_goes_on() {
        let (mut head, target) = head();
        for name in ["a", "b", "c"] {
            head.series(target, &labels(name), Kind::Gauge).unwrap();
        }
        assert_eq!(head.series(target, &labels("d"), Kind::Gauge), Err(Refused::SeriesOfTarget { limit: 3 }));
        assert!(head.series(target, &labels("a"), Kind::Gauge).is_ok());
        head.target("other", Ends::WhenTold).unwrap();
        assert_eq!(head.target("third", Ends::WhenTold), Err(Refused::Targets { limit: 2 }));
        let long = Labels::new([("a".repeat(300), "b")]);
        assert_eq!(head.series(target, &long, Kind::Gauge), Err(Refused::LabelName { limit: 256 }));
        let named: Vec<&str> = head.offenders.newest().map(|offender| &*offender.series).collect();
        assert_eq!(named[0], "d");
        assert_eq!((head.offenders.refused, named.len()), (3, 3));
        assert!(named[2].len() < 210);
    }

    #[test]
    fn rows_have_a_limit_and_an_order() {
        let (mut head, target) = head();
        let a = head.series(target, &labels("a"), Kind::Gauge).unwrap();
        let mut log = Vec::new();
        for time in 0..ROWS_MAX as i64 + 10 {
            head.tick(target, time, &[(a, time as f64)], &mut log).unwrap();
            log.clear();
        }
        assert_eq!(head.dropped_rows, 10);
        assert_eq!(head.tick(target, 5, &[(a, 1.0)], &mut log), Err(TickError::OutOfOrder));
        let rows = head.take(2, i64::MAX, &mut Vec::new());
        assert_eq!(
            (rows[0].times[0], rows[0].series[0].values[0], rows[0].times.len()),
            (10, 10.0, ROWS_MAX)
        );
        assert!(head.take(3, i64::MAX, &mut Vec::new()).is_empty(), "a target without a row is let go of");
        assert_eq!(head.tick(target, 9999, &[(a, 1.0)], &mut log), Err(TickError::UnknownTarget));
    }
}
