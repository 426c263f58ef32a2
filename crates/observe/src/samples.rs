//! The port between what asks (PromQL) and what keeps: [`Samples`].

use crate::{Labels, Matcher};

/// Where samples come from.
pub trait Samples {
    /// The series that all matchers accept and that may have samples in the range (both ends count).
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Box<dyn Series + 'a>>, SamplesError>;
}

/// One series; its samples are read when they are needed, so that a query holds few at a time.
pub trait Series {
    fn labels(&self) -> &Labels;

    /// Appends the samples with `from_ms <= time <= to_ms` in the order of time, marks of an end
    /// ([`crate::STALE`]) included.
    fn read(&self, from_ms: i64, to_ms: i64, want: Want, into: &mut Points) -> Result<(), SamplesError>;
}

/// Which number of a summary is asked for, where the storage has only summaries left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The value itself.
    Last,
    Min,
    Max,
    /// The sum of the values behind a sample.
    Sum,
    /// How many values are behind a sample; 1 for one as it was measured.
    Count,
}

/// Samples in the order of time.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Points {
    pub times_ms: Vec<i64>,
    pub values: Vec<f64>,
    /// How far samples lie apart where only summaries are left; 0 where all are as measured.
    pub spacing_ms: i64,
}

impl Points {
    pub fn clear(&mut self) {
        self.times_ms.clear();
        self.values.clear();
        self.spacing_ms = 0;
    }

    /// Ignores what is not after the last one: of two at one time the first counts.
    pub fn push(&mut self, time_ms: i64, value: f64) {
        if self.times_ms.last().is_none_or(|last| *last < time_ms) {
            self.times_ms.push(time_ms);
            self.values.push(value);
        }
    }

    pub fn len(&self) -> usize {
        self.times_ms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times_ms.is_empty()
    }
}

/// Why samples cannot be had. Damage to a part is no error: the rest is answered and the damage counted.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    #[error("a query may look at {limit} series and this selector has more")]
    TooManySeries { limit: usize },
}
