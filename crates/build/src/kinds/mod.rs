//! Recipes: what kind of project a directory holds, and the image plan that follows from it.
//!
//! `plan_image` may fetch what the project's own lock files name; `fingerprint` reads the project
//! alone and tells whether anything changed.

pub mod runner;

mod context;
mod copy;
mod detect;
mod draft;
mod ignore;
mod settings;
mod stage;
mod tree;

mod binary;
mod by_hand;
mod go;
mod java;
mod node;
mod python;
use python::words as python_words;
mod rust;
mod static_site;

mod cache;
mod elf;
mod libraries;
mod suite;
mod tool;
mod yaml;

#[cfg(test)]
mod testing;

pub use context::{Visited, context_digest, visit_context};
pub use copy::{Attributes, copy_inputs};
pub use detect::Kind;
pub use ignore::Ignore;
pub use libraries::packages_for_binary;
pub use runner::{NoRunner, RunMount, RunOutcome, RunRequest, Runner, RunnerError};
pub use settings::{Context, LOCKED, Machine, Planned};

use crate::BuildError;
use model::Digest;
use model::image::BuildSpec;

/// Decides what image the project becomes. Reads the context, and fetches what its lock files name
/// unless the cache has it.
pub fn plan_image(spec: &BuildSpec, ctx: &Context) -> Result<Planned, BuildError> {
    let project = settings::Project::open(spec, ctx)?;
    let kind = detect::detect(&project)?;
    let draft = match kind {
        Kind::Static => static_site::plan(&project)?,
        Kind::Python => python::plan(&project)?,
        Kind::Node => node::plan(&project)?,
        Kind::Rust => rust::plan(&project)?,
        Kind::Go => go::plan(&project)?,
        Kind::Java => java::plan(&project)?,
        Kind::Binary => binary::plan(&project)?,
        Kind::Files => by_hand::plan(&project)?,
    };
    if kind == Kind::Rust && !project.tree()?.has("Cargo.lock") {
        // cargo wrote the missing lock file; the next build will read it as an input.
        return draft.finish(&settings::Project::open(spec, ctx)?, kind);
    }
    draft.finish(&project, kind)
}

/// A digest over every input byte and setting. Equal digests mean that `plan_image` would decide
/// the same; it takes a few milliseconds and never uses the network.
pub fn fingerprint(spec: &BuildSpec, ctx: &Context) -> Result<Digest, BuildError> {
    Ok(settings::Project::open(spec, ctx)?.fingerprint)
}
