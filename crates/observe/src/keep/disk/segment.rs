//! One segment file: written once, then only read. Its name says what is in it.
//!
//! `raw-000000000017-1790000000000-1790000299000-0-16.seg`: tier, number, first and last time,
//! level, and up to which log everything is in it.

use super::files::{KeepError, write_whole};
use crate::keep::v1::footer::{Block, Footer, Tables};
use crate::keep::v1::segment::{self, HEADER_BYTES, Layout, TAIL_BYTES};
use crate::keep::v1::{Part, Tier};
use crate::keep::{bytes::Malformed, column, times};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub const ENDING: &str = "seg";
/// What cannot be read any more is set aside under this ending.
pub const DAMAGED: &str = "damaged";

/// What the name of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub tier: Tier,
    pub number: u64,
    pub first: i64,
    pub last: i64,
    /// 0 as it came from memory; more the more often it was merged.
    pub level: u8,
    /// Logs up to and with this number hold nothing that is not in segments.
    pub covers_log: u64,
}

impl Name {
    pub fn file(&self) -> String {
        let Self { tier, number, first, last, level, covers_log } = self;
        format!("{}-{number:012}-{first}-{last}-{level}-{covers_log}.{ENDING}", tier.name())
    }

    pub fn parse(file: &str) -> Option<Self> {
        let mut parts = file.strip_suffix(ENDING)?.strip_suffix('.')?.split('-');
        let tier = parts.next()?;
        let name = Self {
            tier: Tier::ALL.into_iter().find(|one| one.name() == tier)?,
            number: parts.next()?.parse().ok()?,
            first: parts.next()?.parse().ok()?,
            last: parts.next()?.parse().ok()?,
            level: parts.next()?.parse().ok()?,
            covers_log: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(name)
    }

    pub fn overlaps(&self, from_ms: i64, to_ms: i64) -> bool {
        self.first <= to_ms && from_ms <= self.last
    }
}

/// Counts what was found damaged while reading.
#[derive(Debug, Default)]
pub struct Damage {
    /// Columns that were made again from the rest of their block.
    pub repaired: AtomicU64,
    /// Columns that are lost.
    pub lost: AtomicU64,
}

#[derive(Debug)]
pub struct SegmentFile {
    pub path: PathBuf,
    pub name: Name,
    pub bytes: u64,
    file: OnceLock<File>,
}

impl SegmentFile {
    pub fn new(directory: &Path, name: Name, bytes: u64) -> Self {
        Self { path: directory.join(name.file()), name, bytes, file: OnceLock::new() }
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

    /// Reads the footer, or its copy where that is damaged.
    pub fn footer(&self) -> Result<Footer, Unreadable> {
        let ends = 2 * TAIL_BYTES as u64;
        let start = self.bytes.checked_sub(ends).ok_or(Malformed("it is too short"))?;
        let mut tails = [0; 2 * TAIL_BYTES];
        self.file()?.read_exact_at(&mut tails, start)?;
        let tail = segment::read_tails(&tails, self.bytes)?;
        let read = |offset| Ok(segment::read_footer(&self.take(offset, tail.bytes as usize)?, tail)?);
        read(tail.offset).or_else(|_: Unreadable| read(tail.offset + u64::from(tail.bytes)))
    }

    /// Whether what says where everything lies can be read.
    pub fn has_readable_end(&self) -> bool {
        self.footer().is_ok()
    }

    /// Whether the header is whole; its content stands in the name as well.
    pub fn has_whole_header(&self) -> bool {
        let mut header = [0; HEADER_BYTES];
        let read = self.file().and_then(|file| file.read_exact_at(&mut header, 0));
        read.is_ok() && segment::read_header(&header) == Ok(self.name.tier)
    }

    pub fn times(&self, block: &Block, damage: &Damage) -> Result<Vec<i64>, Unreadable> {
        let bytes = self.part(block, 0, block.times_bytes, damage)?;
        Ok(times::decode(&bytes, block.rows as usize)?)
    }

    /// The values of a series; `None` where the block has none of it.
    pub fn values(
        &self,
        block: &Block,
        series: u32,
        part: Part,
        damage: &Damage,
    ) -> Result<Option<Vec<f64>>, Unreadable> {
        let Some(place) = block.column(series, part) else { return Ok(None) };
        let bytes = self.part(block, place.offset, place.bytes, damage)?;
        Ok(Some(column::decode(&bytes, block.rows as usize)?))
    }

    /// One part of a block, made again from the others where it is damaged.
    fn part(&self, block: &Block, offset: u32, length: u32, damage: &Damage) -> Result<Vec<u8>, Unreadable> {
        let framed = self.take(block.offset + u64::from(offset), length as usize)?;
        if let Ok(bytes) = segment::unframed(&framed) {
            return Ok(bytes.to_vec());
        }
        let whole = self.take(block.offset, block.bytes() as usize)?;
        let repaired = segment::repair(block, &whole, offset, length);
        let counter = if repaired.is_ok() { &damage.repaired } else { &damage.lost };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(repaired?)
    }
}

/// A part of a segment that cannot be had; the rest can.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Takes one column of a block.
pub type Put<'a> = dyn FnMut(u32, Part, &[f64]) -> io::Result<()> + 'a;

/// Writes a segment block by block.
pub struct SegmentWriter<'a> {
    out: &'a mut dyn Write,
    layout: Layout,
}

impl<'a> SegmentWriter<'a> {
    pub fn begin(out: &'a mut dyn Write, tier: Tier, tables: Tables) -> io::Result<Self> {
        out.write_all(&segment::header(tier))?;
        Ok(Self { out, layout: Layout::new(tables.footer) })
    }

    /// Writes the columns that `columns` hands out, which is called with what takes one.
    pub fn block(
        &mut self,
        target: u32,
        times: &[i64],
        columns: impl FnOnce(&mut Put<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.out.write_all(&self.layout.begin(target, times))?;
        let Self { out, layout } = self;
        columns(&mut |series, part, values| out.write_all(&layout.column(series, part, values)))?;
        let parity = self.layout.finish();
        self.out.write_all(&parity)
    }

    pub fn end(self) -> io::Result<()> {
        self.out.write_all(&self.layout.end())
    }
}

/// Writes a segment as a whole file.
pub fn write(
    directory: &Path,
    name: Name,
    tables: Tables,
    blocks: impl FnOnce(&mut SegmentWriter<'_>) -> io::Result<()>,
) -> Result<SegmentFile, KeepError> {
    let path = directory.join(name.file());
    write_whole(&path, |out| {
        let mut writer = SegmentWriter::begin(out, name.tier, tables)?;
        blocks(&mut writer)?;
        writer.end()
    })?;
    let bytes = path.metadata().map_err(|source| KeepError::Read { path, source })?.len();
    Ok(SegmentFile::new(directory, name, bytes))
}
