//! From a job to a running program: file tree, container, limits read back, then the start.

use crate::cgroup::{self, Hierarchies};
use crate::console::Console;
use crate::container::{self, Streams};
use crate::executor::Launch;
use crate::program::Problem;
use crate::record::{Job, JobNetwork, StartFailure};
use crate::{capabilities, durable, rootfs, seccomp, spec, sys};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A running instance as the shim holds it.
pub struct Started {
    pub pid: i32,
    /// Its standard output and error; a terminal is both.
    pub output: Output,
    /// Kept open so that a program which waits for input goes on waiting.
    pub _stdin: Option<OwnedFd>,
}

pub enum Output {
    Pipes { stdout: OwnedFd, stderr: OwnedFd },
    Terminal(OwnedFd),
}

pub fn start(job: &Job) -> Result<Started, StartFailure> {
    let hierarchies = Hierarchies::detect().map_err(other("find the control groups"))?;
    let group = hierarchies.group(job.spec.id.as_str());
    clean_up(job);
    let tree = make_tree(job)?;
    let mounts = spec::prepare_mounts(job, &tree)?;
    let plan = spec::plan(job, &tree, &mounts, &hierarchies)?;
    drop(tree);
    let config = serde_json::to_vec(&plan.config).expect("values are plain");
    fs::write(job.layout.bundle().join("config.json"), config).map_err(other("write the bundle"))?;

    let (problems, report) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| other("make a pipe")(e.into()))?;
    let launch = launch(job, &plan, report)?;
    let (streams, held) = streams(job)?;
    let console = match job.spec.process.tty {
        true => Some(Console::listen(&job.layout.runtime.join("tty")).map_err(other("make a terminal"))?),
        false => None,
    };
    durable::make_private_dir(&job.layout.container_root())
        .map_err(other("make the container's directory"))?;
    group.make(&plan.resources).map_err(unenforced)?;
    let view = cgroup::UnifiedView::enter(&hierarchies).map_err(other("show the control groups"))?;
    let created = container::create(
        job.spec.id.as_str(),
        &job.layout.container_root(),
        &job.layout.bundle(),
        launch,
        streams,
        console.as_ref().map(Console::path),
    );
    drop(view);
    let mut created = match created {
        Ok(created) => created,
        Err(reason) => return Err(problem_of(problems).unwrap_or(StartFailure::Other { reason })),
    };
    let output = match (console, held.output) {
        (Some(console), _) => Output::Terminal(console.receive().map_err(other("receive the terminal"))?),
        (None, Some((stdout, stderr))) => Output::Pipes { stdout, stderr },
        (None, None) => unreachable!("without a terminal there are pipes"),
    };
    put_in_force(job, &group, created.pid)?;
    created.start().map_err(|reason| StartFailure::Other { reason })?;
    match problem_of(problems) {
        Some(problem) => Err(problem),
        None => Ok(Started { pid: created.pid, output, _stdin: held.stdin }),
    }
}

/// Removes what an earlier run left behind, or what this one has made before it failed.
pub fn clean_up(job: &Job) {
    if let Ok(hierarchies) = Hierarchies::detect() {
        let group = hierarchies.group(job.spec.id.as_str());
        // What cannot be ended or removed is met again, and reported, by the next creation.
        let _ = group.kill();
        while sys::reap().is_some() {}
        let _ = group.remove();
    }
    let _ = durable::remove_tree(&job.layout.container_root());
}

fn make_tree(job: &Job) -> Result<rootfs::Tree, StartFailure> {
    sys::new_mount_namespace().map_err(other("make a mount name space"))?;
    let own = match &job.network {
        JobNetwork::Path(path) => Some(path.as_path()),
        _ => None,
    };
    rootfs::detach_others(&job.netns_dir, own);
    let root = job.layout.rootfs();
    let mount_problem =
        |error: io::Error| StartFailure::Mount { path: root.clone(), reason: error.to_string() };
    rootfs::mount_overlay(&job.layout, &job.layers).map_err(mount_problem)?;
    rootfs::Tree::open(&root).map_err(mount_problem)
}

fn launch(job: &Job, plan: &spec::Plan, report: OwnedFd) -> Result<Launch, StartFailure> {
    let process = &job.spec.process;
    let unconfined = process.privileged || process.seccomp_unconfined;
    let filters = match unconfined {
        true => Vec::new(),
        false => seccomp::default_filters(&plan.capabilities)
            .map_err(|error| StartFailure::Other { reason: error.to_string() })?,
    };
    Ok(Launch {
        filters: Rc::new(filters),
        capabilities: Some(capabilities::for_user(&plan.capabilities, plan.identity.uid)),
        no_new_privileges: process.no_new_privileges,
        report: Some(Rc::new(report)),
        die_with_parent: true,
        init: process.init,
        ..Launch::default()
    })
}

/// The shim's ends of the streams.
struct Held {
    output: Option<(OwnedFd, OwnedFd)>,
    stdin: Option<OwnedFd>,
}

fn streams(job: &Job) -> Result<(Streams, Held), StartFailure> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| other("make a pipe")(e.into()));
    if job.spec.process.tty {
        return Ok((Streams::default(), Held { output: None, stdin: None }));
    }
    let (stdout, stdout_inside) = pipe()?;
    let (stderr, stderr_inside) = pipe()?;
    let (stdin_inside, stdin) = match job.spec.process.stdin_open {
        true => pipe().map(|(inside, held)| (inside, Some(held)))?,
        false => (File::open("/dev/null").map_err(other("open /dev/null"))?.into(), None),
    };
    let streams =
        Streams { stdin: Some(stdin_inside), stdout: Some(stdout_inside), stderr: Some(stderr_inside) };
    Ok((streams, Held { output: Some((stdout, stderr)), stdin }))
}

/// While the program waits to be let go: group, limits and killing order.
fn put_in_force(job: &Job, group: &cgroup::Cgroup, pid: i32) -> Result<(), StartFailure> {
    group.join(pid).map_err(other("join the control groups"))?;
    cgroup::read_back(group, pid, &job.spec.resources).map_err(unenforced)?;
    if let Some(adjustment) = job.spec.process.oom_score_adj {
        // Not left to the container library, which would change the shim's own as well.
        fs::write(format!("/proc/{pid}/oom_score_adj"), adjustment.to_string()).map_err(|error| {
            let reason = match error.raw_os_error() {
                Some(libc::EACCES) => "lowering it needs the capability SYS_RESOURCE".to_owned(),
                _ => error.to_string(),
            };
            StartFailure::Limit { limit: "oom_score_adj".to_owned(), reason }
        })?;
    }
    Ok(())
}

/// What the process inside has to say; its silence and end mean that the program runs.
fn problem_of(problems: OwnedFd) -> Option<StartFailure> {
    let mut text = String::new();
    File::from(problems).take(4096).read_to_string(&mut text).ok()?;
    let problem = Problem::parse(&text)?;
    Some(StartFailure::Program { reason: problem.reason, code: problem.code })
}

fn unenforced(missing: cgroup::Unenforced) -> StartFailure {
    StartFailure::Limit { limit: missing.limit, reason: missing.reason }
}

fn other(what: &'static str) -> impl FnOnce(io::Error) -> StartFailure {
    move |error| StartFailure::Other { reason: format!("{what}: {error}") }
}
