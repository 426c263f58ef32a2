//! The rim towards people: API version 1 over a Unix socket and HTTP, its client, and the web
//! pages drawn from the same answers.
//!
//! Reading order: who may ask (`access`, `caller`), the API, serving it, asking it, the pages.

pub mod access;
pub mod attached;
mod caller;
pub mod tokens;

pub mod api;
pub mod client;
mod serve;

pub mod calls;
pub mod dora;
pub mod measured;
pub mod report;
pub mod story;
pub mod text;
pub mod traces;
pub mod traffic;
pub mod visits;
pub mod when;
pub mod words;

mod web;

#[cfg(feature = "fake")]
pub mod fake;

pub use access::Access;
pub use attached::Attached;
pub use serve::{DEFAULT_ADDRESS, bind_http, bind_unix, router, serve_http, serve_senders, serve_unix};
