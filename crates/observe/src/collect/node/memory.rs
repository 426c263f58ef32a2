//! Memory: what there is, and how often pages went in and out.

use crate::collect::Sink;
use crate::collect::text::{Name, number, words};

/// `/proc/meminfo`
pub fn meminfo(text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let mut rest = words(rest);
        let Some(value) = rest.next().and_then(number) else { continue };
        let is_kilobytes = rest.next() == Some("kB");
        let (first, second) = key.split_once('(').unwrap_or((key, ""));
        let (between, second) =
            if second.is_empty() { ("", "") } else { ("_", second.trim_end_matches(')')) };
        let unit = if is_kilobytes { "_bytes" } else { "" };
        let Some(name) = Name::of(&["node_memory_", first, between, second, unit]) else { continue };
        sink.gauge(name.clean().as_str(), &[], if is_kilobytes { value * 1024.0 } else { value });
    }
}

/// `/proc/vmstat`, those that count faults, paging, swapping and kills.
pub fn vmstat(text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let is_fault = key.starts_with("pg") && key.contains("fault");
        if !is_fault && !["oom_kill", "pgpg", "pswp"].iter().any(|prefix| key.starts_with(prefix)) {
            continue;
        }
        if let (Some(name), Some(value)) = (Name::of(&["node_vmstat_", key]), number(value)) {
            sink.counter(name.as_str(), &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    #[test]
    fn memory_is_in_bytes() {
        let text =
            "MemTotal:       24684084 kB\nActive(anon):       12 kB\nHugePages_Total:       3\nnonsense\n";
        insta::assert_snapshot!(shown(|sink| meminfo(text, sink)), @r"
        node_memory_MemTotal_bytes 25276502016
        node_memory_Active_anon_bytes 12288
        node_memory_HugePages_Total 3
        ");
        let text = "nr_free_pages 4880129\npgpgin 5\npswpout 1\npgfault 10\npgmajfault 2\noom_kill 1\npgalloc_dma 4\n";
        insta::assert_snapshot!(shown(|sink| vmstat(text, sink)), @r"
        node_vmstat_pgpgin 5
        node_vmstat_pswpout 1
        node_vmstat_pgfault 10
        node_vmstat_pgmajfault 2
        node_vmstat_oom_kill 1
        ");
    }
}
