//! Certificates for the gateway: from files, from an authority of this machine's own, by ACME.
//!
//! The daemon keeps them (`keeper`): what is wanted comes in, files go out into a directory that
//! the gateway reads (`shelf`), and how each stands can be asked. Nothing here is in the way of a
//! request; a certificate that cannot be had is tried again, at a pace (`pace`).

mod acme;
mod error;
mod files;
mod internal;
mod keeper;
mod pace;
mod pem;
mod shelf;

pub use error::CertError;
pub use internal::Authority;
pub use keeper::{Announce, Keeper, LOOK, Settings};
pub use shelf::Shelf;
