//! The records of the write-ahead log. Each stands alone: a damaged one costs only itself.
//!
//! ```text
//! file   = header 16 │ record │ record │ …
//! record = mark (4) │ length (4) │ checksum (4) │ payload
//! ```

use super::Kind;
use crate::Labels;
use crate::keep::bytes::{Malformed, Reader, fold, put_number, put_signed, put_text, unfold};
use crate::values::{ABSENT, STALE, is_absent, is_stale};

pub const HEADER_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"JUCHUWAL";
const VERSION: u8 = 1;
const MARK: [u8; 4] = [0xd5, b'J', b'R', 0x9a];
const FRAME_BYTES: usize = 12;
/// A record is larger only when its length is damaged.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

const TARGET: u8 = 1;
const SERIES: u8 = 2;
const ROW: u8 = 3;

#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Target {
        target: u32,
        is_scraped: bool,
        name: String,
    },
    Series {
        target: u32,
        slot: u32,
        kind: Kind,
        labels: Labels,
    },
    /// The values of all slots of a target at one time.
    Row {
        target: u32,
        time_ms: i64,
        values: Vec<f64>,
    },
}

pub fn header(number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8] = VERSION;
    header[9..12].copy_from_slice(&number.to_le_bytes()[..3]);
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Appends a record in its frame.
pub fn put(out: &mut Vec<u8>, record: &Record) {
    match record {
        Record::Target { target, is_scraped, name } => put_framed(out, |out| {
            out.push(TARGET);
            put_number(out, u64::from(*target));
            out.push(u8::from(*is_scraped));
            put_text(out, name);
        }),
        Record::Series { target, slot, kind, labels } => put_framed(out, |out| {
            out.push(SERIES);
            put_number(out, u64::from(*target));
            put_number(out, u64::from(*slot));
            out.push(*kind as u8);
            put_number(out, labels.len() as u64);
            for (name, value) in labels.iter() {
                put_text(out, name);
                put_text(out, value);
            }
        }),
        Record::Row { target, time_ms, values } => put_row(out, *target, *time_ms, values.iter().copied()),
    }
}

/// A [`Record::Row`] without a vector of its own.
pub fn put_row(out: &mut Vec<u8>, target: u32, time_ms: i64, values: impl ExactSizeIterator<Item = f64>) {
    put_framed(out, |out| {
        out.push(ROW);
        put_number(out, u64::from(target));
        put_signed(out, time_ms);
        put_number(out, values.len() as u64);
        values.for_each(|value| put_value(out, value));
    });
}

pub(crate) fn put_framed(out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; 8]);
    payload(out);
    let length = (out.len() - start - FRAME_BYTES) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    // The length is part of what is checked.
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&out[start + FRAME_BYTES..]);
    out[start + 8..start + FRAME_BYTES].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// 0 is absent, 1 an end, 2 any other bits; whole numbers begin at 3.
