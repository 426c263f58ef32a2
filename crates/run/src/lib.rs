//! The control loop and its ports: what runs instances, where images come from, who routes.

pub mod control;
pub mod engine;
