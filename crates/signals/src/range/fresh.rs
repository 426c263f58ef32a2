//! What came to a signal since it was written down last, so that little has to be written often.

use super::standing::{Hysteresis, Standing};
use serde::{Deserialize, Serialize};

/// Values between two times that it is written down; beyond, the oldest are left out.
const FRESH_MAX: usize = 64;

/// A value, and whether it was learned.
type Learned = (f32, bool);

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fresh {
    values: Vec<Learned>,
    /// How many of them came before the program behind it began anew.
    anew: Option<usize>,
    /// As it was written last.
    written: Option<(i64, Standing)>,
}

/// What came since, as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grown {
    /// The half hour all of it lies in.
    pub slot: i64,
    pub(super) since_ms: i64,
    pub(super) standing: Standing,
    pub(super) hysteresis: Hysteresis,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<f32>,
    /// Which of them were not learned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unlearned: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anew: Option<usize>,
}

impl Fresh {
    pub fn push(&mut self, value: f32, is_learned: bool) {
        if self.values.len() >= FRESH_MAX {
            self.values.remove(0);
            self.anew = self.anew.map(|at| at.saturating_sub(1));
        }
        self.values.push((value, is_learned));
    }

    pub fn restarted(&mut self) {
        self.anew = Some(self.values.len());
    }

    pub fn has_grown(&self, since_ms: i64, standing: Standing, with_values: bool) -> bool {
        let is_said = self.written == Some((since_ms, standing));
        !is_said || with_values && (!self.values.is_empty() || self.anew.is_some())
    }

    pub fn grown(
        &mut self,
        slot: i64,
        since_ms: i64,
        standing: Standing,
        hysteresis: Hysteresis,
        with_values: bool,
    ) -> Grown {
        let taken = std::mem::take(&mut self.values);
        let anew = self.anew.take();
        self.written = Some((since_ms, standing));
        let mut grown = Grown {
            slot,
            since_ms,
            standing,
            hysteresis,
            values: Vec::new(),
            unlearned: Vec::new(),
            anew: None,
        };
        if with_values {
            let unlearned = taken.iter().enumerate().filter(|(_, (_, is_learned))| !is_learned);
            grown.unlearned = unlearned.map(|(at, _)| at).collect();
            grown.values = taken.into_iter().map(|(value, _)| value).collect();
            grown.anew = anew;
        }
        grown
    }
}

impl Grown {
    /// In two parts: before the program began anew, and after.
    pub(super) fn parts(&self) -> (Vec<Learned>, Option<Vec<Learned>>) {
        let all = self.values.iter().enumerate();
        let all: Vec<_> = all.map(|(at, value)| (*value, !self.unlearned.contains(&at))).collect();
        match self.anew {
            None => (all, None),
            Some(at) => {
                let (before, after) = all.split_at(at.min(all.len()));
                (before.to_vec(), Some(after.to_vec()))
            }
        }
    }
}
