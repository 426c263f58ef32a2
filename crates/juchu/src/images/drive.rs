//! The daemon's end of a build worker: starts it, passes on what it says, runs its commands in
//! containers, and ends it when it is cancelled or takes too long.

use super::container::{BuildContainers, Surroundings};
use super::limits::Exceeded;
use super::place::Place;
use super::secrets::Redactor;
use super::watch::Watch;
use super::wire::{self, ContainerCommand, FromWorker, MAX_LINE_BYTES, Order, ToWorker};
use juchu::cli::BuildOrder;
use model::image::{BuildSecretSource, BuiltImage, ImageSource};
use model::{ErrorKind, Report};
use run::ports::Say;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Always the program that runs here, also after its file was replaced.
const PROGRAM: &str = "/proc/self/exe";
/// How long a worker may take to clean up after it was told to stop.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);
const CANCEL_LOOK: Duration = Duration::from_millis(100);
/// Messages, and lines of a command's output, that may wait.
const MESSAGES_WAITING: usize = 64;

/// Has a worker make the image of `order` within the limits of `place`.
pub async fn obtain(
    order: BuildOrder,
    place: &Place,
    say: &Say,
    cancel: &AtomicBool,
    containers: &BuildContainers,
) -> Result<BuiltImage, Report> {
    let redactor = Redactor::of(&place.secrets);
    let say: &Say = &{
        let (say, redactor) = (Arc::clone(say), redactor.clone());
        Arc::new(move |text: String| say(redactor.text(&text)))
    };
    let watched = || Watch::new([place.state.clone(), order.cache.clone()]);
    let mut watch = watched();
    if super::room::make(&order, watch.held_before(), say)? {
        watch = watched();
    }
    let build = Build { order: &order, place, say, cancel, containers, watch: &watch, redactor: &redactor };
    let worker = Worker::start(&build).map_err(|e| Report::environment(format!("start a build: {e}")))?;
    if let Some(group) = &place.group {
        // It waits for its order, so nothing of it runs without limits.
        group
            .enter(worker.child.id().unwrap_or_default())
            .map_err(|e| Report::from_error(ErrorKind::Environment, &e).hint("juchu doctor"))?;
    }
    build.carry_out(worker).await.map_err(|report| redactor.report(report))
}

/// Everything that stays the same while an image is made.
struct Build<'a> {
    order: &'a BuildOrder,
    place: &'a Place,
    say: &'a Say,
    cancel: &'a AtomicBool,
    containers: &'a BuildContainers,
    watch: &'a Watch,
    redactor: &'a Redactor,
}

impl Build<'_> {
    async fn carry_out(&self, mut worker: Worker) -> Result<BuiltImage, Report> {
        // One that dies at once is told about by its end.
        let _ = worker.tell(&ToWorker::Build { order: Box::new(self.wire_order()) }).await;
        let limits = &self.place.limits;
        // Whatever an earlier build left said.
        self.containers.exceeded();
        let ended = tokio::select! {
            done = self.converse(&mut worker) => Ok(done),
            () = cancelled(self.cancel) => Err(build::BuildError::Cancelled.report()),
            () = sleep(limits.timeout.as_std()) => Err(self.report(Exceeded::Time)),
            exceeded = self.watch.exceeded(limits.disk) => Err(self.report(exceeded)),
        };
        match ended {
            Err(why) => {
                self.containers.end_all().await;
                worker.stop().await;
                Err(why)
            }
            Ok(Some(_)) if self.cancel.load(Ordering::Relaxed) => Err(build::BuildError::Cancelled.report()),
            Ok(Some(Ok(image))) => {
                worker.end().await;
                Ok(image)
            }
            Ok(Some(Err(report))) => {
                let killed = report.error.contains("SIGKILL");
                let exceeded = self.exceeded(killed);
                worker.end().await;
                Err(exceeded.map_or(report, |exceeded| self.report(exceeded)))
            }
            Ok(None) => {
                let status = worker.end().await;
                let killed = status.is_some_and(|status| status.signal() == Some(libc::SIGKILL));
                Err(self.exceeded(killed).map_or_else(|| unfinished(status), |one| self.report(one)))
            }
        }
    }

    /// The limit that a build which failed ran into, if that is why.
    fn exceeded(&self, killed: bool) -> Option<Exceeded> {
        if let Some(exceeded) = self.containers.exceeded() {
            return Some(exceeded);
        }
        self.place.limits.judge(self.place.group.as_ref()?.pressure(), killed)
    }

    fn report(&self, exceeded: Exceeded) -> Report {
        self.place.limits.report(exceeded, &self.place.state)
    }

    fn wire_order(&self) -> Order {
        Order {
            store: self.order.store.clone(),
            cache: self.order.cache.clone(),
            service: self.order.service.clone(),
            umask: self.order.umask,
            scratch: self.place.scratch.clone(),
            group: self.place.group.as_ref().map(host::WorkGroup::for_containers),
            secrets: self.place.secrets.clone(),
        }
    }

    /// Its last word; `None` when it ended without one.
    async fn converse(&self, worker: &mut Worker) -> Option<Result<BuiltImage, Report>> {
        loop {
            match worker.messages.recv().await? {
                FromWorker::Progress { text } => (self.say)(text),
                FromWorker::Run { command } => self.run(worker, &command).await,
                FromWorker::Done { result } => return Some(*result),
            }
        }
    }

    /// Runs a build command; what cannot be told to the worker ends with it.
    async fn run(&self, worker: &mut Worker, command: &ContainerCommand) {
        let network = match &self.order.service.image {
            ImageSource::Build(spec) => spec.limits.network,
            _ => None,
        };
        let around = Surroundings {
            limits: &self.place.limits,
            secrets: &self.place.secrets,
            network,
            disk: self.watch,
        };
        let (lines, mut said) = mpsc::channel(MESSAGES_WAITING);
        let running = self.containers.run(command, &around, lines, self.cancel);
        let telling = async {
            while let Some(line) = said.recv().await {
                // The command goes on to its own end and is then removed.
                let _ = worker.tell(&ToWorker::Output { line: self.redactor.text(&line) }).await;
            }
        };
        let (outcome, ()) = tokio::join!(running, telling);
        let outcome = outcome.map_err(|error| error.to_string());
        let _ = worker.tell(&ToWorker::Ran { outcome }).await;
    }
}

struct Worker {
    child: Child,
    input: ChildStdin,
    messages: mpsc::Receiver<FromWorker>,
}

impl Worker {
    fn start(build: &Build<'_>) -> io::Result<Self> {
        let mut command = Command::new(PROGRAM);
        command.arg0("juchu").arg("build-worker").envs(&build.order.variables);
        // Whoever needs these gets them as files.
        if let ImageSource::Build(spec) = &build.order.service.image {
            for secret in &spec.secrets {
                if let BuildSecretSource::Variable(name) = &secret.source {
                    command.env_remove(name);
                }
            }
        }
        let mut child = command
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

    /// Asks it to stop and waits; it is killed when it does not.
    async fn stop(mut self) {
        let _ = self.tell(&ToWorker::Cancel).await;
        let ended = async { while self.messages.recv().await.is_some() {} };
        // At the limit it is killed when it is dropped, and with its group in any case.
        let _ = timeout(CANCEL_LIMIT, ended).await;
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
