//! The engine against the real kernel: every test runs real containers from a busybox layer.

mod confinement;
mod files;
mod fixture;
mod lifecycle;
mod limits;
mod starts;
