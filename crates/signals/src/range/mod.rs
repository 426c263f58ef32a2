//! The normal range of one signal: hard bounds and a learned band, and where a value stands to them.
//!
//! ```text
//! value ─▶ standing (hysteresis) ─▶ learned unless outside ─▶ half an hour ─▶ band
//! ```
//! The method is in [docs/concepts/ranges.md](../../../../docs/concepts/ranges.md).

mod band;
mod course;
mod fresh;
mod history;
mod ranged;
mod slot;
mod standing;

pub use band::Band;
pub use course::{Course, Point};
pub use fresh::Grown;
pub use history::{DAYS_KEPT, DAYS_POOLED, History, WARM_UP_MS};
pub use ranged::{Ranged, Reading, Rule, Scale, Side};
pub use slot::{SLOT_MS, Slot};
pub use standing::Standing;

/// How often signals are evaluated.
pub const EVERY_MS: i64 = 10_000;
