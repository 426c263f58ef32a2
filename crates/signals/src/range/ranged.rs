//! One signal over time: evaluated, learned, and asked.

use super::band::Band;
use super::course::Course;
use super::fresh::{Fresh, Grown};
use super::history::History;
use super::slot::{SLOT_MS, Slot, VALUES_MAX, kept, slot_of};
use super::standing::{HELD, Hysteresis, Place, Standing};
use model::range::Bounds;
use serde::{Deserialize, Serialize};

/// Values that are remembered in any case, for "this is the new normal": 10 minutes.
const RECENT_MAX: usize = 60;

/// On which side leaving the band is of interest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    #[default]
    Both,
    Above,
    Below,
}

/// How distances are measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    #[default]
    Linear,
    /// By `ln(value + floor)`: what doubles is as far as what halves, and what is small beside the
    /// floor is all the same. For what is never negative.
    Ratio,
}

/// What holds for a signal of its kind, and what was declared of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub bounds: Option<Bounds>,
    pub side: Side,
    pub scale: Scale,
    /// The least width of a band, in the unit of the signal.
    pub floor: f64,
    /// Evaluations in a row beyond the bounds until it is outside.
    pub held: u8,
    pub learns: bool,
}

impl Default for Rule {
    fn default() -> Self {
        Self { bounds: None, side: Side::Both, scale: Scale::Linear, floor: 0.0, held: HELD, learns: true }
    }
}

/// The state of one signal, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranged {
    history: History,
    course: Course,
    hysteresis: Hysteresis,
    /// Since when it stands as it does, roughly: inside or outside.
    since_ms: i64,
    standing: Standing,
    #[serde(skip)]
    band: Option<Band>,
    /// The half hour the band was made for, and the one that is being filled.
    #[serde(skip)]
    band_of: Option<i64>,
    slot: i64,
    /// All values of the half hour, and those that are learned.
    all: Vec<f32>,
    learned: Vec<f32>,
    recent: Vec<f32>,
    #[serde(skip)]
    fresh: Fresh,
}

/// What is said of a signal at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub standing: Standing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
    /// Widths beyond the band; negative below.
    pub beyond: f64,
    /// Whether it was the hard bounds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_beyond_bounds: bool,
    /// Since when it is inside, or outside.
    pub since_ms: i64,
}

impl Ranged {
    /// Takes the value of now, or that there is none. Nothing is learned while `may_learn` is false.
    pub fn evaluate(&mut self, rule: &Rule, now_ms: i64, value: Option<f64>, may_learn: bool) -> Reading {
        let value = value.filter(|value| value.is_finite());
        self.turn(now_ms);
        let band = self.band_at(rule, now_ms);
        let scaled = value.map(|value| rule.scaled(value));
        let beyond = scaled.zip(band).map(|(value, band)| rule.side.of_interest(band.beyond(value)));
        let is_beyond_bounds = value.zip(rule.bounds).is_some_and(|(value, bounds)| !bounds.contains(value));
        let place = match value {
            None => Place::Missing,
            Some(_) if is_beyond_bounds => Place::BeyondBounds,
            Some(_) => Place::Widths(beyond.map(f64::abs)),
        };
        let standing = self.hysteresis.step(place, rule.held);
        if self.since_ms == 0 || standing.is_out() != self.standing.is_out() {
            self.since_ms = now_ms;
        }
        self.standing = standing;
        if let Some(scaled) = scaled {
            self.take(kept(scaled), may_learn && !standing.is_out() && !is_beyond_bounds);
        }
        let beyond = beyond.unwrap_or(0.0);
        let band = band.map(|band| rule.unscaled(band));
        Reading { standing, value, band, beyond, is_beyond_bounds, since_ms: self.since_ms }
    }

    /// This is the new normal: what was seen in the last minutes, joined with the band there was.
    pub fn accept(&mut self, rule: &Rule, now_ms: i64) -> Option<Band> {
        let mut recent: Vec<_> = self.recent.iter().map(|value| (*value, 1.0)).collect();
        let recent = Band::of(&mut recent, rule.least_width())?;
        let band = self.band_at(rule, now_ms).map_or(recent, |band| recent.joined(band));
        self.history.accept(band, now_ms);
        self.course.restart();
        self.hysteresis.forgive();
        self.standing = Standing::Inside;
        (self.since_ms, self.band_of) = (now_ms, None);
        self.learned.clear();
        Some(rule.unscaled(band))
    }

