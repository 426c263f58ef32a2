//! Components: databases and caches that a service asks for by name (`x-juchu.component`), made
//! from the Debian archive by recipes that stand under `recipes/` as data.
//!
//! `image_plan` says what the image is made of; `complete` fills in what the service left open.

mod complete;
mod error;
mod options;
mod plan;
mod recipe;

pub use complete::complete;
pub use error::CatalogError;
pub use plan::image_plan;

/// The names of all components.
pub fn names() -> Vec<&'static str> {
    recipe::EMBEDDED.iter().map(|embedded| embedded.name).collect()
}
