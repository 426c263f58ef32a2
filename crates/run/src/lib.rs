//! The control loop and its ports: what runs instances, where images come from, who routes.
//!
//! [`controller::Controller`] is what others hold; [`world`] is the loop itself. The decisions are
//! those of the crate `plan`; here they are journaled, carried out and told.

pub mod control;
pub mod controller;
pub mod engine;
pub mod ports;
pub mod ranges;
pub mod releases;
pub mod rows;
pub mod traces;

mod health;
mod making;
mod measure;
mod merge;
mod noise;
mod preflight;
mod preview;
mod scraped;
mod status;
mod story;
mod watched;
mod world;

#[cfg(feature = "fake")]
pub mod fake;

pub use controller::Controller;
pub use world::Parts;