    /// The program behind it began anew: what rose before is not what rises now.
    pub fn restarted(&mut self) {
        self.course.restart();
        self.all.clear();
        self.fresh.restarted();
    }

    /// What came since this was asked last, to be written down; `with_values` only where they matter.
    pub fn grown(&mut self, with_values: bool) -> Grown {
        self.fresh.grown(self.slot, self.since_ms, self.standing, self.hysteresis.clone(), with_values)
    }

    /// Whether anything came since then that has to be written down.
    pub fn has_grown(&self, with_values: bool) -> bool {
        self.fresh.has_grown(self.since_ms, self.standing, with_values)
    }

    /// Takes up again what was written down after the rest.
    pub fn grow(&mut self, grown: Grown) {
        if grown.slot != self.slot {
            self.turn(grown.slot * SLOT_MS);
        }
        let (before, after) = grown.parts();
        before.into_iter().for_each(|(value, is_learned)| self.take(value, is_learned));
        if let Some(after) = after {
            self.restarted();
            after.into_iter().for_each(|(value, is_learned)| self.take(value, is_learned));
        }
        (self.since_ms, self.standing, self.hysteresis) = (grown.since_ms, grown.standing, grown.hysteresis);
        self.fresh = Fresh::default();
    }

    pub const fn course(&self) -> &Course {
        &self.course
    }

    pub const fn history(&self) -> &History {
        &self.history
    }

    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Ends the half hour when another has begun, be it an earlier one by a clock set back.
    fn turn(&mut self, now_ms: i64) {
        let slot = slot_of(now_ms);
        if slot == self.slot {
            return;
        }
        if let Some(all) = Slot::of(self.slot, &mut self.all) {
            self.course.push(&all);
        }
        if let Some(learned) = Slot::of(self.slot, &mut self.learned) {
            self.history.push(learned);
        }
        self.all.clear();
        self.learned.clear();
        self.slot = slot;
    }

    fn band_at(&mut self, rule: &Rule, now_ms: i64) -> Option<Band> {
        if !rule.learns {
            return None;
        }
        if self.band_of != Some(self.slot) {
            self.band = self.history.band(now_ms, rule.least_width());
            self.band_of = Some(self.slot);
        }
        self.band
    }

    fn take(&mut self, value: f32, is_learned: bool) {
        self.fresh.push(value, is_learned);
        if self.all.len() < VALUES_MAX {
            self.all.push(value);
        }
        if is_learned && self.learned.len() < VALUES_MAX {
            self.learned.push(value);
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push(value);
    }
}

/// The least width of a band on the scale of ratios: two thirds more.
const LEAST_RATIO: f64 = 0.5;

impl Rule {
    fn scaled(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Ratio => (value.max(0.0) + self.floor.max(f64::MIN_POSITIVE)).ln(),
        }
    }

    /// A kept value, such as a median of a [`super::Point`], in the unit of the signal.
    pub fn value_of(&self, kept: f32) -> f64 {
        match self.scale {
            Scale::Linear => f64::from(kept),
            Scale::Ratio => (f64::from(kept).exp() - self.floor).max(0.0),
        }
    }

    /// In the unit of the signal; the width is that between its ends.
    fn unscaled(&self, band: Band) -> Band {
        match self.scale {
            Scale::Linear => band,
            Scale::Ratio => {
                let back = |value: f64| (value.exp() - self.floor).max(0.0);
                let (low, high) = (back(band.low), back(band.high));
                Band { low, high, median: back(band.median), width: high - low }
            }
        }
    }

    const fn least_width(&self) -> f64 {
        match self.scale {
            Scale::Linear => self.floor,
            Scale::Ratio => LEAST_RATIO,
        }
    }
}

impl Side {
    const fn of_interest(self, beyond: f64) -> f64 {
        match self {
            Self::Above if beyond < 0.0 => 0.0,
            Self::Below if beyond > 0.0 => 0.0,
            _ => beyond,
        }
    }
}
