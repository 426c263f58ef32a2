//! What every test stands on: an own host, networks, instances, and sockets to talk through.

use model::InstanceId;
use model::instance::{Link, NetworkSpec};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use testkit::{Netns, NetnsGuard, TempDir};

/// A connection that is refused by silence is given up after this.
pub const PATIENCE: Duration = Duration::from_millis(400);
/// A connection that must work is given this long on a busy machine.
pub const LONG: Duration = Duration::from_secs(10);

/// The test's thread is inside `host` as long as this lives.
pub struct World {
    pub host: NetnsGuard,
    pub dir: TempDir,
}

impl World {
    /// `None`, and a word about it, without root or `ip`, by which tests look at the kernel.
    pub fn new() -> Option<Self> {
        let test = std::thread::current().name().unwrap_or("this test").to_owned();
        if !testkit::require_root(&test) || testkit::needs("ip", "iproute2").is_none() {
            return None;
        }
        Some(Self { host: NetnsGuard::new(), dir: TempDir::new() })
    }

    pub fn path(&self, id: &str) -> PathBuf {
        self.dir.join("netns").join(id)
    }

    /// Makes an instance with one link per (network, last two octets of its address).
    pub fn instance(&self, id: &str, links: &[(&NetworkSpec, [u8; 2])]) -> Netns {
        let links: Vec<_> = links.iter().map(|(network, tail)| link(network, *tail)).collect();
        net::ensure_instance(&self.path(id), &instance_id(id), &links)
            .unwrap_or_else(|error| panic!("make {id}: {}", chain(&error)));
        Netns::open(&self.path(id))
    }

    pub fn remove(&self, id: &str) {
        net::remove_instance(&self.path(id), &instance_id(id))
            .unwrap_or_else(|error| panic!("remove {id}: {}", chain(&error)));
    }
}

pub fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source))).unwrap_or_default();
    format!("{error}{source}")
}

pub fn instance_id(id: &str) -> InstanceId {
    InstanceId::new(id).expect("a test's own id")
}

/// Network number `n`: bridge `jct<n>`, subnet 10.208.<4n>.0/22.
pub fn network(n: u8) -> NetworkSpec {
    NetworkSpec {
        bridge: format!("jct{n}"),
        gateway: Ipv4Addr::new(10, 208, 4 * n, 1).into(),
        prefix_len: 22,
        internal: false,
        virtual_addresses: vec![
            Ipv4Addr::new(10, 208, 4 * n, 2).into(),
            Ipv4Addr::new(10, 208, 4 * n, 3).into(),
        ],
        mtu: None,
    }
}

pub fn internal(n: u8) -> NetworkSpec {
    NetworkSpec { internal: true, ..network(n) }
}

pub fn address(network: &NetworkSpec, [c, d]: [u8; 2]) -> IpAddr {
    let IpAddr::V4(gateway) = network.gateway else { panic!("the tests are about IPv4") };
    let [a, b, third, _] = gateway.octets();
    Ipv4Addr::new(a, b, third + c, d).into()
}

pub fn link(network: &NetworkSpec, tail: [u8; 2]) -> Link {
    Link::new(network.clone(), address(network, tail))
}

#[track_caller]
pub fn ensure(network: &NetworkSpec) {
    net::ensure_bridge(network).unwrap_or_else(|error| panic!("make {}: {}", network.bridge, chain(&error)));
}

/// A listener that tells everybody who they seem to be, until its thread's test ends.
pub fn greeter(ns: &Netns, at: IpAddr) -> SocketAddr {
    let listener = ns.run(|| TcpListener::bind((at, 0))).unwrap_or_else(|e| panic!("listen on {at}: {e}"));
    let local = listener.local_addr().unwrap();
    // Ends with the process: a test of ours accepts a handful of connections.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Ok(peer) = stream.peer_addr() else { continue };
            let _ = write!(stream, "{}", peer.ip());
        }
    });
    local
}

/// Connects from within `ns`; the address the other side saw, or `None` when it was not reached.
pub fn greeted(ns: &Netns, to: SocketAddr, patience: Duration) -> Option<IpAddr> {
    ns.run(|| {
        let mut stream = TcpStream::connect_timeout(&to, patience).ok()?;
        stream.set_read_timeout(Some(LONG)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.parse().ok()
    })
}

/// Runs `ip` in `ns`: only tests may, to look at the kernel with other eyes than ours.
pub fn ip(ns: &Netns, arguments: &str) -> String {
    let binary = testkit::needs("ip", "iproute2").expect("tests of networks need iproute2");
    let output = ns.run(|| Command::new(&binary).args(arguments.split(' ')).output().unwrap());
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("read {path}: {e}")).trim().to_owned()
}

/// An "internet": a namespace outside, 203.0.113.1, linked to the host's 203.0.113.2, by which the
/// host's default route goes. It knows no route to the networks, as the real one does not.
pub fn internet(world: &World) -> Netns {
    let outside = Netns::new();
    outside_link(world, &outside, "up0", "203.0.113.2/24", "203.0.113.1/24");
    ip(world.host.netns(), "route add default via 203.0.113.1");
    outside
}

/// A veth between the host's `name` and `eth0` of `outside`.
pub fn outside_link(world: &World, outside: &Netns, name: &str, here: &str, there: &str) {
    let host = world.host.netns();
    // A process inside `outside` gives `ip` a way to name the namespace.
    let mut holder = outside.run(|| Command::new("sleep").arg("60").spawn().unwrap());
    ip(host, &format!("link add {name} type veth peer name eth0 netns {}", holder.id()));
    ip(host, &format!("address add {here} dev {name}"));
    ip(host, &format!("link set {name} up"));
    ip(outside, &format!("address add {there} dev eth0"));
    ip(outside, "link set eth0 up");
    ip(outside, "link set lo up");
    holder.kill().unwrap();
    holder.wait().unwrap();
}
