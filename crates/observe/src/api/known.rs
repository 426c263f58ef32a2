//! Kind and meaning of metrics: of our own from a table, of scraped ones as their target says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// As the text format has it: `counter`, `gauge`, `histogram`, `summary`, `unknown`.
    pub kind: String,
    pub help: String,
}

/// What is known of names; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Mutex<HashMap<String, Described>>>);

/// The most metrics that descriptions are kept of.
const KNOWN_MAX: usize = 10_000;

impl Known {
    /// What a scraped target says of one of its metrics.
    pub fn learn(&self, name: &str, kind: &str, help: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(name).is_some_and(|known| known.kind == kind && known.help == help) {
            return;
        }
        if known.len() < KNOWN_MAX || known.contains_key(name) {
            known.insert(name.to_owned(), Described { kind: kind.to_owned(), help: help.to_owned() });
        }
    }

    /// The family that a name belongs to, and what that is.
    pub fn describe<'n>(&self, name: &'n str) -> (&'n str, Described) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = ["_bucket", "_sum", "_count"];
        let family = parts.iter().find_map(|part| name.strip_suffix(part));
        if let Some(found) = known.get(name) {
            return (name, found.clone());
        }
        if let Some((family, found)) = family.and_then(|family| Some((family, known.get(family)?))) {
            return (family, found.clone());
        }
        match family {
            Some(family) if family.ends_with("_seconds") => {
                (family, Described { kind: "histogram".into(), help: help(family).into() })
            }
            _ => (name, Described { kind: kind(name).into(), help: help(name).into() }),
        }
    }
}

fn kind(name: &str) -> &'static str {
    let counts = name.ends_with("_total")
        || name == "container_memory_failcnt"
        || ["node_vmstat_", "node_netstat_", "node_nf_conntrack_stat_"].iter().any(|p| name.starts_with(p))
            && !matches!(name, "node_netstat_Tcp_CurrEstab" | "node_netstat_Ip_Forwarding");
    if counts { "counter" } else { "gauge" }
}

/// What our own metrics mean, by name or by how they begin; the longest that fits counts.
const HELP: &[(&str, &str)] = &[
    ("container_", "Use of an instance, as its control group counts it."),
    ("container_cpu_", "Processor time of an instance."),
    ("container_fs_", "What an instance read from and wrote to disks."),
    ("container_memory_", "Memory of an instance, in bytes."),
    ("container_memory_working_set_bytes", "Memory of an instance that cannot be given away at once."),
    ("container_network_", "Traffic of an instance on its own network devices."),
    ("container_oom_events_total", "Processes of an instance that the kernel ended for want of memory."),
    ("container_pressure_", "Time in which tasks of an instance had to wait for a resource."),
    ("juchu_", "A figure of Juchu."),
    ("juchu_containers", "Instances on this machine, by state."),
    ("juchu_gateway_", "What the gateway counts since it started."),
    (
        "juchu_gateway_request_duration_seconds",
        "Time from a request's head to the end of its answer, by instance.",
    ),
    (
        "juchu_gateway_route_duration_seconds",
        "Time from a request's head to the end of its answer, by route.",
    ),
    (
        "juchu_gateway_listener_duration_seconds",
        "Time from a request's head to the end of its answer, by address.",
    ),
    ("juchu_instance_healthy", "1 while an instance is healthy or has no check, 0 otherwise."),
    ("juchu_instance_ready", "1 while an instance is ready, 0 otherwise."),
    ("juchu_instance_starts_total", "How often an instance was started."),
    ("juchu_kernel_messages_total", "Messages of the kernel by severity, since the daemon started."),
    (
        "juchu_kernel_oom_kills_total",
        "Processes that the kernel ended for want of memory, since the daemon started.",
    ),
    ("juchu_login_sessions", "People that are logged in."),
    ("juchu_logins_total", "Logins to this machine, since the daemon started."),
    ("juchu_measurements_", "The store of measurements."),
    ("juchu_probe_", "A probe of an address."),
    ("juchu_service_", "Instances of a service."),
    ("juchu_sudo_total", "Commands by sudo, since the daemon started."),
    ("node_", "A figure of this machine."),
    ("node_cpu_seconds_total", "Seconds of each processor by what it did."),
    ("node_disk_", "A block device, as the kernel counts it."),
    ("node_filesystem_", "A mounted file system."),
    ("node_load", "Average count of tasks that run or wait."),
    ("node_memory_", "A line of /proc/meminfo."),
    ("node_netstat_", "A count of a network protocol."),
    ("node_network_", "A network device."),
    ("node_nf_conntrack_", "Connections that the firewall follows."),
    ("node_pressure_", "Time in which tasks had to wait for a resource."),
    ("node_processes_", "Processes and threads of this machine."),
    ("node_sockstat_", "Sockets in use."),
    ("node_softnet_", "Packets that processors took in."),
    ("node_timex_", "How the kernel's clock is held in time."),
    ("node_vmstat_", "A line of /proc/vmstat."),
    ("process_", "A process of Juchu."),
    ("scrape_", "How reading the metrics of a service went."),
    ("up", "1 when the last look at a target succeeded, 0 otherwise."),
];

fn help(name: &str) -> &'static str {
    let fits = |prefix: &str| {
        name.starts_with(prefix) && (prefix.ends_with('_') || prefix == name || prefix == "node_load")
    };
    HELP.iter()
        .filter(|(prefix, _)| fits(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map_or("", |(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_families() {
        let known = Known::default();
        known.learn("requests", "summary", "All requests.");
        let check = |name| {
            let (family, described) = known.describe(name);
            format!("{family} {} {}", described.kind, described.help)
        };
        assert_eq!(check("requests_sum"), "requests summary All requests.");
        assert_eq!(check("node_load15"), "node_load15 gauge Average count of tasks that run or wait.");
        assert_eq!(
            check("node_cpu_guest_seconds_total"),
            "node_cpu_guest_seconds_total counter A figure of this machine."
        );
        assert!(
            check("juchu_gateway_request_duration_seconds_bucket")
                .starts_with("juchu_gateway_request_duration_seconds histogram Time ")
        );
        assert_eq!(
            check("node_netstat_Tcp_CurrEstab"),
            "node_netstat_Tcp_CurrEstab gauge A count of a network protocol."
        );
    }
}
