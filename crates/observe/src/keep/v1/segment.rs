//! The frame of a segment. Every part of it is there twice or can be made again from the rest.
//!
//! ```text
//! header 16 │ block │ block │ … │ footer (zstd) │ footer │ tail 24 │ tail 24
//! block  = times │ column │ column │ … │ parity      column = checksum 4 + bytes
//! ```

use super::footer::{Block, ColumnPlace, Footer};
use super::{Part, Tier};
use crate::keep::{bytes::Malformed, column, times};

pub const HEADER_BYTES: usize = 16;
pub const TAIL_BYTES: usize = 24;
/// What a checksum takes in front of each column.
pub const CHECKSUM_BYTES: usize = 4;

const MAGIC: &[u8; 8] = b"JUCHUSEG";
const END_MAGIC: &[u8; 4] = b"JEND";
const VERSION: u8 = 1;
/// A footer is larger only when it is damaged.
pub const FOOTER_BYTES_MAX: usize = 64 << 20;
const FOOTER_LEVEL: i32 = 3;

pub fn header(tier: Tier) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8] = VERSION;
    header[9] = tier as u8;
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

pub fn read_header(header: &[u8; HEADER_BYTES]) -> Result<Tier, Malformed> {
    if &header[..8] != MAGIC {
        return Err(Malformed("it is no segment"));
    }
    if header[12..] != crc32fast::hash(&header[..12]).to_le_bytes() {
        return Err(Malformed("the header is damaged"));
    }
    if header[8] != VERSION {
        return Err(Malformed("it is of a newer version"));
    }
    Tier::from_number(header[9]).ok_or(Malformed("an unknown kind of segment"))
}

/// Where the footer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    pub offset: u64,
    pub bytes: u32,
    pub checksum: u32,
}

/// The compressed footer and the tail, each twice.
pub fn ending(footer: &Footer, offset: u64) -> Vec<u8> {
    ending_of(&footer.encode(), offset)
}

/// The same for any footer.
pub(crate) fn ending_of(plain: &[u8], offset: u64) -> Vec<u8> {
    let footer = zstd::bulk::compress(plain, FOOTER_LEVEL).expect("compressing in memory cannot fail");
    let mut tail = Vec::with_capacity(TAIL_BYTES);
    tail.extend_from_slice(&offset.to_le_bytes());
    tail.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    tail.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
    tail.extend_from_slice(END_MAGIC);
    tail.extend_from_slice(&crc32fast::hash(&tail).to_le_bytes());
    [&footer[..], &footer, &tail, &tail].concat()
}

/// The two tails at the end of a file; either will do.
pub fn read_tails(tails: &[u8; 2 * TAIL_BYTES], file_bytes: u64) -> Result<Tail, Malformed> {
    let (first, second) = tails.split_at(TAIL_BYTES);
    read_tail(first, file_bytes).or_else(|_| read_tail(second, file_bytes))
}

fn read_tail(tail: &[u8], file_bytes: u64) -> Result<Tail, Malformed> {
    let word = |at: usize| u32::from_le_bytes(tail[at..at + 4].try_into().expect("four bytes"));
    if &tail[16..20] != END_MAGIC || word(20) != crc32fast::hash(&tail[..20]) {
        return Err(Malformed("its end is missing"));
    }
    let offset = u64::from_le_bytes(tail[..8].try_into().expect("eight bytes"));
    let found = Tail { offset, bytes: word(8), checksum: word(12) };
    let fits = offset.checked_add(2 * (u64::from(found.bytes) + TAIL_BYTES as u64)) == Some(file_bytes);
    if fits && (found.bytes as usize) <= FOOTER_BYTES_MAX {
        Ok(found)
    } else {
        Err(Malformed("its end is damaged"))
    }
}

pub fn read_footer(bytes: &[u8], tail: Tail) -> Result<Footer, Malformed> {
    Footer::decode(&plain_footer(bytes, tail)?)
}

