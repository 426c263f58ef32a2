//! Reads output records back: all, the last ones, those since a time, and those still to come.

use super::{MAX_RECORD, current, rotated, rotation};
use crate::clock;
use model::Timestamp;
use run::engine::{LogLine, LogQuery, LogStream};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A line put together from more partial records than this is cut.
const MAX_LINE: usize = 1 << 20;
/// Longest record on disk, its head included.
pub(super) const MAX_RAW: u64 = (MAX_RECORD + 64) as u64;

/// Takes a line; answers whether it wants more.
type Each<'a> = &'a mut dyn FnMut(LogLine) -> bool;

/// The place up to which everything was read.
pub struct Tail {
    dir: PathBuf,
    open: Option<Source>,
    parts: Parts,
}

impl Tail {
    /// Gives what is on disk now, oldest first; `None` when `each` wanted no more.
    pub fn open(dir: &Path, query: &LogQuery, each: Each<'_>) -> io::Result<Option<Self>> {
        let mut tail = Self { dir: dir.to_owned(), open: None, parts: Parts::default() };
        let wanted = |line: &LogLine| query.since.is_none_or(|since| line.at >= since);
        let goes_on = match query.tail {
            None => tail.read_files(files(dir), &mut |line| !wanted(&line) || each(line))?,
            Some(limit) => tail.read_last(limit, &wanted)?.into_iter().all(each),
        };
        Ok(goes_on.then_some(tail))
    }

    /// Gives what came since; false when `each` wanted no more.
    pub fn more(&mut self, each: Each<'_>) -> io::Result<bool> {
        if let Some(source) = &mut self.open {
            if !source.lines(&mut self.parts, each)? {
                return Ok(false);
            }
            if is_same(&current(&self.dir), source.inode) {
                return Ok(true);
            }
            // The file was rotated away; what was written between the read and that comes first.
            if !source.lines(&mut self.parts, each)? {
                return Ok(false);
            }
        }
        self.read_files(self.newer_files(), each)
    }

    fn read_files(&mut self, paths: Vec<PathBuf>, each: Each<'_>) -> io::Result<bool> {
        for path in paths {
            let Some(mut source) = Source::open(&path)? else { continue };
            let goes_on = source.lines(&mut self.parts, each)?;
            self.open = Some(source);
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The last lines; only as many files are read as hold them.
    fn read_last(
        &mut self,
        limit: usize,
        wanted: &dyn Fn(&LogLine) -> bool,
    ) -> io::Result<VecDeque<LogLine>> {
        let mut last = VecDeque::new();
        let mut newest_first = files(&self.dir);
        newest_first.reverse();
        for path in newest_first {
            let Some(mut source) = Source::open(&path)? else { continue };
            let (mut parts, mut lines) = (Parts::default(), VecDeque::new());
            let room = limit - last.len();
            source.lines(&mut parts, &mut |line| {
                if wanted(&line) {
                    lines.push_back(line);
                }
                if lines.len() > room {
                    lines.pop_front();
                }
                true
            })?;
            if self.open.is_none() {
                self.open = Some(source);
                self.parts = parts;
            }
            lines.append(&mut last);
            last = lines;
            if last.len() >= limit {
                break;
            }
        }
        Ok(last)
    }

    /// Those after the one being read, which may have moved more than one place.
    fn newer_files(&self) -> Vec<PathBuf> {
        let all = files(&self.dir);
        let read =
            self.open.as_ref().and_then(|source| all.iter().rposition(|path| is_same(path, source.inode)));
        match read {
            Some(position) => all[position + 1..].to_vec(),
            None => all,
        }
    }
}

/// Files oldest first, the current one last.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries.filter_map(|entry| rotation(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let mut files: Vec<PathBuf> = numbers.into_iter().map(|number| rotated(dir, number)).collect();
    files.push(current(dir));
    files
}

pub(super) fn is_same(path: &Path, inode: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode)
}

struct Source {
    inode: u64,
    reader: BufReader<File>,
}

