//! The values of one series in one block: bytes and back, bit for bit.
//!
//! Most columns of a machine are constant, whole numbers or numbers with few decimals; only the
//! rest are compressed as floating point. Gaps and marks of an end stand apart as runs of rows.

use super::bytes::{Malformed, Reader, put_number, put_signed};
use crate::values::{ABSENT, STALE, is_absent, is_live};
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, data_types::Number};

/// The most rows of a block.
pub const ROWS_MAX: usize = 8192;

/// Kinds of columns, in the low four bits of the first byte.
const EMPTY: u8 = 0;
const SAME_WHOLE: u8 = 1;
const SAME: u8 = 2;
const PLAIN: u8 = 3;
const FLOATS: u8 = 4;
/// Whole numbers after a shift of 0 to 4 decimals.
const WHOLE: u8 = 5;
const WHOLE_LAST: u8 = WHOLE + (SHIFTS.len() - 1) as u8;
/// Whole numbers that rise by the same step.
const STEADY: u8 = WHOLE_LAST + 1;
/// Set where the column has gaps.
const GAPS: u8 = 0x80;

/// Powers of ten that make decimals whole.
const SHIFTS: [f64; 5] = [1.0, 10.0, 100.0, 1000.0, 10_000.0];

/// Beyond this a floating point number does not hold every whole one.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Fewer values than this are not worth a compressor.
const COMPRESS_MIN: usize = 4;

pub fn encode(values: &[f64]) -> Vec<u8> {
    assert!(values.len() <= ROWS_MAX, "a block has at most {ROWS_MAX} rows");
    let live: Vec<f64> = values.iter().copied().filter(|value| is_live(*value)).collect();
    let mut out = vec![0];
    if live.len() < values.len() {
        out[0] = GAPS;
        put_gaps(&mut out, values);
    }
    let kind = put_values(&mut out, &live);
    out[0] |= kind;
    out
}

/// Appends the values in the shortest form that is exact. Returns its kind.
fn put_values(out: &mut Vec<u8>, values: &[f64]) -> u8 {
    let Some(first) = values.first() else { return EMPTY };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        return put_same(out, *first);
    }
    if values.len() < COMPRESS_MIN {
        values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        return PLAIN;
    }
    if let Some((shift, whole)) = shifted(values) {
        if let Some(step) = steady_step(&whole).filter(|_| shift == 0) {
            put_signed(out, whole[0]);
            put_signed(out, step);
            return STEADY;
        }
        out.extend_from_slice(&pco_encode(&whole));
        return WHOLE + shift;
    }
    out.extend_from_slice(&pco_encode(values));
    FLOATS
}

fn put_same(out: &mut Vec<u8>, value: f64) -> u8 {
    match whole(value, 1.0) {
        Some(number) if number.unsigned_abs() < 1 << 48 => {
            put_signed(out, number);
            SAME_WHOLE
        }
        _ => {
            out.extend_from_slice(&value.to_le_bytes());
            SAME
        }
    }
}

/// Both are small enough that no step overflows.
fn steady_step(numbers: &[i64]) -> Option<i64> {
    let step = numbers[1] - numbers[0];
    numbers.windows(2).all(|pair| pair[1] - pair[0] == step).then_some(step)
}

/// The least shift with which all values are whole numbers, and these.
fn shifted(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut whole_ones = Vec::with_capacity(values.len());
    'shifts: for (shift, factor) in SHIFTS.iter().enumerate() {
        whole_ones.clear();
        for value in values {
            match whole(*value, *factor) {
                Some(number) => whole_ones.push(number),
                None => continue 'shifts,
            }
        }
        return Some((shift as u8, whole_ones));
    }
    None
}

/// The number that gives back exactly this value when divided by `factor`.
fn whole(value: f64, factor: f64) -> Option<i64> {
    let rounded = (value * factor).round();
    let number = rounded as i64;
    // By way of the whole number, which knows no negative zero.
    let is_exact = rounded.abs() < WHOLE_MAX && (number as f64 / factor).to_bits() == value.to_bits();
    is_exact.then_some(number)
}

/// Runs of rows without a value: `(rows with values before it, length * 2 + is it an end)`.
fn put_gaps(out: &mut Vec<u8>, values: &[f64]) {
    let mut runs: Vec<(usize, usize, bool)> = Vec::new();
    let mut before = 0;
    for value in values {
        if is_live(*value) {
            before += 1;
            continue;
        }
        let is_end = !is_absent(*value);
        match runs.last_mut() {
            Some((_, length, end)) if before == 0 && *end == is_end => *length += 1,
            _ => runs.push((std::mem::take(&mut before), 1, is_end)),
        }
    }
    put_number(out, runs.len() as u64);
    for (before, length, is_end) in runs {
        put_number(out, before as u64);
        put_number(out, (length as u64) << 1 | u64::from(is_end));
    }
}

pub fn decode(bytes: &[u8], rows: usize) -> Result<Vec<f64>, Malformed> {
    if rows > ROWS_MAX {
        return Err(Malformed("a block has too many rows"));
    }
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()?;
    if kind & GAPS == 0 {
        return take_values(&mut reader, kind, rows);
    }
    let runs = take_gaps(&mut reader, rows)?;
    let missing: usize = runs.iter().map(|(_, length, _)| length).sum();
    let live = take_values(&mut reader, kind & !GAPS, rows - missing)?;
    Ok(with_gaps(&live, &runs, rows))
}

