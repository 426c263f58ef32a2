//! From a job to a running program: container, groups, limits read back, then the start.

use super::prepare::{Inside, other, prepare};
use crate::apart;
use crate::cgroup::{self, Cgroup, Hierarchies};
use crate::console::Console;
use crate::container::{self, Streams};
use crate::program::Problem;
use crate::record::{Job, StartFailure};
use crate::{durable, spec, sys};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;

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
    let hierarchies =
        Hierarchies::detect_for(job.unprivileged.as_ref()).map_err(other("find the control groups"))?;
    let group = hierarchies.group(job.spec.id.as_str());
    let resources = spec::resources(job, &hierarchies)?;
    clean_up(job);
    let (problems, report) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| other("make a pipe")(e.into()))?;
    let (streams, held) = streams(job)?;
    let console = match job.spec.process.tty {
        true => Some(Console::listen(&job.layout.runtime.join("tty")).map_err(other("make a terminal"))?),
        false => None,
    };
    let home = group.home().map_err(other("make a control group"))?;
    let make = || group.make(&resources).map_err(unenforced);
    // The inner ends are this process's no more once it has a child that holds them.
    let mut inside = Some(Inside { streams, report });
    let console_path = console.as_ref().map(Console::path);
    let work = |turn| {
        let inside = inside.take().expect("there is one child");
        let prepared = prepare(job, &group, &resources, console_path, inside, turn);
        serde_json::to_vec(&prepared).expect("records of plain fields")
    };
    let answer = apart::create(home.as_ref(), make, work).map_err(other("make a process"))??;
    drop(inside);
    let prepared: Result<i32, StartFailure> = serde_json::from_slice(&answer)
        .map_err(|_| StartFailure::Other { reason: "the preparation ended without an answer".to_owned() })?;
    let pid = match prepared {
        Ok(pid) => pid,
        Err(failure) => return Err(problem_of(problems).unwrap_or(failure)),
    };
    let output = match (console, held.output) {
        (Some(console), _) => Output::Terminal(console.receive().map_err(other("receive the terminal"))?),
        (None, Some((stdout, stderr))) => Output::Pipes { stdout, stderr },
        (None, None) => unreachable!("without a terminal there are pipes"),
    };
    group.complete(&resources).map_err(unenforced)?;
    put_in_force(job, &group, pid)?;
    container::start(&job.layout.container_root().join(job.spec.id.as_str()))
        .map_err(|reason| StartFailure::Other { reason })?;
    match problem_of(problems) {
        Some(problem) => Err(problem),
        None => Ok(Started { pid, output, _stdin: held.stdin }),
    }
}

/// Removes what an earlier run left behind, or what this one has made before it failed.
pub fn clean_up(job: &Job) {
    if let Ok(hierarchies) = Hierarchies::detect_for(job.unprivileged.as_ref()) {
        let group = hierarchies.group(job.spec.id.as_str());
        // What cannot be ended or removed is met again, and reported, by the next creation.
        let _ = group.kill();
        while sys::reap().is_some() {}
        let _ = group.remove();
    }
    let _ = durable::remove_tree(&job.layout.container_root());
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

/// While the program waits to be let go: are group and limits in force, and the killing order.
fn put_in_force(job: &Job, group: &Cgroup, pid: i32) -> Result<(), StartFailure> {
    cgroup::read_back(group, pid, &job.spec.resources).map_err(unenforced)?;
    if let Some(adjustment) = job.spec.process.oom_score_adj {
        // Not left to the container library, which would change its caller's own as well.
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
