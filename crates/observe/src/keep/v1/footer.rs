//! The footer of a segment: its series with their labels, its blocks, where each column lies.
//!
//! It makes a segment complete in itself: no catalogue elsewhere can be lost or disagree with it.

use super::{Kind, Part};
use crate::keep::bytes::{Malformed, Reader, put_number, put_signed, put_text};
use crate::keep::column::ROWS_MAX;
use crate::{Labels, Matcher};
use std::collections::HashMap;
use std::sync::Arc;

/// Of each there are fewer, or the footer is damaged.
const SYMBOLS_MAX: usize = 10_000_000;
const LABELS_MAX: usize = 1000;

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Footer {
    /// Every text once.
    pub symbols: Vec<Arc<str>>,
    /// Names of targets, as symbols.
    pub targets: Vec<u32>,
    pub series: Vec<SeriesEntry>,
    pub blocks: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesEntry {
    pub target: u32,
    pub kind: Kind,
    /// Name and value, as symbols, in the order of names.
    pub labels: Vec<(u32, u32)>,
}

/// Rows of one target that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub target: u32,
    pub first: i64,
    pub last: i64,
    pub rows: u32,
    /// Where its times lie; the columns follow.
    pub offset: u64,
    pub times_bytes: u32,
    /// Behind the columns: all of them (and the times) joined by exclusive or.
    pub parity_bytes: u32,
    /// In the order of series and part.
    pub columns: Vec<ColumnPlace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnPlace {
    pub series: u32,
    pub part: Part,
    /// From the beginning of the block, checksum first.
    pub offset: u32,
    pub bytes: u32,
}

impl Block {
    /// Where the columns end and the parity begins, from the beginning of the block.
    pub fn parity_offset(&self) -> u32 {
        self.columns.last().map_or(self.times_bytes, |place| place.offset + place.bytes)
    }

    /// Everything of the block, parity included.
    pub fn bytes(&self) -> u64 {
        u64::from(self.parity_offset()) + u64::from(self.parity_bytes)
    }

    pub fn column(&self, series: u32, part: Part) -> Option<&ColumnPlace> {
        let at =
            self.columns.binary_search_by_key(&(series, part), |place| (place.series, place.part)).ok()?;
        Some(&self.columns[at])
    }
}

impl Footer {
    pub fn labels(&self, series: u32) -> Labels {
        let text = |symbol: u32| self.symbols[symbol as usize].clone();
        let entry = &self.series[series as usize];
        Labels::from_pairs(entry.labels.iter().map(|(name, value)| (text(*name), text(*value))).collect())
    }

    pub fn target_name(&self, target: u32) -> &str {
        &self.symbols[self.targets[target as usize] as usize]
    }

    /// The series that all matchers accept. Each value is tried once for each matcher.
    pub fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let mut found: Vec<u32> = (0..self.series.len() as u32).collect();
        for matcher in matchers {
            let name = self.symbols.iter().position(|symbol| **symbol == *matcher.name).map(|at| at as u32);
            let mut verdicts: HashMap<Option<u32>, bool> = HashMap::new();
            found.retain(|series| {
                let labels = &self.series[*series as usize].labels;
                let value = labels.iter().find(|(n, _)| Some(*n) == name).map(|(_, value)| *value);
                let text = |symbol: u32| &*self.symbols[symbol as usize];
                *verdicts.entry(value).or_insert_with(|| matcher.accepts(value.map_or("", text)))
            });
        }
        found
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_all(&mut out, &self.symbols, |out, symbol| put_text(out, symbol));
        put_all(&mut out, &self.targets, |out, symbol| put_number(out, u64::from(*symbol)));
        put_all(&mut out, &self.series, put_series);
        put_all(&mut out, &self.blocks, put_block);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        let symbols: Vec<Arc<str>> = take_all(reader, |reader| reader.text().map(Arc::from))?;
        let targets = take_all(reader, |reader| index(reader, symbols.len()))?;
        let series = take_all(reader, |reader| take_series(reader, targets.len(), symbols.len()))?;
        let blocks = take_all(reader, |reader| take_block(reader, targets.len(), series.len()))?;
        match reader.is_at_end() {
            true => Ok(Self { symbols, targets, series, blocks }),
            false => Err(Malformed("the footer is too long")),
        }
    }
}

fn put_all<T>(out: &mut Vec<u8>, all: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_number(out, all.len() as u64);
    all.iter().for_each(|one| put(out, one));
}

fn take_all<'a, T>(
    reader: &mut Reader<'a>,
    take: impl Fn(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = reader.count(reader.rest().len().min(SYMBOLS_MAX))?;
    (0..count).map(|_| take(reader)).collect()
}

/// An index below `count`.
fn index(reader: &mut Reader<'_>, count: usize) -> Result<u32, Malformed> {
    let index = reader.count(SYMBOLS_MAX)?;
    if index < count { Ok(index as u32) } else { Err(Malformed("the footer names what is not there")) }
}

