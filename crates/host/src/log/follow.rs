//! Reads output for somebody who keeps it elsewhere: from a place, over rotations, no line twice.
//!
//! A place is a file and an offset in it. Files are known by the time of their first record, for their
//! names move on when they are rotated, and the numbers of removed files are used again.

use super::current;
use super::read::{MAX_RAW, Parts, files, is_same, parse};
use run::engine::LogStream;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The time at the beginning of each record.
const TIME_BYTES: usize = 30;
const STREAMS: [LogStream; 2] = [LogStream::Stdout, LogStream::Stderr];

/// Behind a record: the time of the file's first record, and how far into the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: [u8; TIME_BYTES],
    offset: u64,
}

impl Place {
    fn shown(&self) -> String {
        format!("{}@{}", self.offset, String::from_utf8_lossy(&self.file))
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (offset, file) = text.split_once('@').ok_or(())?;
        let file = file.as_bytes().try_into().map_err(|_| ())?;
        Ok(Self { file, offset: offset.parse().map_err(|_| ())? })
    }
}

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    pub time_ns: i64,
    pub stream: LogStream,
    pub text: String,
    /// Given to [`OutputReader::resume`], reading goes on behind this line.
    pub place: String,
}

/// Reads the output of one instance.
pub struct OutputReader {
    dir: PathBuf,
    open: Option<Open>,
    parts: Parts,
    /// Up to where each stream was read by an earlier reader.
    read_before: [Option<Place>; 2],
    /// The file behind the places was found, so what comes next is new.
    is_found: bool,
}

struct Open {
    id: [u8; TIME_BYTES],
    /// Not given to another file while this one is open.
    inode: u64,
    offset: u64,
    reader: BufReader<File>,
}

impl OutputReader {
    /// Goes on behind the last line of each stream that was read before, `stdout` and `stderr`; from the
    /// oldest line there is where nothing was.
    pub fn resume(dir: &Path, places: [Option<&str>; 2]) -> Self {
        let read_before = places.map(|place| place.and_then(|place| place.parse().ok()));
        Self { dir: dir.into(), open: None, parts: Parts::default(), read_before, is_found: false }
    }

    /// Hands out what is new, about so many bytes of it; false when there is nothing more for now.
    pub fn read(&mut self, limit_bytes: u64, each: &mut dyn FnMut(OutputLine)) -> io::Result<bool> {
        let mut read = 0;
        while read < limit_bytes {
            if self.open.is_none() && !self.open_first()? {
                return Ok(false);
            }
            let bytes = self.read_record(each)?;
            read += bytes;
            if bytes == 0 && !self.open_next()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The oldest file that may hold something new.
    fn open_first(&mut self) -> io::Result<bool> {
        let found: Vec<(PathBuf, [u8; TIME_BYTES])> = files(&self.dir)
            .into_iter()
            .filter_map(|path| Some((path.clone(), first_time(&path)?)))
            .collect();
        let at = |place: &Place| found.iter().position(|(_, id)| *id == place.file);
        let known: Vec<usize> = self.read_before.iter().flatten().filter_map(at).collect();
        // A file that is gone leaves nothing to skip; a stream that was never read begins at the oldest.
        self.is_found = known.is_empty();
        let all_known = self.read_before.iter().flatten().count() == known.len();
        let start = known.into_iter().min().filter(|_| all_known).unwrap_or(0);
        match found.get(start) {
            Some((path, id)) => self.open(path, *id),
            None => Ok(false),
        }
    }

    fn open(&mut self, path: &Path, id: [u8; TIME_BYTES]) -> io::Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        let mut reader = BufReader::new(file);
        // It may have been rotated since it was looked at.
        let mut first = [0; TIME_BYTES];
        if reader.read_exact(&mut first).is_err() || first != id {
            return Ok(false);
        }
        reader.seek(SeekFrom::Start(0))?;
        self.open = Some(Open { id, inode, offset: 0, reader });
        Ok(true)
    }

    /// The file after the one that was read to its end, if that was rotated away.
    fn open_next(&mut self) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        if is_same(&current(&self.dir), open.inode) {
            return Ok(false);
        }
        let paths = files(&self.dir);
        let ids: Vec<Option<[u8; TIME_BYTES]>> = paths.iter().map(|path| first_time(path)).collect();
        let next = match ids.iter().position(|id| *id == Some(open.id)) {
            Some(at) => at + 1,
            // It was removed; what is there is newer.
            None => 0,
        };
        let Some((path, Some(id))) = paths.get(next).zip(ids.get(next).copied()) else { return Ok(false) };
        let (old, id) = (self.open.take(), id);
        // What was written to it between its end and its rotation comes first.
        let is_open = self.open(path, id)?;
        let new = self.open.take();
        self.open = old;
        if let Some(open) = &mut self.open {
            let mut rest = [0; 1];
            if open.reader.read(&mut rest)? > 0 {
                open.reader.seek(SeekFrom::Start(open.offset))?;
                return Ok(true);
            }
        }
        if is_open {
            self.open = new;
        }
        Ok(is_open)
    }

