//! The image store as a registry (OCI distribution 1.1): other machines pull from here, and push
//! to here, with any client. The rules of what is kept are in `build::repositories`.

pub mod serve;

mod handle;
mod route;

mod blobs;
mod listing;
mod manifests;
mod uploads;

mod place;
mod session;

pub mod access;
pub mod limits;

mod files;
mod patient;
mod receive;
mod reply;
mod tls;

pub use access::{Anonymous, Users};
pub use handle::{Registry, Tell};
pub use limits::Limits;
pub use place::{Offered, RESERVED};
pub use serve::{Listening, Options, listen};
