//! Durations, sizes, shares of processors and instants as newtypes that read and print as people
//! write them. Serialised as plain integers with the unit in the type's name.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {what}, expected {expected}")]
pub struct UnitError {
    pub what: &'static str,
    pub value: String,
    pub expected: &'static str,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationMs(pub u64);

impl DurationMs {
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
    /// Compose's duration form: one or more of `us ms s m h`, such as `1m30s`.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        parse_duration(text).map(Self).ok_or_else(|| UnitError {
            what: "duration",
            value: text.to_owned(),
            expected: "a number with a unit, such as `500ms`, `30s` or `1m30s`",
        })
    }
}

fn parse_duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total_us: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale_us = match &rest[..unit_len] {
            "ns" => 0.001,
            "us" | "µs" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            "m" => 60e6,
            "h" => 3600e6,
            "d" => 86_400e6,
            "w" => 604_800e6,
            _ => return None,
        };
        total_us += number * scale_us;
        rest = &rest[unit_len..];
    }
    (!text.is_empty() && total_us < 9e18).then_some((total_us / 1e3).round() as u64)
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 1000 => write!(f, "{ms} ms"),
            ms if ms < 10_000 && ms % 1000 != 0 => write!(f, "{:.1} s", ms as f64 / 1000.0),
            ms if ms < 60_000 => write!(f, "{} s", ms / 1000),
            ms if ms < 3_600_000 => write!(f, "{} min {} s", ms / 60_000, ms / 1000 % 60),
            ms if ms < 86_400_000 => write!(f, "{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
            ms => write!(f, "{} d {} h", ms / 86_400_000, ms / 3_600_000 % 24),
        }
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
    /// Compose's byte form: a number with `b k kb m mb g gb` (powers of 1024), case ignored.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        parse_bytes(text).map(Self).ok_or_else(|| UnitError {
            what: "size",
            value: text.to_owned(),
            expected: "a number with a unit, such as `64m` or `1gb`",
        })
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let value = number * (1u64 << shift) as f64;
    (value.is_finite() && value < 9e18).then_some(value as u64)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        match (unit, value) {
            (0, _) => write!(f, "{} B", self.0),
            (_, v) if v < 10.0 && v.fract() > 0.05 => write!(f, "{v:.1} {}", UNITS[unit]),
            (_, v) => write!(f, "{v:.0} {}", UNITS[unit]),
        }
    }
}

/// A share of processors in thousandths: 1500 is one and a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cpus(pub u32);

impl Cpus {
    /// Compose's form: a decimal number such as `0.5`.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        match text.trim().parse::<f64>() {
            Ok(n) if (0.0..1e6).contains(&n) => Ok(Self((n * 1000.0).round() as u32)),
            _ => Err(UnitError {
                what: "number of processors",
                value: text.to_owned(),
                expected: "a decimal number, such as `0.5`",
            }),
        }
    }
}

/// A share in whole hundredths, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(u8);

impl Percent {
    /// `10%` or `10`.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let digits = text.trim().trim_end_matches('%').trim_end();
        match digits.parse::<u8>() {
            Ok(share @ 1..=100) => Ok(Self(share)),
            _ => Err(UnitError {
                what: "share",
                value: text.to_owned(),
                expected: "a whole percentage from 1% to 100%, such as `10%`",
            }),
        }
    }
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\u{a0}%", self.0)
    }
}

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn plus(self, duration: DurationMs) -> Self {
        Self(self.0.saturating_add_unsigned(duration.0))
    }
    /// Time since `earlier`, zero when the clock went backwards.
    pub fn since(self, earlier: Timestamp) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_compose_writes_them() {
        for (text, ms) in [("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("2h", 7_200_000), ("0", 0)] {
            assert_eq!(DurationMs::parse(text), Ok(DurationMs(ms)), "{text}");
        }
        for bad in ["", "10", "s", "1x", "1s2"] {
            assert!(DurationMs::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_as_compose_writes_them() {
        for (text, bytes) in [
            ("64m", 64 << 20),
            ("1GB", 1 << 30),
            ("512", 512),
            ("2kb", 2048),
            ("1.5g", 3 << 29),
            ("300b", 300),
        ] {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "m", "1x", "-1m"] {
            assert!(Bytes::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_whole_percentages() {
        assert_eq!(Percent::parse("10%").map(Percent::get), Ok(10));
        assert_eq!(Percent::parse("100").map(Percent::get), Ok(100));
        for bad in ["", "0", "101%", "1.5%", "-1"] {
            assert!(Percent::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_print_as_people_say_them() {
        assert_eq!(DurationMs(1500).to_string(), "1.5 s");
        assert_eq!(DurationMs(90_000).to_string(), "1 min 30 s");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Bytes::mib(64).to_string(), "64 MiB");
    }
}
