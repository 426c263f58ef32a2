//! One segment file of rows: written once, then only read. Its name says what is in it.
//!
//! `rows-000000000017-1790000000000000000-1790000299000000000-16.seg`: number, first and last time, and
//! up to which log everything is in it.

use crate::keep::bytes::Malformed;
use crate::keep::disk::files::{KeepError, write_whole};
use crate::keep::v1::segment::{TAIL_BYTES, ending_of, join, plain_footer, read_tails};
use crate::logs::block::is_whole;
use crate::logs::filter::{GROUP_BLOCKS, blocks_with, build};
use crate::logs::head::Sealed;
use crate::logs::v1::footer::{Entry, Footer, Group};
use crate::logs::v1::{HEADER_BYTES, header};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub const ENDING: &str = "seg";
/// What cannot be read any more is set aside under this ending.
pub const DAMAGED: &str = "damaged";

/// What the name of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub number: u64,
    pub first_ns: i64,
    pub last_ns: i64,
    /// Logs up to and with this number hold nothing that is not in segments.
    pub covers_log: u64,
}

impl Name {
    pub fn file(&self) -> String {
        let Self { number, first_ns, last_ns, covers_log } = self;
        format!("rows-{number:012}-{first_ns}-{last_ns}-{covers_log}.{ENDING}")
    }

    pub fn parse(file: &str) -> Option<Self> {
        let mut parts = file.strip_prefix("rows-")?.strip_suffix(ENDING)?.strip_suffix('.')?.split('-');
        let name = Self {
            number: parts.next()?.parse().ok()?,
            first_ns: parts.next()?.parse().ok()?,
            last_ns: parts.next()?.parse().ok()?,
            covers_log: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(name)
    }
}

/// Counts what was found damaged while reading.
#[derive(Debug, Default)]
pub struct Damage {
    /// Blocks that were made again from the rest of their group.
    pub repaired: AtomicU64,
    /// Blocks that are lost, and parts of filters.
    pub lost: AtomicU64,
}

#[derive(Debug)]
pub struct Segment {
    pub path: PathBuf,
    pub name: Name,
    pub bytes: u64,
    file: OnceLock<File>,
    footer: OnceLock<Arc<Footer>>,
}

/// A part of a segment that cannot be had; the rest can.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Segment {
    pub fn new(directory: &Path, name: Name, bytes: u64) -> Self {
        let path = directory.join(name.file());
        Self { path, name, bytes, file: OnceLock::new(), footer: OnceLock::new() }
    }

