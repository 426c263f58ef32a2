//! The engine against the real kernel: every test runs real containers from a busybox layer.

mod fixture;
mod lifecycle;
