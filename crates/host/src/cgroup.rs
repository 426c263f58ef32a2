//! Control groups of an instance on v1, hybrid and pure v2 hosts.
//!
//! On v2 the container library places and limits, on v1 this module does; it reads back whether
//! that is so, ends what is inside, counts out-of-memory kills and reads usage. Paths are absolute: `/juchu/<id>`.

mod devices;
mod direct;
mod limits;
mod place;
mod usage;
mod view;

pub use direct::make_empty;
pub use limits::{PERIOD_US, Unenforced, check_available, put, quota_us, read_back, read_back_below};
pub use view::UnifiedView;

use crate::record::Unprivileged;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// All instances lie under a group of this name, for root at the top of the tree.
pub const GROUP_NAME: &str = "juchu";

/// How long an emptied group may stay busy before it is left for the next sweep.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);
/// Rounds of "list, signal" before a v1 group counts as not ending.
const KILL_ROUNDS: usize = 2000;

/// Where this host mounts its control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    /// v1: controller name → mount point.
    v1: BTreeMap<String, PathBuf>,
    /// The v2 mount: everything on a pure host, tracking only on a hybrid one.
    unified: Option<PathBuf>,
    instances: Instances,
}

/// Where instances have their groups.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Instances {
    /// Below this group.
    Below(String),
    /// Nowhere, because none was given to this user.
    Nowhere { why: String },
}

/// The group of one instance.
#[derive(Debug, Clone)]
pub struct Cgroup {
    pub(crate) hierarchies: Hierarchies,
    /// `/juchu/<id>`.
    path: String,
}

