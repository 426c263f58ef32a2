//! What reads and writes the files: segments, the log, and the store over both.

mod recover;
mod search;
mod segment;
mod store;

pub use search::{Cell, Counted, Found, FoundRow, Order, Search, SearchError};
pub use store::{Following, Logs, Recent, Status};
