//! Measurements that are made up: the same for the same question, with a beginning, a gap and an end.

use crate::measured::{Asked, Course, Measured};
use async_trait::async_trait;
use model::{Report, Timestamp};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// How the answers are.
#[derive(Default)]
pub struct FakeMeasured {
    /// Nothing was measured yet.
    pub is_empty: AtomicBool,
    /// Every question fails.
    pub fails: AtomicBool,
    /// Questions that reached it.
    pub asked: AtomicUsize,
    /// Of the label by which an expression sums up.
    pub names: std::sync::Mutex<Vec<String>>,
}

impl FakeMeasured {
    fn names(&self) -> Vec<String> {
        let names = self.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if names.is_empty() { vec!["vm-1".to_owned(), "vm-2".to_owned()] } else { names }
    }
}

#[async_trait]
impl Measured for FakeMeasured {
    async fn ask(&self, asked: &Asked) -> Result<Vec<Course>, Report> {
        self.asked.fetch_add(1, SeqCst);
        if self.fails.load(SeqCst) {
            return Err(Report::environment("query timed out in expression evaluation")
                .hint("a shorter range reads fewer samples"));
        }
        if self.is_empty.load(SeqCst) {
            return Ok(Vec::new());
        }
        let names = self.names();
        let by = ["instance", "mountpoint", "severity"]
            .into_iter()
            .find(|label| asked.expression.contains(&format!("by ({label})")) || *label == "instance");
        let label = by.unwrap_or("instance");
        let is_total = asked.expression.starts_with("sum(") && !asked.expression.contains(" by (");
        let count = if is_total { 1 } else { names.len() };
        let seed: u32 =
            asked.expression.bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let course = |(index, name): (usize, &String)| Course {
            labels: vec![(label.to_owned(), name.clone())],
            points: points(asked, seed.wrapping_add(index as u32 * 977)),
        };
        Ok(names.iter().take(count).enumerate().map(course).collect())
    }

    async fn since(&self) -> Option<Timestamp> {
        (!self.is_empty.load(SeqCst)).then_some(Timestamp(super::NOW.0 - 5 * 86_400_000))
    }
}

/// Waves between 0 and 0.6 in whole thousandths, `up` is 1; a tenth of the steps is missing.
fn points(asked: &Asked, seed: u32) -> Vec<(Timestamp, f64)> {
    let steps = asked.steps();
    let gap = steps / 3..steps / 3 + steps / 10;
    let value = |step: usize| match asked.expression.starts_with("up{") {
        true => 1.0,
        false => {
            let phase = step as f64 / 9.0 + f64::from(seed % 97);
            (300.0 + 200.0 * phase.sin() + 100.0 * (phase * 3.1).cos()).round() / 1000.0
        }
    };
    let at = |step: usize| Timestamp(asked.from.0 + step as i64 * asked.step_ms);
    (0..steps).filter(|step| !gap.contains(step)).map(|step| (at(step), value(step))).collect()
}
