//! This machine: every second from held files, and now and then what changes rarely or costs more.

mod disks;
mod filesystems;
mod kernel;
mod memory;
mod network;
mod processes;
mod rare;
mod sockets;

pub use filesystems::Filesystems;
pub(crate) use network::columns;
pub use rare::Rare;

use super::{Held, Sink};
use std::path::Path;

/// What is done with the text of one file.
type Collect = fn(&str, &mut dyn Sink);

/// The files that are read at each tick.
#[derive(Debug)]
pub struct Node {
    files: Vec<(Held, Collect)>,
}

const FILES: &[(&str, Collect)] = &[
    ("stat", kernel::stat),
    ("loadavg", kernel::loadavg),
    ("meminfo", memory::meminfo),
    ("vmstat", memory::vmstat),
    ("diskstats", disks::diskstats),
    ("net/dev", network::dev),
    ("net/netstat", sockets::netstat),
    ("net/snmp", sockets::netstat),
    ("net/snmp6", sockets::snmp6),
    ("net/sockstat", sockets::sockstat),
    ("net/sockstat6", sockets::sockstat),
    ("net/softnet_stat", kernel::softnet),
    ("net/arp", network::arp),
    ("schedstat", kernel::schedstat),
    ("pressure/cpu", |text, sink| kernel::pressure("cpu", text, sink)),
    ("pressure/io", |text, sink| kernel::pressure("io", text, sink)),
    ("pressure/memory", |text, sink| kernel::pressure("memory", text, sink)),
    ("sys/fs/file-nr", kernel::file_nr),
    ("sys/kernel/random/entropy_avail", |text, sink| {
        kernel::single("node_entropy_available_bits", text, sink)
    }),
    ("sys/kernel/random/poolsize", |text, sink| kernel::single("node_entropy_pool_size_bits", text, sink)),
    ("sys/net/netfilter/nf_conntrack_count", |text, sink| {
        kernel::single("node_nf_conntrack_entries", text, sink)
    }),
    ("sys/net/netfilter/nf_conntrack_max", |text, sink| {
        kernel::single("node_nf_conntrack_entries_limit", text, sink)
    }),
];

impl Node {
    /// Reads below `proc`, usually `/proc`.
    pub fn new(proc: &Path) -> Self {
        Self { files: FILES.iter().map(|(name, collect)| (Held::new(proc.join(name)), *collect)).collect() }
    }

    pub fn collect(&mut self, sink: &mut dyn Sink) {
        for (file, collect) in &mut self.files {
            if let Some(text) = file.read() {
                collect(text, sink);
            }
        }
    }
}

/// Whether a network device is one of the bridges and pairs that instances have: their traffic is
/// counted with them.
pub(crate) fn is_ours(device: &str) -> bool {
    (device.starts_with("jc") || device.starts_with("jv"))
        && device.len() >= 12
        && device[2..].bytes().all(|byte| byte.is_ascii_hexdigit())
}
