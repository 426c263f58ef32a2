//! HTTP/1.1, spoken strictly on both sides. Pure parts first: what a message may look like
//! (`field`, `request`, `response`, `chunked`), then what is done with it.

pub mod admission;
pub mod answer;
pub mod chunked;
pub mod connection;
pub mod encode;
pub mod events;
pub mod exchange;
pub mod field;
pub mod frames;
pub mod grpc;
pub mod lead;
pub mod line;
pub mod mirror;
pub mod negotiate;
pub mod pool;
pub mod request;
pub mod response;
pub mod transfer;
pub mod websocket;

/// How long a message's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunked,
    /// Responses only: to the end of the connection.
    UntilClose,
}
