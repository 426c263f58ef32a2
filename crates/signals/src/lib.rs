//! What measurements say, as pure functions: what is normal, what follows when something is not, and
//! whether a release may stay.
//!
//! The clock, the counts and all settings are arguments; nothing here reads, waits or draws lots.

pub mod range;

pub mod decay;

pub mod burn;

pub mod incident;

pub mod release;
