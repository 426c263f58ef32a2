//! Numbers and times as Prometheus writes and reads them.

use std::fmt::Write;

/// A value, in quotes: they may be no numbers of JSON.
pub fn put_value(text: &mut String, value: f64) {
    text.push('"');
    put_float(text, value);
    text.push('"');
}

/// The shortest form that is read back as the same number.
pub fn put_float(text: &mut String, value: f64) {
    let size = value.abs();
    let written = if value.is_nan() {
        text.push_str("NaN");
        Ok(())
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        Ok(())
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let plain = format!("{value:e}");
        let (mantissa, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        write!(text, "{mantissa}e{sign}{digits:0>2}")
    } else {
        write!(text, "{value}")
    };
    written.expect("a text takes everything");
}

/// Seconds, with the thousandths where there are some.
pub fn put_time(text: &mut String, time_ms: i64) {
    let (seconds, rest) = (time_ms.div_euclid(1000), time_ms.rem_euclid(1000));
    let written = match rest {
        0 => write!(text, "{seconds}"),
        rest => write!(text, "{seconds}.{rest:03}"),
    };
    written.expect("a text takes everything");
}

/// A time: seconds since 1970, or as RFC 3339 has it.
pub fn time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return whole(seconds * 1000.0);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond())
}

/// A length of time: seconds, or `1h30m`.
pub fn duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return whole(seconds * 1000.0);
    }
    let duration = promql_parser::util::parse_duration(text).ok()?;
    i64::try_from(duration.as_millis()).ok()
}

/// Times that can still be added to each other.
const TIME_MS_MAX: f64 = 9e15;

fn whole(milliseconds: f64) -> Option<i64> {
    (milliseconds.abs() <= TIME_MS_MAX).then_some(milliseconds.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_prometheus_does() {
        let check = |value: f64, expected: &str| {
            let mut text = String::new();
            put_float(&mut text, value);
            assert_eq!(text, expected);
        };
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.5, "1.5");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.25e-7, "1.25e-07");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-Inf");
        let mut text = String::new();
        put_time(&mut text, 1_435_781_451_081);
        assert_eq!(text, "1435781451.081");
    }

    #[test]
    fn times_and_durations_are_read() {
        assert_eq!(time_ms("1435781451.781"), Some(1_435_781_451_781));
        assert_eq!(time_ms("2015-07-01T20:10:51.781Z"), Some(1_435_781_451_781));
        assert_eq!(time_ms("2015-07-01T22:10:51+02:00"), Some(1_435_781_451_000));
        assert_eq!((time_ms("x"), time_ms("1e30"), time_ms("NaN")), (None, None, None));
        assert_eq!((duration_ms("15"), duration_ms("1h30m")), (Some(15_000), Some(5_400_000)));
        assert_eq!((duration_ms("0.5"), duration_ms("soon")), (Some(500), None));
    }
}
