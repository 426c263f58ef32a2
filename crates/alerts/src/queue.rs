//! What is still to be told, on disk: one file for each message and receiver, named by their order.
//!
//! A file is written before the message counts as taken, and removed when it was told: a daemon that
//! dies tells it at its next start, at worst twice.

use crate::message::Message;
use crate::receiver::replace;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Messages that wait; beyond, the oldest is dropped.
pub const QUEUE_MAX: usize = 200;
const FORM: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("open the queue of messages {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("keep a message in {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Item {
    form: u32,
    pub receiver: String,
    pub message: Message,
    pub taken_ms: i64,
    #[serde(skip)]
    pub number: u64,
    #[serde(skip)]
    pub attempts: u32,
    /// Not before.
    #[serde(skip)]
    pub due_ms: i64,
}

#[derive(Debug)]
pub struct Queue {
    directory: PathBuf,
    next: u64,
    /// In their order.
    items: Vec<Item>,
    /// Messages that were dropped for want of room.
    pub dropped: u64,
}

impl Queue {
    /// Reads what was left. A file that cannot be understood is set aside.
    pub fn open(directory: &Path) -> Result<Self, QueueError> {
        let failed = |source| QueueError::Open { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let mut queue = Self { directory: directory.to_owned(), next: 1, items: Vec::new(), dropped: 0 };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(number) = number_of(&path) else { continue };
            queue.next = queue.next.max(number + 1);
            match fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Item>(&text).ok()) {
                Some(item) if item.form == FORM => queue.items.push(Item { number, ..item }),
                // Nothing is lost by keeping it for somebody to look at.
                _ => drop(fs::rename(&path, path.with_extension("unreadable"))),
            }
        }
        queue.items.sort_by_key(|item| item.number);
        Ok(queue)
    }

    pub fn push(&mut self, receiver: &str, message: &Message, now_ms: i64) -> Result<(), QueueError> {
        if self.items.len() >= QUEUE_MAX {
            let oldest = self.items[0].number;
            self.remove(oldest);
            self.dropped += 1;
        }
        let number = self.next;
        let item = Item {
            form: FORM,
            receiver: receiver.to_owned(),
            message: message.clone(),
            taken_ms: now_ms,
            number,
            attempts: 0,
            due_ms: 0,
        };
        let path = self.path(number);
        let text = serde_json::to_vec(&item).expect("messages have string keys only");
        replace(&path, &text).map_err(|source| QueueError::Write { path, source })?;
        self.next += 1;
        self.items.push(item);
        Ok(())
    }

    /// The first message of a receiver, due or not: the order is kept.
    pub fn first(&self, receiver: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.receiver == receiver)
    }

    pub fn waiting(&self, receiver: &str) -> usize {
        self.items.iter().filter(|item| item.receiver == receiver).count()
    }

    /// It could not be told: not before `due_ms` again.
    pub fn later(&mut self, number: u64, due_ms: i64) {
        if let Some(item) = self.items.iter_mut().find(|item| item.number == number) {
            (item.attempts, item.due_ms) = (item.attempts + 1, due_ms);
        }
    }

    pub fn remove(&mut self, number: u64) {
        self.items.retain(|item| item.number != number);
        // One that stays behind is told again, which is better than not at all.
        let _ = fs::remove_file(self.path(number));
    }

    /// What is for nobody any more.
    pub fn keep_only(&mut self, receivers: &[String]) {
        let gone: Vec<u64> = self
            .items
            .iter()
            .filter(|item| !receivers.contains(&item.receiver))
            .map(|item| item.number)
            .collect();
        gone.into_iter().for_each(|number| self.remove(number));
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:012}.json"))
    }
}

fn number_of(path: &Path) -> Option<u64> {
    let is_ours = path.extension().is_some_and(|extension| extension == "json");
    path.file_stem()?.to_str()?.parse().ok().filter(|_| is_ours)
}