impl Hierarchies {
    pub fn detect() -> io::Result<Self> {
        Ok(Self::from_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// As `detect`, where this is not root of the machine: with the group given to it, or without any.
    pub fn detect_for(user: Option<&Unprivileged>) -> io::Result<Self> {
        let found = Self::detect()?;
        Ok(match user.map(|user| &user.groups) {
            None => found,
            Some(Ok(group)) => Self { instances: Instances::Below(group.clone()), ..found },
            Some(Err(why)) => Self { instances: Instances::Nowhere { why: why.clone() }, ..found },
        })
    }

    fn from_mountinfo(text: &str) -> Self {
        let instances = Instances::Below(format!("/{GROUP_NAME}"));
        let mut found = Self { v1: BTreeMap::new(), unified: None, instances };
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") if found.unified.is_none() => found.unified = Some(mount_point.into()),
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default();
                    for controller in options.split(',').filter(|o| is_controller(o)) {
                        found.v1.entry(controller.to_owned()).or_insert_with(|| mount_point.into());
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// No controller is on v1.
    pub fn is_pure_v2(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    /// Groups and limits of instances are the container library's work.
    pub fn are_the_librarys(&self) -> bool {
        self.is_pure_v2() && self.are_usable()
    }

    /// Instances have groups of their own.
    pub fn are_usable(&self) -> bool {
        matches!(self.instances, Instances::Below(_))
    }

    /// Why a controller cannot be had.
    pub fn why_not(&self, controller: &str) -> Option<String> {
        match &self.instances {
            Instances::Nowhere { why } => Some(format!("{why}; `juchu doctor` shows how limits are had")),
            Instances::Below(_) if self.has(controller) => None,
            Instances::Below(_) => Some(format!("this host has no `{controller}` control group")),
        }
    }

    pub fn has(&self, controller: &str) -> bool {
        if !self.are_usable() {
            return false;
        }
        if self.v1.contains_key(controller) {
            return true;
        }
        let Instances::Below(group) = &self.instances else { return false };
        let given = if self.is_private() { group.trim_start_matches('/') } else { "" };
        let file = |root: &PathBuf| root.join(given).join("cgroup.controllers");
        let available = self.unified.as_ref().and_then(|root| fs::read_to_string(file(root)).ok());
        self.v1.is_empty() && available.is_some_and(|text| text.split_whitespace().any(|c| c == controller))
    }

    /// The groups are a part of the tree that was given to a user.
    fn is_private(&self) -> bool {
        matches!(&self.instances, Instances::Below(group) if group != &format!("/{GROUP_NAME}"))
    }

    pub fn group(&self, id: &str) -> Cgroup {
        match &self.instances {
            Instances::Below(parent) => self.at(&format!("{parent}/{id}")),
            Instances::Nowhere { .. } => self.at(&format!("/{GROUP_NAME}/{id}")),
        }
    }

    /// The group at an absolute path.
    pub fn at(&self, path: &str) -> Cgroup {
        Cgroup { hierarchies: self.clone(), path: path.to_owned() }
    }

    fn dir(&self, controller: &str, path: &str) -> Option<PathBuf> {
        if !self.are_usable() {
            return None;
        }
        let mount = match self.v1.get(controller) {
            Some(mount) => mount,
            None if self.v1.is_empty() => self.unified.as_ref()?,
            None => return None,
        };
        Some(mount.join(path.trim_start_matches('/')))
    }
}

fn is_controller(option: &str) -> bool {
    matches!(
        option,
        "cpu"
            | "cpuacct"
            | "cpuset"
            | "devices"
            | "freezer"
            | "memory"
            | "pids"
            | "blkio"
            | "hugetlb"
            | "perf_event"
            | "net_cls"
            | "net_prio"
    )
}

impl Cgroup {
    /// Absolute path for the container library.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The directory for one controller; the same for all on v2.
    pub fn dir(&self, controller: &str) -> Option<PathBuf> {
        self.hierarchies.dir(controller, &self.path)
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let tail = self.path.trim_start_matches('/');
        if !self.hierarchies.are_usable() {
            return Vec::new();
        }
        let mut dirs: Vec<_> = self.hierarchies.v1.values().map(|mount| mount.join(tail)).collect();
        dirs.extend(self.unified_dir());
        dirs.sort();
        dirs.dedup();
        dirs
    }

    #[cfg(test)]
    pub fn dirs_for_tests(&self) -> Vec<PathBuf> {
        self.dirs()
    }

    #[cfg(test)]
    pub fn pids_for_tests(&self) -> Vec<i32> {
        self.dir("pids").map(|dir| pids_in(&dir)).unwrap_or_default()
    }

    /// The directory in the v2 tree, also where that is for tracking only.
    pub fn unified_dir(&self) -> Option<PathBuf> {
        let mount = self.hierarchies.unified.as_ref().filter(|_| self.hierarchies.are_usable())?;
        Some(mount.join(self.path.trim_start_matches('/')))
    }

    /// The directory in each v1 hierarchy, by the hierarchy's name.
    pub fn v1_dirs(&self) -> BTreeMap<String, PathBuf> {
        let tail = self.path.trim_start_matches('/');
        let mounts = self.hierarchies.v1.values().filter(|_| self.hierarchies.are_usable());
        mounts.filter_map(|mount| Some((mount.file_name()?.to_str()?.to_owned(), mount.join(tail)))).collect()
    }

    /// A group below this one for a command run inside, so that its stragglers can be ended.
    /// Returns the file to which the command's process writes `0`.
    pub fn command_group(&self, name: &str) -> io::Result<CommandGroup> {
        if !self.hierarchies.are_usable() {
            return Ok(CommandGroup { dir: None, is_beside_v1: false });
        }
        let parent = self.unified_dir().or_else(|| self.dir("pids")).ok_or(io::ErrorKind::Unsupported)?;
        let dir = parent.join(name);
        fs::create_dir_all(&dir)?;
        let is_beside_v1 = self.unified_dir().is_some() && !self.hierarchies.is_pure_v2();
        Ok(CommandGroup { dir: Some(dir), is_beside_v1 })
    }

    /// Sends a signal to every process inside.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let mut pids: Vec<i32> = self.dirs().iter().flat_map(|dir| pids_in(dir)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids.into_iter().filter_map(crate::process::identify).try_for_each(|process| {
            match crate::process::open_pidfd(process)
                .map(|handle| crate::sys::signal_by_handle(&handle, signal))
            {
                Some(Err(error)) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Holds every process inside, or lets them go on.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        match self.hierarchies.v1.get("freezer").and_then(|_| self.dir("freezer")) {
            Some(dir) => fs::write(dir.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }),
            None => {
                let dir = self.unified_dir().ok_or(io::ErrorKind::Unsupported)?;
                fs::write(dir.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
        }
    }

    pub fn is_frozen(&self) -> bool {
        match self.hierarchies.v1.get("freezer").and_then(|_| self.dir("freezer")) {
            Some(dir) => {
                fs::read_to_string(dir.join("freezer.state")).is_ok_and(|state| state.trim() != "THAWED")
            }
            None => self.unified_dir().is_some_and(|dir| {
                fs::read_to_string(dir.join("cgroup.freeze")).is_ok_and(|state| state.trim() == "1")
            }),
        }
    }

    /// Ends every process inside, at once where the kernel can.
    pub fn kill(&self) -> io::Result<()> {
        if !self.hierarchies.are_usable() {
            // Its first process takes all others with it.
            return Ok(());
        }
        let unified = self.unified_dir();
        let in_one_write =
            unified.as_ref().is_some_and(|dir| fs::write(dir.join("cgroup.kill"), "1").is_ok());
        if in_one_write && self.hierarchies.v1.is_empty() {
            return Ok(());
        }
        let freezer = self.hierarchies.v1.get("freezer").and_then(|_| self.dir("freezer"));
        for _ in 0..KILL_ROUNDS {
            let pids: Vec<i32> = self.dirs().iter().flat_map(|dir| pids_in(dir)).collect();
            if pids.is_empty() {
                return Ok(());
            }
            // Frozen processes cannot fork away from the list; the signal acts when they thaw.
            set_freezer(freezer.as_deref(), "FROZEN");
            pids.iter().for_each(|pid| kill_process(*pid));
            set_freezer(freezer.as_deref(), "THAWED");
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "processes do not end"))
    }

    /// Removes the emptied group from every hierarchy.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + REMOVE_LIMIT;
        for dir in self.dirs() {
            remove_group(&dir, deadline)?;
        }
        Ok(())
    }

    /// Kills by the kernel for lack of memory since the group was made; read before `remove`.
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = self.dir("memory") else { return 0 };
        let file = if self.hierarchies.is_pure_v2() { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        keyed(&text, "oom_kill").unwrap_or(0)
    }
}

/// The group of one command; none where instances have none either.
pub struct CommandGroup {
    dir: Option<PathBuf>,
    /// Whether it is in a v2 tree that is for tracking only.
    is_beside_v1: bool,
}

impl CommandGroup {
    pub fn procs(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join("cgroup.procs"))
    }

    /// For a process to be born in, where `Cgroup::home` has one, too.
    pub fn home(&self) -> io::Result<Option<OwnedFd>> {
        let dir = self.dir.as_ref().filter(|_| self.is_beside_v1);
        dir.map(|dir| place::open_group(dir)).transpose()
    }

    /// Lets what the command left running run on.
    pub fn leave(&self) {
        // A group in use goes with its instance.
        let _ = self.dir.as_ref().map(fs::remove_dir);
    }
    /// Ends what is left of the command and removes the group.
    pub fn close(&self) {
        let Some(dir) = &self.dir else { return };
        let deadline = Instant::now() + REMOVE_LIMIT;
        if fs::write(dir.join("cgroup.kill"), "1").is_err() {
            pids_in(dir).into_iter().for_each(kill_process);
        }
        let _ = remove_group(dir, deadline);
    }
}

fn remove_group(dir: &Path, deadline: Instant) -> io::Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path(), deadline)?;
        }
    }
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A killed process leaves its group a moment after its parent has seen it end.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(500));
            }
            Err(error) => return Err(error),
        }
    }
}

