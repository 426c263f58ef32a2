//! Searching: the blocks that may hold what is asked for, newest first, and in them the rows.

use super::segment::{Damage, Segment};
use super::store::Logs;
use crate::logs::block::{Block, OpenBlock, level_at, rows_of};
use crate::logs::filter::GROUP_BLOCKS;
use crate::logs::head::Sealed;
use crate::logs::parse::each_field;
use crate::logs::query::{Facts, Filter, Span};
use crate::logs::row::{Level, Stream};
use crate::logs::v1::footer::{Entry, Footer};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Bytes of the rows that one search finds.
pub const FOUND_BYTES_MAX: usize = 32 << 20;
/// Rows that one search finds.
pub const FOUND_ROWS_MAX: usize = 100_000;
/// Different combinations that are counted; the rest is counted together.
pub const CELLS_MAX: usize = 10_000;

/// Which rows, of which time.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    pub filter: &'a Filter,
    /// Both ends count.
    pub from_ns: i64,
    pub to_ns: i64,
    /// Asked before each block; the search ends early when it says so.
    pub stop: &'a dyn Fn() -> bool,
}

/// Which rows are wanted of too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Newest,
    Oldest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRow {
    pub time_ns: i64,
    pub stream: Arc<Stream>,
    pub level: Level,
    pub text: String,
}

/// What was found, in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub rows: Vec<FoundRow>,
    /// There are more that match.
    pub has_more: bool,
    /// The time or the memory of the search was over before its end.
    pub is_cut: bool,
    pub blocks: usize,
    pub blocks_read: usize,
    pub bytes_read: u64,
}

/// How many rows with which values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The beginning of its interval, where intervals were asked for.
    pub time_ns: Option<i64>,
    /// One for each field that was asked for.
    pub values: Vec<String>,
    pub rows: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    pub cells: Vec<Cell>,
    /// Rows of more combinations than are counted.
    pub others: u64,
    pub is_cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    #[error("an interval must be longer than nothing")]
    Interval,
}

/// A block, wherever it is.
struct Place {
    first_ns: i64,
    last_ns: i64,
    what: What,
}

enum What {
    Filed { segment: Arc<Segment>, footer: Arc<Footer>, index: usize },
    Sealed(Arc<Sealed>),
    Open(Arc<Stream>, Arc<OpenBlock>),
}

/// One row that matches.
struct Hit<'a> {
    time_ns: i64,
    stream: &'a Arc<Stream>,
    level: Level,
    text: &'a [u8],
}

impl Logs {
    /// The newest or the oldest rows that match, at most so many.
    pub fn search(&self, search: &Search<'_>, order: Order, limit: usize) -> Found {
        let limit = limit.min(FOUND_ROWS_MAX);
        let mut found = Found::default();
        let mut places = self.places(search, &mut found);
        match order {
            Order::Newest => places.sort_by_key(|place| Reverse(place.last_ns)),
            Order::Oldest => places.sort_by_key(|place| place.first_ns),
        }
        let mut best = Best { heap: BinaryHeap::new(), order, limit, bytes: 0, next: 0, has_more: false };
        let mut buffer = Vec::new();
        for place in places {
            if best.wants_none_of(&place) {
                found.has_more = true;
                break;
            }
            if (search.stop)() || best.bytes > FOUND_BYTES_MAX {
                found.is_cut = true;
                break;
            }
            found.blocks_read += 1;
            found.bytes_read += self.read(&place, search, &mut buffer, &mut |hit| best.take(hit));
        }
        found.has_more |= best.has_more;
        found.rows = best.into_rows();
        found
    }

    /// How many rows match, by intervals of time and by the values of fields.
    pub fn count(
        &self,
        search: &Search<'_>,
        interval_ns: Option<i64>,
        fields: &[String],
    ) -> Result<Counted, SearchError> {
        if interval_ns.is_some_and(|interval| interval <= 0) {
            return Err(SearchError::Interval);
        }
        let mut cells: BTreeMap<(Option<i64>, Vec<String>), u64> = BTreeMap::new();
        let mut counted = Counted::default();
        let mut buffer = Vec::new();
        let mut found = Found::default();
        let places = self.places(search, &mut found);
        counted.is_cut = found.is_cut;
        for place in places {
            if (search.stop)() {
                counted.is_cut = true;
                break;
            }
            self.read(&place, search, &mut buffer, &mut |hit| {
                let time = interval_ns.map(|interval| hit.time_ns.div_euclid(interval) * interval);
                let key = (time, hit.values(fields));
                let is_full = cells.len() >= CELLS_MAX;
                match cells.get_mut(&key) {
                    Some(rows) => *rows += 1,
                    None if is_full => counted.others += 1,
                    None => {
                        cells.insert(key, 1);
                    }
                }
            });
        }
        let cell = |((time_ns, values), rows)| Cell { time_ns, values, rows };
        counted.cells = cells.into_iter().map(cell).collect();
        Ok(counted)
    }