impl Source {
    /// `None` when there is no such file.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self { inode: file.metadata()?.ino(), reader: BufReader::new(file) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whole records from here to the end; half a record stays for the next call.
    fn lines(&mut self, parts: &mut Parts, each: Each<'_>) -> io::Result<bool> {
        let mut raw = Vec::new();
        loop {
            raw.clear();
            let length = self.reader.by_ref().take(MAX_RAW).read_until(b'\n', &mut raw)?;
            if length == 0 {
                return Ok(true);
            }
            if raw.last() != Some(&b'\n') && (length as u64) < MAX_RAW {
                self.reader.seek(SeekFrom::Current(-(length as i64)))?;
                return Ok(true);
            }
            let line = parse(&raw).and_then(|record| parts.add(record));
            if line.is_some_and(|line| !each(line)) {
                return Ok(false);
            }
        }
    }
}

pub(super) struct Record {
    at: Timestamp,
    pub stream: LogStream,
    is_whole: bool,
    text: Vec<u8>,
}

pub(super) fn parse(raw: &[u8]) -> Option<Record> {
    let at = clock::parse(raw.get(..30)?)?;
    let (stream, tag) = match raw.get(30..40)? {
        [b' ', stream @ .., b' ', tag, b' '] => (stream, *tag),
        _ => return None,
    };
    let stream = match stream {
        b"stdout" => LogStream::Stdout,
        b"stderr" => LogStream::Stderr,
        _ => return None,
    };
    let text = raw[40..].strip_suffix(b"\n").unwrap_or(&raw[40..]).to_vec();
    Some(Record { at, stream, is_whole: tag == b'F', text })
}

/// Partial records of both streams, waiting for their end.
#[derive(Default)]
pub(super) struct Parts {
    pub waiting: [Vec<u8>; 2],
}

impl Parts {
    pub fn add(&mut self, record: Record) -> Option<LogLine> {
        let waiting = &mut self.waiting[usize::from(record.stream == LogStream::Stderr)];
        let room = MAX_LINE.saturating_sub(waiting.len());
        waiting.extend_from_slice(&record.text[..record.text.len().min(room)]);
        if !record.is_whole {
            return None;
        }
        let text = String::from_utf8_lossy(&std::mem::take(waiting)).into_owned();
        Some(LogLine { at: record.at, stream: record.stream, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Limits, Writer, texts};

    fn writer(root: &Path) -> Writer {
        let limits =
            Limits { max_bytes: 64 << 10, max_files: 4, instances: root.to_owned(), budget_bytes: 1 << 30 };
        Writer::open(&root.join("a/log"), limits)
    }

    #[test]
    fn the_last_lines_and_those_since_a_time() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path());
        for number in 0..3000 {
            writer.take(LogStream::Stdout, format!("{number} {}\n", "z".repeat(40)).as_bytes());
        }
        let dir = root.path().join("a/log");
        let tail = |n| texts(&dir, &LogQuery { tail: Some(n), ..LogQuery::default() });
        assert_eq!(tail(0).len(), 0);
        assert_eq!(tail(2000).len(), 2000, "reaches over rotated files");
        assert!(tail(2000)[0].starts_with("1000 "));
        let since = LogQuery { since: Some(Timestamp(i64::MAX)), ..LogQuery::default() };
        assert!(texts(&dir, &since).is_empty());
        assert!(texts(&root.path().join("none"), &LogQuery::default()).is_empty());
    }

    #[test]
    fn following_loses_nothing_over_rotations() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/log");
        let mut writer = writer(root.path());
        writer.take(LogStream::Stdout, b"old\n");
        let mut seen: Vec<usize> = Vec::new();
        let mut each = |line: LogLine| {
            seen.push(line.text.split(' ').next().unwrap().parse().unwrap());
            true
        };
        let query = LogQuery { tail: Some(0), ..LogQuery::default() };
        let mut tail = Tail::open(&dir, &query, &mut each).unwrap().unwrap();
        for number in 0..15_000 {
            writer.take(LogStream::Stdout, format!("{number} {}\n", "z".repeat(60)).as_bytes());
            if number % 1500 == 0 {
                assert!(tail.more(&mut each).unwrap());
            }
        }
        tail.more(&mut each).unwrap();
        assert_eq!(seen, (0..15_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_that_wants_no_more_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        writer(root.path()).take(LogStream::Stdout, b"1\n2\n3\n");
        let mut count = 0;
        let mut each = |_| {
            count += 1;
            count < 2
        };
        assert!(Tail::open(&root.path().join("a/log"), &LogQuery::default(), &mut each).unwrap().is_none());
        assert_eq!(count, 2);
    }
}
