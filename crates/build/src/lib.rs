//! Images from scratch: a project becomes an image plan (`kinds`, `plan`), the plan becomes an OCI
//! image on disk and directories ready to run (`assemble`), and other people's images are fetched
//! by digest (`pull`).

pub mod kinds;
pub mod plan;

pub mod archive;
pub mod assemble;
pub mod caches;
pub mod catalogue;
pub mod compare;
pub mod error;
pub mod export;
pub mod import;
pub mod inventory;
pub mod job;
pub mod layout;
pub mod listing;
pub mod pull;
pub mod push;

pub mod remote;
pub mod repositories;
pub mod revision;
pub mod sbom;
pub mod sign;
pub mod store;

mod base_files;
mod compress;
mod deb;
mod document;
mod download;
mod durable;
mod growing;
mod http;
mod java_trust;
mod layer;
mod ownership;
mod pieces;
mod spool;
mod tree;
mod unpack;

#[cfg(test)]
mod testing;

pub use assemble::{Options, assemble, assemble_with};
pub use error::BuildError;
pub use job::Job;

pub use plan::{Entry, EntryKind, ImagePlan, Source, User};
pub use pull::{PullOptions, pull};
pub use push::{PushOptions, push};
pub use store::ImageStore;
pub use unpack::Limits;
