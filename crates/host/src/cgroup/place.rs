//! Groups and limits on v1 hierarchies, from the `resources` of an OCI runtime specification.
//!
//! On pure v2 hosts the container library does all of this, and nothing here does anything.

use super::{Cgroup, Unenforced};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What every container may do with devices, as other runtimes have it: make nodes (where it has
/// the capability) and use the usual ones.
pub(super) const USUAL_DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// Number in the specification → controller and file.
const NUMBERS: [(&str, &str, &str); 15] = [
    ("/memory/limit", "memory", "memory.limit_in_bytes"),
    ("/memory/swap", "memory", "memory.memsw.limit_in_bytes"),
    ("/memory/reservation", "memory", "memory.soft_limit_in_bytes"),
    ("/memory/kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes"),
    ("/memory/swappiness", "memory", "memory.swappiness"),
    ("/cpu/shares", "cpu", "cpu.shares"),
    ("/cpu/period", "cpu", "cpu.cfs_period_us"),
    ("/cpu/quota", "cpu", "cpu.cfs_quota_us"),
    ("/cpu/burst", "cpu", "cpu.cfs_burst_us"),
    ("/cpu/realtimePeriod", "cpu", "cpu.rt_period_us"),
    ("/cpu/realtimeRuntime", "cpu", "cpu.rt_runtime_us"),
    ("/cpu/idle", "cpu", "cpu.idle"),
    ("/blockIO/weight", "blkio", "blkio.weight"),
    ("/blockIO/leafWeight", "blkio", "blkio.leaf_weight"),
    ("/network/classID", "net_cls", "net_cls.classid"),
];

const THROTTLES: [(&str, &str); 4] = [
    ("/blockIO/throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("/blockIO/throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("/blockIO/throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("/blockIO/throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
];

impl Cgroup {
    /// Makes the v1 groups with their limits; nobody is in them yet.
    pub fn make(&self, resources: &Value) -> Result<(), Unenforced> {
        if self.hierarchies.is_pure_v2() || !self.hierarchies.are_usable() {
            return Ok(());
        }
        for (name, mount) in &self.hierarchies.v1 {
            let dir = mount.join(self.path.trim_start_matches('/'));
            let made = if name == "cpuset" { make_cpuset(mount, &dir) } else { fs::create_dir_all(&dir) };
            made.map_err(|error| Unenforced::new(name, format!("{}: {error}", dir.display())))?;
        }
        self.limit(resources)
    }

    fn limit(&self, resources: &Value) -> Result<(), Unenforced> {
        for (pointer, controller, file) in NUMBERS {
            // Zero and null are "not set" in specifications.
            if let Some(number) = resources.pointer(pointer).filter(|value| value.is_number() && **value != 0)
            {
                self.set(controller, file, &number.to_string())?;
            }
        }
        if resources["memory"]["disableOOMKiller"] == true {
            self.set("memory", "memory.oom_control", "1")?;
        }
        for (field, file) in [("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")] {
            if let Some(set) = resources["cpu"][field].as_str().filter(|set| !set.is_empty()) {
                self.set("cpuset", file, set)?;
            }
        }
        if let Some(limit) = resources["pids"]["limit"].as_i64() {
            let text = if limit > 0 { limit.to_string() } else { "max".to_owned() };
            self.set("pids", "pids.max", &text)?;
        }
        self.limit_devices(resources)
    }

    fn limit_devices(&self, resources: &Value) -> Result<(), Unenforced> {
        for device in list(resources.pointer("/blockIO/weightDevice")) {
            let line = format!("{}:{} {}", device["major"], device["minor"], device["weight"]);
            self.set("blkio", "blkio.weight_device", &line)?;
        }
        for (pointer, file) in THROTTLES {
            for device in list(resources.pointer(pointer)) {
                self.set(
                    "blkio",
                    file,
                    &format!("{}:{} {}", device["major"], device["minor"], device["rate"]),
                )?;
            }
        }
        for page in list(resources.get("hugepageLimits")) {
            let file = format!("hugetlb.{}.limit_in_bytes", page["pageSize"].as_str().unwrap_or_default());
            self.set("hugetlb", &file, &page["limit"].to_string())?;
        }
        for interface in list(resources.pointer("/network/priorities")) {
            let line =
                format!("{} {}", interface["name"].as_str().unwrap_or_default(), interface["priority"]);
            self.set("net_prio", "net_prio.ifpriomap", &line)?;
        }
        let rules = list(resources.get("devices"));
        for rule in rules {
            let file = if rule["allow"] == true { "devices.allow" } else { "devices.deny" };
            self.set("devices", file, &device_rule(rule))?;
        }
        if !rules.is_empty() && self.dir("devices").is_some() {
            USUAL_DEVICES.iter().try_for_each(|rule| self.set("devices", "devices.allow", rule))?;
        }
        Ok(())
    }

    fn set(&self, controller: &str, file: &str, value: &str) -> Result<(), Unenforced> {
        let missing =
            || Unenforced::new(controller, format!("this host has no `{controller}` control group"));
        let dir = self.dir(controller).ok_or_else(missing)?;
        let file = present_name(&dir, file);
        fs::write(dir.join(&*file), value).map_err(|error| {
            Unenforced::new(controller, format!("`{file}` does not take `{value}`: {error}"))
        })
    }

    /// On pure v2 hosts, what the container library leaves out: devices, and it takes "no swap at
    /// all" for "not said".
    pub fn complete(&self, resources: &Value) -> Result<(), Unenforced> {
        if self.hierarchies.is_pure_v2() {
            self.limit_devices_by_program(resources)?;
        }
        let (limit, swap) = (&resources["memory"]["limit"], &resources["memory"]["swap"]);
        match (limit.as_i64(), swap.as_i64()) {
            (Some(limit), Some(swap)) if limit > 0 && swap == limit && self.hierarchies.is_pure_v2() => {
                self.set("memory", "memory.swap.max", "0")
            }
            _ => Ok(()),
        }
    }

    /// The group in the v2 tree of a host with v1 controllers, for a process to be born in.
    pub fn home(&self) -> io::Result<Option<OwnedFd>> {
        let Some(dir) = self.unified_dir().filter(|_| !self.hierarchies.is_pure_v2()) else {
            return Ok(None);
        };
        fs::create_dir_all(&dir)?;
        open_group(&dir).map(Some)
    }

    /// Puts another process into the v1 groups, one right after the other: only the first change of
    /// groups waits for the whole machine.
    pub fn join(&self, pid: i32) -> io::Result<()> {
        // By directory, because controllers that share a mount share its groups.
        let mut dirs = self.v1_dirs().into_values();
        dirs.try_for_each(|dir| fs::write(dir.join("cgroup.procs"), pid.to_string()))
    }

    /// The same for this process, which has one thread: a thread that moves itself waits for nobody.
    pub fn join_self(&self) -> io::Result<()> {
        self.v1_dirs().into_values().try_for_each(|dir| fs::write(dir.join("tasks"), "0"))
    }

    /// The files by which a thread puts itself there; opened from outside, usable inside.
    pub fn open_tasks(&self) -> io::Result<Vec<File>> {
        let dirs = self.v1_dirs().into_values();
        dirs.map(|dir| File::options().write(true).open(dir.join("tasks"))).collect()
    }
}

pub(super) fn open_group(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// Weights of block devices are kept by one of two schedulers, each with files of its own.
pub(super) fn present_name<'a>(dir: &Path, file: &'a str) -> Cow<'a, str> {
    match file.strip_prefix("blkio.weight") {
        Some(rest) if !dir.join(file).exists() => format!("blkio.bfq.weight{rest}").into(),
        _ => file.into(),
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A new cpuset group has neither processors nor memory until it is given some.
fn make_cpuset(mount: &Path, dir: &Path) -> io::Result<()> {
    if dir.is_dir() || dir == mount {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(mount);
    make_cpuset(mount, parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(dir.join(file))?.trim().is_empty() {
            fs::write(dir.join(file), fs::read(parent.join(file))?)?;
        }
    }
    Ok(())
}

/// `c 1:3 rwm`; absent parts mean all.
fn device_rule(rule: &Value) -> String {
    let number = |field: &str| match rule[field].as_i64() {
        Some(number) if number >= 0 => number.to_string(),
        _ => "*".to_owned(),
    };
    let kind = rule["type"].as_str().unwrap_or("a");
    let access = rule["access"].as_str().filter(|access| !access.is_empty()).unwrap_or("rwm");
    format!("{kind} {}:{} {access}", number("major"), number("minor"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn device_rules_are_written_as_the_kernel_reads_them() {
        let check = |rule: Value, expect: &str| assert_eq!(device_rule(&rule), expect);
        check(json!({ "allow": false, "access": "rwm" }), "a *:* rwm");
        check(
            json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }),
            "c 10:229 rw",
        );
        check(json!({ "allow": true, "type": "b", "major": 8 }), "b 8:* rwm");
    }
}
