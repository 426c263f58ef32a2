//! Whether the limits that were asked for are in force, read back from the kernel.
//!
//! A runtime that cannot place a process goes on without limits; here that is an error.

use super::{Cgroup, Hierarchies};
use model::service::Resources;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A limit that is not in force, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unenforced {
    pub limit: String,
    pub reason: String,
}

impl Unenforced {
    pub(super) fn new(limit: &str, reason: impl Into<String>) -> Self {
        Self { limit: limit.to_owned(), reason: reason.into() }
    }
}

pub const PERIOD_US: u64 = 100_000;

/// One limit: its name for people, the controller that keeps it, what its file must say.
struct Expected {
    name: &'static str,
    controller: &'static str,
    v1_file: &'static str,
    v1: Value,
    v2_file: &'static str,
    v2: Value,
}

enum Value {
    Number(i128),
    Text(String),
    /// Sets of processors, whose texts may differ in form.
    Cpus(String),
    /// Of several lines the first.
    FirstLine(&'static str),
    /// Any value but this one.
    Not(&'static str),
}

/// Before anything is made: does this host have the controllers?
pub fn check_available(hierarchies: &Hierarchies, resources: &Resources) -> Result<(), Unenforced> {
    for limit in expected(resources) {
        if let Some(reason) = hierarchies.why_not(limit.controller) {
            return Err(Unenforced::new(limit.name, reason));
        }
    }
    Ok(())
}

/// After creation: is the process where it should be, and do the files say what was asked?
pub fn read_back(group: &Cgroup, pid: i32, resources: &Resources) -> Result<(), Unenforced> {
    let placement = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_err(|error| Unenforced::new("placement", format!("/proc/{pid}/cgroup: {error}")))?;
    let pure_v2 = group.hierarchies.is_pure_v2();
    if pure_v2 && group.hierarchies.are_usable() {
        check_placement(&placement, "", group.path())?;
    }
    for limit in expected(resources) {
        if !pure_v2 {
            check_placement(&placement, limit.controller, group.path())?;
        }
    }
    read_back_values(group, resources)
}

/// The same for a group whose processes are in groups below it.
pub fn read_back_below(
    group: &Cgroup,
    below: &Cgroup,
    pid: i32,
    resources: &Resources,
) -> Result<(), Unenforced> {
    read_back(below, pid, &Resources::default())?;
    let placement = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_err(|error| Unenforced::new("placement", format!("/proc/{pid}/cgroup: {error}")))?;
    let on_v1 = expected(resources).into_iter().filter(|_| !group.hierarchies.is_pure_v2());
    on_v1.map(|limit| limit.controller).try_for_each(|c| check_placement(&placement, c, below.path()))?;
    read_back_values(group, resources)
}

fn read_back_values(group: &Cgroup, resources: &Resources) -> Result<(), Unenforced> {
    for limit in expected(resources) {
        let dir =
            group.dir(limit.controller).ok_or_else(|| Unenforced::new(limit.name, "no control group"))?;
        check_value(&limit, &dir, group.hierarchies.is_pure_v2())?;
    }
    Ok(())
}

/// Writes the limits into the files of a group that no container library makes.
pub fn put(group: &Cgroup, resources: &Resources) -> Result<(), Unenforced> {
    let pure_v2 = group.hierarchies.is_pure_v2();
    for limit in expected(resources) {
        let dir =
            group.dir(limit.controller).ok_or_else(|| Unenforced::new(limit.name, "no control group"))?;
        let (file, value) = if pure_v2 { (limit.v2_file, limit.v2) } else { (limit.v1_file, limit.v1) };
        let text = match value {
            _ if limit.v2_file == "cpu.weight" && pure_v2 => weight_of(resources.cpu_shares.unwrap_or(1024)),
            Value::Number(number) if number < 0 => if pure_v2 { "max" } else { "-1" }.to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) | Value::Cpus(text) => text,
            Value::FirstLine(_) | Value::Not(_) => {
                return Err(Unenforced::new(limit.name, "it is not for groups without a container"));
            }
        };
        fs::write(dir.join(file), &text).map_err(|error| {
            Unenforced::new(limit.name, format!("`{file}` does not take `{text}`: {error}"))
        })?;
    }
    Ok(())
}

/// Shares of v1 (2–262144) as a weight of v2 (1–10000), as other runtimes convert them.
fn weight_of(shares: u64) -> String {
    (1 + shares.clamp(2, 262_144).saturating_sub(2) * 9999 / 262_142).to_string()
}

/// Controllers that the limits need, each once.
pub fn controllers(resources: &Resources) -> BTreeSet<&'static str> {
    expected(resources).into_iter().map(|limit| limit.controller).collect()
}

