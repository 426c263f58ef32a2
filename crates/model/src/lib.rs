//! The words every other crate speaks: what is declared, what runs, where requests go.
//!
//! Pure data: no files, no sockets, no clock, no randomness. Each type that crosses a process
//! boundary or reaches the disk derives serde; its form is version 1 and kept by golden files.

mod id;
mod units;

pub mod certificate;
pub mod diagnostic;
pub mod flow;
pub mod gateway;
pub mod image;
pub mod instance;
pub mod metrics;
pub mod mount;
pub mod notify;
pub mod objective;
pub mod probe;
pub mod range;
pub mod release;
pub mod report;
pub mod route;
pub mod rule;
pub mod service;
pub mod stack;
pub mod subnet;
pub mod traffic;
pub mod watch;

pub use diagnostic::{Diagnostic, Severity, Span};
pub use id::{Digest, IdError, InstanceId, NetworkName, ReleaseId, ServiceName, StackName, VolumeName};
pub use release::Release;
pub use report::{ErrorKind, Report};
pub use route::RouteTable;
pub use service::Service;
pub use stack::Stack;
pub use units::{Bytes, Cpus, DurationMs, Percent, Timestamp, UnitError};
