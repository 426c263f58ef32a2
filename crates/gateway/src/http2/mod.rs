//! HTTP/2. A stream of a client is served as a connection of HTTP/1.1 that carries one request
//! (`stream`), one to an instance is written to as if it were such a connection (`upstream`): `head`
//! translates both ways, so that checks, rules, limits, waits, counters and records are the same.
//!
//! The protocol itself is the `h2` crate's; `connection` and `pool` drive it, `meter` bounds what
//! floods.

mod body;
pub mod connection;
pub mod head;
mod io;
mod meter;
pub mod pool;
pub mod stream;
pub mod upstream;

/// What both sides agree on to speak it within TLS.
pub const PROTOCOL: &[u8] = b"h2";
/// The request line with which a client says that it speaks HTTP/2 (RFC 9113 section 3.4).
pub const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
