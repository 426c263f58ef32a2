//! Rows of text of many streams: the output of services, and what others send.
//!
//! `row → block in memory + log → segment`. Nothing of a row is taken apart when it is kept, but its
//! level; fields are read when they are asked for ([`parse`]). [`query`] says which rows are wanted.

// pure
pub mod parse;
pub mod query;

mod block;
mod filter;
mod head;
mod limits;
mod row;
mod tokens;
pub mod v1;

// files
mod disk;

pub use disk::{Cell, Counted, Following, Found, FoundRow, Logs, Order, Recent, Search, SearchError, Status};
pub use head::Refused;
pub use limits::Limits;
pub use row::{Level, Row, Stream};
