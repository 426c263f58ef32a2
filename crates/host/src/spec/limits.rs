//! Resources, resource limits and devices in the form of the OCI runtime specification.

use crate::cgroup::{self, Hierarchies};
use crate::record::{Job, StartFailure};
use model::service::{BlockIo, DeviceNumber};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

/// Devices that a directory may stand for.
const DEVICES_MAX: usize = 256;

pub fn resources(job: &Job, hierarchies: &Hierarchies) -> Result<Value, StartFailure> {
    let resources = &job.spec.resources;
    cgroup::check_available(hierarchies, resources)
        .map_err(|missing| StartFailure::Limit { limit: missing.limit, reason: missing.reason })?;
    if resources.memory_swap.is_some() && resources.memory.is_none() {
        let reason = "a limit on memory is needed beside it".to_owned();
        return Err(StartFailure::Limit { limit: "swap".to_owned(), reason });
    }
    let sets_period =
        resources.cpus.is_some() || resources.cpu_quota_us.is_some() || resources.cpu_period_us.is_some();
    let period = resources.cpu_period_us.unwrap_or(cgroup::PERIOD_US);
    let memory = [
        ("limit", resources.memory.map(|bytes| json!(bytes.0))),
        ("reservation", resources.memory_reservation.map(|bytes| json!(bytes.0))),
        ("swap", resources.memory_swap.map(|bytes| json!(bytes))),
        ("swappiness", resources.swappiness.map(|share| json!(share))),
        ("disableOOMKiller", resources.oom_kill_disable.then_some(json!(true))),
    ];
    let cpu = [
        ("quota", resources.cpus.map(cgroup::quota_us).or(resources.cpu_quota_us).map(|quota| json!(quota))),
        ("period", sets_period.then(|| json!(period))),
        ("shares", resources.cpu_shares.map(|shares| json!(shares))),
        ("cpus", resources.cpuset.as_ref().map(|cpus| json!(cpus))),
    ];
    let mut section = json!({ "devices": device_rules(job)? });
    for (name, fields) in [("memory", present(memory)), ("cpu", present(cpu))] {
        if !fields.is_empty() {
            section[name] = json!(fields);
        }
    }
    if let Some(io) = &resources.block_io {
        section["blockIO"] = block_io(io)?;
    }
    if let Some(pids) = resources.pids {
        section["pids"] = json!({ "limit": if pids <= 0 { -1 } else { pids } });
    }
    Ok(section)
}

fn block_io(io: &BlockIo) -> Result<Value, StartFailure> {
    let devices = |list: &[DeviceNumber], field: &str| {
        let all = list.iter().map(|device| {
            let node = Node::read(&device.path)?;
            Ok(json!({ "major": node.major, "minor": node.minor, field: device.number }))
        });
        Ok(Value::Array(all.collect::<Result<_, StartFailure>>()?))
    };
    let mut section = json!({
        "weightDevice": devices(&io.weight_device, "weight")?,
        "throttleReadBpsDevice": devices(&io.device_read_bps, "rate")?,
        "throttleWriteBpsDevice": devices(&io.device_write_bps, "rate")?,
        "throttleReadIOPSDevice": devices(&io.device_read_iops, "rate")?,
        "throttleWriteIOPSDevice": devices(&io.device_write_iops, "rate")?,
    });
    if let Some(weight) = io.weight {
        section["weight"] = json!(weight);
    }
    Ok(section)
}

