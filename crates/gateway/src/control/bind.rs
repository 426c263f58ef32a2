//! Listening sockets: one for each thread on the same address, shared with no other program.
//!
//! Ports are shared between threads by `SO_REUSEPORT`, which would also let another program of
//! the same user take half of the connections without a word. So the first socket is bound alone.

use crate::options::{BACKLOG, DATAGRAM_BUFFER_BYTES};
use model::service::Transport;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// Processes looked through for the owner of a port.
const MAX_PROCESSES: usize = 100_000;

/// A bound address with its sockets.
pub struct Sockets {
    pub address: SocketAddr,
    pub listeners: Vec<TcpListener>,
    /// By which the kernel's list of sockets tells ours from others'.
    pub inodes: Vec<u64>,
}

/// Binds `count` sockets to `address`. `own` are the addresses and inodes this process holds.
pub fn listen(address: SocketAddr, count: usize, own: &Own) -> Result<Sockets, String> {
    is_another(address, own)?;
    let overlaps = own.iter().any(|(ours, _)| overlap(*ours, address));
    if overlaps && let Some(inode) = foreign(address, own, Transport::Tcp) {
        return Err(in_use(inode));
    }
    let first = first(address, overlaps).map_err(|error| explain(address, &error, own, Transport::Tcp))?;
    let bound = local(&first).map_err(|error| error.to_string())?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(further(bound).map_err(|error| explain(bound, &error, own, Transport::Tcp))?);
    }
    let listeners: Vec<TcpListener> = sockets.into_iter().map(TcpListener::from).collect();
    let inodes = listeners.iter().filter_map(inode).collect();
    Ok(Sockets { address: bound, listeners, inodes })
}

fn first(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = stream_socket(address)?;
    if shared {
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
    } else {
        socket.bind(&address.into())?;
        // From here on our own further sockets may join; anyone else's failed until now.
        socket.set_reuse_port(true)?;
    }
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn further(address: SocketAddr) -> io::Result<Socket> {
    let socket = stream_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of a gateway that ended may still wait for their last packets.
    socket.set_reuse_address(true)?;
    prepare(&socket, address)?;
    Ok(socket)
}

/// The address of a virtual service may be made after the table that names it.
fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address.ip() {
        IpAddr::V4(_) => socket.set_freebind_v4(true),
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)
        }
    }
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

pub fn inode(socket: &impl AsFd) -> Option<u64> {
    rustix::fs::fstat(socket.as_fd()).ok().map(|stat| stat.st_ino)
}

/// Addresses this process holds, with the numbers of their sockets.
type Own = [(SocketAddr, Vec<u64>)];

/// The sockets on which names are answered; `udp` and `tcp` are what this process holds.
pub fn names(address: SocketAddr, udp: &Own, tcp: &Own) -> Result<(UdpSocket, TcpListener), String> {
    let tcp = listen(address, 1, tcp)?;
    let tcp = tcp.listeners.into_iter().next().ok_or("no socket was made")?;
    Ok((datagrams(address, udp)?, tcp))
}

/// Sharing is for an address that covers others: the very same one has one holder.
fn is_another(address: SocketAddr, own: &Own) -> Result<(), String> {
    match own.iter().any(|(ours, _)| *ours == address && address.port() != 0) {
        true => Err("another service has the port".to_owned()),
        false => Ok(()),
    }
}

/// A socket for datagrams, shared with no other program (see above).
pub fn datagrams(address: SocketAddr, own: &Own) -> Result<UdpSocket, String> {
    is_another(address, own)?;
    let shared = own.iter().any(|(ours, _)| overlap(*ours, address));
    if shared && let Some(inode) = foreign(address, own, Transport::Udp) {
        return Err(in_use(inode));
    }
    datagram_socket(address, shared).map_err(|error| explain(address, &error, own, Transport::Udp))
}

fn datagram_socket(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    prepare(&socket, address)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    share(&socket)?;
    // Where the kernel allows less it gives what it allows.
    socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES)?;
    Ok(socket.into())
}

/// Lets further sockets of ours join at addresses that this one covers, or that cover it.
pub fn share(socket: &impl AsFd) -> io::Result<()> {
    socket2::SockRef::from(socket).set_reuse_port(true)
}

/// One address covers the other: the same, or one of them is "all addresses".
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same && a.is_ipv4() == b.is_ipv4()
}

