//! `x-juchu.ranges` of a service: what is declared about the normal range of its signals.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Signals of one service for which something is declared.
pub const RANGES_MAX: usize = 64;
/// Characters of a signal's name.
pub const NAME_MAX: usize = 64;
/// Bytes of an expression.
pub const QUERY_MAX: usize = 4096;

/// Values that a signal never leaves while all is well. At least one end is there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Ends", into = "Ends")]
pub struct Bounds {
    low: Option<f64>,
    high: Option<f64>,
}

/// Neither end is ever not a number.
impl Eq for Bounds {}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BoundsError {
    #[error("a range needs `min`, `max` or both")]
    Empty,
    #[error("an end of a range must be a finite number")]
    NotFinite,
    #[error("the range is upside down: min {low} is above max {high}")]
    UpsideDown { low: f64, high: f64 },
}

impl Bounds {
    pub fn new(low: Option<f64>, high: Option<f64>) -> Result<Self, BoundsError> {
        match (low, high) {
            (None, None) => Err(BoundsError::Empty),
            (low, high) if low.into_iter().chain(high).any(|end| !end.is_finite()) => {
                Err(BoundsError::NotFinite)
            }
            (Some(low), Some(high)) if low > high => Err(BoundsError::UpsideDown { low, high }),
            (low, high) => Ok(Self { low, high }),
        }
    }

    pub const fn low(&self) -> Option<f64> {
        self.low
    }

    pub const fn high(&self) -> Option<f64> {
        self.high
    }

    pub fn contains(&self, value: f64) -> bool {
        self.low.is_none_or(|low| value >= low) && self.high.is_none_or(|high| value <= high)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (Some(low), Some(high)) => write!(f, "{low} to {high}"),
            (Some(low), None) => write!(f, "at least {low}"),
            (None, Some(high)) => write!(f, "at most {high}"),
            (None, None) => f.write_str("anything"),
        }
    }
}

/// The form of [`Bounds`] on wires and disks.
#[derive(Serialize, Deserialize)]
struct Ends {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
}

impl TryFrom<Ends> for Bounds {
    type Error = BoundsError;

    fn try_from(ends: Ends) -> Result<Self, BoundsError> {
        Self::new(ends.min, ends.max)
    }
}

impl From<Bounds> for Ends {
    fn from(bounds: Bounds) -> Self {
        Self { min: bounds.low, max: bounds.high }
    }
}

/// How much it wants attention when a signal is outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Is shown, never announced.
    Information,
    /// Within the day.
    Important,
    /// Now.
    Urgent,
}

impl Level {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Information => "information",
            Self::Important => "important",
            Self::Urgent => "urgent",
        }
    }
}

/// What is declared of one signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// Whether a band is learned as well.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub learn: bool,
    /// It is not watched at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// PromQL with one number as its answer, of a signal of the service's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl Default for Declared {
    fn default() -> Self {
        Self { bounds: None, learn: true, off: false, level: None, query: None }
    }
}

const fn yes() -> bool {
    true
}

const fn is_yes(value: &bool) -> bool {
    *value
}

/// By the name of the signal.
pub type Ranges = BTreeMap<String, Declared>;

/// What a signal's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Number,
    PerSecond,
    /// 0 to 1.
    Share,
    Seconds,
    Bytes,
    Cores,
}

impl Unit {
    /// Reads `400ms`, `1%`, `512MiB`, `0.5`, as fits the unit.
    pub fn parse(self, text: &str) -> Option<f64> {
        let text = text.trim();
        let split = text.find(|c: char| c.is_alphabetic() || "%/".contains(c)).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        // An exponent is part of the number.
        let (number, unit) = match text.parse::<f64>() {
            Ok(_) => (text, ""),
            Err(_) => (number.trim(), unit.trim()),
        };
        let number: f64 = number.parse().ok()?;
        let factor = match (self, unit.to_ascii_lowercase().as_str()) {
            (_, "") => 1.0,
            (Self::Share | Self::Number, "%") => 0.01,
            (Self::Seconds | Self::Number, "us" | "µs") => 1e-6,
            (Self::Seconds | Self::Number, "ms") => 1e-3,
            (Self::Seconds | Self::Number, "s") => 1.0,
            (Self::Seconds | Self::Number, "m" | "min") => 60.0,
            (Self::Seconds | Self::Number, "h") => 3600.0,
            (Self::Seconds, "d") => 86_400.0,
            (Self::Bytes, "b") => 1.0,
            (Self::Bytes, "k" | "kb" | "kib") => 1024.0,
            (Self::Bytes, "m" | "mb" | "mib") => 1024.0 * 1024.0,
            (Self::Bytes, "g" | "gb" | "gib") => 1024.0 * 1024.0 * 1024.0,
            (Self::Bytes, "t" | "tb" | "tib") => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            (Self::PerSecond, "/s") => 1.0,
            (Self::Cores, "cores" | "core") => 1.0,
            _ => return None,
        };
        Some(number * factor).filter(|value| value.is_finite())
    }

