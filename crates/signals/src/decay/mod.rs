//! Slow decay: what rises steadily over days without ever leaving its band, and when it ends.
//!
//! The method and its figures are in [docs/concepts/ranges.md](../../../../docs/concepts/ranges.md).

mod counter;
mod exhaustion;
mod judge;
mod load;
mod trend;

pub use counter::{Counter, Headroom, increase};
pub use exhaustion::{EXHAUSTION_SOON_MS, time_to};
pub use judge::{Decay, LEAST_POINTS, judge};
pub use load::without_load;
pub use trend::{Line, mann_kendall, median, theil_sen};
