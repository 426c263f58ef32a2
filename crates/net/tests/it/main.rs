//! Networks for real, as root, in namespaces that the tests make: a "host" that is a namespace of
//! the test's thread, instances as the crate makes them, and where needed an "internet" outside.

mod bench;
mod bridge;
mod instance;
mod traffic;
mod world;
