//! Adapters to programs of others, one folder for each. The crates that need them know nothing of
//! it: the program's own wiring puts them together.

pub mod dockerfile;
pub mod elasticsearch;
pub mod otlp;
pub mod remote_write;
pub mod send;
