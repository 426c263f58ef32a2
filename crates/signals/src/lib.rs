//! What measurements say, as pure functions: whether a release may stay.
//!
//! The clock, the counts and all settings are arguments; nothing here reads, waits or draws lots.

pub mod release;
