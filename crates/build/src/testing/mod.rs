//! For tests: small archives, packages and registries of our own making.

mod archive;
mod registry;
mod server;
mod signer;

pub use archive::{FakeArchive, FakeFile, FakePackage};
pub use registry::{FakeImage, blob_digest, layer_tar};
pub use server::{Answer, Request, Server};
use signer::Signer;
