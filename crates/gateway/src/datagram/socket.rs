//! A UDP socket that says to which of the host's addresses a datagram came, and answers from it: a
//! socket on all addresses would answer from whichever the kernel prefers, which clients refuse.

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A socket that clients send to.
pub struct Listening {
    socket: UdpSocket,
    is_v4: bool,
}

/// What came, beside its bytes.
pub struct Arrived {
    pub length: usize,
    pub client: SocketAddr,
    /// The address of this host that it was sent to.
    pub local: Option<IpAddr>,
}

impl Listening {
    /// Must be called within a runtime; the socket does not block.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let is_v4 = socket.local_addr()?.is_ipv4();
        match is_v4 {
            true => setsockopt(&socket, Ipv4PacketInfo, &true)?,
            false => setsockopt(&socket, Ipv6RecvPacketInfo, &true)?,
        }
        Ok(Self { socket: UdpSocket::from_std(socket)?, is_v4 })
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// One datagram, if there is one.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrived> {
        self.socket.try_io(Interest::READABLE, || {
            let mut space = cmsg_space!(in6_pktinfo);
            let mut into = [IoSliceMut::new(buffer)];
            let descriptor = self.socket.as_raw_fd();
            let message =
                recvmsg::<SockaddrStorage>(descriptor, &mut into, Some(&mut space), MsgFlags::empty())?;
            let client = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
            let local = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())))
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)))
                }
                _ => None,
            });
            Ok(Arrived { length: message.bytes, client, local })
        })
    }

    /// Sends from `local`; what does not fit into the socket now is lost, as it would be on the way.
    pub fn send(&self, bytes: &[u8], client: SocketAddr, local: Option<IpAddr>) -> io::Result<()> {
        let to = SockaddrStorage::from(client);
        let from = [IoSlice::new(bytes)];
        let (v4, v6);
        let control = match local {
            Some(IpAddr::V4(source)) if self.is_v4 => {
                let source = in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
                v4 = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: in_addr { s_addr: 0 } };
                Some(ControlMessage::Ipv4PacketInfo(&v4))
            }
            Some(IpAddr::V6(source)) if !self.is_v4 => {
                let source = in6_addr { s6_addr: source.octets() };
                v6 = in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
                Some(ControlMessage::Ipv6PacketInfo(&v6))
            }
            _ => None,
        };
        // Not asked of the runtime, which would first have to be told that there is room.
        sendmsg(self.socket.as_raw_fd(), &from, control.as_slice(), MsgFlags::MSG_DONTWAIT, Some(&to))?;
        Ok(())
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|a| SocketAddr::V4(SocketAddrV4::new(a.ip(), a.port())));
    let v6 = || {
        let a = storage.as_sockaddr_in6()?;
        Some(SocketAddr::V6(SocketAddrV6::new(a.ip(), a.port(), a.flowinfo(), a.scope_id())))
    };
    v4.or_else(v6)
}
