//! Read buffers and scratch space from per-thread free lists.
//!
//! A connection that waits holds no buffer: storage is taken when bytes are there and given back
//! when the last one was consumed, so an idle connection costs its task and its socket only.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Bytes of one pooled buffer.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// Buffers of each kind that one thread keeps for reuse.
const MAX_FREE: usize = 128;
/// Room of a new head, and that beyond which one is not kept for reuse.
const HEAD_BYTES: usize = 512;
const MAX_KEPT_HEAD_BYTES: usize = 4 * 1024;

#[derive(Default)]
struct FreeLists {
    read: Vec<Vec<u8>>,
    scratch: Vec<Vec<u8>>,
    heads: Vec<Vec<u8>>,
}

thread_local! {
    static FREE: RefCell<FreeLists> = RefCell::default();
}

/// Gives the memory of all free buffers of this thread back; for when nothing is connected.
pub fn trim() {
    FREE.with_borrow_mut(|free| *free = FreeLists::default());
}

/// Bytes read and not yet consumed.
#[derive(Default)]
pub struct Buf {
    /// Always fully initialised; empty while nothing is held.
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buf {
    pub fn filled(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }
    pub fn len(&self) -> usize {
        self.end - self.start
    }
    /// Bytes of memory it holds, in use or not.
    pub fn footprint(&self) -> usize {
        self.data.len()
    }
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "only what was read can be consumed");
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }
    /// Room for at least one byte, unless `limit` bytes are already held.
    pub fn room(&mut self, limit: usize) -> &mut [u8] {
        if self.data.is_empty() {
            self.data = FREE.with_borrow_mut(|free| free.read.pop()).unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        }
        if self.end == self.data.len() && self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.data.len() && self.data.len() < limit {
            let grown = (self.data.len() * 2).min(limit);
            self.data.resize(grown, 0);
        }
        &mut self.data[self.end..]
    }
    /// Counts `count` bytes written into [`Buf::room`] as read.
    pub fn advance(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.data.len(), "only the room given can be filled");
    }
    /// Gives the storage back if nothing is in it.
    pub fn release(&mut self) {
        if self.is_empty() && !self.data.is_empty() {
            self.start = 0;
            self.end = 0;
            give_back(std::mem::take(&mut self.data));
        }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if !self.data.is_empty() {
            give_back(std::mem::take(&mut self.data));
        }
    }
}

fn give_back(storage: Vec<u8>) {
    if storage.len() != BUFFER_BYTES {
        return;
    }
    // A buffer dropped while the thread's own storage goes away is simply freed.
    let _ = FREE.try_with(|free| {
        if let Ok(mut free) = free.try_borrow_mut()
            && free.read.len() < MAX_FREE
        {
            free.read.push(storage);
        }
    });
}

/// A pooled `Vec` to assemble output in.
pub struct Scratch(Vec<u8>);

impl Scratch {
    pub fn take() -> Self {
        Self(
            FREE.with_borrow_mut(|free| free.scratch.pop())
                .unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES + 1024)),
        )
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut storage = std::mem::take(&mut self.0);
        if storage.capacity() > 4 * BUFFER_BYTES {
            return;
        }
        storage.clear();
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut()
                && free.scratch.len() < MAX_FREE
            {
                free.scratch.push(storage);
            }
        });
    }
}

/// A request's head for as long as its exchange lasts, which may be hours: no larger than it has to
/// be, and from the thread's free list all the same.
pub struct Head(Vec<u8>);

impl Head {
    pub fn take() -> Self {
        let free = FREE.with_borrow_mut(|free| free.heads.pop());
        Self(free.unwrap_or_else(|| Vec::with_capacity(HEAD_BYTES)))
    }
}

impl Deref for Head {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Head {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        let mut storage = std::mem::take(&mut self.0);
        if storage.capacity() > MAX_KEPT_HEAD_BYTES {
            return;
        }
        storage.clear();
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut()
                && free.heads.len() < MAX_FREE
            {
                free.heads.push(storage);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_to_its_limit_and_no_further() {
        let mut buf = Buf::default();
        let limit = BUFFER_BYTES + 100;
        loop {
            let room = buf.room(limit).len();
            if room == 0 {
                break;
            }
            buf.advance(room);
        }
        assert_eq!(buf.len(), limit);
        buf.consume(50);
        assert_eq!(buf.room(limit).len(), 50);
    }

    #[test]
    fn an_empty_buffer_gives_its_storage_back() {
        trim();
        let mut buf = Buf::default();
        buf.room(BUFFER_BYTES)[0] = b'x';
        buf.advance(1);
        buf.release();
        assert_eq!(buf.filled(), b"x");
        buf.consume(1);
        buf.release();
        assert_eq!(FREE.with_borrow(|free| free.read.len()), 1);
    }

    #[test]
    fn a_head_is_used_again_unless_it_was_large() {
        trim();
        let kept = || FREE.with_borrow(|free| free.heads.len());
        let mut head = Head::take();
        head.extend_from_slice(&[b'x'; 2 * HEAD_BYTES]);
        drop(head);
        assert_eq!(kept(), 1);
        let mut head = Head::take();
        assert!(head.is_empty() && head.capacity() >= 2 * HEAD_BYTES);
        head.resize(MAX_KEPT_HEAD_BYTES + 1, b'x');
        drop(head);
        assert_eq!(kept(), 0);
    }
}
