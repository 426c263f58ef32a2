//! The network of a stack on one Linux host: a bridge per network, a network namespace per
//! instance, and the firewall table that keeps them apart. Netlink only: no `ip`, `nft` or
//! `iptables` is run. Everything is synchronous, idempotent and safe to call from any thread.

mod error;

mod rtnl;
mod socket;
mod sysctl;
mod wire;

mod bridge;
mod nft;
mod rules;

mod instance;
mod lacks;
mod listening;
mod namespace;

pub use bridge::{bridges, ensure_bridge, host_subnets, remove_bridge, uplinks};
pub use error::NetError;
pub use instance::{ensure_instance, remove_instance};
pub use lacks::{NetLack, lacks};
pub use listening::{listening, listening_udp};
pub use model::subnet::{Cidr, Layout, SubnetError, choose_subnets};
