//! Keeping measurements: the format (pure) first, then what reads and writes files.
//!
//! `tick → head (RAM) + log → segment of 5 min → segment of 2 h + minutes → hours`. The format is
//! in [docs/concepts/observing.md](../../../../docs/concepts/observing.md).

// pure
pub(crate) mod bytes;
pub(crate) mod column;
mod head;
mod limits;
mod summary;
mod times;
pub mod v1;

// files
pub(crate) mod disk;

pub use disk::{KeepError, Metrics, Settings, Status};
pub use head::{Ends, SeriesId, TargetId, TickError, Ticked};
pub use limits::{Bound, Limits, Offender, Refused};
pub use v1::{Kind, Tier};
