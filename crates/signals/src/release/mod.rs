//! Judging a release while it and the one before serve side by side: the split e-process.
//!
//! Each second both arms' counts are fed in; out comes whether to go on, to keep or to go back, with
//! the numbers behind it. Method and sources: docs/concepts/judging.md.

mod evidence;
pub mod level;
pub mod split;

pub use level::Level;
pub use split::Split;
