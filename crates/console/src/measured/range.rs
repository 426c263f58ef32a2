//! How far back a page looks: the person's choice, in the address as `range`.

use super::Asked;
use model::Timestamp;

/// Points of a chart; a screen shows no more.
const POINTS: i64 = 120;
/// Charts move on in steps, so that many who look ask the same.
const MOVES_MS: i64 = 10_000;
/// The shortest time that a rate is taken over.
const RATE_MIN_S: i64 = 60;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Range {
    #[default]
    Hour,
    SixHours,
    Day,
    Week,
}

impl Range {
    pub const ALL: [Self; 4] = [Self::Hour, Self::SixHours, Self::Day, Self::Week];

    /// As in the address.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::SixHours => "6h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "1 hour",
            Self::SixHours => "6 hours",
            Self::Day => "24 hours",
            Self::Week => "7 days",
        }
    }

    /// The first where the word is none of them.
    pub fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|range| range.word() == word).unwrap_or_default()
    }

    pub const fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3_600,
            Self::SixHours => 6 * 3_600,
            Self::Day => 24 * 3_600,
            Self::Week => 7 * 24 * 3_600,
        }
    }

    pub const fn step_s(self) -> i64 {
        self.seconds() / POINTS
    }

    /// Every second counts for some point.
    const fn rate_s(self) -> i64 {
        if self.step_s() > RATE_MIN_S { self.step_s() } else { RATE_MIN_S }
    }

    /// The expression over this range; `$rate` in it becomes a length of time.
    pub fn asked(self, expression: &str, now: Timestamp) -> Asked {
        let moves = if self.step_s() * 1000 > MOVES_MS { self.step_s() * 1000 } else { MOVES_MS };
        let to = now.0.div_euclid(moves) * moves;
        Asked {
            expression: expression.replace("$rate", &format!("{}s", self.rate_s())),
            from: Timestamp(to - self.seconds() * 1000),
            to: Timestamp(to),
            step_ms: self.step_s() * 1000,
        }
    }

    /// The last hour with a point for each minute, moving on every ten seconds: for small charts.
    pub fn small(expression: &str, now: Timestamp) -> Asked {
        let to = now.0.div_euclid(MOVES_MS) * MOVES_MS;
        Asked {
            expression: expression.replace("$rate", "60s"),
            from: Timestamp(to - 3_600_000),
            to: Timestamp(to),
            step_ms: 60_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_look_within_a_step_ask_the_same() {
        let at = |ms| Range::Hour.asked("rate(x[$rate])", Timestamp(ms));
        assert_eq!(at(1_795_348_800_000), at(1_795_348_829_999));
        assert_ne!(at(1_795_348_800_000), at(1_795_348_830_000));
        assert_eq!(at(0).expression, "rate(x[60s])");
        assert_eq!(Range::Week.asked("rate(x[$rate])", Timestamp(0)).expression, "rate(x[5040s])");
        for range in Range::ALL {
            assert_eq!(range.asked("x", Timestamp(1_795_348_800_000)).steps(), 121);
            assert_eq!(Range::of(range.word()), range);
        }
        assert_eq!(Range::of("'><script>"), Range::Hour);
    }
}
