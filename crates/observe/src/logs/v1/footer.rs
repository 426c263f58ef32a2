//! What a segment of rows says about itself at its end.

use crate::keep::bytes::{Malformed, Reader, put_number, put_signed, put_text};
use crate::logs::filter::{GROUP_BLOCKS, pages_bytes};
use crate::logs::row::Stream;

/// A block and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which stream of the footer.
    pub stream: u32,
    pub offset: u64,
    pub bytes: u32,
    pub rows: u32,
    pub text_bytes: u32,
    pub first_ns: i64,
    pub last_ns: i64,
    /// A bit for each level that there is.
    pub levels: u8,
}

impl Entry {
    pub fn overlaps(&self, from_ns: i64, to_ns: i64) -> bool {
        self.first_ns <= to_ns && from_ns <= self.last_ns
    }
}

/// Up to 64 blocks one after the other, their parity, and the table of their filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub parity_offset: u64,
    pub parity_bytes: u32,
    pub filter_rows: u32,
}

impl Group {
    pub fn filter_offset(&self) -> u64 {
        self.parity_offset + u64::from(self.parity_bytes)
    }

    pub fn end(&self) -> u64 {
        self.filter_offset() + pages_bytes(self.filter_rows)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footer {
    pub streams: Vec<Stream>,
    pub blocks: Vec<Entry>,
    /// One for each 64 blocks.
    pub groups: Vec<Group>,
    /// Places in files of others up to which rows were taken, when this segment was made.
    pub cursors: Vec<(String, String)>,
}

impl Footer {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.streams.len() as u64);
        for stream in &self.streams {
            stream.parts().iter().for_each(|part| put_text(&mut out, part));
        }
        put_number(&mut out, self.blocks.len() as u64);
        for block in &self.blocks {
            put_number(&mut out, u64::from(block.stream));
            put_number(&mut out, block.offset);
            put_number(&mut out, u64::from(block.bytes));
            put_number(&mut out, u64::from(block.rows));
            put_number(&mut out, u64::from(block.text_bytes));
            put_signed(&mut out, block.first_ns);
            put_number(&mut out, block.last_ns.abs_diff(block.first_ns));
            out.push(block.levels);
        }
        put_number(&mut out, self.groups.len() as u64);
        for group in &self.groups {
            put_number(&mut out, group.parity_offset);
            put_number(&mut out, u64::from(group.parity_bytes));
            put_number(&mut out, u64::from(group.filter_rows));
        }
        put_number(&mut out, self.cursors.len() as u64);
        for (name, place) in &self.cursors {
            put_text(&mut out, name);
            put_text(&mut out, place);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let count = |reader: &mut Reader<'_>| reader.count(reader.rest().len());
        let streams =
            (0..count(&mut reader)?).map(|_| take_stream(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let blocks =
            (0..count(&mut reader)?).map(|_| take_block(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let groups =
            (0..count(&mut reader)?).map(|_| take_group(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let cursors = (0..count(&mut reader)?)
            .map(|_| Ok((reader.text()?.to_owned(), reader.text()?.to_owned())))
            .collect::<Result<Vec<_>, Malformed>>()?;
        if blocks.iter().any(|block| block.stream as usize >= streams.len())
            || groups.len() != blocks.len().div_ceil(GROUP_BLOCKS)
        {
            return Err(Malformed("the parts of a footer do not fit"));
        }
        Ok(Self { streams, blocks, groups, cursors })
    }
}

pub fn take_stream(reader: &mut Reader<'_>) -> Result<Stream, Malformed> {
    Ok(Stream::new(reader.text()?, reader.text()?, reader.text()?, reader.text()?))
}

fn small(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    reader.count(u32::MAX as usize).map(|number| number as u32)
}

fn take_block(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let (stream, offset, bytes) = (small(reader)?, reader.number()?, small(reader)?);
    let (rows, text_bytes, first_ns) = (small(reader)?, small(reader)?, reader.signed()?);
    let last_ns = first_ns.checked_add_unsigned(reader.number()?).ok_or(Malformed("a time is too late"))?;
    Ok(Entry { stream, offset, bytes, rows, text_bytes, first_ns, last_ns, levels: reader.byte()? })
}

fn take_group(reader: &mut Reader<'_>) -> Result<Group, Malformed> {
    Ok(Group { parity_offset: reader.number()?, parity_bytes: small(reader)?, filter_rows: small(reader)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_comes_back_and_no_part_of_it_is_taken_for_the_whole() {
        let footer = Footer {
            streams: vec![Stream::new("shop", "web", "web-1", "stdout")],
            blocks: vec![Entry {
                stream: 0,
                offset: 16,
                bytes: 900,
                rows: 12,
                text_bytes: 4000,
                first_ns: 1_790_000_000_000_000_000,
                last_ns: 1_790_000_000_000_000_977,
                levels: 0b101,
            }],
            groups: vec![Group { parity_offset: 916, parity_bytes: 900, filter_rows: 80 }],
            cursors: vec![("web-1".into(), "17:400".into())],
        };
        let bytes = footer.encode();
        assert_eq!(Footer::decode(&bytes), Ok(footer));
        for end in 0..bytes.len() {
            assert!(Footer::decode(&bytes[..end]).is_err(), "{end}");
        }
    }
}
