//! The planner: what to do next, computed from what is declared and what is seen.
//!
//! Everything here is a pure function. The clock, the observations and the numbers that make ids
//! unique are arguments; no choice that matters is left to whoever carries out the steps.

mod depend;
mod holder;
mod input;
mod planner;
mod ready;
mod removal;
mod replace;
mod restart;
mod slot;
mod step;
mod takeover;

pub mod address;
pub mod compare;
pub mod failure;
pub mod routes;
pub mod serving;
pub mod spec;
pub mod volume;
pub mod warm;

pub use depend::restarted_with;
pub use input::{
    Direction, Fallback, Foreign, InFlight, Input, InstanceView, NO_TRIALS, Phase, Settings, Trial, Trials,
};
pub use planner::{Failure, Plan, Waiting, plan};
pub use ready::{Readiness, readiness};
pub use restart::CRASH_LOOP;
pub use step::Step;
pub use takeover::{CANARY_TIME, FIRST_SHARE, MIN_HEALTHY, MONITOR, TRIAL_TIME, config};
