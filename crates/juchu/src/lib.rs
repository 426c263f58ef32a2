//! The command line and the directories it works in. `main.rs` adds the roles of the one binary.

pub mod caches;
pub mod cli;
pub mod home;
pub mod program;
pub mod queue;
