//! Rows in memory: blocks that are being filled, and full ones that wait for their segment.

use super::block::OpenBlock;
use super::limits::{HELD_BYTES_MAX, Limits, OPEN_BYTES_MAX, STREAM_PART_BYTES_MAX};
use super::row::{Row, Stream};
use super::tokens::TokenSet;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// A compressed block.
#[derive(Debug)]
pub struct Sealed {
    pub stream: Arc<Stream>,
    pub bytes: Vec<u8>,
    pub rows: u32,
    pub text_bytes: u32,
    pub first_ns: i64,
    pub last_ns: i64,
    pub levels: u8,
    pub tokens: Vec<u32>,
}

/// Why rows are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there are {limit} streams already")]
    Streams { limit: usize },
    #[error("there are {limit} places in files already")]
    Cursors { limit: usize },
}

#[derive(Debug, Default)]
pub struct Head {
    ids: HashMap<Arc<Stream>, u32>,
    streams: Vec<Arc<Stream>>,
    /// How many of them others send.
    sent: usize,
    /// Shared with those who search while rows come in.
    open: BTreeMap<u32, Arc<OpenBlock>>,
    open_bytes: usize,
    sealed: VecDeque<Arc<Sealed>>,
    pub sealed_bytes: usize,
    tokens: TokenSet,
    pub dropped_rows: u64,
}

impl Head {
    /// The number of a stream, and whether it is new.
    pub fn stream(&mut self, stream: &Stream, limits: &Limits) -> Result<(u32, bool), Refused> {
        if let Some(id) = self.ids.get(stream) {
            return Ok((*id, false));
        }
        let is_sent = !stream.is_output();
        if is_sent && self.sent >= limits.sent_streams {
            return Err(Refused::Streams { limit: limits.sent_streams });
        }
        if self.streams.len() >= limits.streams {
            return Err(Refused::Streams { limit: limits.streams });
        }
        self.sent += usize::from(is_sent);
        let id = self.streams.len() as u32;
        let known = Arc::new(cut(stream));
        self.streams.push(known);
        // By the name that it came with, which may be longer than the one it is kept by.
        self.ids.insert(Arc::new(stream.clone()), id);
        Ok((id, true))
    }

    pub fn stream_of(&self, id: u32) -> &Arc<Stream> {
        &self.streams[id as usize]
    }

    pub fn push(&mut self, id: u32, row: Row<'_>) {
        let open = Arc::make_mut(self.open.entry(id).or_default());
        open.push(row);
        self.open_bytes += row.text.len() + 1;
        if open.is_full() {
            self.seal(id);
        } else if self.open_bytes > OPEN_BYTES_MAX {
            self.seal_all();
        }
    }

    fn seal(&mut self, id: u32) {
        let Some(open) = self.open.remove(&id).filter(|open| !open.is_empty()) else { return };
        self.open_bytes -= open.text.len();
        self.tokens.add_text(&open.text);
        let (first_ns, last_ns) = open.times_range();
        let sealed = Sealed {
            stream: self.streams[id as usize].clone(),
            bytes: open.encode(),
            rows: open.times.len() as u32,
            text_bytes: open.text.len() as u32,
            first_ns,
            last_ns,
            levels: open.level_bits(),
            tokens: self.tokens.take(),
        };
        self.sealed_bytes += sealed.bytes.len();
        self.sealed.push_back(Arc::new(sealed));
        while self.sealed_bytes > HELD_BYTES_MAX {
            let Some(oldest) = self.sealed.pop_front() else { break };
            self.sealed_bytes -= oldest.bytes.len();
            self.dropped_rows += u64::from(oldest.rows);
        }
    }

    pub fn seal_all(&mut self) {
        let ids: Vec<u32> = self.open.keys().copied().collect();
        ids.into_iter().for_each(|id| self.seal(id));
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty()
    }

    /// All rows as blocks; the streams are numbered anew.
    pub fn take(&mut self) -> Vec<Arc<Sealed>> {
        self.seal_all();
        self.ids.clear();
        self.streams.clear();
        self.sent = 0;
        self.sealed_bytes = 0;
        std::mem::take(&mut self.sealed).into()
    }

    pub fn opens(&self) -> Vec<(Arc<Stream>, Arc<OpenBlock>)> {
        self.open.iter().map(|(id, open)| (self.streams[*id as usize].clone(), open.clone())).collect()
    }

    pub fn sealed(&self) -> impl Iterator<Item = Arc<Sealed>> + '_ {
        self.sealed.iter().cloned()
    }
}

fn cut(stream: &Stream) -> Stream {
    let [stack, service, instance, source] =
        stream.parts().map(|part| &part[..part.floor_char_boundary(STREAM_PART_BYTES_MAX)]);
    Stream::new(stack, service, instance, source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::limits::BLOCK_BYTES;
    use crate::logs::row::Level;

    fn row(text: &str) -> Row<'_> {
        Row { time_ns: 5, level: Level::Info, text }
    }

    #[test]
    fn memory_is_bounded_and_what_is_dropped_is_counted() {
        let mut head = Head::default();
        let limits = Limits { streams: 2, ..Limits::default() };
        let (id, is_new) = head.stream(&Stream::new("a", "b", "c", "d"), &limits).unwrap();
        assert!(is_new && !head.stream(&Stream::new("a", "b", "c", "d"), &limits).unwrap().1);
        head.stream(&Stream::new("a", "b", "c", "e"), &limits).unwrap();
        let refused = head.stream(&Stream::new("a", "b", "c", "f"), &limits);
        assert_eq!(refused, Err(Refused::Streams { limit: 2 }));
        let few = Limits { streams: 10, sent_streams: 2, ..limits };
        let refused = head.stream(&Stream::new("a", "b", "c", "syslog"), &few);
        assert_eq!(refused, Err(Refused::Streams { limit: 2 }), "what others send leaves room");
        assert!(head.stream(&Stream::new("a", "b", "c", "stdout"), &few).is_ok());

        // Text that cannot be compressed.
        let mut random = 1u64;
        let mut noise = || {
            let letter = |_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'!' + ((random >> 33) % 90) as u8)
            };
            (0..BLOCK_BYTES / 2).map(letter).collect::<String>()
        };
        for _ in 0..HELD_BYTES_MAX / BLOCK_BYTES * 3 {
            head.push(id, row(&noise()));
        }
        assert!(head.sealed_bytes <= HELD_BYTES_MAX);
        assert!(head.dropped_rows > 0);
    }
}
