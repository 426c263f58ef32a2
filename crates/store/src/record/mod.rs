//! The form of what is kept for ever. A version is never changed, only followed by another.

pub mod chain;
pub mod v1;
