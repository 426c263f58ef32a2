//! The port to what was measured: courses of numbers over time, asked for in PromQL.
//!
//! Pages ask through the [`Shelf`], so that a page opened by many asks the store once.

mod range;
mod shelf;

pub use range::Range;
pub use shelf::Shelf;

use async_trait::async_trait;
use model::{Report, Timestamp};

#[async_trait]
pub trait Measured: Send + Sync {
    /// The courses that answer, ended by limits of time and memory that the implementation names.
    async fn ask(&self, asked: &Asked) -> Result<Vec<Course>, Report>;
    /// Since when anything is measured; nothing when nothing is.
    async fn since(&self) -> Option<Timestamp>;
}

/// One expression at equal steps; both ends count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    pub expression: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub step_ms: i64,
}

/// One series of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// Without the name of the metric.
    pub labels: Vec<(String, String)>,
    /// In the order of time.
    pub points: Vec<(Timestamp, f64)>,
}

impl Asked {
    /// How many steps there are, both ends included.
    pub const fn steps(&self) -> usize {
        ((self.to.0 - self.from.0) / self.step_ms) as usize + 1
    }
}

impl Course {
    /// Empty where there is no such label.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The value at the last step, when there is one.
    pub fn last(&self, asked: &Asked) -> Option<f64> {
        let (at, value) = self.points.last()?;
        (*at == asked.to && value.is_finite()).then_some(*value)
    }

    /// A value for each step; `None` where nothing was measured.
    pub fn by_step(&self, asked: &Asked) -> Vec<Option<f64>> {
        let mut values = vec![None; asked.steps()];
        for (at, value) in self.points.iter().filter(|(at, value)| value.is_finite() && at.0 >= asked.from.0)
        {
            let step = ((at.0 - asked.from.0) / asked.step_ms) as usize;
            if let Some(place) = values.get_mut(step) {
                *place = Some(*value);
            }
        }
        values
    }
}

/// A text as a string of PromQL: nothing in it ends the string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_its_string() {
        assert_eq!(quoted(r#"a"} or up{x="\"#), r#""a\"} or up{x=\"\\""#);
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
    }

    #[test]
    fn a_course_has_gaps_where_nothing_was_measured() {
        let at = |second: i64| Timestamp(second * 1000);
        let asked = Asked { expression: String::new(), from: at(10), to: at(14), step_ms: 1000 };
        let points = vec![(at(10), 1.0), (at(12), f64::NAN), (at(13), 4.0), (at(20), 9.0)];
        let course = Course { labels: Vec::new(), points };
        assert_eq!(course.by_step(&asked), [Some(1.0), None, None, Some(4.0), None]);
        assert_eq!(course.last(&asked), None, "the last step has no value");
    }
}
