//! Spans: kept as rows of JSON in a store of rows of their own, found by trace, service, duration, error.
//!
//! [`span_row`] writes a span, [`Span::read`] reads it back, [`search`] asks.

mod row;
pub mod search;

pub use row::{Event, Span, span_row};