    /// With the unit that people read: `412 ms`, `1.2 %`, `512 MiB`.
    pub fn show(self, value: f64) -> String {
        let size = value.abs();
        match self {
            _ if !value.is_finite() => "–".to_owned(),
            Self::Number => plain(value),
            Self::PerSecond => format!("{}/s", plain(value)),
            Self::Cores => format!("{} cores", plain(value)),
            Self::Share => format!("{} %", plain(value * 100.0)),
            Self::Seconds if size == 0.0 => "0 s".to_owned(),
            Self::Seconds if size < 1e-3 => format!("{} µs", plain(value * 1e6)),
            Self::Seconds if size < 1.0 => format!("{} ms", plain(value * 1e3)),
            Self::Seconds if size < 120.0 => format!("{} s", plain(value)),
            Self::Seconds if size < 7200.0 => format!("{} min", plain(value / 60.0)),
            Self::Seconds if size < 172_800.0 => format!("{} h", plain(value / 3600.0)),
            Self::Seconds => format!("{} d", plain(value / 86_400.0)),
            Self::Bytes => bytes(value),
        }
    }
}

fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            return format!("{} {unit}", plain(value));
        }
        value /= 1024.0;
    }
    format!("{} TiB", plain(value))
}

/// Three digits that count.
fn plain(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        return format!("{value:.2e}");
    }
    let decimals =
        if size == 0.0 || size >= 100.0 { 0 } else { (2 - size.log10().floor() as i32).clamp(0, 6) };
    let text = format!("{value:.*}", decimals as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_upside_down_is_refused() {
        assert_eq!(Bounds::new(Some(2.0), Some(1.0)), Err(BoundsError::UpsideDown { low: 2.0, high: 1.0 }));
        assert_eq!(Bounds::new(None, None), Err(BoundsError::Empty));
        assert_eq!(Bounds::new(Some(f64::NAN), None), Err(BoundsError::NotFinite));
        assert!(Bounds::new(Some(1.0), Some(1.0)).is_ok_and(|bounds| bounds.contains(1.0)));
        assert!(serde_json::from_str::<Bounds>(r#"{"min":2,"max":1}"#).is_err());
    }

    #[test]
    fn values_are_read_with_the_unit_of_the_signal() {
        let all = [
            (Unit::Seconds, "400ms", Some(0.4)),
            (Unit::Share, "1%", Some(0.01)),
            (Unit::Bytes, "512m", Some(536_870_912.0)),
            (Unit::Bytes, "1 GiB", Some(1_073_741_824.0)),
            (Unit::Number, "1e3", Some(1000.0)),
            (Unit::Number, "-3", Some(-3.0)),
            (Unit::Bytes, "3s", None),
            (Unit::Number, "NaN", Some(f64::NAN)),
            (Unit::Seconds, "", None),
        ];
        for (unit, text, expected) in all {
            let found = unit.parse(text);
            match expected {
                Some(value) if value.is_nan() => {
                    assert!(found.is_some_and(f64::is_nan) || found.is_none(), "{text}")
                }
                _ => assert_eq!(found, expected, "{text}"),
            }
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for (unit, value) in [
            (Unit::Seconds, 0.000_012),
            (Unit::Seconds, 0.4),
            (Unit::Seconds, 300.0),
            (Unit::Seconds, 7200.0),
            (Unit::Share, 0.25),
            (Unit::Bytes, 536_870_912.0),
            (Unit::PerSecond, 3.5),
            (Unit::Cores, 2.0),
            (Unit::Number, -3.0),
        ] {
            let shown = unit.show(value);
            let read = unit.parse(&shown).expect(&shown);
            assert!((read - value).abs() <= value.abs() * 1e-9, "{shown}: {read}");
        }
    }

    #[test]
    fn values_are_shown_with_three_digits() {
        let all = [
            Unit::Seconds.show(0.4123),
            Unit::Share.show(0.0123),
            Unit::Bytes.show(536_870_912.0),
            Unit::PerSecond.show(0.0),
            Unit::Seconds.show(7200.0),
        ];
        assert_eq!(all, ["412 ms", "1.23 %", "512 MiB", "0/s", "2 h"]);
    }
}
