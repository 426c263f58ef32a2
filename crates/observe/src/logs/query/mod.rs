//! What people ask for rows: `error timeout`, `"connection refused"`, `status>=500`, `!level:debug`,
//! `/regex/`, `AND`, `OR` and brackets.
//!
//! [`parse`] reads a text into a [`Query`], with the place of each mistake; a [`Filter`] answers, of
//! many blocks at once or of one row, whether it matches.

mod filter;
mod parse;
mod text;

pub use filter::{Facts, Filter, Span};
pub use parse::{QueryError, parse};

use regex::bytes::Regex;

/// Bytes of a query.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Conditions of a query.
pub const TERMS_MAX: usize = 100;
/// Brackets and negations within each other.
pub const DEPTH_MAX: usize = 30;
/// Memory that one regular expression may take.
pub const REGEX_BYTES_MAX: usize = 1 << 20;

/// A question as it was read.
#[derive(Debug, Clone)]
pub enum Query {
    /// Every row.
    All,
    And(Vec<Query>),
    Or(Vec<Query>),
    Not(Box<Query>),
    /// Words one after the other as they were written.
    Text {
        text: String,
        is_prefix: bool,
    },
    Regex(Regex),
    Field {
        name: String,
        test: Test,
    },
}

/// What is asked of a field.
#[derive(Debug, Clone)]
pub enum Test {
    /// The value, without regard to the case of ASCII.
    Is(String),
    /// What the value begins with.
    Begins(String),
    Matches(Regex),
    Compares(Comparison, f64),
    /// Levels are compared by how serious they are.
    Level(Comparison, crate::logs::row::Level),
    /// There is such a field.
    Exists,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}
