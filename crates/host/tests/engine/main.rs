//! The engine against the real kernel: every test runs real containers from a busybox layer.

mod commands;
mod confinement;
mod deaths;
mod files;
mod fixture;
mod hooks;
mod keys;
mod lifecycle;
mod limits;
mod network;
mod output;
mod starts;
