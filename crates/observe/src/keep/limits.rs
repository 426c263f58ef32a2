//! How much is kept, how long, and of whom nothing more is taken.

use crate::Labels;
use std::collections::VecDeque;
use std::time::Duration;

/// The bounds of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub targets: usize,
    pub series_per_target: usize,
    /// Series with samples in memory, of all targets.
    pub series: usize,
    /// Of both those whose samples others send, so that these leave room for this machine's own.
    pub sent_targets: usize,
    pub sent_series: usize,
    pub labels_per_series: usize,
    pub label_name_bytes: usize,
    pub label_value_bytes: usize,
    pub raw: Bound,
    pub minutes: Bound,
    pub hours: Bound,
}

/// For how long and up to which size one kind of segments is kept; the oldest go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub age: Duration,
    pub bytes: u64,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Limits {
    fn default() -> Self {
        Self {
            targets: 1000,
            series_per_target: 10_000,
            series: 50_000,
            sent_targets: 500,
            sent_series: 30_000,
            labels_per_series: 40,
            label_name_bytes: 256,
            label_value_bytes: 2048,
            raw: Bound { age: DAY * 7, bytes: 2 << 30 },
            minutes: Bound { age: DAY * 90, bytes: 1 << 30 },
            hours: Bound { age: DAY * 365 * 5, bytes: 512 << 20 },
        }
    }
}

/// Why a series or a target is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there are {limit} targets already")]
    Targets { limit: usize },
    #[error("the target has {limit} series already")]
    SeriesOfTarget { limit: usize },
    #[error("there are {limit} series already")]
    Series { limit: usize },
    #[error("a series may have {limit} labels")]
    Labels { limit: usize },
    #[error("the name of a label may have {limit} bytes")]
    LabelName { limit: usize },
    #[error("the value of the label {name} may have {limit} bytes")]
    LabelValue { name: String, limit: usize },
    #[error("a series needs a label")]
    NoLabels,
}

impl Limits {
    /// Whether these labels may be taken at all.
    pub fn check(&self, labels: &Labels) -> Result<(), Refused> {
        if labels.is_empty() {
            return Err(Refused::NoLabels);
        }
        if labels.len() > self.labels_per_series {
            return Err(Refused::Labels { limit: self.labels_per_series });
        }
        for (name, value) in labels.iter() {
            if name.len() > self.label_name_bytes {
                return Err(Refused::LabelName { limit: self.label_name_bytes });
            }
            if value.len() > self.label_value_bytes {
                return Err(Refused::LabelValue { name: name.into(), limit: self.label_value_bytes });
            }
        }
        Ok(())
    }
}

/// One who asked for too much.
#[derive(Debug, Clone, PartialEq)]
pub struct Offender {
    pub target: String,
    /// Shortened to [`SHOWN_BYTES_MAX`].
    pub series: String,
    pub why: Refused,
}

/// How much of an offender is shown.
const SHOWN_BYTES_MAX: usize = 200;

/// How many offenders are remembered.
const OFFENDERS_MAX: usize = 100;

/// The newest offenders, and how many there were.
#[derive(Debug, Default, Clone)]
pub struct Offenders {
    newest: VecDeque<Offender>,
    pub refused: u64,
}

impl Offenders {
    pub fn note(&mut self, target: &str, labels: &Labels, why: Refused) {
        self.refused += 1;
        let mut series = labels.to_string();
        if series.len() > SHOWN_BYTES_MAX {
            series.truncate(series.floor_char_boundary(SHOWN_BYTES_MAX));
            series.push('…');
        }
        let offender = Offender { target: target.into(), series, why };
        if self.newest.contains(&offender) {
            return;
        }
        if self.newest.len() == OFFENDERS_MAX {
            self.newest.pop_front();
        }
        self.newest.push_back(offender);
    }

    pub fn newest(&self) -> impl Iterator<Item = &Offender> {
        self.newest.iter()
    }
}
