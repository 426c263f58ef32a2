//! Which signals are watched unless a file says otherwise, and what is normal for one of its kind.

use model::range::{Bounds, Level, Unit};
use signals::range::{Rule, Scale, Side};

/// What a rise that never leaves its band is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    Leak,
    Creeping,
    /// A share of room that is left; its end is nothing.
    Filling,
}

/// One kind of signal.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub unit: Unit,
    pub level: Level,
    /// When it is far outside.
    pub far: Level,
    min: Option<f64>,
    max: Option<f64>,
    side: Side,
    scale: Scale,
    floor: f64,
    held: u8,
    learns: bool,
    pub decay: Option<Decay>,
    /// By stack and service, or of the machine; none for what is seen rather than measured.
    pub query: Option<&'static str>,
    /// The label that tells several of one subject apart.
    pub by: Option<&'static str>,
}

const LEARNED: Kind = Kind {
    name: "",
    unit: Unit::Number,
    level: Level::Important,
    far: Level::Important,
    min: None,
    max: None,
    side: Side::Above,
    scale: Scale::Linear,
    floor: 0.0,
    held: 2,
    learns: true,
    decay: None,
    query: None,
    by: None,
};
const BOUND: Kind = Kind { learns: false, ..LEARNED };

const MIB: f64 = 1024.0 * 1024.0;
const WEEK_S: f64 = 7.0 * 86_400.0;

/// Of a service, measured.
pub static SERVICE: [Kind; 10] = [
    Kind {
        name: "requests",
        unit: Unit::PerSecond,
        side: Side::Below,
        scale: Scale::Ratio,
        floor: 1.0,
        query: Some("sum by (stack, service) (rate(juchu_gateway_requests_total[30s]))"),
        ..LEARNED
    },
    Kind {
        name: "errors",
        unit: Unit::Share,
        level: Level::Urgent,
        far: Level::Urgent,
        max: Some(0.5),
        floor: 0.01,
        query: Some(
            "clamp_max((sum by (stack, service) (rate(juchu_gateway_requests_total{code=\"5xx\"}[1m])) \
             + sum by (stack, service) (rate(juchu_gateway_errors_total[1m]))) \
             / (sum by (stack, service) (rate(juchu_gateway_requests_total[1m])) \
             + sum by (stack, service) (rate(juchu_gateway_errors_total[1m])) > 0.2), 1)",
        ),
        ..LEARNED
    },
    Kind {
        name: "p95",
        unit: Unit::Seconds,
        far: Level::Urgent,
        floor: 0.005,
        decay: Some(Decay::Creeping),
        query: Some(
            "histogram_quantile(0.95, sum by (stack, service, le) \
             (rate(juchu_gateway_request_duration_seconds_bucket[1m]))) \
             and on (stack, service) sum by (stack, service) (rate(juchu_gateway_requests_total[1m])) > 0.2",
        ),
        ..LEARNED
    },
    Kind {
        name: "cpu",
        unit: Unit::Cores,
        scale: Scale::Ratio,
        floor: 0.1,
        query: Some("sum by (stack, service) (rate(container_cpu_usage_seconds_total[30s]))"),
        ..LEARNED
    },
    Kind {
        name: "memory",
        unit: Unit::Bytes,
        floor: 16.0 * MIB,
        decay: Some(Decay::Leak),
        query: Some("max by (stack, service) (container_memory_working_set_bytes)"),
        ..LEARNED
    },
    Kind {
        name: "kills",
        level: Level::Urgent,
        far: Level::Urgent,
        max: Some(0.5),
        held: 1,
        query: Some("sum by (stack, service) (increase(container_oom_events_total[10m]))"),
        ..BOUND
    },
    Kind {
        name: "probe",
        level: Level::Urgent,
        far: Level::Urgent,
        min: Some(1.0),
        query: Some("probe_success"),
        by: Some("instance"),
        ..BOUND
    },
    Kind {
        name: "probe time",
        unit: Unit::Seconds,
        floor: 0.05,
        query: Some("probe_duration_seconds"),
        by: Some("instance"),
        ..LEARNED
    },
    Kind {
        name: "certificate",
        unit: Unit::Seconds,
        min: Some(WEEK_S),
        query: Some("probe_ssl_earliest_cert_expiry - time()"),
        by: Some("instance"),
        ..BOUND
    },
    Kind {
        name: "metrics",
        min: Some(1.0),
        held: 3,
        query: Some("min by (stack, service, job) (up{stack!=\"\"})"),
        by: Some("job"),
        ..BOUND
    },
];

