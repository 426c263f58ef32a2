//! Batches on disk, the oldest first, bounded in bytes: when there is no room the oldest are lost and
//! counted.
//!
//! A file is a mark, a checksum, the number of items, and the payload. It is written beside and renamed,
//! so a crash leaves a whole batch or none.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MARK: &[u8; 8] = b"JUCHUQ1\n";
const HEAD_BYTES: usize = 24;
const ENDING: &str = "batch";
const UNFINISHED: &str = "unfinished";

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// One that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub number: u64,
    pub items: u64,
    pub payload: Vec<u8>,
}

#[derive(Debug)]
pub struct Queue {
    directory: PathBuf,
    bytes_max: u64,
    waiting: VecDeque<Entry>,
    bytes: u64,
    next: u64,
    /// Items that were dropped for want of room, or could not be read any more.
    pub lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    number: u64,
    bytes: u64,
    items: u64,
}

impl Queue {
    /// What was left there goes on.
    pub fn open(directory: &Path, bytes_max: u64) -> Result<Self, QueueError> {
        let failed = |source| QueueError::Read { path: directory.into(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let mut found = Vec::new();
        let mut lost = 0;
        for file in fs::read_dir(directory).map_err(failed)? {
            let path = file.map_err(failed)?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            let is_batch = path.extension().is_some_and(|ending| ending == ENDING);
            match number.filter(|_| is_batch) {
                Some(number) => match head(&path) {
                    Some((items, bytes)) => found.push(Entry { number, bytes, items }),
                    None => {
                        lost += 1;
                        remove(&path)?;
                    }
                },
                None if path.extension().is_some_and(|ending| ending == UNFINISHED) => remove(&path)?,
                None => {}
            }
        }
        found.sort_by_key(|entry| entry.number);
        let bytes = found.iter().map(|entry| entry.bytes).sum();
        let next = found.last().map_or(1, |entry| entry.number + 1);
        let directory = directory.into();
        let mut queue = Self { directory, bytes_max, waiting: found.into(), bytes, next, lost };
        queue.make_room(0)?;
        Ok(queue)
    }

    pub fn push(&mut self, payload: &[u8], items: u64) -> Result<(), QueueError> {
        let bytes = (payload.len() + HEAD_BYTES) as u64;
        if bytes > self.bytes_max {
            self.lost += items;
            return Ok(());
        }
        self.make_room(bytes)?;
        let number = self.next;
        self.write(number, payload, items)?;
        self.next += 1;
        self.bytes += bytes;
        self.waiting.push_back(Entry { number, bytes, items });
        Ok(())
    }

    /// The oldest that can be read; what cannot is lost.
    pub fn oldest(&mut self) -> Result<Option<Batch>, QueueError> {
        while let Some(entry) = self.waiting.front().copied() {
            if let Some(payload) = self.read(entry) {
                return Ok(Some(Batch { number: entry.number, items: entry.items, payload }));
            }
            self.lost += entry.items;
            self.drop_oldest()?;
        }
        Ok(None)
    }

    /// It is there, or never will be.
    pub fn done(&mut self, number: u64) -> Result<(), QueueError> {
        // It may have had to make room meanwhile.
        if self.waiting.front().is_some_and(|entry| entry.number == number) {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// This is what is left of the oldest.
    pub fn replace(&mut self, number: u64, payload: &[u8], items: u64) -> Result<(), QueueError> {
        if self.waiting.front().is_none_or(|entry| entry.number != number) {
            return Ok(());
        }
        self.write(number, payload, items)?;
        let bytes = (payload.len() + HEAD_BYTES) as u64;
        let entry = self.waiting.front_mut().expect("it is there");
        self.bytes = self.bytes - entry.bytes + bytes;
        *entry = Entry { number, bytes, items };
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn items(&self) -> u64 {
        self.waiting.iter().map(|entry| entry.items).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), QueueError> {
        while self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.waiting.front() else { break };
            self.lost += oldest.items;
            self.drop_oldest()?;
        }
        Ok(())
    }

    fn drop_oldest(&mut self) -> Result<(), QueueError> {
        let Some(oldest) = self.waiting.pop_front() else { return Ok(()) };
        self.bytes -= oldest.bytes;
        remove(&self.path(oldest.number))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:012}.{ENDING}"))
    }

    fn write(&self, number: u64, payload: &[u8], items: u64) -> Result<(), QueueError> {
        let path = self.path(number);
        let beside = path.with_extension(UNFINISHED);
        let write = || -> io::Result<()> {
            let mut file = File::create(&beside)?;
            file.write_all(MARK)?;
            file.write_all(&checksum(items, payload).to_le_bytes())?;
            file.write_all(&[0; 4])?;
            file.write_all(&items.to_le_bytes())?;
            file.write_all(payload)?;
            file.sync_data()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|source| QueueError::Write { path, source })
    }

    fn read(&self, entry: Entry) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(entry.number)).ok()?;
        let (head, payload) = bytes.split_at_checked(HEAD_BYTES)?;
        let said = u32::from_le_bytes(head[8..12].try_into().expect("four bytes"));
        (head.starts_with(MARK) && said == checksum(entry.items, payload)).then(|| payload.to_vec())
    }
}

fn checksum(items: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&items.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Items and bytes of a file.
fn head(path: &Path) -> Option<(u64, u64)> {
    let mut file = File::open(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    let mut head = [0; HEAD_BYTES];
    file.read_exact(&mut head).ok()?;
    let items = u64::from_le_bytes(head[16..].try_into().expect("eight bytes"));
    head.starts_with(MARK).then_some((items, bytes))
}

fn remove(path: &Path) -> Result<(), QueueError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(QueueError::Write { path: path.into(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::TempDir;

    fn texts(queue: &mut Queue) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(batch) = queue.oldest().unwrap() {
            found.push(String::from_utf8(batch.payload).unwrap());
            queue.done(batch.number).unwrap();
        }
        found
    }

    #[test]
    fn batches_come_back_in_their_order_after_any_end() {
        let directory = TempDir::new();
        let mut queue = Queue::open(directory.path(), 10_000).unwrap();
        for text in ["one", "two", "three"] {
            queue.push(text.as_bytes(), 2).unwrap();
        }
        drop(queue);
        fs::write(directory.path().join("000000000009.unfinished"), "torn").unwrap();
        let mut queue = Queue::open(directory.path(), 10_000).unwrap();
        assert_eq!((queue.items(), queue.bytes()), (6, 3 * 24 + 11));
        let first = queue.oldest().unwrap().unwrap();
        queue.replace(first.number, b"rest", 1).unwrap();
        queue.push(b"four", 1).unwrap();
        assert_eq!(texts(&mut queue), ["rest", "two", "three", "four"]);
        assert_eq!((queue.bytes(), queue.lost), (0, 0));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_room_the_oldest_are_lost_and_counted() {
        let directory = TempDir::new();
        let mut queue = Queue::open(directory.path(), 100).unwrap();
        for number in 0..5 {
            queue.push(format!("{number:010}").as_bytes(), 3).unwrap();
        }
        queue.push(&[0; 200], 7).unwrap();
        assert_eq!((queue.lost, queue.items()), (3 * 3 + 7, 6));
        assert!(queue.bytes() <= 100);
        // The one that was on its way had to go.
        queue.done(1).unwrap();
        assert_eq!(texts(&mut queue), ["0000000003", "0000000004"]);
    }

    #[test]
    fn a_flipped_bit_costs_one_batch() {
        let directory = TempDir::new();
        let mut queue = Queue::open(directory.path(), 10_000).unwrap();
        queue.push(b"one", 5).unwrap();
        queue.push(b"two", 1).unwrap();
        let path = directory.path().join("000000000001.batch");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!((texts(&mut queue), queue.lost), (vec!["two".to_owned()], 5));
    }
}
