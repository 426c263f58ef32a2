//! Development commands: `cargo xtask check | test | bench | oracle | oci-suites | registry-suite | screenshots | fresh | fuzz | pure-v2 | help`. Not part of the product.

pub mod bench;
pub mod browser;
pub mod check;
pub mod fresh;
pub mod fuzz;
pub mod oci_suites;
pub mod oracle;
pub mod packages;
pub mod process;
pub mod pure_v2;
pub mod readme;
pub mod registry_suite;
pub mod rules;
pub mod screenshots;
pub mod test;
pub mod workspace;

/// What a person reads when something fails: one sentence, perhaps a hint.
pub type Failure = Box<dyn std::error::Error>;
pub type Outcome = Result<(), Failure>;