/// Of a service, as the control plane sees it.
pub static INSTANCES: Kind =
    Kind { name: "instances", level: Level::Urgent, far: Level::Urgent, held: 1, ..BOUND };
pub static PORTS: Kind =
    Kind { name: "ports", max: Some(0.0), held: 1, level: Level::Urgent, far: Level::Urgent, ..BOUND };
pub static RESTARTS: Kind = Kind { name: "restarts", max: Some(0.0), held: 1, ..BOUND };

/// Declared by a service, with an expression of its own.
pub static OWN: Kind = Kind { name: "own", side: Side::Both, ..LEARNED };

/// Receivers that cannot be told.
pub static NOTIFICATIONS: Kind = Kind { name: "notifications", max: Some(0.0), ..BOUND };

/// What is left of each file system that is a disk, and of its files.
const DISK: &str = "node_filesystem_avail_bytes\
    {fstype!~\"tmpfs|ramfs|devtmpfs|overlay|squashfs|iso9660|nfs.*|fuse.*|9p|autofs\"} \
    / node_filesystem_size_bytes";
const FILES: &str = "node_filesystem_files_free\
    {fstype!~\"tmpfs|ramfs|devtmpfs|overlay|squashfs|iso9660|nfs.*|fuse.*|9p|autofs\"} \
    / (node_filesystem_files > 0)";

/// Of this machine.
pub static MACHINE: [Kind; 8] = [
    Kind {
        name: "cpu",
        unit: Unit::Share,
        level: Level::Information,
        far: Level::Information,
        floor: 0.15,
        query: Some("1 - avg(rate(node_cpu_seconds_total{mode=\"idle\"}[30s]))"),
        ..LEARNED
    },
    Kind {
        name: "memory left",
        unit: Unit::Share,
        level: Level::Urgent,
        far: Level::Urgent,
        min: Some(0.05),
        side: Side::Below,
        floor: 0.1,
        query: Some("node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"),
        ..LEARNED
    },
    Kind {
        name: "disk left",
        unit: Unit::Share,
        level: Level::Urgent,
        far: Level::Urgent,
        min: Some(0.05),
        side: Side::Below,
        floor: 0.1,
        decay: Some(Decay::Filling),
        query: Some(DISK),
        by: Some("mountpoint"),
        ..LEARNED
    },
    Kind {
        name: "files left",
        unit: Unit::Share,
        min: Some(0.05),
        query: Some(FILES),
        by: Some("mountpoint"),
        ..BOUND
    },
    Kind {
        name: "waiting for cpu",
        unit: Unit::Share,
        floor: 0.25,
        query: Some("rate(node_pressure_cpu_waiting_seconds_total[1m])"),
        ..LEARNED
    },
    Kind {
        name: "waiting for disks",
        unit: Unit::Share,
        floor: 0.25,
        query: Some("rate(node_pressure_io_waiting_seconds_total[1m])"),
        ..LEARNED
    },
    Kind {
        name: "waiting for memory",
        unit: Unit::Share,
        floor: 0.1,
        query: Some("rate(node_pressure_memory_waiting_seconds_total[1m])"),
        ..LEARNED
    },
    Kind {
        name: "gateway",
        level: Level::Urgent,
        far: Level::Urgent,
        min: Some(1.0),
        held: 3,
        // Without a stack there is none.
        query: Some("max(up{job=\"gateway\"}) and on () (sum(juchu_containers{state=\"up\"}) > 0)"),
        ..BOUND
    },
];

impl Kind {
    pub fn bounds(&self) -> Option<Bounds> {
        Bounds::new(self.min, self.max).ok()
    }

    pub fn rule(&self) -> Rule {
        Rule {
            bounds: self.bounds(),
            side: self.side,
            scale: self.scale,
            floor: self.floor,
            held: self.held,
            learns: self.learns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::promql::Query;

    #[test]
    fn all_expressions_are_promql() {
        for kind in SERVICE.iter().chain(&MACHINE) {
            let query = kind.query.expect("measured");
            assert!(Query::parse(query).is_ok(), "{query}");
            assert!(kind.learns || kind.bounds().is_some(), "{} is never outside", kind.name);
            assert!(!kind.learns || kind.floor > 0.0, "{} has no least width", kind.name);
        }
    }
}
