//! Collectors: what this machine, its instances and its programs say of themselves.
//!
//! Each is a pure function from a text of the kernel to a [`Sink`]; `file` holds the files open,
//! `recorder` brings what was put into the store. Names and meanings are those of node_exporter
//! and cAdvisor where these have them.

mod file;
mod sink;
pub(crate) mod text;

pub mod group;
pub mod kernel_log;
pub mod logins;
pub mod node;
pub mod process;
pub mod recorder;

pub use file::Held;
pub use recorder::Recorder;
pub use sink::{Kept, Sink};
