//! The network of a stack on one Linux host: a bridge per network, a network namespace per
//! instance, and the firewall table that keeps them apart. Netlink only: no `ip`, `nft` or
//! `iptables` is run. Everything is synchronous, idempotent and safe to call from any thread.

mod error;

mod rtnl;
mod socket;
mod sysctl;
mod wire;

mod inside;

mod bridge;
mod nft;
mod rules;

mod instance;
mod lacks;
mod listening;
mod namespace;

pub use error::NetError;
pub use inside::{
    bridges, bring_up_loopback, ensure_bridge, ensure_instance, host_subnets, lacks, live_in, remove_bridge,
    remove_instance, stream_socket, uplinks,
};
pub use lacks::NetLack;
pub use listening::Listening;
pub use model::subnet::{Cidr, Layout, SubnetError, choose_subnets};
pub use sysctl::all_groups;