fn explain(address: SocketAddr, error: &io::Error, own: &Own, transport: Transport) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => match foreign(address, own, transport) {
            Some(inode) => in_use(inode),
            None => "the address is in use".to_owned(),
        },
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "no permission: ports below 1024 need root, or a lower net.ipv4.ip_unprivileged_port_start"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

fn in_use(inode: u64) -> String {
    match owner(inode) {
        Some((pid, name)) => format!("the address is in use by {name} (process {pid})"),
        None => "the address is in use by another program".to_owned(),
    }
}

/// The inode of a listening socket that is not ours and covers the address.
fn foreign(address: SocketAddr, own: &Own, transport: Transport) -> Option<u64> {
    let [v4, v6] = match transport {
        Transport::Tcp => ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"],
        Transport::Udp => ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"],
    };
    let both = if address.is_ipv4() { &[v4, v6][..] } else { &[v6] };
    both.iter().filter_map(|path| std::fs::read_to_string(path).ok()).find_map(|table| {
        table
            .lines()
            .filter_map(|line| listening(line, transport))
            .find(|(there, inode)| {
                let covers = overlap(*there, address)
                    // A socket for all IPv6 addresses usually takes IPv4 too.
                    || (there.is_ipv6() && there.ip().is_unspecified() && there.port() == address.port());
                covers && !own.iter().any(|(_, inodes)| inodes.contains(inode))
            })
            .map(|(_, inode)| inode)
    })
}

/// Local address and inode of a line of `/proc/net/tcp` whose state is LISTEN, or of
/// `/proc/net/udp` whose socket is connected to nobody.
fn listening(line: &str, transport: Transport) -> Option<(SocketAddr, u64)> {
    let waiting = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let inode = words.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == waiting).then_some(())?;
    // Each group of eight digits is a word in the machine's own byte order.
    let words: Vec<[u8; 4]> = (0..ip.len() / 8)
        .map(|i| u32::from_str_radix(&ip[i * 8..i * 8 + 8], 16).map(u32::to_ne_bytes))
        .collect::<Result<_, _>>()
        .ok()?;
    let ip = match words.as_slice() {
        [word] => IpAddr::from(*word),
        words => IpAddr::from(<[u8; 16]>::try_from(words.concat()).ok()?),
    };
    Some((SocketAddr::new(ip, port), inode))
}

/// The process that holds the socket, as far as this process may look.
fn owner(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten().take(MAX_PROCESSES);
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = |file: std::fs::DirEntry| {
            // The cheap look first: most files are no sockets.
            file.metadata().is_ok_and(|m| m.ino() != 0)
                && std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        };
        if files.flatten().any(holds) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn threads_share_a_port_and_others_do_not_join() {
        let ours = listen(loopback(0), 3, &[]).expect("some port is free");
        assert_eq!(ours.listeners.len(), 3);
        let error = listen(ours.address, 1, &[]).err().expect("the port is taken");
        assert!(error.contains("in use by") && error.contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn a_port_shared_by_another_program_is_found_out() {
        let theirs = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        theirs.set_reuse_port(true).expect("an option");
        theirs.bind(&loopback(0).into()).expect("some port is free");
        theirs.listen(1).expect("it can listen");
        let address = local(&theirs).expect("an address");
        assert!(listen(address, 2, &[]).is_err());
    }

    #[test]
    fn all_addresses_and_one_of_them_can_both_be_ours() {
        let all = listen(SocketAddr::from(([0, 0, 0, 0], 0)), 2, &[]).expect("some port is free");
        let own = [(all.address, all.inodes.clone())];
        let one = listen(loopback(all.address.port()), 2, &own).expect("we hold the other ourselves");
        // The more exact one gets the connection.
        let _client = std::net::TcpStream::connect(one.address).expect("someone listens");
        let accepted = |sockets: &Sockets| sockets.listeners.iter().any(|l| l.accept().is_ok());
        assert!(accepted(&one) && !accepted(&all));
    }

    #[test]
    fn an_address_that_does_not_exist_yet_can_be_bound() {
        listen("192.0.2.77:0".parse().expect("an address"), 2, &[]).expect("binding is free");
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 4711 1 0 100 0 0 10 0";
        assert_eq!(listening(line, Transport::Tcp), Some((loopback(8080), 4711)));
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), Transport::Tcp), None);
        assert_eq!(listening("  sl  local_address rem_address   st", Transport::Tcp), None);
    }
}
