//! What this machine lacks for networks. Not guessed from files: a bridge, a veth and a firewall
//! table are made in a namespace that nobody sees and that ends with the question.

use crate::bridge;
use crate::namespace::on_helper_thread;
use crate::nft::Firewall;
use crate::rtnl;
use crate::socket::Socket;
use crate::wire::Message;
use crate::{NetError, sysctl};
use model::instance::NetworkSpec;
use rustix::thread::{CapabilitySet, UnshareFlags};
use std::net::Ipv4Addr;

/// Something missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetLack {
    pub what: String,
    /// What does not work without it.
    pub effect: String,
    /// The command or action that gives it.
    pub hint: String,
    /// No network works without it.
    pub fatal: bool,
}

fn lack(fatal: bool, what: &str, effect: &str, hint: &str) -> NetLack {
    NetLack { what: what.to_owned(), effect: effect.to_owned(), hint: hint.to_owned(), fatal }
}

/// Empty when everything is there.
pub fn lacks() -> Vec<NetLack> {
    let missing = capabilities();
    if !missing.is_empty() {
        return missing;
    }
    let probed = on_helper_thread(|| Ok(probe())).unwrap_or_else(|error| vec![unexpected(&error)]);
    probed.into_iter().chain(obstructions()).collect()
}

fn capabilities() -> Vec<NetLack> {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
    let effective = effective.unwrap_or(CapabilitySet::empty());
    let needed = [
        (CapabilitySet::NET_ADMIN, "the capability CAP_NET_ADMIN"),
        (CapabilitySet::SYS_ADMIN, "the capability CAP_SYS_ADMIN"),
    ];
    let missing = needed.iter().filter(|(capability, _)| !effective.contains(*capability));
    missing
        .map(|(_, what)| {
            lack(true, what, "services cannot have a network of their own", "run as root: sudo juchu …")
        })
        .collect()
}

pub fn unexpected(error: &NetError) -> NetLack {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text = format!("{text}: {source}");
    }
    lack(
        true,
        &text,
        "services cannot have a network of their own",
        "see what this machine's kernel log says",
    )
}

/// Runs on a thread that gives up its namespace for a new one.
fn probe() -> Vec<NetLack> {
    // SAFETY: only the network namespace of this thread changes, and the thread ends after this.
    if let Err(error) = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) } {
        return vec![unexpected(&NetError::kernel("make a network namespace")(error))];
    }
    let mut found = Vec::new();
    let mut socket = match Socket::route() {
        Ok(socket) => socket,
        Err(error) => return vec![unexpected(&NetError::kernel("open a netlink socket")(error))],
    };
    let mut refused = |request: Message| socket.ask_one(request).is_err();
    if refused(rtnl::create_bridge("jcprobe", [2, 0x6a, 0, 0, 0, 1], 1500)) {
        found.push(lack(
            true,
            "bridges in the kernel",
            "services cannot reach each other",
            "modprobe bridge",
        ));
    }
    if let Ok(own) = std::fs::File::open(crate::namespace::OWN) {
        let mac = [2, 0x6a, 0, 0, 0, 2];
        if refused(rtnl::create_veth("jvprobe", "eth0", mac, 1500, std::os::fd::AsFd::as_fd(&own))) {
            found.push(lack(
                true,
                "veth links in the kernel",
                "services cannot have a network of their own",
                "modprobe veth",
            ));
        }
    }
    if !found.is_empty() || refused(rtnl::delete_link("jcprobe")) {
        return found;
    }
    found.extend(probe_whole());
    found
}

/// A network as it will be, rules and settings included.
fn probe_whole() -> Option<NetLack> {
    let network = NetworkSpec {
        bridge: "jcprobe".into(),
        gateway: Ipv4Addr::new(10, 208, 0, 1).into(),
        prefix_len: 22,
        internal: false,
        virtual_addresses: Vec::new(),
        mtu: None,
    };
    if let Err(error) = bridge::ensure_bridge(&network) {
        return Some(unexpected(&error));
    }
    let forwards = sysctl::read("ipv4/conf/jcprobe/forwarding").ok().flatten();
    (forwards.as_deref() != Some("1")).then(|| {
        lack(
            false,
            "nf_tables with address translation in the kernel",
            "services reach each other but nothing outside, and networks are not kept apart by rules",
            "modprobe nf_tables nft_masq nft_ct nft_chain_nat",
        )
    })
}

/// Firewalls of others that stop what we let through: a packet must be accepted by all of them.
fn obstructions() -> Vec<NetLack> {
    let chains = match Firewall::open() {
        Ok(Some(mut firewall)) => firewall.dropping_forward_chains().unwrap_or_default(),
        _ => return Vec::new(),
    };
    chains
        .iter()
        .map(|(table, chain)| {
            lack(
                false,
                &format!(
                    "a firewall that lets networks through: `{table} {chain}` drops what passes through"
                ),
                "services reach each other but nothing outside",
                "iptables -I FORWARD -i 'jc+' -j ACCEPT && iptables -I FORWARD -o 'jc+' -m conntrack \
                 --ctstate RELATED,ESTABLISHED -j ACCEPT",
            )
        })
        .collect()
}
