//! TLS towards clients: certificates on disk (`shelf`), which one a client is shown (`resolver`),
//! the handshake (`accept`) and the bytes after it (`stream`).
//!
//! Certificates are no part of the route table: a listener names one, the daemon puts it below the
//! home, readable by its user alone, and says so; a certificate that is missing stops nothing else.

pub mod accept;
mod resolver;
mod shelf;
pub mod stream;

pub use resolver::Terminator;
