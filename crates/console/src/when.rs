//! Times as people read them: in the time zone of this machine, and only as exact as is useful.

use jiff::tz::TimeZone;
use model::Timestamp;

/// The present, from the system clock.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Reads `2026-11-22T12:00:00Z` or another RFC 3339 time.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_millisecond()))
}

/// Writes times in one zone, seen from one moment.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
    pub now: Timestamp,
}

impl Clock {
    /// The machine's zone and the present.
    pub fn system() -> Self {
        Self { zone: TimeZone::system(), now: now() }
    }

    /// For tests and for machines to read.
    pub fn utc(now: Timestamp) -> Self {
        Self { zone: TimeZone::UTC, now }
    }

    /// `12:04:31` today, `Nov 21 12:04` this year, else `2025-11-21`.
    pub fn short(&self, at: Timestamp) -> String {
        let (at, now) = (self.zoned(at), self.zoned(self.now));
        let form = match () {
            () if at.date() == now.date() => "%H:%M:%S",
            () if at.year() == now.year() => "%b %-d %H:%M",
            () => "%Y-%m-%d",
        };
        at.strftime(form).to_string()
    }

    /// A time to come: `14:32`, with its seconds when it is near, with its day when it is not today.
    pub fn soon(&self, at: Timestamp) -> String {
        let near = at.0.abs_diff(self.now.0) < 2 * 60_000;
        let (at, now) = (self.zoned(at), self.zoned(self.now));
        let form = match () {
            () if near => "%H:%M:%S",
            () if at.date() == now.date() => "%H:%M",
            () => "%b %-d %H:%M",
        };
        at.strftime(form).to_string()
    }

    /// `12:04`, on an axis of hours.
    pub fn minute(&self, at: Timestamp) -> String {
        self.zoned(at).strftime("%H:%M").to_string()
    }

    /// `Nov 21`, on an axis of days.
    pub fn day(&self, at: Timestamp) -> String {
        self.zoned(at).strftime("%b %-d").to_string()
    }

    /// `2026-11-22 12:04:31`.
    pub fn full(&self, at: Timestamp) -> String {
        self.zoned(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// `2026-11-22T12:04:31.250Z`, always UTC.
    pub fn rfc3339(at: Timestamp) -> String {
        instant(at).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    fn zoned(&self, at: Timestamp) -> jiff::Zoned {
        instant(at).to_zoned(self.zone.clone())
    }
}

/// Instants outside what calendars can say are shown as its nearest end.
fn instant(at: Timestamp) -> jiff::Timestamp {
    let (low, high) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
    let at = at.0.clamp(low.as_millisecond() + 1, high.as_millisecond() - 1);
    jiff::Timestamp::from_millisecond(at).unwrap_or(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_exact_as_it_is_near() {
        let now = Timestamp(1_795_348_800_000); // 2026-11-22 12:00:00 UTC
        let clock = Clock::utc(now);
        assert_eq!(clock.short(Timestamp(now.0 - 1000)), "11:59:59");
        assert_eq!(clock.short(Timestamp(now.0 - 86_400_000)), "Nov 21 12:00");
        assert_eq!(clock.short(Timestamp(0)), "1970-01-01");
        assert_eq!(clock.full(now), "2026-11-22 12:00:00");
        assert_eq!(Clock::rfc3339(Timestamp(now.0 + 250)), "2026-11-22T12:00:00.250Z");
        assert_eq!(clock.soon(Timestamp(now.0 + 61_000)), "12:01:01");
        assert_eq!(clock.soon(Timestamp(now.0 + 3_600_000)), "13:00");
        assert_eq!(clock.soon(Timestamp(now.0 + 86_400_000)), "Nov 23 12:00");
        assert_eq!(parse("2026-11-22T13:00:00+01:00"), Some(now));
        assert_eq!(parse("yesterday"), None);
        assert!(!clock.full(Timestamp(i64::MAX)).is_empty());
        assert!(!clock.full(Timestamp(i64::MIN)).is_empty());
    }
}