fn put_value(out: &mut Vec<u8>, value: f64) {
    const WHOLE_MAX: f64 = 281_474_976_710_656.0; // 2^48: eight bytes at most
    if is_absent(value) {
        out.push(0);
    } else if is_stale(value) {
        out.push(1);
    } else if value.abs() < WHOLE_MAX && (value as i64 as f64).to_bits() == value.to_bits() {
        put_number(out, fold(value as i64) + 3);
    } else {
        out.push(2);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn take_value(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    match reader.number()? {
        0 => Ok(ABSENT),
        1 => Ok(STALE),
        2 => reader.float(),
        number => Ok(unfold(number - 3) as f64),
    }
}

fn parse(payload: &[u8]) -> Result<Record, Malformed> {
    let mut reader = Reader::new(payload);
    let kind = reader.byte()?;
    let target = reader.count(u32::MAX as usize)? as u32;
    match kind {
        TARGET => Ok(Record::Target { target, is_scraped: reader.byte()? == 1, name: reader.text()?.into() }),
        SERIES => {
            let slot = reader.count(u32::MAX as usize)? as u32;
            let kind = Kind::from_number(reader.byte()?).ok_or(Malformed("an unknown kind of series"))?;
            let count = reader.count(reader.rest().len())?;
            let pairs = (0..count).map(|_| Ok((reader.text()?, reader.text()?)));
            Ok(Record::Series {
                target,
                slot,
                kind,
                labels: Labels::new(pairs.collect::<Result<Vec<_>, Malformed>>()?),
            })
        }
        ROW => {
            let time_ms = reader.signed()?;
            let count = reader.count(reader.rest().len())?;
            let values = (0..count).map(|_| take_value(&mut reader)).collect::<Result<_, _>>()?;
            Ok(Record::Row { target, time_ms, values })
        }
        _ => Err(Malformed("an unknown kind of record")),
    }
}

/// What was found in a log.
#[derive(Debug, Default)]
pub struct Replay {
    pub records: Vec<Record>,
    /// Up to here everything was whole.
    pub whole_bytes: usize,
    /// Bytes in the middle that had to be skipped; a torn end is none.
    pub damaged_bytes: usize,
}

/// Reads all records that are whole and looks for the next one behind what is not.
pub fn replay(bytes: &[u8]) -> Replay {
    let mut found = Replay { whole_bytes: HEADER_BYTES.min(bytes.len()), ..Replay::default() };
    let mut at = found.whole_bytes;
    while at < bytes.len() {
        match record_at(&bytes[at..]) {
            Some((record, length)) => {
                found.damaged_bytes += at - found.whole_bytes;
                found.records.push(record);
                at += length;
                found.whole_bytes = at;
            }
            None => at += 1 + next_mark(&bytes[at + 1..]),
        }
    }
    found
}

fn record_at(bytes: &[u8]) -> Option<(Record, usize)> {
    let (payload, length) = payload_at(bytes)?;
    Some((parse(payload).ok()?, length))
}

/// A whole frame at the beginning of these bytes: its payload and its length.
pub(crate) fn payload_at(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let word = |at: usize| {
        bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
    };
    if bytes.get(..4)? != MARK {
        return None;
    }
    let (length, checksum) = (word(4)?, word(8)?);
    if length as usize > RECORD_BYTES_MAX {
        return None;
    }
    let payload = bytes.get(FRAME_BYTES..FRAME_BYTES + length as usize)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    if hasher.finalize() != checksum {
        return None;
    }
    Some((payload, FRAME_BYTES + payload.len()))
}

pub(crate) fn next_mark(bytes: &[u8]) -> usize {
    bytes.windows(MARK.len()).position(|window| window == MARK).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let row =
            |time_ms, value| Record::Row { target: 7, time_ms, values: vec![value, ABSENT, STALE, -0.5] };
        vec![
            Record::Target { target: 7, is_scraped: true, name: "node".into() },
            Record::Series { target: 7, slot: 2, kind: Kind::Counter, labels: Labels::new([("a", "b")]) },
            row(1000, 1.0),
            row(2000, -12_345.0),
            row(3000, 1e300),
        ]
    }

    fn bytes() -> Vec<u8> {
        let mut out = header(1).to_vec();
        records().iter().for_each(|record| put(&mut out, record));
        out
    }

    /// Absent values are NaN, which equals nothing.
    fn shown(records: &[Record]) -> Vec<String> {
        records.iter().map(|record| format!("{record:?}")).collect()
    }

    #[test]
    fn a_log_comes_back_and_a_torn_end_is_told() {
        let whole = bytes();
        let found = replay(&whole);
        assert_eq!(
            (shown(&found.records), found.whole_bytes, found.damaged_bytes),
            (shown(&records()), whole.len(), 0)
        );
        for end in 0..whole.len() {
            let found = replay(&whole[..end]);
            assert!(found.whole_bytes <= end && found.damaged_bytes == 0);
            assert!(shown(&records()).starts_with(&shown(&found.records)));
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_record() {
        let whole = bytes();
        for at in HEADER_BYTES..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let found = replay(&flipped);
                assert_eq!(found.records.len(), records().len() - 1, "bit {bit} of byte {at}");
                assert!(found.damaged_bytes > 0 || found.whole_bytes < whole.len());
            }
        }
    }
}
