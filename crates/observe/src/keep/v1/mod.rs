//! The files, version 1: how a segment and a log are laid out. Pure; golden files hold them still.

pub mod footer;
pub mod log;
pub mod segment;

/// Which number of a sample a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Part {
    /// The value; in a summary the last one.
    Last = 0,
    Min = 1,
    Max = 2,
    Sum = 3,
    Count = 4,
    /// Of a counter: the first value, only where it fell since the summary before.
    First = 5,
    /// Of a counter: by how much it rose within, only where it was reset within.
    Rise = 6,
}

impl Part {
    pub const SUMMARY: [Self; 5] = [Self::Last, Self::Min, Self::Max, Self::Sum, Self::Count];

    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Last, Self::Min, Self::Max, Self::Sum, Self::Count, Self::First, Self::Rise]
            .get(usize::from(number))
            .copied()
    }
}

/// How fine the samples of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// As measured.
    Raw = 0,
    Minutes = 1,
    Hours = 2,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::Raw, Self::Minutes, Self::Hours];

    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
        }
    }

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// How far the samples of a summary lie apart; 0 for those as measured.
    pub fn spacing_ms(self) -> i64 {
        match self {
            Self::Raw => 0,
            Self::Minutes => 60_000,
            Self::Hours => 3_600_000,
        }
    }

    /// The stretch of time of which small segments become one.
    pub fn window_ms(self) -> i64 {
        match self {
            Self::Raw => 2 * 3_600_000,
            Self::Minutes => 24 * 3_600_000,
            Self::Hours => 30 * 24 * 3_600_000,
        }
    }

    /// What its segments are summed up to.
    pub fn coarser(self) -> Option<Self> {
        match self {
            Self::Raw => Some(Self::Minutes),
            Self::Minutes => Some(Self::Hours),
            Self::Hours => None,
        }
    }
}

/// Whether a series only ever rises, except when what it counts begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Gauge = 0,
    Counter = 1,
}

impl Kind {
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Gauge, Self::Counter].get(usize::from(number)).copied()
    }

    /// By the endings that Prometheus gives to the names of counters.
    pub fn by_name(name: &str) -> Self {
        let is_counter = ["_total", "_count", "_sum", "_bucket"].iter().any(|ending| name.ends_with(ending));
        if is_counter { Self::Counter } else { Self::Gauge }
    }
}
