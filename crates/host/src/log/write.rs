//! Writes output records, rotates, keeps to the budgets, and survives a full disk.

use super::{MAX_RECORD, current, rotated, rotation};
use crate::clock;
use run::engine::LogStream;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Caps on what is kept.
#[derive(Debug, Clone)]
pub struct Limits {
    pub max_bytes: u64,
    pub max_files: u32,
    /// Directory of all instances, each with its output below `log`.
    pub instances: PathBuf,
    pub budget_bytes: u64,
}

/// Smallest file size that is accepted, so that a record always fits.
const MIN_FILE_BYTES: u64 = 64 << 10;
/// The budget over all instances is looked at after so many bytes of one of them, or a 256th of it.
const BUDGET_STEP: u64 = 1 << 20;

pub struct Writer {
    dir: PathBuf,
    limits: Limits,
    keeps_nothing: bool,
    file: Option<File>,
    size: u64,
    since_budget: u64,
    /// Records that found no room since the last one that did.
    lost: u64,
    partial: [Vec<u8>; 2],
    batch: Vec<u8>,
    batch_records: u64,
}

impl Writer {
    /// Opening may fail for want of space; then the first records count as lost.
    pub fn open(dir: &Path, mut limits: Limits) -> Self {
        limits.max_bytes = limits.max_bytes.max(MIN_FILE_BYTES);
        let keeps_nothing = limits.max_files == 0;
        limits.max_files = limits.max_files.max(1);
        let mut writer = Self {
            dir: dir.to_owned(),
            limits,
            keeps_nothing,
            file: None,
            size: 0,
            since_budget: BUDGET_STEP,
            lost: 0,
            partial: [Vec::new(), Vec::new()],
            batch: Vec::new(),
            batch_records: 0,
        };
        // A failure is met again, and counted, by the first write.
        let _ = writer.open_current();
        writer
    }

    /// Takes what was read from the instance.
    pub fn take(&mut self, stream: LogStream, bytes: &[u8]) {
        if self.keeps_nothing {
            return;
        }
        let at = clock::format(clock::since_epoch());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                // Most lines come in one piece and need no copy on the way.
                Some(line) if self.partial[index(stream)].is_empty() && line.len() <= MAX_RECORD => {
                    self.record(stream, &at, b'F', line);
                }
                Some(end) => {
                    self.add(stream, end, &at);
                    self.finish(stream, &at, b'F');
                }
                None => self.add(stream, line, &at),
            }
        }
        self.flush();
    }

    /// Records the last lines, which had no end.
    pub fn close(&mut self) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if !self.partial[index(stream)].is_empty() {
                self.finish(stream, &clock::format(clock::since_epoch()), b'F');
            }
        }
        self.flush();
    }

    fn add(&mut self, stream: LogStream, mut bytes: &[u8], at: &[u8; 30]) {
        while self.partial[index(stream)].len() + bytes.len() > MAX_RECORD {
            let partial = &mut self.partial[index(stream)];
            let (now, later) = bytes.split_at(MAX_RECORD - partial.len());
            partial.extend_from_slice(now);
            bytes = later;
            self.finish(stream, at, b'P');
        }
        self.partial[index(stream)].extend_from_slice(bytes);
    }

    fn finish(&mut self, stream: LogStream, at: &[u8; 30], tag: u8) {
        let text = std::mem::take(&mut self.partial[index(stream)]);
        self.record(stream, at, tag, &text);
        let mut text = text;
        text.clear();
        self.partial[index(stream)] = text;
    }

    fn record(&mut self, stream: LogStream, at: &[u8; 30], tag: u8, text: &[u8]) {
        let name: &[u8] = if stream == LogStream::Stdout { b" stdout " } else { b" stderr " };
        self.batch.extend_from_slice(at);
        self.batch.extend_from_slice(name);
        self.batch.extend_from_slice(&[tag, b' ']);
        self.batch.extend_from_slice(text);
        self.batch.push(b'\n');
        self.batch_records += 1;
        if self.size + self.batch.len() as u64 >= self.limits.max_bytes || self.batch.len() >= 64 << 10 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let records = std::mem::take(&mut self.batch_records);
        if self.lost > 0 {
            let note = format!("{} lines were lost: no space on the disk", self.lost);
            let mut head = clock::format(clock::since_epoch()).to_vec();
            head.extend_from_slice(format!(" stderr F {note}\n").as_bytes());
            head.append(&mut batch);
            batch = head;
        }
        match self.write(&batch) {
            Ok(()) => self.lost = 0,
            Err(_) => self.lost += records,
        }
        batch.clear();
        self.batch = batch;
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let length = batch.len() as u64;
        if self.size > 0 && self.size + length > self.limits.max_bytes {
            self.rotate()?;
        }
        self.since_budget += length;
        if self.since_budget >= BUDGET_STEP.min(self.limits.budget_bytes / 256) {
            self.since_budget = 0;
            self.keep_to_budget();
        }
        if self.file.is_none() {
            self.open_current()?;
        }
        let file = self.file.as_mut().expect("it was opened above");
        if let Err(error) = file.write_all(batch) {
            // Half a record would spoil the next one.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += length;
        Ok(())
    }

    fn open_current(&mut self) -> io::Result<()> {
        crate::durable::make_private_dir(&self.dir)?;
        let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(current(&self.dir))?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.size = 0;
        let kept = self.limits.max_files - 1;
        if kept == 0 {
            fs::remove_file(current(&self.dir))?;
        } else {
            for number in (1..kept).rev() {
                // Numbers with no file yet.
                let _ = fs::rename(rotated(&self.dir, number), rotated(&self.dir, number + 1));
            }
            fs::rename(current(&self.dir), rotated(&self.dir, 1))?;
        }
        self.remove_beyond(kept);
        self.open_current()
    }

    /// After the number of files to keep was lowered.
    fn remove_beyond(&self, kept: u32) {
        for (path, number) in rotated_files(&self.dir) {
            if number > kept {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Removes the oldest rotated files of all instances; if that is not enough, its own output.
    fn keep_to_budget(&mut self) {
        let dirs: Vec<PathBuf> = fs::read_dir(&self.limits.instances)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("log"))
            .collect();
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.size());
        let mut total: u64 = dirs.iter().map(|dir| size(&current(dir))).sum();
        let mut old: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for (path, _) in dirs.iter().flat_map(|dir| rotated_files(dir)) {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            total += metadata.size();
            old.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), path, metadata.size()));
        }
        // The rest is for what many instances write before each looks again.
        let room = self.limits.budget_bytes / 8 * 7;
        old.sort();
        for (_, path, bytes) in old {
            if total <= room {
                return;
            }
            if fs::remove_file(path).is_ok() {
                total -= bytes;
            }
        }
        if total > room && self.size > 0 {
            self.file = None;
            self.size = 0;
            let _ = fs::remove_file(current(&self.dir));
        }
    }
}

