//! The column of times that all series of one target share.
//!
//! Ticks are regular, so it is mostly one run: a first time, a step, how often. Times that jitter
//! are compressed as numbers.

use super::bytes::{Malformed, Reader, put_number, put_signed};
use super::column::{pco_decode, pco_encode};

/// More runs than this are compressed as numbers instead.
const RUNS_MAX: usize = 32;

const RUNS: u8 = 0;
const NUMBERS: u8 = 1;

/// `times` rise strictly.
pub fn encode(times: &[i64]) -> Vec<u8> {
    debug_assert!(times.is_sorted_by(|a, b| a < b), "the times of a block rise");
    let mut out = Vec::new();
    let runs = runs(times);
    if runs.len() <= RUNS_MAX {
        out.push(RUNS);
        put_signed(&mut out, times.first().copied().unwrap_or_default());
        put_number(&mut out, runs.len() as u64);
        for (step, repeat) in runs {
            put_number(&mut out, step as u64);
            put_number(&mut out, repeat as u64);
        }
    } else {
        out.push(NUMBERS);
        out.extend_from_slice(&pco_encode(times));
    }
    out
}

/// Equal steps one after the other: `(step, how often)`.
fn runs(times: &[i64]) -> Vec<(i64, usize)> {
    let mut runs: Vec<(i64, usize)> = Vec::new();
    for pair in times.windows(2) {
        let step = pair[1] - pair[0];
        match runs.last_mut() {
            Some((last, repeat)) if *last == step => *repeat += 1,
            _ => runs.push((step, 1)),
        }
    }
    runs
}

/// `rows` is how many there must be.
pub fn decode(bytes: &[u8], rows: usize) -> Result<Vec<i64>, Malformed> {
    let mut reader = Reader::new(bytes);
    let times = match reader.byte()? {
        RUNS => decode_runs(&mut reader, rows)?,
        NUMBERS => pco_decode(reader.rest(), rows)?,
        _ => return Err(Malformed("an unknown kind of times")),
    };
    match times.is_sorted_by(|a, b| a < b) {
        true => Ok(times),
        false => Err(Malformed("times do not rise")),
    }
}

fn decode_runs(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<i64>, Malformed> {
    let mut time = reader.signed()?;
    let mut times = Vec::with_capacity(rows);
    if rows > 0 {
        times.push(time);
    }
    for _ in 0..reader.count(RUNS_MAX)? {
        let step = i64::try_from(reader.number()?).map_err(|_| Malformed("a step is too large"))?;
        for _ in 0..reader.count(rows - times.len().min(rows))? {
            time = time.checked_add(step).ok_or(Malformed("a time is too large"))?;
            times.push(time);
        }
    }
    if times.len() == rows { Ok(times) } else { Err(Malformed("the times are too few")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_times_take_a_few_bytes() {
        let times: Vec<i64> = (0..7200).map(|tick| 1_790_000_000_000 + tick * 1000).collect();
        let bytes = encode(&times);
        assert!(bytes.len() <= 14, "{} bytes", bytes.len());
        assert_eq!(decode(&bytes, times.len()), Ok(times));
    }

    #[test]
    fn jitter_and_gaps_come_back() {
        let times: Vec<i64> = (0..500).map(|tick| tick * 1000 + tick * 7919 % 13).collect();
        assert_eq!(decode(&encode(&times), times.len()), Ok(times));
        assert_eq!(decode(&encode(&[]), 0), Ok(Vec::new()));
        assert_eq!(decode(&encode(&[-5]), 1), Ok(vec![-5]));
        assert!(decode(&encode(&[1, 2, 3]), 4).is_err());
        assert!(decode(&encode(&[1, 2, 3]), 2).is_err());
    }
}
