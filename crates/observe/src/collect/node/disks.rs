//! Block devices.

use crate::collect::Sink;
use crate::collect::text::{number, words};

const SECTOR_BYTES: f64 = 512.0;

/// What the columns after the name are called, whether they only grow, and what one of them is worth.
const COLUMNS: [(&str, bool, f64); 17] = [
    ("node_disk_reads_completed_total", true, 1.0),
    ("node_disk_reads_merged_total", true, 1.0),
    ("node_disk_read_bytes_total", true, SECTOR_BYTES),
    ("node_disk_read_time_seconds_total", true, 0.001),
    ("node_disk_writes_completed_total", true, 1.0),
    ("node_disk_writes_merged_total", true, 1.0),
    ("node_disk_written_bytes_total", true, SECTOR_BYTES),
    ("node_disk_write_time_seconds_total", true, 0.001),
    ("node_disk_io_now", false, 1.0),
    ("node_disk_io_time_seconds_total", true, 0.001),
    ("node_disk_io_time_weighted_seconds_total", true, 0.001),
    ("node_disk_discards_completed_total", true, 1.0),
    ("node_disk_discards_merged_total", true, 1.0),
    ("node_disk_discarded_sectors_total", true, 1.0),
    ("node_disk_discard_time_seconds_total", true, 0.001),
    ("node_disk_flush_requests_total", true, 1.0),
    ("node_disk_flush_requests_time_seconds_total", true, 0.001),
];

/// `/proc/diskstats`; older kernels have fewer columns.
pub fn diskstats(text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let mut words = words(line).skip(2);
        let Some(device) = words.next().filter(|device| !is_part(device)) else { continue };
        let labels = [("device", device)];
        for ((name, grows, unit), word) in COLUMNS.iter().zip(words) {
            let Some(value) = number(word) else { continue };
            // Exact to the last digit that the kernel has.
            let value = if *unit == 0.001 { value / 1000.0 } else { value * unit };
            if *grows { sink.counter(name, &labels, value) } else { sink.gauge(name, &labels, value) }
        }
    }
}

/// Partitions, loops and disks in memory are left out.
fn is_part(device: &str) -> bool {
    let kind = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if kind.len() == device.len() {
        return false;
    }
    let disk = |prefix: &str| {
        kind.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_lowercase())
    };
    matches!(kind, "ram" | "zram" | "loop" | "fd")
        || ["hd", "sd", "vd", "xvd"].iter().any(|prefix| disk(prefix))
        || (kind.starts_with("nvme") && kind.ends_with('p'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    #[test]
    fn whole_disks_only() {
        let text = " 254 0 vda 27365150 1594716 1263936258 53308991 5332316 4923366 1444651360 10933725 3 2661664 65080746\n 254 1 vda1 1 1 1 1 1 1 1 1 0 1 1\n 259 1 nvme0n1p1 1 1 1 1\n   7 0 loop0 1 1\n 253 0 zram0 0 0\n";
        insta::assert_snapshot!(shown(|sink| diskstats(text, sink)), @r#"
        node_disk_reads_completed_total{device="vda"} 27365150
        node_disk_reads_merged_total{device="vda"} 1594716
        node_disk_read_bytes_total{device="vda"} 647135364096
        node_disk_read_time_seconds_total{device="vda"} 53308.991
        node_disk_writes_completed_total{device="vda"} 5332316
        node_disk_writes_merged_total{device="vda"} 4923366
        node_disk_written_bytes_total{device="vda"} 739661496320
        node_disk_write_time_seconds_total{device="vda"} 10933.725
        node_disk_io_now{device="vda"} 3
        node_disk_io_time_seconds_total{device="vda"} 2661.664
        node_disk_io_time_weighted_seconds_total{device="vda"} 65080.746
        "#);
        assert!(!is_part("nvme0n1") && !is_part("dm-0") && !is_part("md127") && is_part("sda1"));
    }
}