fn present<const N: usize>(fields: [(&'static str, Option<Value>); N]) -> BTreeMap<&'static str, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn device_rules(job: &Job) -> Result<Value, StartFailure> {
    if job.spec.process.privileged {
        return Ok(json!([{ "allow": true, "access": "rwm" }]));
    }
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    for (_, node, access) in all_devices(job)? {
        rules.push(json!({
            "allow": true, "type": node.kind, "major": node.major, "minor": node.minor, "access": access
        }));
    }
    for rule in &job.spec.process.device_cgroup_rules {
        rules.push(device_rule(rule)?);
    }
    Ok(Value::Array(rules))
}

/// `c 10:229 rw`; `*` means all, and so does `a` for both kinds of devices.
fn device_rule(text: &str) -> Result<Value, StartFailure> {
    let failed = || StartFailure::Limit {
        limit: format!("device rule `{text}`"),
        reason: "a rule is a kind (a, b, c), MAJOR:MINOR and some of r, w, m".to_owned(),
    };
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [kind @ ("a" | "b" | "c"), number, access] = parts[..] else { return Err(failed()) };
    let (major, minor) = number.split_once(':').ok_or_else(failed)?;
    let part = |text: &str| match text {
        "*" => Ok(None),
        number => number.parse::<u32>().map(Some).map_err(|_| failed()),
    };
    let mut rule = json!({ "allow": true, "type": kind, "access": access });
    for (name, value) in [("major", part(major)?), ("minor", part(minor)?)] {
        if let Some(value) = value {
            rule[name] = json!(value);
        }
    }
    Ok(rule)
}

/// Each device with the path it gets inside and what may be done with it. A directory stands for the
/// devices below it.
fn all_devices(job: &Job) -> Result<Vec<(String, Node, &str)>, StartFailure> {
    let mut all = Vec::new();
    for device in &job.spec.process.devices {
        let target = if device.target.is_empty() { &device.source } else { &device.target };
        let access = if device.permissions.is_empty() { "rwm" } else { device.permissions.as_str() };
        let mut pairs = vec![(PathBuf::from(&device.source), PathBuf::from(target))];
        let is_dir = fs::metadata(&device.source).is_ok_and(|metadata| metadata.is_dir());
        while let Some((source, target)) = pairs.pop() {
            if !fs::metadata(&source).is_ok_and(|metadata| metadata.is_dir()) {
                match Node::read(&source.to_string_lossy()) {
                    Ok(node) => all.push((target.to_string_lossy().into_owned(), node, access)),
                    // What else lies in a directory is no device.
                    Err(_) if is_dir => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
            let entries = fs::read_dir(&source).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
            pairs.extend(below.map(|entry| (entry.path(), target.join(entry.file_name()))));
            if pairs.len() + all.len() > DEVICES_MAX {
                let reason = format!("there are more than {DEVICES_MAX} devices below it");
                return Err(StartFailure::Mount { path: device.source.clone().into(), reason });
            }
        }
    }
    Ok(all)
}

/// Where devices are to be bound that are wanted outside of `/dev`, with where they lie here.
pub fn bound_devices(job: &Job) -> Result<Vec<(PathBuf, String)>, StartFailure> {
    let all = all_devices(job)?.into_iter().filter(|(target, _, _)| !target.starts_with("/dev/"));
    Ok(all.map(|(target, node, _)| (node.path, target)).collect())
}

/// The device nodes to be made in `/dev`; the usual ones are made by the container library.
pub fn devices(job: &Job) -> Result<Value, StartFailure> {
    let all = all_devices(job)?.into_iter().filter(|(target, _, _)| target.starts_with("/dev/"));
    let nodes = all.map(|(target, node, _)| {
        json!({
            "path": target, "type": node.kind, "major": node.major, "minor": node.minor,
            "fileMode": node.mode, "uid": node.uid, "gid": node.gid,
        })
    });
    Ok(nodes.collect())
}

struct Node {
    path: PathBuf,
    kind: &'static str,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Node {
    fn read(path: &str) -> Result<Self, StartFailure> {
        let failed = |reason: String| StartFailure::Mount { path: path.into(), reason };
        let metadata =
            fs::metadata(path).map_err(|error| failed(format!("the device cannot be used: {error}")))?;
        let kind = match metadata.file_type() {
            kind if kind.is_char_device() => "c",
            kind if kind.is_block_device() => "b",
            _ => return Err(failed("this is not a device".to_owned())),
        };
        let number = metadata.rdev();
        Ok(Self {
            path: path.into(),
            kind,
            major: rustix::fs::major(number),
            minor: rustix::fs::minor(number),
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    }
}

const RLIMITS: [(&str, u32); 16] = [
    ("cpu", libc::RLIMIT_CPU),
    ("fsize", libc::RLIMIT_FSIZE),
    ("data", libc::RLIMIT_DATA),
    ("stack", libc::RLIMIT_STACK),
    ("core", libc::RLIMIT_CORE),
    ("rss", libc::RLIMIT_RSS),
    ("nproc", libc::RLIMIT_NPROC),
    ("nofile", libc::RLIMIT_NOFILE),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("as", libc::RLIMIT_AS),
    ("locks", libc::RLIMIT_LOCKS),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
];

/// Refuses what the kernel would refuse without `CAP_SYS_RESOURCE`, before anything is made.
pub fn rlimits(ulimits: &BTreeMap<String, (i64, i64)>) -> Result<Value, StartFailure> {
    let may_raise = crate::sys::effective_capabilities() & crate::capabilities::bits(["SYS_RESOURCE"]) != 0;
    let list = ulimits.iter().map(|(name, (soft, hard))| {
        let failed = |reason: String| StartFailure::Limit { limit: format!("ulimit {name}"), reason };
        let lower = name.to_ascii_lowercase();
        let Some((known, number)) = RLIMITS.iter().find(|(known, _)| *known == lower) else {
            return Err(failed("there is no such limit".to_owned()));
        };
        let bound = |value: i64| if value < 0 { u64::MAX } else { value as u64 };
        let (soft, hard) = (bound(*soft), bound(*hard));
        if soft > hard {
            return Err(failed(format!("the soft limit {soft} is above the hard limit {hard}")));
        }
        let own = hard_limit(*number);
        if hard > own && !may_raise {
            return Err(failed(format!(
                "raising the hard limit above {own} needs the capability SYS_RESOURCE, which this machine does not give"
            )));
        }
        Ok(json!({ "type": format!("RLIMIT_{}", known.to_ascii_uppercase()), "soft": soft, "hard": hard }))
    });
    Ok(Value::Array(list.collect::<Result<_, _>>()?))
}

fn hard_limit(number: u32) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is a valid place to write to.
    unsafe { libc::getrlimit(number, &mut limit) };
    limit.rlim_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_impossible_limits_are_named() {
        let reason =
            |name: &str, pair| rlimits(&BTreeMap::from([(name.to_owned(), pair)])).unwrap_err().reason();
        assert!(reason("nosuch", (1, 1)).contains("there is no such limit"));
        assert!(reason("nofile", (2, 1)).contains("above the hard limit"));
        let list = rlimits(&BTreeMap::from([("nofile".to_owned(), (64, 128))])).unwrap();
        assert_eq!(list, json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }]));
    }
}
