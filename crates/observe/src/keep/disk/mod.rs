//! What reads and writes the files: segments, the log, and the store over both.

mod compact;
pub(crate) mod files;
pub(crate) mod log;
pub(crate) mod recover;
mod segment;
mod select;
mod store;

pub use files::KeepError;
pub use store::{Metrics, Settings, Status};