fn set_freezer(dir: Option<&Path>, state: &str) {
    if let Some(dir) = dir {
        // A group that has just gone needs no freezing.
        let _ = fs::write(dir.join("freezer.state"), state);
    }
}

fn kill_process(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // A process that has just ended is what was asked for.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Processes of a group and of the groups below it.
fn pids_in(dir: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_to_string(dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(pids_in(&entry.path()));
        }
    }
    pids
}

/// The number after `key` in a text of `key number` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 29 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn hierarchies_are_found_by_what_is_mounted() {
        let hybrid = Hierarchies::from_mountinfo(HYBRID);
        assert!(!hybrid.is_pure_v2());
        let group = hybrid.group("a1");
        assert_eq!(group.dir("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct/juchu/a1".into()));
        assert_eq!(group.dir("pids"), None, "v1 hosts do not borrow from the v2 tree");
        assert_eq!(group.unified_dir(), Some("/sys/fs/cgroup/unified/juchu/a1".into()));

        let pure =
            Hierarchies::from_mountinfo("29 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate");
        assert!(pure.is_pure_v2());
        assert_eq!(pure.group("a1").dir("memory"), Some("/sys/fs/cgroup/juchu/a1".into()));
    }

    #[test]
    fn counters_are_read_by_their_whole_name() {
        assert_eq!(keyed("oom 3\noom_kill 1\n", "oom"), Some(3));
        assert_eq!(keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 2", "oom_kill"), Some(2));
    }
}
