//! Where the networks live: in the namespace of this process, or in one of their own that the
//! process may enter but is not in. Without root the host's own namespace takes no bridges.

use crate::namespace::on_helper_thread;
use crate::{NetError, NetLack, bridge, instance, lacks as probe, rtnl, socket::Socket};
use model::InstanceId;
use model::instance::{Link, NetworkSpec};
use model::subnet::Cidr;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

static NAMESPACE: OnceLock<OwnedFd> = OnceLock::new();

/// From now on everything of this crate happens in that network namespace. Said once, before
/// anything else is asked; later calls change nothing.
pub fn live_in(namespace: OwnedFd) {
    // Whoever was first has said the same.
    let _ = NAMESPACE.set(namespace);
}

/// The networks are in a namespace where nothing else is.
pub fn is_of_our_own() -> bool {
    NAMESPACE.get().is_some()
}

/// Runs `work` where the networks live: on a helper thread when that is not here.
fn there<T: Send>(work: impl FnOnce() -> Result<T, NetError> + Send) -> Result<T, NetError> {
    let Some(namespace) = NAMESPACE.get() else { return work() };
    on_helper_thread(|| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(NetError::kernel("enter the namespace of the networks"))?;
        work()
    })
}

/// An unconnected TCP socket from which instances can be reached.
pub fn stream_socket(is_ipv4: bool) -> Result<OwnedFd, NetError> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let family = if is_ipv4 { AddressFamily::INET } else { AddressFamily::INET6 };
    there(|| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(family, SocketType::STREAM, flags, None).map_err(NetError::kernel("make a socket"))
    })
}

/// In a namespace that was just made, its loopback.
pub fn bring_up_loopback() -> Result<(), NetError> {
    let mut socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    socket.ask_one(rtnl::set_up("lo")).map_err(NetError::kernel("bring up the loopback"))?;
    Ok(())
}

/// Makes the bridge with its addresses, its settings and the firewall rules of all our bridges, or
/// corrects whatever differs.
pub fn ensure_bridge(spec: &NetworkSpec) -> Result<(), NetError> {
    there(|| bridge::ensure_bridge(spec))
}

/// Removes the bridge and its rules; when it was the last one, everything else of ours too.
pub fn remove_bridge(name: &str) -> Result<(), NetError> {
    there(|| bridge::remove_bridge(name))
}

/// The names of our bridges, sorted.
pub fn bridges() -> Result<Vec<String>, NetError> {
    there(bridge::bridges)
}

/// What addresses and routes occupy there, our own networks included; sorted, without the default
/// route and the loopback.
pub fn host_subnets() -> Result<Vec<Cidr>, NetError> {
    there(bridge::host_subnets)
}

/// A number that changes when the ways out do.
pub fn uplinks() -> Result<u64, NetError> {
    there(bridge::uplinks)
}

/// Makes the instance's namespace at `netns_path` with its links, addresses and default route, or
/// completes it. The bridges must be there.
pub fn ensure_instance(netns_path: &Path, id: &InstanceId, links: &[Link]) -> Result<(), NetError> {
    there(|| instance::ensure_instance(netns_path, id, links))
}

/// Removes the links and the namespace; what is not there is fine.
pub fn remove_instance(netns_path: &Path, id: &InstanceId) -> Result<(), NetError> {
    there(|| instance::remove_instance(netns_path, id))
}

/// Empty when everything is there.
pub fn lacks() -> Vec<NetLack> {
    there(|| Ok(probe::lacks())).unwrap_or_else(|error| vec![probe::unexpected(&error)])
}
