//! The host's clock, and the time form of log lines (`2026-11-22T10:00:00.000000000Z`).

use model::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub fn now() -> Timestamp {
    Timestamp(since_epoch().as_millis() as i64)
}

pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Thirty bytes, nanoseconds, UTC.
pub fn format(at: Duration) -> [u8; 30] {
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let seconds = at.as_secs();
    let (year, month, day) = civil_from_days((seconds / 86_400) as i64);
    let of_day = seconds % 86_400;
    digits(&mut text[0..4], year as u64);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], of_day / 3600);
    digits(&mut text[14..16], of_day / 60 % 60);
    digits(&mut text[17..19], of_day % 60);
    digits(&mut text[20..29], u64::from(at.subsec_nanos()));
    text
}

/// The inverse of [`format`], in milliseconds.
pub fn parse(text: &[u8]) -> Option<Timestamp> {
    if text.len() != 30 || text[10] != b'T' || text[29] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| std::str::from_utf8(&text[range]).ok()?.parse::<i64>().ok();
    let days = days_from_civil(number(0..4)?, number(5..7)?, number(8..10)?);
    let seconds = days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Some(Timestamp(seconds * 1000 + number(20..29)? / 1_000_000))
}

fn digits(into: &mut [u8], mut value: u64) {
    for place in into.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

// Years are counted from March in eras of 400 years, so that leap days fall at the end.
fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u64, day as u64)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_as_written() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_795_341_600, "2026-11-22T10:00:00.000000000Z"),
        ] {
            assert_eq!(std::str::from_utf8(&format(Duration::from_secs(seconds))), Ok(text));
            assert_eq!(parse(text.as_bytes()), Some(Timestamp(seconds as i64 * 1000)));
        }
        assert_eq!(parse(b"yesterday"), None);
    }
}
