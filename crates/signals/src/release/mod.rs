//! Judging a release while it and the one before serve side by side: the split e-process.
//!
//! Each second both arms' counts are fed in; out comes whether to go on, to keep or to go back. Method
//! and sources: docs/concepts/judging.md.

mod after;
mod dispersion;
mod evidence;
mod judge;
pub mod level;
mod meter;
mod past;
mod saturation;
mod second;
mod settings;
mod slow;
pub mod split;
mod text;
mod verdict;
mod watch;

pub use after::After;
pub use dispersion::{Dispersion, Learned, Learner, WINDOW_S, WINDOWS_NEEDED};
pub use judge::Judge;
pub use level::Level;
pub use meter::{Meter, Seen, add, add_latency};
pub use past::{Past, Usual};
pub use second::{Arm, LN_UNIT, Second};
pub use settings::{Chances, Enough, LONGEST_MS, Settings, Stage, Tolerances, WHOLE};
pub use slow::{overdue_ms, slow};
pub use split::Split;
pub use verdict::{Decision, FORM, Finding, Ground, Judgement, Slow, Test};
pub use watch::{LOOK_S, Watch};
