//! Images from scratch: a project becomes an image plan (`kinds`, `plan`), the plan becomes an OCI
//! image on disk and directories ready to run (`assemble`), and other people's images are fetched
//! by digest (`pull`).

pub mod kinds;
pub mod plan;

pub mod archive;
pub mod error;

pub use error::BuildError;
pub use plan::{Entry, EntryKind, ImagePlan, Source, User};
