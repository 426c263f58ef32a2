//! On hosts with v1 controllers the container library is shown the v2 tree alone.
//!
//! Its v1 manager walks `/proc` hundreds of times for each container, and mounts the groups
//! writable into it. The groups and limits of v1 are this crate's own work (`place.rs`), and the
//! place in the v2 tree is where the process was born.

use super::{Cgroup, Hierarchies};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use std::io;
use std::path::Path;

/// Where the library looks.
const LIBRARY_ROOT: &str = "/sys/fs/cgroup";

/// The v2 tree lies over the v1 ones until this is dropped. The caller must be in a mount name
/// space of its own.
pub struct UnifiedView {
    is_mounted: bool,
}

impl UnifiedView {
    pub fn enter(hierarchies: &Hierarchies) -> io::Result<Self> {
        if hierarchies.is_pure_v2() {
            return Ok(Self { is_mounted: false });
        }
        match &hierarchies.unified {
            Some(unified) => mount_bind(unified, LIBRARY_ROOT)?,
            None => mount("cgroup2", LIBRARY_ROOT, "cgroup2", MountFlags::empty(), None)?,
        }
        Ok(Self { is_mounted: true })
    }
}

impl UnifiedView {
    /// For a container in `group`, made by a process that is in there already or is not.
    pub fn over(group: &Cgroup, is_inside: bool) -> io::Result<Self> {
        let view = Self::enter(&group.hierarchies)?;
        if is_inside {
            Self::leave_alone(group)?;
        }
        Ok(view)
    }

    /// The library's move into the group has no effect, or it would wait for the whole machine
    /// (some 10–20 ms); nor has its killing of all in there when it fails, its caller among them.
    fn leave_alone(group: &Cgroup) -> io::Result<()> {
        let dir = Path::new(LIBRARY_ROOT).join(group.path().trim_start_matches('/'));
        for file in ["cgroup.procs", "cgroup.kill"].map(|name| dir.join(name)) {
            // `cgroup.kill` came with Linux 5.14.
            if file.exists() {
                mount_bind("/dev/null", file)?;
            }
        }
        Ok(())
    }
}

impl Drop for UnifiedView {
    fn drop(&mut self) {
        if self.is_mounted {
            // The name space ends with this process, and with it whatever this leaves.
            let _ = unmount(LIBRARY_ROOT, UnmountFlags::DETACH);
        }
    }
}
