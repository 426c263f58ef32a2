//! Development only: what tests of real processes, networks and mounts need to be brief and to
//! clean up after themselves, even when they fail.

mod busybox;
pub mod corpus;
pub mod json;
mod needs;
mod netns;
mod person;
mod process;
mod temp;
mod wait;

pub use busybox::busybox_static;
pub use needs::{needs, python_with_peers, python_with_validators, require_root};
pub use netns::{Netns, NetnsGuard};
pub use person::Person;
pub use process::{ProcessGuard, StrangerGuard};
pub use temp::TempDir;
pub use wait::{free_port, wait_for, wait_until};
