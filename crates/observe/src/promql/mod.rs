//! PromQL: asks [`Samples`] as Prometheus asks its own.
//!
//! The text is read by `promql-parser`; [`Query::instant`] and [`Query::range`] evaluate it. A query
//! has limits of samples, memory and time, and never more effect than reading.

mod aggregate;
mod binary;
mod dates;
mod eval;
mod functions;
mod histogram;
mod labelling;
mod ranges;
mod rows;

use crate::{Labels, Matcher, Points, Samples, SamplesError};
use eval::Evaluator;
use promql_parser::parser::{self, Expr, value::ValueType};
use std::sync::Once;

/// The most bytes of an expression.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// The most operators and brackets of an expression: each may be one level of nesting.
const NESTING_MAX: usize = 300;
/// The most steps of a range, which clients rely on.
pub const STEPS_MAX: i64 = 11_000;

/// Why there is no answer. The texts are those that Prometheus gives.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("invalid parameter \"query\": {0}")]
    Parse(String),
    #[error("{0}")]
    Evaluation(String),
    #[error(
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
    )]
    Resolution,
    #[error("zero or negative query resolution step widths are not accepted. Try a positive integer")]
    Step,
    #[error("end timestamp must not be before start time")]
    Range,
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    #[error("query timed out in expression evaluation")]
    TimedOut,
    #[error(transparent)]
    Samples(#[from] SamplesError),
}

/// What a query is measured against.
pub struct Settings<'a> {
    /// How far back an instant selector looks for a sample.
    pub lookback_ms: i64,
    /// The step of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Whether a range leaves out its beginning, as Prometheus does since version 3.
    pub ranges_open: bool,
    /// The most samples that are read.
    pub samples_max: u64,
    /// The most numbers that all steps of the evaluation produce.
    pub numbers_max: u64,
    /// Asked again and again; once it says yes, the query ends.
    pub is_over: &'a dyn Fn() -> bool,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60_000,
            subquery_step_ms: 60_000,
            ranges_open: false,
            samples_max: 50_000_000,
            numbers_max: 10_000_000,
            is_over: &|| false,
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Scalar {
        time_ms: i64,
        value: f64,
    },
    String {
        time_ms: i64,
        value: String,
    },
    /// Each with one value at one time.
    Vector(Vec<Answer>),
    Matrix(Vec<Answer>),
}

/// A series of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub labels: Labels,
    pub points: Points,
}

/// An expression that was understood.
#[derive(Debug, Clone)]
pub struct Query {
    expression: Expr,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        static FUNCTIONS: Once = Once::new();
        FUNCTIONS.call_once(|| {
            // Refused only when the parser knows it already.
            let _ = parser::register_extra_functions(vec![parser::Function::new(
                "holt_winters",
                vec![ValueType::Matrix, ValueType::Scalar, ValueType::Scalar],
                0,
                ValueType::Vector,
                false,
            )]);
        });
        if text.len() > TEXT_BYTES_MAX {
            return Err(QueryError::Parse(format!("the expression has more than {TEXT_BYTES_MAX} bytes")));
        }
        if nesting(text) > NESTING_MAX {
            return Err(QueryError::Parse(format!(
                "the expression has more than {NESTING_MAX} operators and brackets"
            )));
        }
        let expression = parser::parse(text).map_err(QueryError::Parse)?;
        Ok(Self { expression })
    }

    /// The answer at one time.
    pub fn instant(
        &self,
        samples: &dyn Samples,
        time_ms: i64,
        settings: &Settings<'_>,
    ) -> Result<Value, QueryError> {
        Evaluator::new(samples, settings, time_ms, time_ms, 1).instant(&self.expression)
    }

    /// The answers from `start_ms` to `end_ms` in steps.
    pub fn range(
        &self,
        samples: &dyn Samples,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        settings: &Settings<'_>,
    ) -> Result<Value, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::Step);
        }
        if end_ms < start_ms {
            return Err(QueryError::Range);
        }
        if end_ms.saturating_sub(start_ms) / step_ms >= STEPS_MAX {
            return Err(QueryError::Resolution);
        }
        match self.expression.value_type() {
            ValueType::Scalar | ValueType::Vector => {
                Evaluator::new(samples, settings, start_ms, end_ms, step_ms).range(&self.expression)
            }
            other => Err(QueryError::Parse(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                match other {
                    ValueType::Matrix => "range vector",
                    _ => "string",
                }
            ))),
        }
    }
}

/// What a selector without a range asks of labels.
pub fn selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    match Query::parse(text)?.expression {
        Expr::VectorSelector(selector) => eval::matchers(&selector),
        _ => Err(QueryError::Parse("a selector of series is needed".into())),
    }
}

/// A bound of how deep the tree of an expression can be, found without making it.
fn nesting(text: &str) -> usize {
    let mut quote = None;
    let mut count = 0;
    let mut is_escaped = false;
    let mut word = String::new();
    for character in text.chars() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(end) => {
                is_escaped = character == '\\' && end != '`';
                quote = (character != end).then_some(end);
            }
            None if "\"'`".contains(character) => quote = Some(character),
            None if character.is_ascii_alphanumeric() => word.push(character.to_ascii_lowercase()),
            None => {
                count += usize::from("([{+-*/%^<>=!".contains(character));
                count += usize::from(["and", "or", "unless", "atan2"].contains(&word.as_str()));
                word.clear();
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_has_a_limit_of_depth() {
        for deep in ["(".repeat(100_000), "-".repeat(60_000) + "1", "1".to_owned() + &"+1".repeat(5000)] {
            assert!(matches!(Query::parse(&deep), Err(QueryError::Parse(_))));
        }
        let wide = vec!["up"; 250].join(" or ");
        assert!(Query::parse(&wide).is_ok());
        assert!(Query::parse("up{a=\"((((\"}").is_ok());
    }
}
