//! What numbers of charts are counted in, and how they are written: three digits, then the unit.

use super::chart::joined;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    PerSecond,
    /// Of one, shown in percent.
    Share,
    /// Of processors: 1 is one processor.
    Processors,
    Bytes,
    BytesPerSecond,
    Seconds,
}

/// The axis of a chart: from nothing to a round number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    unit: Unit,
    top: f64,
    most: f64,
}

/// Steps of a thousand; times go down instead.
const LARGE: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
/// Round numbers that an axis ends with.
const ROUND: [f64; 6] = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];

impl Unit {
    /// `12.4 MB/s`, `3.1 %`, `850 µs`.
    pub fn text(self, value: f64) -> String {
        let (factor, unit) = self.measure(value);
        joined(&digits(value / factor), &unit)
    }

    /// What a number of this size is divided by, and the unit it then has.
    fn measure(self, value: f64) -> (f64, String) {
        let thousands = |base: &str| {
            let (factor, letter) =
                LARGE.into_iter().find(|(factor, _)| value.abs() >= *factor * 0.9995).unwrap_or((1.0, ""));
            (factor, format!("{letter}{base}"))
        };
        match self {
            Unit::Count => thousands(""),
            Unit::PerSecond => thousands("/s"),
            Unit::Bytes => thousands("B"),
            Unit::BytesPerSecond => thousands("B/s"),
            Unit::Share | Unit::Processors => (0.01, "%".to_owned()),
            Unit::Seconds => match value.abs() {
                0.0 => (1.0, "s".to_owned()),
                tiny if tiny < 0.000_999_5 => (1e-6, "µs".to_owned()),
                small if small < 0.9995 => (1e-3, "ms".to_owned()),
                large if large < 7200.0 => (1.0, "s".to_owned()),
                hours if hours < 172_800.0 => (3600.0, "h".to_owned()),
                _ => (86_400.0, "d".to_owned()),
            },
        }
    }
}

/// Three digits that count; never `1e21`.
fn digits(value: f64) -> String {
    match value.abs() {
        none if none < 0.000_5 => "0".to_owned(),
        tiny if tiny < 0.0995 => trimmed(format!("{value:.3}")),
        small if small < 9.995 => trimmed(format!("{value:.2}")),
        middle if middle < 99.95 => trimmed(format!("{value:.1}")),
        _ => format!("{value:.0}"),
    }
}

/// Without zeros that say nothing.
fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Scale {
    pub fn of(unit: Unit, most: f64) -> Self {
        let most = if most.is_finite() { most.max(0.0) } else { 0.0 };
        if most == 0.0 {
            return Self { unit, top: if unit == Unit::Share { 0.01 } else { 1.0 }, most };
        }
        let (factor, _) = unit.measure(most);
        let shown = most / factor;
        let power = 10f64.powf(shown.log10().floor());
        let round = ROUND.into_iter().map(|round| round * power).find(|round| *round >= shown * 0.9999);
        let top = round.unwrap_or(shown) * factor;
        // Nothing is more than all of it.
        let top = if unit == Unit::Share && most <= 1.0 { top.min(1.0) } else { top };
        Self { unit, top, most }
    }

    pub const fn top(&self) -> f64 {
        self.top
    }

    pub fn is_flat(&self) -> bool {
        self.most == 0.0
    }

    /// At a share of the height.
    pub fn text(&self, share: f64) -> String {
        let (factor, unit) = self.unit.measure(self.top);
        let number = digits(self.top * share / factor);
        if share == 0.0 { number } else { joined(&number, &unit) }
    }

    /// The top in its own unit, for the script.
    pub fn top_number(&self) -> String {
        let (factor, _) = self.unit.measure(self.top);
        digits(self.top / factor)
    }

    pub fn unit_text(&self) -> String {
        self.unit.measure(self.top).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (unit, value, expect) in [
            (Unit::BytesPerSecond, 12_400_000.0, "12.4 MB/s"),
            (Unit::BytesPerSecond, 0.0, "0 B/s"),
            (Unit::Share, 0.031, "3.1 %"),
            (Unit::Share, 1.0, "100 %"),
            (Unit::Processors, 2.5, "250 %"),
            (Unit::Seconds, 0.000_85, "850 µs"),
            (Unit::Seconds, 0.012_34, "12.3 ms"),
            (Unit::Seconds, 0.999_9, "1 s"),
            (Unit::Seconds, 90_000.0, "25 h"),
            (Unit::Count, 999.7, "1 k"),
            (Unit::Count, 42.0, "42"),
            (Unit::PerSecond, 0.0333, "0.033/s"),
        ] {
            assert_eq!(unit.text(value).replace('\u{a0}', " "), expect, "{unit:?} {value}");
        }
    }

    #[test]
    fn an_axis_ends_with_a_round_number_above_everything() {
        for (unit, most, expect) in [
            (Unit::Share, 0.033, "4 %"),
            (Unit::Share, 0.97, "100 %"),
            (Unit::Share, 0.0, "1 %"),
            (Unit::Bytes, 3_100_000_000.0, "4 GB"),
            (Unit::Seconds, 0.045, "60 ms"),
            (Unit::Count, 1.0, "1"),
            (Unit::Count, f64::INFINITY, "1"),
        ] {
            let scale = Scale::of(unit, most);
            assert_eq!(scale.text(1.0).replace('\u{a0}', " "), expect, "{unit:?} {most}");
            assert!(scale.top() >= most * 0.999 || !most.is_finite());
        }
    }
}
