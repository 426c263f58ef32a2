//! The one place that calls the container library; only from single-threaded processes.
//!
//! The library is not thread-safe, changes the working directory and the dumpable flag of its
//! caller, and its stored state is not to be trusted: `kill` writes "stopped" after any signal.

use crate::executor::Launch;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use std::error::Error;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The inner ends of the standard streams; those absent are the caller's.
#[derive(Default)]
pub struct Streams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Creates the container of a bundle and answers its first process, which waits to be let go;
/// `Err` is the chain of causes as one sentence.
pub fn create(
    id: &str,
    root: &Path,
    bundle: &Path,
    launch: Launch,
    streams: Streams,
    console: Option<&Path>,
) -> Result<i32, String> {
    let builder = builder(id, root, launch, streams, console)?;
    let container = builder
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|error| chain(&error))?;
    Ok(container.pid().ok_or("the container library gave no process")?.as_raw())
}

/// Lets the program of a created container go; `dir` holds the library's record of it.
pub fn start(dir: &Path) -> Result<(), String> {
    Container::load(dir.to_owned()).and_then(|mut container| container.start()).map_err(|error| chain(&error))
}

/// Runs a process inside a container that runs; `process` is the file with its specification.
pub fn enter(
    id: &str,
    root: &Path,
    process: &Path,
    launch: Launch,
    streams: Streams,
    console: Option<&Path>,
) -> Result<i32, String> {
    let builder = builder(id, root, launch, streams, console)?;
    let tenant = builder.as_tenant().with_detach(console.is_some()).with_process(Some(process));
    tenant.build().map(|pid| pid.as_raw()).map_err(|error| chain(&error))
}

pub fn builder(
    id: &str,
    root: &Path,
    launch: Launch,
    streams: Streams,
    console: Option<&Path>,
) -> Result<ContainerBuilder, String> {
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_executor(launch)
        .with_console_socket(console)
        .with_root_path(root)
        .map_err(|error| chain(&error))?;
    builder.stdin = streams.stdin;
    builder.stdout = streams.stdout;
    builder.stderr = streams.stderr;
    Ok(builder)
}

/// An error with its causes, each said once. What this crate's own executor says stands alone.
pub fn chain(error: &dyn Error) -> String {
    let text = causes(error);
    match text.rsplit_once("error in executing process : ") {
        Some((_, own)) => own.to_owned(),
        None => text,
    }
}

fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
