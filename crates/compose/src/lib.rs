//! Compose text → `(Stack, diagnostics with file, line and column)`.
//!
//! Pure: files come through [`Files`], the environment is an argument, nothing is printed. The
//! stages, in reading order, follow the reference implementation; each works on the whole tree and
//! reports every problem it sees. `tests/` holds the behaviour a user would notice.

mod diagnostics;
mod tree;

pub mod env_file;
mod interpolate;

mod project;
mod trace;
mod unit;

mod canonical;
mod extends;
mod include;
mod merge;
mod paths;
mod resolve;
mod rules;
mod schema;
mod tags;
mod unique;

mod host_files;
mod profiles;
mod runnable;
mod typed;
mod validate;

mod render;

mod ports;
mod quantity;
mod shell_words;
mod suggest;

mod load;

pub use load::{Files, Input, Loaded, Skip, load};
pub use render::{Explanation, Part, Resolved, Source, Step, UnknownPath, Used, Variable, yaml_scalar};