/// What a footer says, checked and decompressed.
pub(crate) fn plain_footer(bytes: &[u8], tail: Tail) -> Result<Vec<u8>, Malformed> {
    if crc32fast::hash(bytes) != tail.checksum {
        return Err(Malformed("the footer is damaged"));
    }
    zstd::bulk::decompress(bytes, FOOTER_BYTES_MAX).map_err(|_| Malformed("the footer is damaged"))
}

/// The bytes of a column with the checksum in front.
pub fn framed(column: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(column.len() + CHECKSUM_BYTES);
    out.extend_from_slice(&crc32fast::hash(column).to_le_bytes());
    out.extend_from_slice(column);
    out
}

/// Checks and takes off the checksum.
pub fn unframed(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let (checksum, column) =
        bytes.split_at_checked(CHECKSUM_BYTES).ok_or(Malformed("a column is too short"))?;
    match checksum == crc32fast::hash(column).to_le_bytes() {
        true => Ok(column),
        false => Err(Malformed("a column is damaged")),
    }
}

/// Makes a column again that is damaged: `block` are all bytes of its block.
pub fn repair(block: &Block, bytes: &[u8], offset: u32, length: u32) -> Result<Vec<u8>, Malformed> {
    let places = block.columns.iter().map(|place| (place.offset, place.bytes));
    let all = places.chain([(0, block.times_bytes), (block.parity_offset(), block.parity_bytes)]);
    let mut repaired = vec![0; block.parity_bytes as usize];
    for (at, length) in all.filter(|(at, _)| *at != offset) {
        let part = bytes.get(at as usize..(at + length) as usize).ok_or(Malformed("a block is too short"))?;
        join(&mut repaired, part);
    }
    repaired.truncate(length as usize);
    unframed(&repaired).map(<[u8]>::to_vec)
}

/// Exclusive or; the shorter one is as if it ended in zeros.
pub(crate) fn join(parity: &mut Vec<u8>, bytes: &[u8]) {
    if parity.len() < bytes.len() {
        parity.resize(bytes.len(), 0);
    }
    parity.iter_mut().zip(bytes).for_each(|(parity, byte)| *parity ^= byte);
}

/// Lays blocks out one after the other and keeps the index of them.
#[derive(Debug)]
pub struct Layout {
    pub footer: Footer,
    offset: u64,
    parity: Vec<u8>,
}

impl Layout {
    pub fn new(footer: Footer) -> Self {
        Self { footer, offset: HEADER_BYTES as u64, parity: Vec::new() }
    }

    /// Begins a block: returns the bytes of its times. Columns follow, in the order of series and part.
    pub fn begin(&mut self, target: u32, times: &[i64]) -> Vec<u8> {
        let bytes = framed(&times::encode(times));
        let (first, last) = (times[0], times[times.len() - 1]);
        let times_bytes = bytes.len() as u32;
        let (rows, offset) = (times.len() as u32, self.offset);
        let (parity_bytes, columns) = (0, Vec::new());
        self.footer.blocks.push(Block {
            target,
            first,
            last,
            rows,
            offset,
            times_bytes,
            parity_bytes,
            columns,
        });
        self.take(&bytes);
        bytes
    }

    /// The bytes of one column of the block begun last.
    pub fn column(&mut self, series: u32, part: Part, values: &[f64]) -> Vec<u8> {
        let bytes = framed(&column::encode(values));
        let block = self.footer.blocks.last_mut().expect("a block was begun");
        let within = (self.offset - block.offset) as u32;
        block.columns.push(ColumnPlace { series, part, offset: within, bytes: bytes.len() as u32 });
        self.take(&bytes);
        bytes
    }

    /// The bytes that end the block begun last.
    pub fn finish(&mut self) -> Vec<u8> {
        let parity = std::mem::take(&mut self.parity);
        let block = self.footer.blocks.last_mut().expect("a block was begun");
        block.parity_bytes = parity.len() as u32;
        self.offset += parity.len() as u64;
        parity
    }

    fn take(&mut self, bytes: &[u8]) {
        join(&mut self.parity, bytes);
        self.offset += bytes.len() as u64;
    }

    /// What comes after the last block.
    pub fn end(self) -> Vec<u8> {
        ending(&self.footer, self.offset)
    }
}
