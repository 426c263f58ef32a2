//! What the control loop asks of this machine: the time, its subnets, its free ports.

use model::Timestamp;
use model::service::Transport;
use model::subnet::Cidr;
use run::ports::Machine;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Host;

/// The clock of this machine.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Machine for Host {
    fn now(&self) -> Timestamp {
        now()
    }

    fn subnets(&self) -> Vec<Cidr> {
        // Without the right to ask, making the network fails a moment later and says so.
        net::host_subnets().unwrap_or_default()
    }

    fn disk_free(&self, directory: &std::path::Path) -> Option<model::Bytes> {
        let stat = rustix::fs::statvfs(directory).ok()?;
        Some(model::Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    fn uplinks(&self) -> Option<u64> {
        net::uplinks().ok()
    }

    fn port_in_use(&self, address: SocketAddr, transport: Transport) -> Option<String> {
        try_port(address, transport).err().map(|error| match error {
            rustix::io::Errno::ADDRINUSE => "something on this machine already listens there".to_owned(),
            rustix::io::Errno::ADDRNOTAVAIL => format!("{} is not an address of this machine", address.ip()),
            rustix::io::Errno::ACCESS => {
                "ports below net.ipv4.ip_unprivileged_port_start are for root; `juchu doctor` says more"
                    .to_owned()
            }
            _ => error.to_string(),
        })
    }
}

/// Binds as the gateway does, so that addresses it already holds on this port are not in the way.
fn try_port(address: SocketAddr, transport: Transport) -> rustix::io::Result<()> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let kind = match transport {
        Transport::Tcp => SocketType::STREAM,
        Transport::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if transport == Transport::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_holds_is_in_use() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let held = holder.local_addr().expect("bound");
        let anywhere = SocketAddr::from(([0, 0, 0, 0], held.port()));
        for address in [held, anywhere] {
            let said = Host.port_in_use(address, Transport::Tcp).expect("it is held");
            assert_eq!(Host.port_in_use(address, Transport::Udp), None, "of the other kind it is free");
            assert_eq!(said, "something on this machine already listens there");
        }
        drop(holder);
        assert_eq!(Host.port_in_use(held, Transport::Tcp), None);
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let said =
            Host.port_in_use(SocketAddr::from(([192, 0, 2, 1], 80)), Transport::Tcp).expect("not ours");
        assert_eq!(said, "192.0.2.1 is not an address of this machine");
    }
}
