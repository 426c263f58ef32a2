//! How a signal went over the last two days, in half hours, whether it was normal or not: what slow
//! decay is judged by.

use super::slot::{SLOT_MS, Slot};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Two days.
const POINTS_MAX: usize = 96;

/// One half hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The number of the half hour since 1970.
    pub at: i64,
    pub least: f32,
    pub median: f32,
}

impl Point {
    pub const fn at_ms(&self) -> i64 {
        self.at * SLOT_MS
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    points: VecDeque<Point>,
}

impl Course {
    pub fn push(&mut self, slot: &Slot) {
        while self.points.back().is_some_and(|last| last.at >= slot.at) {
            self.points.pop_back();
        }
        self.points.push_back(Point { at: slot.at, least: slot.least(), median: slot.median() });
        while self.points.front().is_some_and(|first| first.at <= slot.at - POINTS_MAX as i64) {
            self.points.pop_front();
        }
    }

    /// It began anew: a restart, another release.
    pub fn restart(&mut self) {
        self.points.clear();
    }

    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.iter()
    }
}
