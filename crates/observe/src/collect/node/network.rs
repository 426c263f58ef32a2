//! Network devices and neighbours.

use super::is_ours;
use crate::collect::Sink;
use crate::collect::text::{number, words};

/// The sixteen columns of `/proc/net/dev`, received first.
const COLUMNS: [&str; 16] = [
    "receive_bytes_total",
    "receive_packets_total",
    "receive_errs_total",
    "receive_drop_total",
    "receive_fifo_total",
    "receive_frame_total",
    "receive_compressed_total",
    "receive_multicast_total",
    "transmit_bytes_total",
    "transmit_packets_total",
    "transmit_errs_total",
    "transmit_drop_total",
    "transmit_fifo_total",
    "transmit_colls_total",
    "transmit_carrier_total",
    "transmit_compressed_total",
];

const NODE: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];

/// `/proc/net/dev` of this machine.
pub fn dev(text: &str, sink: &mut dyn Sink) {
    for (device, rest) in devices(text).filter(|(device, _)| !is_ours(device)) {
        for (name, value) in NODE.iter().zip(words(rest).filter_map(number)) {
            sink.counter(name, &[("device", device)], value);
        }
    }
}

/// The column of this name for each device.
pub(crate) fn columns<'t>(text: &'t str, wanted: &str) -> impl Iterator<Item = (&'t str, f64)> {
    let at = COLUMNS.iter().position(|column| *column == wanted).unwrap_or_default();
    devices(text).filter_map(move |(device, rest)| Some((device, words(rest).nth(at).and_then(number)?)))
}

fn devices(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (device, rest) = line.rsplit_once(':')?;
        Some((device.trim_ascii(), rest))
    })
}

/// The most devices that neighbours are counted for.
const DEVICES_MAX: usize = 32;

/// `/proc/net/arp`: neighbours of each device.
pub fn arp(text: &str, sink: &mut dyn Sink) {
    let mut counts = [("", 0u32); DEVICES_MAX];
    for device in text.lines().skip(1).filter_map(|line| words(line).nth(5)).filter(|device| !is_ours(device))
    {
        if let Some(count) = counts.iter_mut().find(|(of, count)| *of == device || *count == 0) {
            *count = (device, count.1 + 1);
        }
    }
    for (device, count) in counts.iter().take_while(|(_, count)| *count > 0) {
        sink.gauge("node_arp_entries", &[("device", device)], f64::from(*count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo: 10 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\njv58bfc63fa1e0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n";

    #[test]
    fn devices_of_instances_are_left_out() {
        let text = shown(|sink| dev(DEV, sink));
        assert_eq!(text.lines().count(), 16);
        assert!(text.starts_with("node_network_receive_bytes_total{device=\"lo\"} 10\n"), "{text}");
        assert!(text.ends_with("node_network_transmit_compressed_total{device=\"lo\"} 16\n"), "{text}");
        let sent: Vec<_> = columns(DEV, "transmit_bytes_total").collect();
        assert_eq!(sent, [("lo", 9.0), ("jv58bfc63fa1e0", 1.0)]);
    }

    #[test]
    fn neighbours_are_counted() {
        let text = "IP address HW type Flags HW address Mask Device\n10.0.0.2 0x1 0x2 02:6a:0a:d0:19:02 * eth0\n10.0.0.3 0x1 0x2 02:6a:0a:d0:19:03 * eth1\n10.0.0.4 0x1 0x2 02:6a:0a:d0:19:04 * eth0\n10.0.0.5 0x1 0x2 02:6a:0a:d0:19:04 * jcf6c53f977c\n";
        insta::assert_snapshot!(shown(|sink| arp(text, sink)), @r#"
        node_arp_entries{device="eth0"} 2
        node_arp_entries{device="eth1"} 1
        "#);
    }
}
