//! Where a value stands to the range, with hysteresis, so that one value alone is no alarm and a
//! value at the edge does not flicker.
//!
//! ```text
//! inside ─▶ edge (shown) ─▶ outside: twice beyond 0.5, or at once beyond 3 ─▶ back: five times ≤ 0.25
//! ```

use serde::{Deserialize, Serialize};

/// Beyond the band by more than this many widths is outside.
const OUTSIDE: f64 = 0.5;
/// Beyond this it is outside at once.
const FAR: f64 = 3.0;
/// Up to this it counts as back.
const BACK: f64 = 0.25;
/// Evaluations in a row to be outside, and to be back.
pub(super) const HELD: u8 = 2;
const BACK_HELD: u8 = 5;
/// Evaluations without a value after which nothing is outside any more: 5 minutes.
const GONE: u16 = 30;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No value, or none that is a number: nothing can be said.
    #[default]
    Unknown,
    /// Within its bounds; a band is not there yet.
    Learning,
    Inside,
    /// A little beyond, or not for long; never announced.
    Edge,
    Outside,
    Far,
}

impl Standing {
    pub const fn is_out(self) -> bool {
        matches!(self, Self::Outside | Self::Far)
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Learning => "learning",
            Self::Inside => "inside",
            Self::Edge => "edge",
            Self::Outside => "outside",
            Self::Far => "far outside",
        }
    }
}

/// One value against the range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    Missing,
    /// Beyond what was declared, or what a signal of this kind never is.
    BeyondBounds,
    /// How many widths beyond the band, 0 within; none without a band.
    Widths(Option<f64>),
}

/// What was seen so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Hysteresis {
    is_out: bool,
    out: u8,
    back: u8,
    missing: u16,
}

impl Hysteresis {
    /// `held` evaluations beyond the bounds in a row are outside.
    pub fn step(&mut self, place: Place, held: u8) -> Standing {
        match place {
            Place::Missing => {
                self.missing = self.missing.saturating_add(1);
                if self.missing >= GONE {
                    *self = Self { missing: self.missing, ..Self::default() };
                }
                return if self.is_out { Standing::Outside } else { Standing::Unknown };
            }
            _ => self.missing = 0,
        }
        let z = match place {
            Place::Widths(widths) => widths.unwrap_or(0.0),
            _ => f64::INFINITY,
        };
        let held = if place == Place::BeyondBounds { held } else { HELD };
        let is_far = z > FAR && place != Place::BeyondBounds;
        self.count(z, is_far, held);
        match (self.is_out, place) {
            (true, _) if z > FAR => Standing::Far,
            (true, _) => Standing::Outside,
            (false, _) if z > 0.0 => Standing::Edge,
            (false, Place::Widths(None)) => Standing::Learning,
            (false, _) => Standing::Inside,
        }
    }

    fn count(&mut self, z: f64, is_far: bool, held: u8) {
        if z > OUTSIDE {
            self.out = self.out.saturating_add(1);
        } else {
            self.out = 0;
        }
        self.back = if self.is_out && z <= BACK { self.back + 1 } else { 0 };
        if !self.is_out && (is_far || self.out >= held) {
            self.is_out = true;
        } else if self.back >= BACK_HELD {
            *self = Self::default();
        }
    }

    /// What is outside now is not any more.
    pub fn forgive(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(values: &[f64]) -> Vec<Standing> {
        let mut hysteresis = Hysteresis::default();
        values.iter().map(|z| hysteresis.step(Place::Widths(Some(*z)), HELD)).collect()
    }

    #[test]
    fn once_is_the_edge_and_twice_outside() {
        use Standing::*;
        assert_eq!(course(&[0.0, 0.4, 0.6, 0.2, 0.6, 0.7]), [Inside, Edge, Edge, Edge, Edge, Outside]);
        assert_eq!(course(&[0.0, 3.1]), [Inside, Far]);
    }

    #[test]
    fn back_is_five_times_in_a_row() {
        use Standing::*;
        let found = course(&[4.0, 0.2, 0.2, 0.2, 0.2, 0.3, 0.2, 0.2, 0.2, 0.2, 0.0]);
        assert_eq!(
            found[..10],
            [Far, Outside, Outside, Outside, Outside, Outside, Outside, Outside, Outside, Outside]
        );
        assert_eq!(found[10], Inside);
    }

    #[test]
    fn what_has_no_value_is_unknown_and_ends_after_a_while() {
        let mut hysteresis = Hysteresis::default();
        assert_eq!(hysteresis.step(Place::Missing, HELD), Standing::Unknown);
        hysteresis.step(Place::Widths(Some(9.0)), HELD);
        let gone: Vec<_> = (0..30).map(|_| hysteresis.step(Place::Missing, HELD)).collect();
        assert!(gone[..29].iter().all(|standing| *standing == Standing::Outside));
        assert_eq!(gone[29], Standing::Unknown);
    }

    #[test]
    fn bounds_are_held_as_long_as_the_signal_wants() {
        let mut hysteresis = Hysteresis::default();
        assert_eq!(hysteresis.step(Place::BeyondBounds, 1), Standing::Far);
        let mut hysteresis = Hysteresis::default();
        assert_eq!(hysteresis.step(Place::BeyondBounds, 2), Standing::Edge);
        assert_eq!(hysteresis.step(Place::BeyondBounds, 2), Standing::Far);
        assert_eq!(hysteresis.step(Place::Widths(None), 2), Standing::Outside, "until it is back");
    }
}