fn put_series(out: &mut Vec<u8>, entry: &SeriesEntry) {
    put_number(out, u64::from(entry.target));
    out.push(entry.kind as u8);
    put_all(out, &entry.labels, |out, (name, value)| {
        put_number(out, u64::from(*name));
        put_number(out, u64::from(*value));
    });
}

fn take_series(reader: &mut Reader<'_>, targets: usize, symbols: usize) -> Result<SeriesEntry, Malformed> {
    let target = index(reader, targets)?;
    let kind = Kind::from_number(reader.byte()?).ok_or(Malformed("an unknown kind of series"))?;
    let count = reader.count(LABELS_MAX)?;
    let pair = |reader: &mut Reader<'_>| Ok((index(reader, symbols)?, index(reader, symbols)?));
    Ok(SeriesEntry { target, kind, labels: (0..count).map(|_| pair(reader)).collect::<Result<_, _>>()? })
}

fn put_block(out: &mut Vec<u8>, block: &Block) {
    put_number(out, u64::from(block.target));
    put_signed(out, block.first);
    put_number(out, (block.last - block.first) as u64);
    put_number(out, u64::from(block.rows));
    put_number(out, block.offset);
    put_number(out, u64::from(block.times_bytes));
    put_number(out, u64::from(block.parity_bytes));
    put_number(out, block.columns.len() as u64);
    // Column by column of this table, so that equal numbers stand together for the compressor.
    let mut before = 0;
    for place in &block.columns {
        put_number(out, u64::from(place.series - before));
        before = place.series;
    }
    block.columns.iter().for_each(|place| out.push(place.part as u8));
    block.columns.iter().for_each(|place| put_number(out, u64::from(place.bytes)));
}

fn take_block(reader: &mut Reader<'_>, targets: usize, series: usize) -> Result<Block, Malformed> {
    let target = index(reader, targets)?;
    let first = reader.signed()?;
    let length = i64::try_from(reader.number()?).map_err(|_| Malformed("a block is too long"))?;
    let last = first.checked_add(length).ok_or(Malformed("a block is too long"))?;
    let rows = reader.count(ROWS_MAX)? as u32;
    let offset = reader.number()?;
    let (times_bytes, parity_bytes) = (small(reader)?, small(reader)?);
    let count = reader.count(reader.rest().len())?;
    let columns = take_columns(reader, count, series, times_bytes)?;
    Ok(Block { target, first, last, rows, offset, times_bytes, parity_bytes, columns })
}

fn take_columns(
    reader: &mut Reader<'_>,
    count: usize,
    series: usize,
    times_bytes: u32,
) -> Result<Vec<ColumnPlace>, Malformed> {
    let mut columns = Vec::with_capacity(count);
    let mut before = 0;
    for _ in 0..count {
        before += reader.count(series)?;
        if before >= series {
            return Err(Malformed("the footer names what is not there"));
        }
        columns.push(ColumnPlace { series: before as u32, part: Part::Last, offset: 0, bytes: 0 });
    }
    for place in &mut columns {
        place.part = Part::from_number(reader.byte()?).ok_or(Malformed("an unknown part of a sample"))?;
    }
    let mut offset = times_bytes;
    for place in &mut columns {
        place.bytes = small(reader)?;
        place.offset = offset;
        offset = offset.checked_add(place.bytes).ok_or(Malformed("a block is too long"))?;
    }
    match columns.is_sorted_by(|a, b| (a.series, a.part) < (b.series, b.part)) {
        true => Ok(columns),
        false => Err(Malformed("columns are not in order")),
    }
}

fn small(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(reader.number()?).map_err(|_| Malformed("a length is too large"))
}

/// Makes the tables of a footer: texts, targets and series, each once.
#[derive(Debug, Default)]
pub struct Tables {
    pub footer: Footer,
    symbols: HashMap<Arc<str>, u32>,
    targets: HashMap<u32, u32>,
    series: HashMap<SeriesEntry, u32>,
}

impl Tables {
    /// The same tables for another file, complete as they are.
    pub fn copy(&self) -> Self {
        Self { footer: self.footer.clone(), ..Self::default() }
    }

    fn symbol(&mut self, text: &Arc<str>) -> u32 {
        if let Some(symbol) = self.symbols.get(text) {
            return *symbol;
        }
        let symbol = self.footer.symbols.len() as u32;
        self.footer.symbols.push(text.clone());
        self.symbols.insert(text.clone(), symbol);
        symbol
    }

    pub fn target(&mut self, name: &str) -> u32 {
        let symbol = self.symbol(&Arc::from(name));
        let next = self.footer.targets.len() as u32;
        *self.targets.entry(symbol).or_insert_with(|| {
            self.footer.targets.push(symbol);
            next
        })
    }

    pub fn series(&mut self, target: u32, kind: Kind, labels: &Labels) -> u32 {
        let labels =
            labels.pairs().iter().map(|(name, value)| (self.symbol(name), self.symbol(value))).collect();
        let entry = SeriesEntry { target, kind, labels };
        if let Some(series) = self.series.get(&entry) {
            return *series;
        }
        let series = self.footer.series.len() as u32;
        self.footer.series.push(entry.clone());
        self.series.insert(entry, series);
        series
    }
}