fn check_placement(text: &str, controller: &str, expected: &str) -> Result<(), Unenforced> {
    let line = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|c| c == controller).then_some(path)
    });
    match line {
        Some(path) if path.ends_with(expected) => Ok(()),
        Some(path) => {
            Err(Unenforced::new("placement", format!("the process is in `{path}`, not in `{expected}`")))
        }
        None => Err(Unenforced::new("placement", format!("the process is in no `{controller}` group"))),
    }
}

fn check_value(limit: &Expected, dir: &Path, pure_v2: bool) -> Result<(), Unenforced> {
    let (file, value) = if pure_v2 { (limit.v2_file, &limit.v2) } else { (limit.v1_file, &limit.v1) };
    let file = &*super::place::present_name(dir, file);
    let actual = fs::read_to_string(dir.join(file))
        .map_err(|error| Unenforced::new(limit.name, format!("{}: {error}", dir.join(file).display())))?;
    let actual = actual.trim();
    if value.matches(actual) {
        return Ok(());
    }
    Err(Unenforced::new(limit.name, format!("`{file}` says `{actual}`")))
}

impl Value {
    fn matches(&self, actual: &str) -> bool {
        match self {
            // The kernel rounds bytes down to whole pages and says "max" for the largest number.
            Self::Number(wanted) => {
                let actual = if actual == "max" { Some(-1) } else { actual.parse::<i128>().ok() };
                actual.is_some_and(|actual| {
                    actual == *wanted
                        || (*wanted < 0 && actual > 1 << 62)
                        || (wanted - actual > 0 && wanted - actual < 65_536 && *wanted > 1 << 20)
                })
            }
            Self::Text(wanted) => actual == wanted,
            Self::Cpus(wanted) => cpu_set(actual).is_some() && cpu_set(actual) == cpu_set(wanted),
            Self::FirstLine(wanted) => actual.lines().next() == Some(*wanted),
            Self::Not(default) => actual != *default,
        }
    }
}

fn expected(resources: &Resources) -> Vec<Expected> {
    let mut all = Vec::new();
    let memory = |name, v1_file, v1: i128, v2_file, v2: i128| Expected {
        name,
        controller: "memory",
        v1_file,
        v1: Value::Number(v1),
        v2_file,
        v2: Value::Number(v2),
    };
    if let Some(bytes) = resources.memory {
        let bytes = i128::from(bytes.0);
        all.push(memory("memory", "memory.limit_in_bytes", bytes, "memory.max", bytes));
    }
    if let Some(bytes) = resources.memory_reservation {
        let bytes = i128::from(bytes.0);
        all.push(memory("memory reservation", "memory.soft_limit_in_bytes", bytes, "memory.low", bytes));
    }
    if let (Some(swap), Some(bytes)) = (resources.memory_swap, resources.memory) {
        let only_swap = if swap < 0 { -1 } else { i128::from(swap) - i128::from(bytes.0) };
        all.push(memory(
            "swap",
            "memory.memsw.limit_in_bytes",
            i128::from(swap),
            "memory.swap.max",
            only_swap,
        ));
    }
    if let Some(cpus) = resources.cpus {
        let quota = quota_us(cpus);
        all.push(Expected {
            name: "cpus",
            controller: "cpu",
            v1_file: "cpu.cfs_quota_us",
            v1: Value::Number(i128::from(quota)),
            v2_file: "cpu.max",
            v2: Value::Text(format!("{quota} {PERIOD_US}")),
        });
    }
    if resources.cpus.is_none() && (resources.cpu_quota_us.is_some() || resources.cpu_period_us.is_some()) {
        all.extend(quota_and_period(resources));
    }
    if let Some(share) = resources.swappiness {
        let share = i128::from(share);
        all.push(memory("swappiness", "memory.swappiness", share, "memory.swappiness", share));
    }
    if resources.oom_kill_disable {
        all.push(Expected {
            name: "oom_kill_disable",
            controller: "memory",
            v1_file: "memory.oom_control",
            v1: Value::FirstLine("oom_kill_disable 1"),
            v2_file: "memory.oom_control",
            v2: Value::FirstLine("oom_kill_disable 1"),
        });
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| io.weight) {
        all.push(Expected {
            name: "block IO weight",
            controller: "blkio",
            v1_file: "blkio.weight",
            v1: Value::Number(i128::from(weight)),
            v2_file: "io.bfq.weight",
            v2: Value::Not(""),
        });
    }
    if let Some(shares) = resources.cpu_shares {
        all.push(Expected {
            name: "cpu shares",
            controller: "cpu",
            v1_file: "cpu.shares",
            v1: Value::Number(i128::from(shares)),
            v2_file: "cpu.weight",
            v2: if shares == 1024 { Value::Not("") } else { Value::Not("100") },
        });
    }
    if let Some(cpus) = &resources.cpuset {
        all.push(Expected {
            name: "cpuset",
            controller: "cpuset",
            v1_file: "cpuset.cpus",
            v1: Value::Cpus(cpus.clone()),
            v2_file: "cpuset.cpus",
            v2: Value::Cpus(cpus.clone()),
        });
    }
    if let Some(pids) = resources.pids {
        let wanted = if pids <= 0 { -1 } else { i128::from(pids) };
        all.push(Expected {
            name: "pids",
            controller: "pids",
            v1_file: "pids.max",
            v1: Value::Number(wanted),
            v2_file: "pids.max",
            v2: Value::Number(wanted),
        });
    }
    all
}

