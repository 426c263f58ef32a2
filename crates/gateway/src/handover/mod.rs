//! How a newer program takes the place of a running gateway: listening sockets go to it over the
//! control socket, so that no connection finds nobody. What is said is in `wire::Handing`.
//!
//! `give` is the side of the one that goes, `take` of the one that comes; afterwards the one that
//! came knows the other as one of its `predecessors` until that has finished.

mod descriptors;
pub mod give;
pub mod predecessors;
pub mod take;

pub use take::Given;