    /// Where rows may match; also counts all blocks of that time.
    fn places(&self, search: &Search<'_>, found: &mut Found) -> Vec<Place> {
        let ((sealed, open), frozen, segments) = {
            let _still = self.moving.read().unwrap_or_else(PoisonError::into_inner);
            (self.in_memory(), self.frozen(), self.segments())
        };
        let mut places = Vec::new();
        for (stream, block) in open {
            let (first_ns, last_ns) = block.times_range();
            let what = What::Open(stream, block);
            places.push(Place { first_ns, last_ns, what });
        }
        let moving = frozen.iter().flat_map(|frozen| frozen.blocks.iter().cloned());
        for block in sealed.into_iter().chain(moving) {
            let (first_ns, last_ns) = (block.first_ns, block.last_ns);
            places.push(Place { first_ns, last_ns, what: What::Sealed(block) });
        }
        places.retain(|place| place.first_ns <= search.to_ns && search.from_ns <= place.last_ns);
        found.blocks += places.len();
        places.retain(|place| search.filter.blocks(place) & 1 == 1);
        for segment in segments.iter() {
            let name = &segment.name;
            if (search.stop)() {
                found.is_cut = true;
                break;
            }
            if name.first_ns <= search.to_ns && search.from_ns <= name.last_ns {
                self.places_of(segment, search, found, &mut places);
            }
        }
        places
    }

