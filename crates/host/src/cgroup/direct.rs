//! Groups made without a container library, on v1 and v2 alike, and what they count.

use super::limits::controllers;
use super::{Cgroup, Unenforced, keyed};
use model::service::Resources;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Levels of groups that are looked at.
const DEPTH_MAX: usize = 8;

/// Makes the group in every hierarchy; on v2 with the controllers that the limits need.
pub fn make_empty(group: &Cgroup, resources: &Resources) -> Result<(), Unenforced> {
    if !group.hierarchies.is_pure_v2() {
        group.make(&serde_json::json!({}))?;
    }
    let Some(dir) = group.unified_dir() else { return Ok(()) };
    let failed = |error: io::Error| Unenforced::new("control group", format!("{}: {error}", dir.display()));
    fs::create_dir_all(&dir).map_err(failed)?;
    if group.hierarchies.is_pure_v2() {
        hand_down(group, resources)?;
    }
    Ok(())
}

/// From the root of the tree to the parent of the group, each hands the controllers on.
fn hand_down(group: &Cgroup, resources: &Resources) -> Result<(), Unenforced> {
    let Some(root) = &group.hierarchies.unified else { return Ok(()) };
    let wanted: Vec<String> = controllers(resources).into_iter().map(|name| format!("+{name}")).collect();
    let parts = group.path().trim_matches('/').split('/');
    let above = parts.scan(root.clone(), |at, part| Some(std::mem::replace(at, at.join(part))));
    for dir in above {
        let handed = read(&dir.join("cgroup.subtree_control"));
        let is_missing = |name: &&String| !handed.split_whitespace().any(|there| there == &name[1..]);
        // What is handed down already may be somebody else's to write.
        for controller in wanted.iter().filter(is_missing) {
            fs::write(dir.join("cgroup.subtree_control"), controller).map_err(|error| {
                let reason = format!("{} does not hand it down: {error}", dir.display());
                Unenforced::new(controller.trim_start_matches('+'), reason)
            })?;
        }
    }
    Ok(())
}

impl Cgroup {
    /// Puts a process into the group of every hierarchy, the v2 tree included.
    pub fn join_all(&self, pid: i32) -> io::Result<()> {
        self.join(pid)?;
        match self.unified_dir() {
            Some(dir) => fs::write(dir.join("cgroup.procs"), pid.to_string()),
            None => Ok(()),
        }
    }

    /// Kills by the kernel for lack of memory in this group and those below it.
    pub fn oom_kills_below(&self) -> u64 {
        if self.hierarchies.is_pure_v2() {
            // There it counts what is below by itself.
            return self.oom_kills();
        }
        self.sum("memory", "memory.oom_control", "oom_kill")
    }

    /// How often no memory was left for it.
    pub fn memory_refusals(&self) -> u64 {
        let Some(dir) = self.dir("memory") else { return 0 };
        if self.hierarchies.is_pure_v2() {
            return keyed(&read(&dir.join("memory.events")), "oom").unwrap_or(0);
        }
        read(&dir.join("memory.failcnt")).trim().parse().unwrap_or(0)
    }

    /// How often a process or thread was refused.
    pub fn refused_tasks(&self) -> u64 {
        self.sum("pids", "pids.events", "max")
    }

    fn sum(&self, controller: &str, file: &str, key: &str) -> u64 {
        let groups = self.dir(controller).map(|dir| below(&dir, 0)).unwrap_or_default();
        groups.iter().filter_map(|dir| keyed(&read(&dir.join(file)), key)).sum()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The group and all below it.
fn below(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    if depth < DEPTH_MAX {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        all.extend(groups.flat_map(|group| below(&group.path(), depth + 1)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::{GROUP_NAME, Hierarchies, Instances, put};
    use super::*;
    use model::{Bytes, Cpus};
    use std::collections::BTreeMap;

    /// On v2 hosts the kernel's files take the same words; here they are plain files.
    #[test]
    fn limits_are_handed_down_and_written_as_v2_takes_them() {
        let root = tempfile::tempdir().unwrap();
        let hierarchies = Hierarchies {
            v1: BTreeMap::new(),
            unified: Some(root.path().to_owned()),
            instances: Instances::Below(format!("/{GROUP_NAME}")),
        };
        let group = hierarchies.group("b1");
        let resources = Resources {
            memory: Some(Bytes::mib(64)),
            cpus: Some(Cpus(1500)),
            cpu_shares: Some(128),
            pids: Some(100),
            ..Resources::default()
        };
        make_empty(&group, &resources).unwrap();
        put(&group, &resources).unwrap();
        let at = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(at("cgroup.subtree_control"), "+pids");
        assert_eq!(at("juchu/cgroup.subtree_control"), "+pids");
        assert!(!root.path().join("juchu/b1/cgroup.subtree_control").exists());
        assert_eq!(at("juchu/b1/memory.max"), "67108864");
        assert_eq!(at("juchu/b1/cpu.max"), "150000 100000");
        assert_eq!(at("juchu/b1/cpu.weight"), "5");
        assert_eq!(at("juchu/b1/pids.max"), "100");
        fs::write(root.path().join("juchu/b1/pids.events"), "max 2\n").unwrap();
        fs::write(root.path().join("juchu/b1/memory.events"), "oom 1\noom_kill 1\n").unwrap();
        assert_eq!((group.refused_tasks(), group.memory_refusals(), group.oom_kills_below()), (2, 1, 1));
    }
}
