//! Reading the metrics that services offer themselves, as Prometheus does.
//!
//! [`fetch`] asks, [`exposition`] reads the text, [`target`] brings it into the store. When and whom
//! to ask is the caller's.

pub mod exposition;
pub mod fetch;
mod line;
pub mod target;

pub use exposition::Format;
pub use line::Wrong;
