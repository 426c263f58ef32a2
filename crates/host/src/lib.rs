//! The embedded engine: Linux containers on this host, without any daemon of others.
//!
//! ```text
//!  daemon: HostEngine ── runs ──▶ juchu shim (one per instance) ── creates ──▶ the program
//!     │  ▲                            │ output, exit.json                        ▲
//!     │  └── pidfd, records ──────────┘                                          │
//!     └── runs ──▶ juchu enter (exec) ── joins ──────────────────────────────────┘
//! ```
//! Reading order: [`config`], [`engine`], then what runs in other processes: [`shim`], [`enter`],
//! [`oci`]. Those entry points must be called before any thread exists.

mod apart;
mod capabilities;
mod cgroup;
mod clock;
mod console;
mod container;
mod durable;
mod executor;
mod init;
mod layout;
mod log;
mod process;
mod program;
mod record;
mod rootfs;
mod seccomp;
mod spec;
mod sys;
mod users;

pub mod config;
pub mod engine;
pub mod enter;
pub mod oci;
pub mod shim;
pub mod sync;

pub use config::{HostConfig, LayerSource};
pub use engine::HostEngine;