fn index(stream: LogStream) -> usize {
    usize::from(stream == LogStream::Stderr)
}

fn rotated_files(dir: &Path) -> Vec<(PathBuf, u32)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), rotation(entry.file_name().to_str()?)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use run::engine::LogQuery;

    fn limits(root: &Path, max_bytes: u64, max_files: u32, budget_bytes: u64) -> Limits {
        Limits { max_bytes, max_files, instances: root.to_owned(), budget_bytes }
    }

    fn texts(dir: &Path) -> Vec<String> {
        crate::log::texts(dir, &LogQuery::default())
    }

    fn bytes_in(dir: &Path) -> u64 {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn lines_are_put_together_over_reads_and_long_ones_cut() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/log");
        let mut writer = Writer::open(&dir, limits(root.path(), 10 << 20, 3, 1 << 30));
        writer.take(LogStream::Stdout, b"one\ntw");
        writer.take(LogStream::Stderr, b"error\n");
        writer.take(LogStream::Stdout, b"o\n");
        let long = "x".repeat(MAX_RECORD * 2 + 5);
        writer.take(LogStream::Stdout, format!("{long}\nend").as_bytes());
        writer.close();
        assert_eq!(texts(&dir), ["one", "error", "two", &long, "end"]);
        let raw = fs::read_to_string(current(&dir)).unwrap();
        assert_eq!(raw.matches(" stdout P ").count(), 2);
        assert!(raw.lines().next().unwrap().ends_with(" stdout F one"));
    }

    #[test]
    fn files_are_rotated_by_size_and_capped_in_number() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/log");
        let mut writer = Writer::open(&dir, limits(root.path(), MIN_FILE_BYTES, 3, 1 << 30));
        for number in 0..20_000 {
            writer.take(LogStream::Stdout, format!("line {number}\n").as_bytes());
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
        for entry in fs::read_dir(&dir).unwrap() {
            assert!(entry.unwrap().metadata().unwrap().len() <= MIN_FILE_BYTES);
        }
        let kept = texts(&dir);
        assert_eq!(kept.last().unwrap(), "line 19999");
        let first: usize = kept[0].strip_prefix("line ").unwrap().parse().unwrap();
        assert_eq!(kept.len(), 20_000 - first, "what is kept has no gap");
    }

    #[test]
    fn the_budget_over_all_instances_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let budget = 1 << 20;
        let mut writers: Vec<Writer> = (0..3)
            .map(|n| {
                Writer::open(
                    &root.path().join(format!("i{n}/log")),
                    limits(root.path(), 256 << 10, 10, budget),
                )
            })
            .collect();
        for round in 0..10_000 {
            let line = format!("{round} {}\n", "y".repeat(100));
            writers.iter_mut().for_each(|writer| writer.take(LogStream::Stdout, line.as_bytes()));
        }
        let total: u64 = (0..3).map(|n| bytes_in(&root.path().join(format!("i{n}/log")))).sum();
        assert!(total <= budget, "{total} bytes on disk");
        assert!(total > budget / 2, "only {total} bytes kept");
        assert!(
            (0..3).all(|n| texts(&root.path().join(format!("i{n}/log"))).last().unwrap().starts_with("9999"))
        );
    }

    #[test]
    fn lines_lost_to_a_full_disk_are_counted_later() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/log");
        let mut writer = Writer::open(&dir, limits(root.path(), 1 << 20, 3, 1 << 30));
        writer.take(LogStream::Stdout, b"before\n");
        writer.file = Some(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        writer.take(LogStream::Stdout, b"lost 1\nlost 2\n");
        writer.file = None;
        writer.take(LogStream::Stdout, b"after\n");
        assert_eq!(texts(&dir), ["before", "2 lines were lost: no space on the disk", "after"]);
    }
}
