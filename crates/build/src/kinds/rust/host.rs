//! Compiling by a cargo of this machine, outside of a container: only where that is declared, for
//! toolchains and libraries that no container can be given.

use super::messages::{self, Diagnostics};
use super::{Built, arguments};
use crate::BuildError;
use crate::job::go_on;
use crate::kinds::cache::Cache;
use crate::kinds::draft::Draft;
use crate::kinds::settings::Project;
use model::Digest;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

const MESSAGE_LINE_LIMIT: u64 = 64 << 20;
const CANCEL_CHECK: Duration = Duration::from_millis(100);

pub fn compile(project: &Project, draft: &mut Draft) -> Result<Vec<Built>, BuildError> {
    let tree = project.tree()?;
    let place = Digest::of(tree.root.as_os_str().as_encoded_bytes());
    let target = Cache::of(project.ctx).place("cargo", place.short())?;
    project.ctx.say("compiling with this machine's cargo, outside of a container");
    let locked = tree.has("Cargo.lock");
    if !locked {
        draft.note("cargo wrote Cargo.lock; keep it with the project, so that every build compiles the same versions");
    }
    let mut command = Command::new("cargo");
    command.current_dir(&tree.root).args(arguments(project, locked));
    // A group of its own, so that giving up also ends the compilers it started.
    command.process_group(0);
    command.env_clear().envs(project.ctx.environment).env("CARGO_TARGET_DIR", &target);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => BuildError::input_hint(
            format!("{} is to be built by this machine's cargo, and there is none", project.place()),
            "install Rust (`apt install cargo`, or rustup), or remove `host: true`: a build container has one",
        ),
        _ => BuildError::io("run cargo")(error),
    })?;
    follow(project, child)
}

/// Reads cargo's messages to the end; answers the programs it made.
fn follow(project: &Project, mut child: Child) -> Result<Vec<Built>, BuildError> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let (done, is_done) = mpsc::channel::<()>();
    let group = Pid::from_raw(child.id().cast_signed());
    let cancel = project.ctx.job.cancel;
    let (binaries, said) = std::thread::scope(|scope| {
        scope.spawn(move || end_when_cancelled(is_done, cancel, group));
        let listener = scope.spawn(move || diagnostics(stderr));
        let lines = BufReader::new(stdout.take(MESSAGE_LINE_LIMIT)).lines().map_while(Result::ok);
        let programs = lines.filter_map(|line| messages::program(&line));
        let binaries = programs.map(|(name, path)| Built { name, path }).collect();
        drop(done);
        (binaries, listener.join().unwrap_or_default())
    });
    let status = child.wait().map_err(BuildError::io("wait for cargo"))?;
    go_on(cancel)?;
    if status.success() {
        return Ok(binaries);
    }
    let hint = format!("run `cargo build --release` in {} to see everything", project.place());
    Err(said.refusal(project, "build", hint))
}

/// Returns when cargo has said everything; kills it when somebody gives up before.
fn end_when_cancelled(is_done: mpsc::Receiver<()>, cancel: &AtomicBool, group: Option<Pid>) {
    while is_done.recv_timeout(CANCEL_CHECK) == Err(mpsc::RecvTimeoutError::Timeout) {
        if let (true, Some(group)) = (cancel.load(Ordering::Relaxed), group) {
            // It may have ended by itself in the meantime.
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
    }
}

fn diagnostics(stream: impl Read) -> Diagnostics {
    let mut said = Diagnostics::default();
    BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| said.add(line));
    said
}
