//! A load that shows whether anything is lost while a system is changed, and the application that
//! answers it: two programs, `traffic-app` and `traffic-load`, and what both must agree on.
//!
//! Development only: benches and tests run them as processes of their own.

pub mod arguments;
pub mod clock;
pub mod content;
pub mod frame;
pub mod histogram;
pub mod http;
pub mod report;
pub mod sha1;

pub mod app;
pub mod load;

pub mod programs;
pub mod running;
pub mod timeline;
