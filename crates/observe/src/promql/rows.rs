//! What evaluation works on: series with a value, or none, at each step.

use super::QueryError;
use crate::Labels;
use crate::values::{ABSENT, is_absent};
use std::collections::HashMap;

/// One series over all steps; `ABSENT` where it has no value.
#[derive(Debug, Clone)]
pub struct Row {
    pub labels: Labels,
    pub values: Vec<f64>,
}

/// What an expression is over all steps.
#[derive(Debug, Clone)]
pub enum Rows {
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Row>),
}

impl Row {
    pub fn empty(labels: Labels, steps: usize) -> Self {
        Self { labels, values: vec![ABSENT; steps] }
    }

    pub fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_absent(*value))
    }

    /// Changes each value that is there; `None` takes it away.
    pub fn map(mut self, change: impl Fn(usize, f64) -> Option<f64>) -> Self {
        for (step, value) in self.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
            *value = change(step, *value).unwrap_or(ABSENT);
        }
        self
    }
}

impl Rows {
    /// Only where the parser has made sure of the type.
    pub fn vector(self) -> Result<Vec<Row>, QueryError> {
        match self {
            Self::Vector(rows) => Ok(rows),
            _ => Err(unexpected("an instant vector")),
        }
    }

    pub fn scalar(self) -> Result<Vec<f64>, QueryError> {
        match self {
            Self::Scalar(values) => Ok(values),
            _ => Err(unexpected("a scalar")),
        }
    }

    pub fn text(self) -> Result<String, QueryError> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(unexpected("a string")),
        }
    }
}

fn unexpected(what: &str) -> QueryError {
    QueryError::Evaluation(format!("{what} is expected here"))
}

pub fn same_labels() -> QueryError {
    QueryError::Evaluation("vector cannot contain metrics with the same labelset".into())
}

/// Rows with the same labels become one; two values at one step are an error. Empty rows go.
pub fn unite(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut known: HashMap<Labels, usize> = HashMap::with_capacity(rows.len());
    let mut united: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows.into_iter().filter(|row| !row.is_empty()) {
        let Some(at) = known.get(&row.labels) else {
            known.insert(row.labels.clone(), united.len());
            united.push(row);
            continue;
        };
        for (value, added) in
            united[*at].values.iter_mut().zip(row.values).filter(|(_, added)| !is_absent(*added))
        {
            if !is_absent(*value) {
                return Err(same_labels());
            }
            *value = added;
        }
    }
    Ok(united)
}
