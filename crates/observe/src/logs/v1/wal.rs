//! The records of the write-ahead log of rows, in the frames of the log of measurements.
//!
//! Rows and the place in a file up to which they were taken are in one record: after a crash both are
//! there or neither, so that reading goes on without a gap and without a row twice.

use super::footer::take_stream;
use crate::keep::bytes::{Malformed, Reader, put_number, put_signed, put_text};
use crate::keep::v1::log::{HEADER_BYTES, next_mark, payload_at, put_framed};
use crate::logs::row::{Level, Row, Stream};

const STREAM: u8 = 1;
const ROWS: u8 = 2;
const CURSOR: u8 = 3;

/// Rows of one record at most take this; more are written as several records.
pub const RECORD_TEXT_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    Stream {
        id: u32,
        stream: Stream,
    },
    Rows {
        id: u32,
        cursor: Option<(&'a str, &'a str)>,
        rows: Vec<Row<'a>>,
    },
    /// A place alone; an empty one is forgotten.
    Cursor {
        name: &'a str,
        place: &'a str,
    },
}

pub fn put_stream(out: &mut Vec<u8>, id: u32, stream: &Stream) {
    put_framed(out, |out| {
        out.push(STREAM);
        put_number(out, u64::from(id));
        stream.parts().iter().for_each(|part| put_text(out, part));
    });
}

pub fn put_rows(out: &mut Vec<u8>, id: u32, cursor: Option<(&str, &str)>, rows: &[Row<'_>]) {
    put_framed(out, |out| {
        out.push(ROWS);
        put_number(out, u64::from(id));
        let (name, place) = cursor.unwrap_or_default();
        put_text(out, name);
        put_text(out, place);
        put_number(out, rows.len() as u64);
        let mut before = 0;
        for row in rows {
            put_signed(out, row.time_ns.wrapping_sub(before));
            out.push(row.level as u8);
            put_text(out, row.text);
            before = row.time_ns;
        }
    });
}

pub fn put_cursor(out: &mut Vec<u8>, name: &str, place: &str) {
    put_framed(out, |out| {
        out.push(CURSOR);
        put_text(out, name);
        put_text(out, place);
    });
}

fn parse(payload: &[u8]) -> Result<Record<'_>, Malformed> {
    let mut reader = Reader::new(payload);
    match reader.byte()? {
        STREAM => Ok(Record::Stream { id: id(&mut reader)?, stream: take_stream(&mut reader)? }),
        ROWS => {
            let (id, name, place) = (id(&mut reader)?, reader.text()?, reader.text()?);
            let count = reader.count(reader.rest().len())?;
            let mut before = 0i64;
            let mut rows = Vec::with_capacity(count);
            for _ in 0..count {
                before = before.wrapping_add(reader.signed()?);
                let level = Level::from_number(reader.byte()?);
                rows.push(Row { time_ns: before, level, text: reader.text()? });
            }
            Ok(Record::Rows { id, cursor: (!name.is_empty()).then_some((name, place)), rows })
        }
        CURSOR => Ok(Record::Cursor { name: reader.text()?, place: reader.text()? }),
        _ => Err(Malformed("an unknown kind of record")),
    }
}

fn id(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    reader.count(u32::MAX as usize).map(|id| id as u32)
}

/// Hands out all records that are whole, and returns how many bytes in the middle were not; a torn end
/// does not count.
pub fn replay<'a>(bytes: &'a [u8], mut each: impl FnMut(Record<'a>)) -> usize {
    let (mut at, mut whole, mut damaged) = (HEADER_BYTES, HEADER_BYTES, 0);
    while at < bytes.len() {
        let found =
            payload_at(&bytes[at..]).and_then(|(payload, length)| Some((parse(payload).ok()?, length)));
        match found {
            Some((record, length)) => {
                damaged += at - whole;
                each(record);
                at += length;
                whole = at;
            }
            None => at += 1 + next_mark(&bytes[at + 1..]),
        }
    }
    damaged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::v1::log::header;

    fn bytes() -> Vec<u8> {
        let mut out = header(1).to_vec();
        put_stream(&mut out, 3, &Stream::new("shop", "web", "web-1", "stdout"));
        let row = |time_ns, text| Row { time_ns, level: Level::Warn, text };
        put_rows(&mut out, 3, Some(("web-1", "7:90")), &[row(1000, "one"), row(900, "zwei ü")]);
        put_rows(&mut out, 3, None, &[row(2000, "")]);
        put_cursor(&mut out, "web-1", "");
        out
    }

    fn shown(bytes: &[u8]) -> (Vec<String>, usize) {
        let mut records = Vec::new();
        let damaged = replay(bytes, |record| records.push(format!("{record:?}")));
        (records, damaged)
    }

    #[test]
    fn a_log_comes_back_and_a_torn_end_is_no_damage() {
        let whole = bytes();
        let (all, damaged) = shown(&whole);
        assert_eq!((all.len(), damaged), (4, 0));
        assert!(all[1].contains("zwei ü") && all[1].contains("900"));
        for end in HEADER_BYTES..whole.len() {
            let (some, damaged) = shown(&whole[..end]);
            assert!(all.starts_with(&some) && damaged == 0, "{end}");
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_record() {
        let whole = bytes();
        for at in HEADER_BYTES..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            assert_eq!(shown(&flipped).0.len(), 3, "byte {at}");
        }
    }
}