    fn places_of(
        &self,
        segment: &Arc<Segment>,
        search: &Search<'_>,
        found: &mut Found,
        places: &mut Vec<Place>,
    ) {
        let Ok(footer) = segment.footer() else {
            self.damage.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        for (group, blocks) in footer.blocks.chunks(GROUP_BLOCKS).enumerate() {
            let overlaps = |block: &Entry| block.overlaps(search.from_ns, search.to_ns);
            let in_time = bits(blocks, overlaps);
            found.blocks += in_time.count_ones() as usize;
            if in_time == 0 {
                continue;
            }
            let facts = GroupFacts { segment, footer: &footer, group, blocks, damage: &self.damage };
            let mut wanted = search.filter.blocks(&facts) & in_time;
            while wanted != 0 {
                let at = wanted.trailing_zeros() as usize;
                wanted &= wanted - 1;
                let Entry { first_ns, last_ns, .. } = blocks[at];
                let (segment, footer, index) = (segment.clone(), footer.clone(), group * GROUP_BLOCKS + at);
                places.push(Place { first_ns, last_ns, what: What::Filed { segment, footer, index } });
            }
        }
    }

    /// Hands out the rows of a block that match; returns how much text was looked at. What is damaged is
    /// counted and left out.
    fn read(
        &self,
        place: &Place,
        search: &Search<'_>,
        buffer: &mut Vec<u8>,
        hit: &mut dyn FnMut(Hit<'_>),
    ) -> u64 {
        match &place.what {
            What::Open(stream, open) => {
                look_through(search, stream, &open.levels, &open.text, || Some(open.times.clone()), hit);
                open.text.len() as u64
            }
            What::Sealed(sealed) => self.read_bytes(&sealed.bytes, &sealed.stream, search, buffer, hit),
            What::Filed { segment, footer, index } => {
                let Ok(bytes) = segment.block(footer, *index, &self.damage) else { return 0 };
                let stream = Arc::new(footer.streams[footer.blocks[*index].stream as usize].clone());
                self.read_bytes(&bytes, &stream, search, buffer, hit)
            }
        }
    }

    fn read_bytes(
        &self,
        bytes: &[u8],
        stream: &Arc<Stream>,
        search: &Search<'_>,
        buffer: &mut Vec<u8>,
        hit: &mut dyn FnMut(Hit<'_>),
    ) -> u64 {
        let Ok(block) = Block::decode(bytes, std::mem::take(buffer)) else {
            self.damage.lost.fetch_add(1, Ordering::Relaxed);
            return 0;
        };
        look_through(search, stream, block.levels(), block.text(), || block.times().ok(), hit);
        let read = block.text().len() as u64;
        *buffer = block.into_buffer();
        read
    }
}

/// Times are read only where the block may hold a row.
fn look_through(
    search: &Search<'_>,
    stream: &Arc<Stream>,
    levels: &[u8],
    text: &[u8],
    times: impl FnOnce() -> Option<Vec<i64>>,
    hit: &mut dyn FnMut(Hit<'_>),
) {
    if !search.filter.may_be_in(text) {
        return;
    }
    let Some(times) = times() else { return };
    for ((number, row), time_ns) in rows_of(text).enumerate().zip(times) {
        let level = level_at(levels, number);
        if time_ns >= search.from_ns && time_ns <= search.to_ns && search.filter.matches(stream, level, row) {
            hit(Hit { time_ns, stream, level, text: row });
        }
    }
}

fn bits(blocks: &[Entry], passes: impl Fn(&Entry) -> bool) -> u64 {
    blocks.iter().enumerate().fold(0, |bits, (at, block)| bits | u64::from(passes(block)) << at)
}

struct GroupFacts<'a> {
    segment: &'a Segment,
    footer: &'a Footer,
    group: usize,
    blocks: &'a [Entry],
    damage: &'a Damage,
}

impl Facts for GroupFacts<'_> {
    fn streams(&self, passes: &dyn Fn(&Stream) -> bool) -> u64 {
        bits(self.blocks, |block| passes(&self.footer.streams[block.stream as usize]))
    }

    fn levels(&self, passes: &dyn Fn(Level) -> bool) -> Span {
        let wanted = level_bits(passes);
        let some = bits(self.blocks, |block| block.levels & wanted != 0);
        Span { some, all: bits(self.blocks, |block| block.levels & !wanted == 0) }
    }

    fn words(&self, tokens: &[u32]) -> u64 {
        if tokens.is_empty() {
            return u64::MAX;
        }
        self.segment.blocks_with(&self.footer.groups[self.group], tokens, self.damage)
    }
}

fn level_bits(passes: &dyn Fn(Level) -> bool) -> u8 {
    Level::ALL.into_iter().filter(|level| passes(*level)).fold(0, |bits, level| bits | 1 << level as u8)
}

/// One block in memory, as bit 0.
impl Facts for Place {
    fn streams(&self, passes: &dyn Fn(&Stream) -> bool) -> u64 {
        match &self.what {
            What::Open(stream, _) => u64::from(passes(stream)),
            What::Sealed(sealed) => u64::from(passes(&sealed.stream)),
            What::Filed { footer, index, .. } => {
                u64::from(passes(&footer.streams[footer.blocks[*index].stream as usize]))
            }
        }
    }

    fn levels(&self, passes: &dyn Fn(Level) -> bool) -> Span {
        let wanted = level_bits(passes);
        let of_block = match &self.what {
            What::Open(_, open) => open.level_bits(),
            What::Sealed(sealed) => sealed.levels,
            What::Filed { footer, index, .. } => footer.blocks[*index].levels,
        };
        Span { some: u64::from(of_block & wanted != 0), all: u64::from(of_block & !wanted == 0) }
    }

    fn words(&self, tokens: &[u32]) -> u64 {
        match &self.what {
            What::Sealed(sealed) => u64::from(tokens.iter().all(|token| sealed.tokens.contains(token))),
            What::Open(..) | What::Filed { .. } => 1,
        }
    }
}

impl Hit<'_> {
    fn values(&self, fields: &[String]) -> Vec<String> {
        let mut values: Vec<Option<String>> = fields
            .iter()
            .map(|name| match name.as_str() {
                "level" => Some(self.level.name().to_owned()),
                name => self.stream.field(name).map(str::to_owned),
            })
            .collect();
        if values.iter().any(Option::is_none) {
            each_field(&String::from_utf8_lossy(self.text), &mut |name, value| {
                for (wanted, found) in fields.iter().zip(&mut values) {
                    if found.is_none() && wanted == name {
                        *found = Some(value[..value.floor_char_boundary(256)].to_owned());
                    }
                }
            });
        }
        values.into_iter().map(Option::unwrap_or_default).collect()
    }
}

/// The newest or oldest rows so far.
struct Best {
    /// The one to give up next is on top.
    heap: BinaryHeap<Kept>,
    order: Order,
    limit: usize,
    bytes: usize,
    /// Rows of the same time stay in the order in which they were written.
    next: i64,
    has_more: bool,
}

#[derive(PartialEq, Eq)]
struct Kept {
    key: (i64, i64),
    row: FoundRow,
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl Best {
    fn is_full(&self) -> bool {
        self.heap.len() >= self.limit
    }

    fn key_of(&self, time_ns: i64) -> (i64, i64) {
        match self.order {
            Order::Newest => (-time_ns, -self.next),
            Order::Oldest => (time_ns, self.next),
        }
    }

    fn wants_none_of(&self, place: &Place) -> bool {
        let Some(worst) = self.heap.peek().filter(|_| self.is_full()) else { return self.limit == 0 };
        match self.order {
            Order::Newest => place.last_ns < worst.row.time_ns,
            Order::Oldest => place.first_ns > worst.row.time_ns,
        }
    }

    fn take(&mut self, hit: Hit<'_>) {
        self.next += 1;
        let key = self.key_of(hit.time_ns);
        if self.is_full() {
            self.has_more = true;
            if self.heap.peek().is_none_or(|worst| key >= worst.key) {
                return;
            }
            if let Some(given_up) = self.heap.pop() {
                self.bytes -= given_up.row.text.len();
            }
        }
        let text = String::from_utf8_lossy(hit.text).into_owned();
        self.bytes += text.len();
        let row = FoundRow { time_ns: hit.time_ns, stream: hit.stream.clone(), level: hit.level, text };
        self.heap.push(Kept { key, row });
    }

    fn into_rows(self) -> Vec<FoundRow> {
        let order = self.order;
        let rows = self.heap.into_sorted_vec().into_iter().map(|kept| kept.row);
        match order {
            Order::Newest => rows.rev().collect(),
            Order::Oldest => rows.collect(),
        }
    }
}