fn take_gaps(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<(usize, usize, bool)>, Malformed> {
    let mut used = 0;
    let mut runs = Vec::new();
    for _ in 0..reader.count(rows)? {
        let before = reader.count(rows - used)?;
        used += before;
        let number = reader.number()?;
        let length = usize::try_from(number >> 1).map_err(|_| Malformed("a gap is too long"))?;
        if length > rows - used {
            return Err(Malformed("a gap is too long"));
        }
        used += length;
        runs.push((before, length, number & 1 == 1));
    }
    Ok(runs)
}

fn with_gaps(live: &[f64], runs: &[(usize, usize, bool)], rows: usize) -> Vec<f64> {
    let mut values = Vec::with_capacity(rows);
    let mut at = 0;
    for (before, length, is_end) in runs {
        values.extend_from_slice(&live[at..at + before]);
        at += before;
        values.extend(std::iter::repeat_n(if *is_end { STALE } else { ABSENT }, *length));
    }
    values.extend_from_slice(&live[at..]);
    values
}

fn take_values(reader: &mut Reader<'_>, kind: u8, rows: usize) -> Result<Vec<f64>, Malformed> {
    match kind {
        EMPTY if rows == 0 => Ok(Vec::new()),
        SAME_WHOLE => Ok(vec![reader.signed()? as f64; rows]),
        SAME => Ok(vec![reader.float()?; rows]),
        PLAIN => (0..rows).map(|_| reader.float()).collect(),
        FLOATS => pco_decode(reader.rest(), rows),
        STEADY => {
            let (first, step) = (reader.signed()?, reader.signed()?);
            Ok((0..rows as i64).map(|row| first.wrapping_add(step.wrapping_mul(row)) as f64).collect())
        }
        WHOLE..=WHOLE_LAST => {
            let factor = SHIFTS[usize::from(kind - WHOLE)];
            let numbers: Vec<i64> = pco_decode(reader.rest(), rows)?;
            Ok(numbers.into_iter().map(|number| number as f64 / factor).collect())
        }
        _ => Err(Malformed("an unknown kind of column")),
    }
}

/// One chunk of one page, without the frame of a file: the block says how many there are.
pub fn pco_encode<T: Number>(numbers: &[T]) -> Vec<u8> {
    let mut chunk = FileCompressor::default()
        .chunk_compressor(numbers, &ChunkConfig::default())
        .expect("a block has at least one number and fewer than the library's limit");
    let bytes = chunk.write_meta(Vec::new()).expect("writing to memory cannot fail");
    chunk.write_page(0, bytes).expect("writing to memory cannot fail")
}

/// The format that `pco_encode` writes; newer readers of the library read it too.
fn pco_format() -> Result<FileDecompressor, Malformed> {
    let header = FileCompressor::default().write_header(Vec::new()).expect("writing to memory cannot fail");
    FileDecompressor::new(&header[..])
        .map(|(format, _)| format)
        .map_err(|_| Malformed("an unknown version of numbers"))
}

pub fn pco_decode<T: Number + Default>(bytes: &[u8], count: usize) -> Result<Vec<T>, Malformed> {
    if count > ROWS_MAX {
        return Err(Malformed("a block has too many rows"));
    }
    let damaged = |_| Malformed("compressed numbers are damaged");
    let (mut chunk, rest) = pco_format()?.chunk_decompressor::<T, _>(bytes).map_err(damaged)?;
    let mut numbers = vec![T::default(); count];
    let mut page = chunk.page_decompressor(rest, count).map_err(damaged)?;
    let progress = page.read(&mut numbers).map_err(damaged)?;
    if progress.n_processed == count { Ok(numbers) } else { Err(Malformed("compressed numbers are too few")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn check(values: &[f64]) -> usize {
        let bytes = encode(values);
        assert_eq!(bits(&decode(&bytes, values.len()).unwrap()), bits(values));
        bytes.len()
    }

    #[test]
    fn what_machines_measure_comes_back_in_few_bytes() {
        assert!(check(&[4096.0; 600]) <= 4, "a constant");
        assert!(check(&[0.1; 600]) == 9, "a constant that is not whole");
        assert!(check(&(0..600).map(|i| f64::from(i) * 3.0).collect::<Vec<_>>()) < 40, "a steady counter");
        assert!(check(&(0..600).map(|i| f64::from(i % 7) / 100.0).collect::<Vec<_>>()) < 400, "two decimals");
        check(&[]);
        check(&[1.0, f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE / 2.0, f64::MAX]);
        check(&[-0.0; 10]);
    }

    #[test]
    fn gaps_and_ends_come_back() {
        check(&[ABSENT, ABSENT, 1.0, 2.0, STALE, ABSENT, ABSENT, 5.0, 6.0, 7.5]);
        check(&[ABSENT; 10]);
        check(&[STALE]);
        check(&[1.0, STALE, STALE]);
    }

    proptest! {
        #[test]
        fn any_bits_come_back(raw in proptest::collection::vec(any::<u64>(), 0..700)) {
            check(&raw.iter().map(|bits| f64::from_bits(*bits)).collect::<Vec<_>>());
        }

        #[test]
        fn decimals_with_gaps_come_back(raw in proptest::collection::vec((0u8..8, -100_000i32..100_000), 0..700)) {
            let value = |(kind, number): &(u8, i32)| match kind {
                0 => ABSENT,
                1 => STALE,
                _ => f64::from(*number) / 100.0,
            };
            check(&raw.iter().map(value).collect::<Vec<_>>());
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), rows in 0usize..9000) {
            let _ = decode(&bytes, rows);
            let _ = super::super::times::decode(&bytes, rows);
        }
    }
}
