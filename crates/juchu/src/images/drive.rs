//! The daemon's end of a build worker: starts it, passes on what it says, runs its commands in
//! containers, and ends it when it is cancelled or takes too long.

use super::container::BuildContainers;
use super::wire::{self, ContainerCommand, FromWorker, MAX_LINE_BYTES, Order, ToWorker};
use model::image::BuiltImage;
use model::{ErrorKind, Report};
use run::ports::Say;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// Always the program that runs here, also after its file was replaced.
const PROGRAM: &str = "/proc/self/exe";
/// How long one image may take; compilers have most of it.
const BUILD_LIMIT: Duration = Duration::from_secs(2 * 3600);
/// How long a worker may take to clean up after it was told to stop.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);
const CANCEL_LOOK: Duration = Duration::from_millis(100);
/// Messages, and lines of a command's output, that may wait.
const MESSAGES_WAITING: usize = 64;

/// Has a worker make the image of `order`, with `variables` beside those of this process.
pub async fn obtain(
    order: Order,
    variables: &BTreeMap<String, String>,
    say: &Say,
    cancel: &AtomicBool,
    containers: &BuildContainers,
) -> Result<BuiltImage, Report> {
    let mut worker =
        Worker::start(variables).map_err(|e| Report::environment(format!("start a build: {e}")))?;
    // One that dies at once is told about by its end.
    let _ = worker.tell(&ToWorker::Build { order: Box::new(order) }).await;
    let done = worker.converse(say, cancel, containers).await;
    match done {
        Some(_) if cancel.load(Ordering::Relaxed) => Err(build::BuildError::Cancelled.report()),
        Some(result) => {
            worker.end().await;
            result
        }
        None => Err(unfinished(worker.end().await)),
    }
}

struct Worker {
    child: Child,
    input: ChildStdin,
    messages: mpsc::Receiver<FromWorker>,
}

impl Worker {
    fn start(variables: &BTreeMap<String, String>) -> io::Result<Self> {
        let mut child = Command::new(PROGRAM)
            .arg0("juchu")
            .arg("build-worker")
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Keyboard signals are for the daemon alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("a stream of it is missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let (sender, messages) = mpsc::channel(MESSAGES_WAITING);
        tokio::spawn(listen(output, sender));
        Ok(Self { child, input, messages })
    }

    async fn tell(&mut self, message: &ToWorker) -> io::Result<()> {
        self.input.write_all(&wire::to_line(message)?).await
    }

    /// Its last word; `None` when it ended without one.
    async fn converse(
        &mut self,
        say: &Say,
        cancel: &AtomicBool,
        containers: &BuildContainers,
    ) -> Option<Result<BuiltImage, Report>> {
        let deadline = Instant::now() + BUILD_LIMIT;
        loop {
            let message = tokio::select! {
                message = self.messages.recv() => message?,
                () = cancelled(cancel) => return Some(self.stop(build::BuildError::Cancelled.report()).await),
                () = tokio::time::sleep_until(deadline) => return Some(self.stop(too_long()).await),
            };
            match message {
                FromWorker::Progress { text } => say(text),
                FromWorker::Run { command } => self.run(&command, cancel, containers).await,
                FromWorker::Done { result } => return Some(*result),
            }
        }
    }

    /// Runs a build command; what cannot be told to the worker ends with it.
    async fn run(&mut self, command: &ContainerCommand, cancel: &AtomicBool, containers: &BuildContainers) {
        let (lines, mut said) = mpsc::channel(MESSAGES_WAITING);
        let running = containers.run(command, lines, cancel);
        let telling = async {
            while let Some(line) = said.recv().await {
                // The command goes on to its own end and is then removed.
                let _ = self.tell(&ToWorker::Output { line }).await;
            }
        };
        let (outcome, ()) = tokio::join!(running, telling);
        let outcome = outcome.map_err(|error| error.to_string());
        let _ = self.tell(&ToWorker::Ran { outcome }).await;
    }

    /// Asks it to stop and waits; it is killed when it does not.
    async fn stop(&mut self, why: Report) -> Result<BuiltImage, Report> {
        let _ = self.tell(&ToWorker::Cancel).await;
        let ended = async { while self.messages.recv().await.is_some() {} };
        // At the limit it is killed when it is dropped.
        let _ = timeout(CANCEL_LIMIT, ended).await;
        Err(why)
    }

    /// How it ended; killed if it does not end by itself after its last word.
    async fn end(mut self) -> Option<ExitStatus> {
        drop(self.input);
        timeout(CANCEL_LIMIT, self.child.wait()).await.ok()?.ok()
    }
}

async fn listen(output: ChildStdout, messages: mpsc::Sender<FromWorker>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let read = (&mut output).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await;
        // Whatever is no message is as good as its end.
        let (Ok(1..), Ok(message)) = (read, serde_json::from_slice(&line)) else { return };
        if messages.send(message).await.is_err() {
            return;
        }
    }
}

async fn cancelled(cancel: &AtomicBool) {
    while !cancel.load(Ordering::Relaxed) {
        sleep(CANCEL_LOOK).await;
    }
}

fn too_long() -> Report {
    let hours = BUILD_LIMIT.as_secs() / 3600;
    Report::new(ErrorKind::Build, format!("the build took longer than {hours} hours and was ended"))
        .hint("build it in smaller steps, or elsewhere, and name the result with `image:`")
}

/// A worker that ended without a word of its own.
fn unfinished(status: Option<ExitStatus>) -> Report {
    match status {
        Some(status) if status.signal() == Some(libc::SIGKILL) => {
            Report::new(ErrorKind::Build, "the build was killed from outside")
                .hint("look for `Out of memory` in `dmesg`; a build may need some hundred megabytes")
        }
        Some(status) => Report::internal(format!("the build broke off: {status}"))
            .hint("the daemon's log has what it said last; `juchu doctor` names it"),
        None => Report::internal("the build broke off and does not end")
            .hint("the daemon's log has what it said last; `juchu doctor` names it"),
    }
}
