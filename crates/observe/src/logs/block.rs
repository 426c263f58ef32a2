//! A block: rows of one stream, times apart from levels and texts.
//!
//! ```text
//! checksum 4 │ rows │ length │ times (pco) │ plain length │ zstd( level of each row │ text 0xff text 0xff … )
//! ```
//! 0xff is in no text, for texts are UTF-8.

use super::limits::{BLOCK_BYTES, BLOCK_ROWS_MAX};
use super::row::{Level, Row};
use crate::keep::bytes::{Malformed, Reader, put_number};
use crate::keep::column::{pco_decode, pco_encode};
use std::cell::RefCell;

/// Ends a row.
pub const ROW_END: u8 = 0xff;
/// Higher levels of zstd gain little on text with identifiers, and cost much.
const ZSTD_LEVEL: i32 = 1;
/// A block is larger only when it is damaged: one row may be longer than a block.
const PLAIN_BYTES_MAX: usize = BLOCK_BYTES + (1 << 20) + BLOCK_ROWS_MAX;

/// Rows that wait for the end of their block.
#[derive(Debug, Clone, Default)]
pub struct OpenBlock {
    pub times: Vec<i64>,
    pub levels: Vec<u8>,
    pub text: Vec<u8>,
}

impl OpenBlock {
    pub fn push(&mut self, row: Row<'_>) {
        self.times.push(row.time_ns);
        self.levels.push(row.level as u8);
        self.text.extend_from_slice(row.text.as_bytes());
        self.text.push(ROW_END);
    }

    pub fn is_full(&self) -> bool {
        self.text.len() >= BLOCK_BYTES || self.times.len() >= BLOCK_ROWS_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The first and the last time, which need not be those of the first and the last row.
    pub fn times_range(&self) -> (i64, i64) {
        let first = self.times.iter().min().copied().unwrap_or_default();
        (first, self.times.iter().max().copied().unwrap_or_default())
    }

    /// A bit for each level that there is.
    pub fn level_bits(&self) -> u8 {
        self.levels.iter().fold(0, |bits, level| bits | 1 << level)
    }

    pub fn encode(&self) -> Vec<u8> {
        assert!(!self.is_empty() && self.times.len() <= BLOCK_ROWS_MAX, "a block has rows, not too many");
        let mut out = vec![0; 4];
        put_number(&mut out, self.times.len() as u64);
        let times = pco_encode(&self.times);
        put_number(&mut out, times.len() as u64);
        out.extend_from_slice(&times);
        let plain = [&self.levels[..], &self.text[..]].concat();
        put_number(&mut out, plain.len() as u64);
        out.extend_from_slice(&compress(&plain));
        let checksum = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
        out
    }
}

thread_local! {
    /// A context holds half a megabyte of tables, which are expensive to make for each block.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compress(plain: &[u8]) -> Vec<u8> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = compressor.get_or_insert_with(|| {
            zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("a context can be made while there is memory")
        });
        compressor.compress(plain).expect("compressing in memory cannot fail")
    })
}

fn decompress(bytes: &[u8], into: &mut Vec<u8>, length: usize) -> Result<(), Malformed> {
    into.clear();
    into.reserve(length);
    let damaged = Malformed("a block cannot be decompressed");
    let got = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = decompressor.get_or_insert_with(|| {
            zstd::bulk::Decompressor::new().expect("a context can be made while there is memory")
        });
        decompressor.decompress_to_buffer(bytes, into).map_err(|_| damaged)
    })?;
    if got == length { Ok(()) } else { Err(damaged) }
}

/// Whether the bytes are those that were written.
pub fn is_whole(bytes: &[u8]) -> bool {
    bytes.split_at_checked(4).is_some_and(|(checksum, rest)| checksum == crc32fast::hash(rest).to_le_bytes())
}

/// A block that was read, its times still compressed.
#[derive(Debug, Default)]
pub struct Block<'a> {
    rows: usize,
    times: &'a [u8],
    /// Levels, then texts.
    plain: Vec<u8>,
}

impl<'a> Block<'a> {
    /// Reads what [`OpenBlock::encode`] wrote into a buffer of an earlier block.
    pub fn decode(bytes: &'a [u8], mut buffer: Vec<u8>) -> Result<Self, Malformed> {
        if !is_whole(bytes) {
            return Err(Malformed("a block is damaged"));
        }
        let mut reader = Reader::new(&bytes[4..]);
        let rows = reader.count(BLOCK_ROWS_MAX)?;
        let length = reader.count(reader.rest().len())?;
        let times = reader.bytes(length)?;
        let plain = reader.count(PLAIN_BYTES_MAX)?;
        decompress(reader.rest(), &mut buffer, plain)?;
        if buffer.len() < rows {
            return Err(Malformed("a block has too few levels"));
        }
        Ok(Self { rows, times, plain: buffer })
    }

    pub fn times(&self) -> Result<Vec<i64>, Malformed> {
        pco_decode(self.times, self.rows)
    }

    pub fn levels(&self) -> &[u8] {
        &self.plain[..self.rows]
    }

    pub fn text(&self) -> &[u8] {
        &self.plain[self.rows..]
    }

    /// Gives the buffer back.
    pub fn into_buffer(self) -> Vec<u8> {
        self.plain
    }
}

/// The rows of a text of rows.
pub fn rows_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == ROW_END).map(|row| row.strip_suffix(&[ROW_END]).unwrap_or(row))
}

/// The level of a row.
pub fn level_at(levels: &[u8], row: usize) -> Level {
    levels.get(row).map(|level| Level::from_number(*level)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> OpenBlock {
        let mut open = OpenBlock::default();
        for number in 0..500 {
            let text = format!("row {number} ü\nof two lines");
            open.push(Row {
                time_ns: 1_790_000_000_000_000_000 + number * 977,
                level: Level::Info,
                text: &text,
            });
        }
        open
    }

    #[test]
    fn a_block_comes_back() {
        let open = block();
        let bytes = open.encode();
        let read = Block::decode(&bytes, vec![1; 3]).unwrap();
        assert_eq!(read.times().unwrap(), open.times);
        assert_eq!((read.levels(), read.text()), (&open.levels[..], &open.text[..]));
        assert_eq!(rows_of(read.text()).nth(3), Some("row 3 ü\nof two lines".as_bytes()));
        assert_eq!(rows_of(read.text()).count(), 500);
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let bytes = block().encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(Block::decode(&flipped, Vec::new()).is_err(), "byte {at}");
        }
    }
}
