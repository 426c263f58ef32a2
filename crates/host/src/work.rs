//! A control group for work of ours that is no container, such as an image build: the limits stand
//! on the group, its processes in groups below it, so that tools may add groups of their own there.
//!
//! ```text
//! /juchu/NAME            memory, processors, processes
//! /juchu/NAME/worker     the process that does the work, and what it starts
//! /juchu/NAME/run/…      containers of other tools
//! ```

use crate::cgroup::{self, Cgroup, Hierarchies, Unenforced};
use crate::config::Unprivileged;
use crate::process;
use model::service::Resources;
use run::engine::EngineError;
use std::io;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct WorkGroup {
    group: Cgroup,
    worker: Cgroup,
    resources: Resources,
}

/// How long a process that is in no group may take to be gone.
const LOOKS_AT_AN_END: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Which limits the work ran into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Processes were ended for lack of memory.
    pub out_of_memory: bool,
    /// No memory was left at least once; what follows from that is for the caller to tell.
    pub memory_short: bool,
    /// A process or thread was refused.
    pub out_of_tasks: bool,
}

impl WorkGroup {
    /// Makes the group with its limits. `name` is that of nothing else below `/juchu`.
    pub fn make(name: &str, resources: &Resources, user: Option<&Unprivileged>) -> Result<Self, EngineError> {
        let work = Self::find(name, resources, user)?;
        cgroup::check_available(&work.group.hierarchies, resources).map_err(refused)?;
        cgroup::make_empty(&work.group, resources).map_err(refused)?;
        cgroup::put(&work.group, resources).map_err(refused)?;
        cgroup::make_empty(&work.worker, &Resources::default()).map_err(refused)?;
        Ok(work)
    }

    /// One that was made before, to end it.
    pub fn find(name: &str, resources: &Resources, user: Option<&Unprivileged>) -> Result<Self, EngineError> {
        let hierarchies =
            Hierarchies::detect_for(user).map_err(EngineError::io("find the control groups"))?;
        let group = hierarchies.group(name);
        let worker = hierarchies.at(&format!("{}/worker", group.path()));
        Ok(Self { group, worker, resources: resources.clone() })
    }

    /// Puts a process there and reads back that it is limited. One that has ended in the meantime
    /// is in no group and needs no limits; its end tells what there is to tell.
    pub fn enter(&self, pid: u32) -> Result<(), EngineError> {
        let pid = pid.cast_signed();
        let placed = self.worker.join_all(pid).map_err(EngineError::io("place a process in its groups"));
        let entered = placed.and_then(|()| {
            cgroup::read_back_below(&self.group, &self.worker, pid, &self.resources).map_err(refused)
        });
        match entered {
            Err(_) if ends(pid) => Ok(()),
            entered => entered,
        }
    }

    /// Absolute path of the group below which other tools put their containers.
    pub fn for_containers(&self) -> String {
        format!("{}/run", self.group.path())
    }

    pub fn pressure(&self) -> Pressure {
        Pressure {
            out_of_memory: self.group.oom_kills_below() > 0,
            memory_short: self.group.memory_refusals() > 0,
            out_of_tasks: self.group.refused_tasks() > 0,
        }
    }

    /// Ends everything inside and removes the group.
    pub fn end(&self) -> io::Result<()> {
        self.group.kill()?;
        self.group.remove()
    }
}

/// Whether the process has ended or is about to: on its way out it leaves its groups first.
fn ends(pid: i32) -> bool {
    (0..LOOKS_AT_AN_END).any(|look| {
        if look > 0 {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        process::has_ended(pid)
    })
}

fn refused(unenforced: Unenforced) -> EngineError {
    EngineError::Limit(unenforced.limit, unenforced.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Bytes;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn resources() -> Resources {
        Resources {
            memory: Some(Bytes::mib(48)),
            cpu_shares: Some(128),
            pids: Some(16),
            ..Resources::default()
        }
    }

    /// Ended also when a test fails.
    struct Ended(WorkGroup);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.end();
        }
    }

    /// A child that waits for a line before it does anything.
    fn waiting(script: &str) -> std::process::Child {
        let script = format!("read go; {script}");
        let mut shell = Command::new("/bin/busybox");
        if !std::path::Path::new("/bin/busybox").exists() {
            shell = Command::new(testkit::busybox_static());
        }
        let shell = shell.args(["sh", "-c", &script]);
        shell.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts")
    }

    #[test]
    fn a_process_that_takes_too_much_is_ended_and_counted() {
        if !testkit::require_root("work group") {
            return;
        }
        let name = format!("work-test-{}", std::process::id());
        let Ended(work) = &Ended(WorkGroup::make(&name, &resources(), None).expect("made"));
        // A pipe without end fills the memory of the one that reads it as one line.
        let mut child = waiting("x=$(cat /dev/zero | tr '\\0' x)");
        work.enter(child.id()).expect("limited");
        assert_eq!(work.pressure(), Pressure::default());
        drop(child.stdin.take());
        child.wait().expect("it ends");
        let pressure = work.pressure();
        work.end().expect("removed");
        assert!(pressure.out_of_memory && pressure.memory_short, "{pressure:?}");
        assert!(!work.group.dirs_for_tests().iter().any(|dir| dir.exists()));
    }

    #[test]
    fn ending_ends_everything_inside_also_what_ran_away() {
        if !testkit::require_root("work group") {
            return;
        }
        let name = format!("work-end-{}", std::process::id());
        let Ended(work) = &Ended(WorkGroup::make(&name, &resources(), None).expect("made"));
        let mut child = waiting("setsid sleep 1000 & setsid sleep 1000 & sleep 1000");
        work.enter(child.id()).expect("limited");
        drop(child.stdin.take());
        let inside = || work.worker.pids_for_tests().len();
        testkit::wait_until(Duration::from_secs(10), "its children", || inside() >= 3);
        work.end().expect("removed");
        child.wait().expect("it ended");
        assert_eq!(inside(), 0);
    }
}