fn quota_and_period(resources: &Resources) -> [Expected; 2] {
    let quota = resources.cpu_quota_us.filter(|quota| *quota > 0);
    let period = resources.cpu_period_us.unwrap_or(PERIOD_US);
    let both = match quota {
        Some(quota) => format!("{quota} {period}"),
        None => format!("max {period}"),
    };
    let one = |name, v1_file, v1: i128| Expected {
        name,
        controller: "cpu",
        v1_file,
        v1: Value::Number(v1),
        v2_file: "cpu.max",
        v2: Value::Text(both.clone()),
    };
    [
        one("cpu quota", "cpu.cfs_quota_us", quota.map_or(-1, i128::from)),
        one("cpu period", "cpu.cfs_period_us", i128::from(period)),
    ]
}

/// Run time per [`PERIOD_US`]; the kernel takes no less than a millisecond.
pub fn quota_us(cpus: model::Cpus) -> i64 {
    (i64::from(cpus.0) * PERIOD_US as i64 / 1000).max(1000)
}

/// `0-2,5` as a set; at most 4096 processors.
fn cpu_set(text: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last >= 4096 {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Bytes, Cpus};

    #[test]
    fn a_process_outside_its_group_is_noticed() {
        let hybrid = "4:memory:/juchu/a1\n3:cpu,cpuacct:/elsewhere\n0::/";
        assert_eq!(check_placement(hybrid, "memory", "/juchu/a1"), Ok(()));
        assert!(check_placement(hybrid, "cpu", "/juchu/a1").is_err());
        assert!(check_placement(hybrid, "pids", "/juchu/a1").is_err());
        // Without delegation a rootless runtime on v2 leaves the process in the root group.
        assert!(check_placement("0::/", "", "/juchu/a1").is_err());
    }

    #[test]
    fn a_limit_that_did_not_take_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let resources =
            Resources { memory: Some(Bytes::mib(32)), cpus: Some(Cpus(500)), ..Resources::default() };
        let limits = expected(&resources);
        let check = |file: &str, text: &str, index: usize, pure_v2: bool| {
            fs::write(dir.path().join(file), text).unwrap();
            check_value(&limits[index], dir.path(), pure_v2)
        };
        assert_eq!(check("memory.max", "33554432\n", 0, true), Ok(()));
        assert_eq!(check("memory.max", "max\n", 0, true).unwrap_err().limit, "memory");
        assert!(check("memory.limit_in_bytes", "9223372036854771712\n", 0, false).is_err());
        assert_eq!(check("cpu.max", "50000 100000\n", 1, true), Ok(()));
        assert!(check("cpu.max", "max 100000\n", 1, true).is_err());
    }

    #[test]
    fn processor_sets_are_compared_as_sets() {
        assert!(Value::Cpus("0,1".into()).matches("0-1"));
        assert!(!Value::Cpus("0".into()).matches("0-1"));
        assert!(!Value::Cpus("0".into()).matches("99999999"));
    }

    #[test]
    fn bytes_are_compared_as_the_kernel_rounds_them() {
        assert!(Value::Number(33_554_433).matches("33554432"));
        assert!(!Value::Number(33_554_432).matches("16777216"));
        assert!(Value::Number(-1).matches("9223372036854771712"));
    }
}
