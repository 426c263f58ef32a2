//! What an instance uses now, from either layout; absent where the kernel does not say.

use super::{Cgroup, keyed};
use run::engine::Usage;
use std::fs;
use std::path::Path;

/// Limits at or above this mean "none" on v1, which rounds the largest number to a page.
const V1_UNLIMITED: u64 = 1 << 62;

impl Cgroup {
    pub fn usage(&self) -> Usage {
        if self.hierarchies.is_pure_v2() { self.usage_v2() } else { self.usage_v1() }
    }

    fn usage_v2(&self) -> Usage {
        let Some(dir) = self.unified_dir() else { return Usage::default() };
        let inactive = stat(&dir, "memory.stat", "inactive_file").unwrap_or(0);
        Usage {
            memory_bytes: number(&dir, "memory.current").map(|all| all.saturating_sub(inactive)),
            memory_limit_bytes: number(&dir, "memory.max"),
            cpu_us: stat(&dir, "cpu.stat", "usage_usec"),
            tasks: number(&dir, "pids.current"),
        }
    }

    fn usage_v1(&self) -> Usage {
        let mut usage = Usage::default();
        if let Some(dir) = self.dir("memory") {
            let inactive = stat(&dir, "memory.stat", "total_inactive_file").unwrap_or(0);
            usage.memory_bytes =
                number(&dir, "memory.usage_in_bytes").map(|all| all.saturating_sub(inactive));
            usage.memory_limit_bytes =
                number(&dir, "memory.limit_in_bytes").filter(|limit| *limit < V1_UNLIMITED);
        }
        if let Some(dir) = self.dir("cpuacct") {
            usage.cpu_us = number(&dir, "cpuacct.usage").map(|nanoseconds| nanoseconds / 1000);
        }
        if let Some(dir) = self.dir("pids") {
            usage.tasks = number(&dir, "pids.current");
        }
        usage
    }
}

fn number(dir: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

fn stat(dir: &Path, file: &str, key: &str) -> Option<u64> {
    keyed(&fs::read_to_string(dir.join(file)).ok()?, key)
}
