//! What reads and writes the files: segments, the log, and the store over both.

mod compact;
mod files;
mod log;
mod recover;
mod segment;
mod select;
mod store;

pub use files::KeepError;
pub use store::{Metrics, Settings, Status};
