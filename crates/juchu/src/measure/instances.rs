//! What each instance uses, and what our own processes do.

use super::labels;
use crate::unprivileged;
use model::{InstanceId, ReleaseId, ServiceName, StackName};
use observe::collect::Recorder;
use observe::collect::group::{Group, Layout, Place};
use observe::collect::process::Process;
use observe::keep::{Ends, Metrics};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// An instance that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub id: InstanceId,
    pub stack: StackName,
    pub service: ServiceName,
    pub release: ReleaseId,
    pub image: String,
    pub pid: i32,
}

/// What was last seen of what runs; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Now>>);

#[derive(Debug, Clone, Default)]
struct Now {
    instances: Vec<Running>,
    gateway: Option<u32>,
    /// Grows with each change.
    revision: u64,
}

impl Seen {
    pub fn set_instances(&self, instances: Vec<Running>) {
        self.change(|now| now.instances = instances);
    }

    pub fn set_gateway(&self, pid: Option<u32>) {
        if self.now().gateway != pid {
            self.change(|now| now.gateway = pid);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut now);
        now.revision += 1;
    }

    fn now(&self) -> Now {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn revision(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).revision
    }
}

/// The groups of all instances, and our own processes.
#[derive(Default)]
pub struct Groups {
    revision: u64,
    instances: BTreeMap<InstanceId, Measured>,
    processes: Option<Processes>,
}

struct Measured {
    running: Running,
    recorder: Recorder,
    group: Group,
}

impl Groups {
    pub fn tick(&mut self, metrics: &Metrics, seen: &Seen, second: i64) {
        let processes = self.processes.get_or_insert_with(Processes::new);
        if self.revision != seen.revision() {
            let now = seen.now();
            self.revision = now.revision;
            processes.set_gateway(now.gateway);
            follow(&mut self.instances, now.instances, metrics, second);
        }
        processes.tick(metrics, second);
        for Measured { recorder, group, .. } in self.instances.values_mut() {
            // One that comes too late is left out, as one is that never came.
            let _ = recorder.tick(metrics, second, |sink| {
                sink.gauge("container_last_seen", &[], second as f64 / 1000.0);
                group.collect(sink);
            });
        }
    }
}

/// Begins with those that are new, and says of those that are gone that they have ended.
fn follow(
    measured: &mut BTreeMap<InstanceId, Measured>,
    running: Vec<Running>,
    metrics: &Metrics,
    second: i64,
) {
    measured.retain(|id, one| {
        let stays = running.iter().any(|running| *running == one.running && running.id == *id);
        if !stays {
            let _ = one.recorder.tick(metrics, second, |_| {});
        }
        stays
    });
    for running in running {
        measured.entry(running.id.clone()).or_insert_with(|| Measured::new(running));
    }
}

impl Measured {
    fn new(running: Running) -> Self {
        let mut base = labels("containers");
        let id = running.id.to_string();
        base.retain(|(name, _)| name != "instance");
        for (name, value) in [
            ("instance", id.clone()),
            ("name", id.clone()),
            ("id", format!("/juchu/{id}")),
            ("stack", running.stack.to_string()),
            ("service", running.service.to_string()),
            ("release", running.release.to_string()),
            ("image", running.image.clone()),
        ] {
            base.push((name.to_owned(), value));
        }
        let group = Group::new(place(&running));
        Self { recorder: Recorder::new(format!("instance/{id}"), Ends::WhenMissing, base), group, running }
    }
}

fn place(running: &Running) -> Place {
    let layout = match host::Groups::detect(unprivileged::entered()) {
        Err(_) => Layout::Nowhere,
        Ok(groups) => {
            let directory =
                |controller: &str| -> Option<PathBuf> { groups.controller(&running.id, controller) };
            match groups.unified(&running.id) {
                Some(directory) => Layout::Unified(directory),
                None => Layout::Split {
                    cpu: directory("cpu"),
                    cpuacct: directory("cpuacct"),
                    memory: directory("memory"),
                    pids: directory("pids"),
                    blkio: directory("blkio"),
                },
            }
        }
    };
    Place { layout, pid: Some(running.pid) }
}

/// The daemon and the gateway.
struct Processes {
    recorder: Recorder,
    daemon: Process,
    gateway: Option<Process>,
    boot_seconds: f64,
}

impl Processes {
    fn new() -> Self {
        Self {
            recorder: Recorder::new("juchu", Ends::WhenMissing, labels("juchu")),
            daemon: Process::new(std::process::id()),
            gateway: None,
            boot_seconds: boot_seconds(),
        }
    }

    fn set_gateway(&mut self, pid: Option<u32>) {
        if self.gateway.as_ref().map(Process::pid) != pid {
            self.gateway = pid.map(Process::new);
        }
    }

    fn tick(&mut self, metrics: &Metrics, second: i64) {
        let Self { recorder, daemon, gateway, boot_seconds } = self;
        let _ = recorder.tick(metrics, second, |sink| {
            sink.gauge("up", &[], 1.0);
            sink.gauge("juchu_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
            daemon.collect(&[("role", "daemon")], *boot_seconds, sink);
            if let Some(gateway) = gateway {
                gateway.collect(&[("role", "gateway")], *boot_seconds, sink);
            }
        });
    }
}

fn boot_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or_default()
}
