//! The forms in which programs of others send and take measurements, rows and spans. Pure: bytes in,
//! borrowed values out, and back.
//!
//! Nothing that is read is built up as a tree, so no message takes more memory than its bytes
//! ([note 025](../../../docs/notes/025-received.md)).

pub mod json;
pub mod otlp;
pub mod packed;
pub mod protobuf;
pub mod remote_write;
pub mod syslog;

pub use protobuf::Malformed;
