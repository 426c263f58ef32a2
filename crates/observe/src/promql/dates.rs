//! Parts of a date in UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The function of this name at a time in seconds; NaN where there is no such date.
pub fn part(name: &str, seconds: f64) -> f64 {
    if !seconds.is_finite() {
        return f64::NAN;
    }
    let Ok(time) = Timestamp::from_second(seconds as i64) else { return f64::NAN };
    let time = time.to_zoned(TimeZone::UTC);
    f64::from(match name {
        "minute" => i16::from(time.minute()),
        "hour" => i16::from(time.hour()),
        "day_of_month" => i16::from(time.day()),
        "day_of_week" => i16::from(time.weekday().to_sunday_zero_offset()),
        "day_of_year" => time.day_of_year(),
        "days_in_month" => i16::from(time.days_in_month()),
        "month" => i16::from(time.month()),
        _ => time.year(),
    })
}