    fn file(&self) -> io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = File::open(&self.path)?;
        Ok(self.file.get_or_init(|| file))
    }

    fn take(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, Unreadable> {
        let mut taken = vec![0; bytes];
        self.file()?.read_exact_at(&mut taken, offset)?;
        Ok(taken)
    }

    /// The footer, or its copy where that is damaged; read once.
    pub fn footer(&self) -> Result<Arc<Footer>, Unreadable> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer.clone());
        }
        let ends = 2 * TAIL_BYTES as u64;
        let start = self.bytes.checked_sub(ends).ok_or(Malformed("it is too short"))?;
        let mut tails = [0; 2 * TAIL_BYTES];
        self.file()?.read_exact_at(&mut tails, start)?;
        let tail = read_tails(&tails, self.bytes)?;
        let read = |offset| {
            let plain = plain_footer(&self.take(offset, tail.bytes as usize)?, tail)?;
            Ok::<_, Unreadable>(Footer::decode(&plain)?)
        };
        let footer = read(tail.offset).or_else(|_| read(tail.offset + u64::from(tail.bytes)))?;
        Ok(self.footer.get_or_init(|| Arc::new(footer)).clone())
    }

    /// The bytes of a block, made again from the others of its group where they are damaged.
    pub fn block(&self, footer: &Footer, index: usize, damage: &Damage) -> Result<Vec<u8>, Unreadable> {
        let entry = &footer.blocks[index];
        let bytes = self.take(entry.offset, entry.bytes as usize)?;
        if is_whole(&bytes) {
            return Ok(bytes);
        }
        let repaired = self.repair(footer, index);
        let counter = if repaired.is_ok() { &damage.repaired } else { &damage.lost };
        counter.fetch_add(1, Ordering::Relaxed);
        repaired
    }

    fn repair(&self, footer: &Footer, index: usize) -> Result<Vec<u8>, Unreadable> {
        let group = index / GROUP_BLOCKS;
        let place = &footer.groups[group];
        let mut bytes = self.take(place.parity_offset, place.parity_bytes as usize)?;
        let others = footer.blocks.iter().enumerate().skip(group * GROUP_BLOCKS).take(GROUP_BLOCKS);
        for (_, entry) in others.filter(|(at, _)| *at != index) {
            join(&mut bytes, &self.take(entry.offset, entry.bytes as usize)?);
        }
        bytes.truncate(footer.blocks[index].bytes as usize);
        if is_whole(&bytes) { Ok(bytes) } else { Err(Malformed("a block is damaged").into()) }
    }

    /// Which blocks of a group may hold all these words, as bits.
    pub fn blocks_with(&self, group: &Group, tokens: &[u32], damage: &Damage) -> u64 {
        let start = group.filter_offset();
        let page = |offset, bytes| self.take(start + offset, bytes).ok();
        blocks_with(tokens, group.filter_rows, page, || {
            damage.lost.fetch_add(1, Ordering::Relaxed);
        })
    }
}

/// Writes blocks as one file.
pub fn write(
    directory: &Path,
    number: u64,
    covers_log: u64,
    blocks: &[Arc<Sealed>],
    cursors: Vec<(String, String)>,
) -> Result<Segment, KeepError> {
    let first_ns = blocks.iter().map(|block| block.first_ns).min().unwrap_or_default();
    let last_ns = blocks.iter().map(|block| block.last_ns).max().unwrap_or_default();
    let name = Name { number, first_ns, last_ns, covers_log };
    let path = directory.join(name.file());
    write_whole(&path, |out| {
        let mut footer = Footer { cursors, ..Footer::default() };
        out.write_all(&header())?;
        let mut offset = HEADER_BYTES as u64;
        let mut streams = HashMap::new();
        for group in blocks.chunks(GROUP_BLOCKS) {
            offset = write_group(out, group, offset, &mut streams, &mut footer)?;
        }
        out.write_all(&ending_of(&footer.encode(), offset))
    })?;
    let bytes = path.metadata().map_err(|source| KeepError::Read { path, source })?.len();
    Ok(Segment::new(directory, name, bytes))
}

fn write_group<'a>(
    out: &mut dyn Write,
    blocks: &'a [Arc<Sealed>],
    mut offset: u64,
    streams: &mut HashMap<&'a Arc<super::super::row::Stream>, u32>,
    footer: &mut Footer,
) -> io::Result<u64> {
    let mut parity = Vec::new();
    for block in blocks {
        let stream = *streams.entry(&block.stream).or_insert_with(|| {
            footer.streams.push((*block.stream).clone());
            footer.streams.len() as u32 - 1
        });
        let Sealed { rows, text_bytes, first_ns, last_ns, levels, .. } = **block;
        let bytes = block.bytes.len() as u32;
        footer.blocks.push(Entry { stream, offset, bytes, rows, text_bytes, first_ns, last_ns, levels });
        out.write_all(&block.bytes)?;
        join(&mut parity, &block.bytes);
        offset += block.bytes.len() as u64;
    }
    let tokens: Vec<&[u32]> = blocks.iter().map(|block| &block.tokens[..]).collect();
    let (filter_rows, pages) = build(&tokens);
    out.write_all(&parity)?;
    out.write_all(&pages)?;
    let group = Group { parity_offset: offset, parity_bytes: parity.len() as u32, filter_rows };
    let end = group.end();
    footer.groups.push(group);
    Ok(end)
}