    /// Reads one whole record; returns how long it was, 0 when there is none.
    fn read_record(&mut self, each: &mut dyn FnMut(OutputLine)) -> io::Result<u64> {
        let Some(open) = &mut self.open else { return Ok(0) };
        let mut raw = Vec::new();
        let length = open.reader.by_ref().take(MAX_RAW).read_until(b'\n', &mut raw)? as u64;
        if length == 0 {
            return Ok(0);
        }
        if raw.last() != Some(&b'\n') && length < MAX_RAW {
            // Half a record is read again when the rest of it is there.
            open.reader.seek(SeekFrom::Start(open.offset))?;
            return Ok(0);
        }
        open.offset += length;
        let place = Place { file: open.id, offset: open.offset };
        let Some(record) = parse(&raw) else { return Ok(length) };
        if self.was_read(record.stream, &place) {
            return Ok(length);
        }
        if let Some(line) = self.parts.add(record) {
            let nanos = std::str::from_utf8(&raw[20..29]).ok().and_then(|digits| digits.parse::<i64>().ok());
            let seconds = line.at.0.div_euclid(1000);
            let time_ns = seconds * 1_000_000_000 + nanos.unwrap_or_default();
            each(OutputLine { time_ns, stream: line.stream, text: line.text, place: place.shown() });
        }
        Ok(length)
    }

    /// Whether an earlier reader has handed this record out. Once that is no longer so it never is again.
    fn was_read(&mut self, stream: LogStream, at: &Place) -> bool {
        if self.is_found {
            return false;
        }
        let is_last_file = |before: &Place| before.file == at.file;
        let number = STREAMS.iter().position(|one| *one == stream).unwrap_or(0);
        match &self.read_before[number] {
            Some(before) if is_last_file(before) => {
                let was_read = at.offset <= before.offset;
                if !was_read {
                    self.read_before[number] = None;
                }
                was_read
            }
            // Times sort as texts do: files are in the order of their first records.
            Some(before) => at.file < before.file,
            None => false,
        }
    }
}

fn first_time(path: &Path) -> Option<[u8; TIME_BYTES]> {
    let mut first = [0; TIME_BYTES];
    File::open(path).ok()?.read_exact(&mut first).ok()?;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Limits, Writer};

    fn writer(root: &Path) -> Writer {
        let limits =
            Limits { max_bytes: 64 << 10, max_files: 4, instances: root.to_owned(), budget_bytes: 1 << 30 };
        Writer::open(&root.join("a/log"), limits)
    }

    fn number(line: &OutputLine) -> usize {
        line.text.split(' ').next().unwrap().parse().unwrap()
    }

    /// Readers that end at any line: each goes on where the one before was, over rotations.
    #[test]
    fn readers_that_come_and_go_read_each_line_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/log");
        let mut writer = writer(root.path());
        let mut places: [Option<String>; 2] = [None, None];
        let mut seen: Vec<usize> = Vec::new();
        for round in 0..300 {
            for line in 0..20 {
                let stream = STREAMS[line % 2];
                writer.take(stream, format!("{} {}\n", round * 20 + line, "z".repeat(100)).as_bytes());
            }
            if round % 3 == 0 {
                let mut reader = OutputReader::resume(&dir, [places[0].as_deref(), places[1].as_deref()]);
                let mut each = |line: OutputLine| {
                    seen.push(number(&line));
                    let at = usize::from(line.stream == LogStream::Stderr);
                    places[at] = Some(line.place);
                };
                // Some stop in the middle.
                let limit = if round % 2 == 0 { 2000 } else { u64::MAX };
                reader.read(limit, &mut each).unwrap();
                if round % 9 == 0 {
                    writer.take(LogStream::Stdout, b"");
                    reader.read(u64::MAX, &mut each).unwrap();
                }
            }
        }
        let mut reader = OutputReader::resume(&dir, [places[0].as_deref(), places[1].as_deref()]);
        reader.read(u64::MAX, &mut |line| seen.push(number(&line))).unwrap();
        assert_eq!(seen, (0..6000).collect::<Vec<_>>());
    }

    #[test]
    fn one_reader_follows_and_keeps_what_is_half_there() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/log");
        let mut reader = OutputReader::resume(&dir, [None, None]);
        let mut seen = Vec::new();
        assert!(!reader.read(u64::MAX, &mut |_| unreachable!("there is nothing")).unwrap());
        let mut writer = writer(root.path());
        for number in 0..3000 {
            writer.take(LogStream::Stdout, format!("{number} {}\n", "z".repeat(90)).as_bytes());
            if number % 7 == 0 {
                reader.read(u64::MAX, &mut |line| seen.push(line)).unwrap();
            }
        }
        writer.take(LogStream::Stdout, b"3000 no end yet");
        reader.read(u64::MAX, &mut |line| seen.push(line)).unwrap();
        assert_eq!(seen.len(), 3000);
        writer.close();
        reader.read(u64::MAX, &mut |line| seen.push(line)).unwrap();
        assert_eq!(seen.iter().map(number).collect::<Vec<_>>(), (0..=3000).collect::<Vec<_>>());
        assert!(seen.is_sorted_by_key(|line| line.time_ns) && seen[0].time_ns > 1_700_000_000_000_000_000);
    }

    #[test]
    fn what_was_rotated_away_is_skipped_and_places_of_nowhere_begin_anew() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/log");
        let mut writer = writer(root.path());
        let mut place = None;
        for number in 0..10_000 {
            writer.take(LogStream::Stdout, format!("{number} {}\n", "z".repeat(90)).as_bytes());
            if number == 10 {
                OutputReader::resume(&dir, [None, None])
                    .read(u64::MAX, &mut |line| place = Some(line.place))
                    .unwrap();
            }
        }
        let mut seen = Vec::new();
        let mut reader = OutputReader::resume(&dir, [place.as_deref(), None]);
        reader.read(u64::MAX, &mut |line| seen.push(number(&line))).unwrap();
        assert_eq!(seen.last(), Some(&9999));
        assert!(seen[0] > 10 && seen.is_sorted());
        assert_eq!(OutputReader::resume(&dir, [Some("nonsense"), None]).read_before, [None, None]);
    }
}
