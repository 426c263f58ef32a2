//! The data plane: every request from outside and every connection between services.
//!
//! Its own process, which knows nothing of the store: it is handed whole route tables over a Unix
//! socket, keeps the last good one on disk, and goes on serving it while the daemon is away.
//! Reading order: the words (`options`, `wire`), the table in force (`snapshot`), a thread of the
//! data plane (`worker`) with what it speaks (`tls`, `detect`, `tcp`, `http`, `http2`), what waits and
//! what ends (`hold`, `seat`, `drain`), who calls whom (`calls`), what is
//! recorded of traces (`spans`), names, the control, and how a newer program takes over
//! (`handover`).

pub mod client;
pub mod options;
pub mod wire;

mod buffer;
mod calls;
mod control;
mod counters;
mod datagram;
mod detect;
mod drain;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handover;
mod hold;
mod http;
mod http2;
mod log;
mod names;
mod outside;
mod policy;
mod process;
mod proxy;
mod quick;
mod rules;
mod seat;
mod snapshot;
mod spans;
mod stream;
mod tcp;
mod tls;
mod watch;
mod worker;

pub use client::{ClientError, GatewayClient};
pub use options::{GatewayOptions, Limits};
pub use process::main;
