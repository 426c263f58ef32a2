//! The supervisor of one instance: a small single-threaded process that outlives the daemon.
//!
//! It makes the file tree, creates and starts the container, keeps its output, waits, and writes
//! how it ended as its very last act. If it is killed, the instance dies with it.

mod prepare;
mod start;
mod under_way;
mod watch;
mod zygote;

pub(crate) use under_way::end_earlier;
pub(crate) use zygote::MAX_REQUEST;

use under_way::UnderWay;

use crate::layout::Layout;
use crate::record::{Ended, Job, Run, StartFailure, StartReport, quick_failures};
use crate::{cgroup, clock, durable, process, sys};
use model::instance::Exit;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

/// `juchu shim --serve LOCK`: makes shims for the engine at the other end of standard input.
/// `juchu shim DIR`: becomes the shim for `DIR`, which holds `job.json`, and says one
/// [`StartReport`] on standard output. Must run before any thread exists.
pub fn main(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    match (arguments.next(), arguments.next()) {
        (Some(argument), Some(lock)) if argument == "--serve" => zygote::serve(Path::new(&lock)),
        (Some(dir), None) => supervise(Path::new(&dir), None),
        _ => {
            eprintln!("error: the shim is started by the engine\nhint: run `juchu up` instead");
            ExitCode::from(2)
        }
    }
}

fn supervise(dir: &Path, under_way: Option<UnderWay>) -> ExitCode {
    let prepared = prepare(dir);
    // From here on the record tells.
    drop(under_way);
    let (job, mut run, lock) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            say(&StartReport::Failed(StartFailure::Other { reason: error.to_string() }));
            return ExitCode::FAILURE;
        }
    };
    let exit = match start::start(&job) {
        Ok(started) => {
            run.init = process::identify(started.pid);
            let recorded = durable::write_volatile(&job.layout.run(), &to_json(&run));
            say(&match recorded {
                Ok(()) => StartReport::Running { run: run.clone() },
                Err(error) => {
                    StartReport::Failed(StartFailure::Other { reason: format!("record the start: {error}") })
                }
            });
            let job = Remaining::of(job);
            crate::memory::trim_alone();
            let mut exit = watch::watch(&job, started);
            exit.started = run.started;
            finish(&job.layout, &run, exit)
        }
        Err(failure) => {
            start::clean_up(&job);
            let exit = failed_exit(&run, &failure);
            let code = finish(&job.layout, &run, exit);
            say(&StartReport::Failed(failure));
            code
        }
    };
    drop(lock);
    exit
}

/// What is still needed while the instance runs; the rest of the job is let go.
pub(crate) struct Remaining {
    pub layout: Layout,
    pub group: cgroup::Cgroup,
    pub log_limits: crate::log::Limits,
    pub run: u32,
}

impl Remaining {
    fn of(job: Job) -> Self {
        let hierarchies =
            cgroup::Hierarchies::detect_for(job.unprivileged.as_ref()).expect("it was read at the start");
        Self {
            group: hierarchies.group(job.spec.id.as_str()),
            log_limits: crate::log::Limits {
                max_bytes: job.spec.log_max_bytes,
                max_files: job.spec.log_max_files,
                instances: job.instances,
                budget_bytes: job.log_budget_bytes,
            },
            run: job.run,
            layout: job.layout,
        }
    }
}

fn prepare(dir: &Path) -> io::Result<(Job, Run, File)> {
    // Started by a person it may lead a session already.
    let _ = rustix::process::setsid();
    // A broken pipe is an answer here; programs get the default back.
    sys::ignore_broken_pipes();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::become_subreaper()?;
    let job: Job =
        durable::read_json(&dir.join("job.json"))?.ok_or_else(|| io::Error::other("there is no job"))?;
    let lock = File::options().write(true).create(true).truncate(false).open(job.layout.lock())?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::other("the instance has a supervisor already"))?;
    let own = process::identify(std::process::id() as i32).ok_or_else(|| io::Error::other("no /proc"))?;
    let run = Run {
        version: 1,
        run: job.run,
        quick_failures: job.quick_failures,
        boot_id: process::boot_id()?,
        shim: own,
        init: None,
        started: clock::now(),
    };
    durable::write_volatile(&job.layout.run(), &to_json(&run))?;
    Ok((job, run, lock))
}

fn to_json(run: &Run) -> Vec<u8> {
    serde_json::to_vec(run).expect("records of plain fields")
}

fn failed_exit(run: &Run, failure: &StartFailure) -> Exit {
    Exit {
        code: failure.code(),
        signal: None,
        oom: false,
        requested: false,
        start_error: Some(failure.reason()),
        started: run.started,
        finished: clock::now(),
    }
}

/// The last act: the record of the end.
fn finish(layout: &Layout, run: &Run, exit: Exit) -> ExitCode {
    let quick_failures = quick_failures(run.quick_failures, &exit);
    let ended = Ended { version: 1, run: run.run, quick_failures, exit };
    match durable::write_json(&layout.exit(), &ended) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody is left to be told; the engine finds the instance lost.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells the engine, once, and lets go of the pipe to it.
fn say(report: &StartReport) {
    let text = serde_json::to_vec(report).expect("records of plain fields");
    // The engine may have died; the instance goes on without it.
    let _ = io::stdout().write_all(&text).and_then(|()| io::stdout().flush());
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = sys::replace_fd(null.as_fd(), 1);
    }
}
