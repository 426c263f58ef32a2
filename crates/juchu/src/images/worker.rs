//! `juchu build-worker`: makes one image for the daemon at the other end of its standard streams,
//! and takes all the memory that needed with it when it ends.

use super::recipe::{Desk, Workshop};
use super::wire::{self, ContainerCommand, FromWorker, Order, ToWorker};
use build::kinds::{RunOutcome, RunRequest, Runner, RunnerError};
use build::{ImageStore, Job};
use model::Report;
use model::image::{BuiltImage, ImageSource};
use std::io::{self, BufReader, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Lines of a build command that may wait to be read.
const MESSAGES_WAITING: usize = 256;
/// How long the work may take to stop after the daemon has gone.
const END_LIMIT: Duration = Duration::from_secs(5);
/// What serves people goes first.
const NICE: i32 = 10;
/// When memory runs out, this ends before what runs; -1000 to 1000.
const OOM_SCORE_ADJUSTMENT: &str = "500";

pub fn main() -> ExitCode {
    step_back();
    let mut input = BufReader::new(io::stdin());
    let order = match wire::read(&mut input) {
        Ok(Some(ToWorker::Build { order })) => *order,
        _ => {
            eprintln!("error: the build worker is started by the daemon\nhint: run `juchu up` instead");
            return ExitCode::from(2);
        }
    };
    if let Some(mask) = order.umask {
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(mask));
    }
    if let Err(error) = keep_mounts(&order) {
        return finish(Err(Report::environment(format!("keep the mounts of a build apart: {error}"))));
    }
    let cancel = Arc::new(AtomicBool::new(false));
    let (answers, waiting) = sync_channel(MESSAGES_WAITING);
    let listening = Arc::clone(&cancel);
    std::thread::spawn(move || listen(input, &listening, answers));
    finish(work(&order, waiting, &cancel))
}

fn finish(result: Result<BuiltImage, Report>) -> ExitCode {
    match say(&FromWorker::Done { result: Box::new(result) }) {
        Ok(()) => ExitCode::SUCCESS,
        // The daemon has gone.
        Err(_) => ExitCode::FAILURE,
    }
}

/// What tools of others mount goes with this process, however it ends.
fn keep_mounts(order: &Order) -> io::Result<()> {
    let by_others = match &order.service.image {
        ImageSource::Build(spec) => engines::dockerfile::applies(spec),
        _ => false,
    };
    match by_others && rustix::process::geteuid().is_root() {
        true => host::own_mounts(),
        false => Ok(()),
    }
}

/// Neither of the two is needed for an image.
fn step_back() {
    let _ = rustix::thread::set_name(c"juchu-build");
    let _ = rustix::process::setpriority_process(None, NICE);
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT);
}

/// Hands on what the daemon says. When it says nothing more, it has died: the work is given up, so
/// that what it started ends as well.
fn listen(mut input: impl io::BufRead, cancel: &AtomicBool, answers: SyncSender<ToWorker>) {
    let mut answers = Some(answers);
    while let Ok(Some(message)) = wire::read(&mut input) {
        if matches!(message, ToWorker::Cancel) {
            cancel.store(true, Ordering::Relaxed);
            // Whoever waits for the end of a command waits no longer.
            answers = None;
        } else if answers.as_ref().is_some_and(|answers| answers.send(message).is_err()) {
            return;
        }
    }
    cancel.store(true, Ordering::Relaxed);
    std::thread::sleep(END_LIMIT);
    std::process::exit(1);
}

fn work(order: &Order, answers: Receiver<ToWorker>, cancel: &AtomicBool) -> Result<BuiltImage, Report> {
    let store = ImageStore::open(&order.store).map_err(|e| e.report())?;
    let tell = |text: &str| {
        // Without a reader the work is about to be cancelled.
        let _ = say(&FromWorker::Progress { text: text.to_owned() });
    };
    let runner = AskDaemon { store: &store, answers: Mutex::new(answers) };
    let workshop = Workshop::new(order.cache.clone());
    let desk = Desk {
        runner: &runner,
        scratch: &order.scratch,
        group: order.group.as_deref(),
        secrets: &order.secrets,
    };
    let image = workshop.obtain(&order.service, &store, &desk, Job::new(&tell, cancel))?;
    store.layout().touch(&image.manifest).map_err(|e| e.report())?;
    Ok(image)
}

fn say(message: &FromWorker) -> io::Result<()> {
    let line = wire::to_line(message)?;
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}

/// Assembles a build command's image here and has the daemon run the command.
struct AskDaemon<'a> {
    store: &'a ImageStore,
    answers: Mutex<Receiver<ToWorker>>,
}

impl Runner for AskDaemon<'_> {
    fn run(&self, request: &RunRequest, output: &mut dyn FnMut(&str)) -> Result<RunOutcome, RunnerError> {
        let failed = |error: io::Error| RunnerError(error.to_string());
        let image = build::assemble(&request.image, self.store, &|_| {})
            .map_err(|error| RunnerError(error.report().error))?;
        // One command at a time: its answers carry no number.
        let answers = self.answers.lock().expect("no holder of this lock can panic");
        let command = ContainerCommand {
            image,
            argv: request.argv.clone(),
            environment: request.environment.clone(),
            working_dir: request.working_dir.clone(),
            mounts: request.mounts.clone(),
            network: request.network,
            time_limit: request.time_limit,
        };
        say(&FromWorker::Run { command: Box::new(command) }).map_err(failed)?;
        loop {
            match answers.recv() {
                Ok(ToWorker::Output { line }) => output(&line),
                Ok(ToWorker::Ran { outcome }) => return outcome.map_err(RunnerError),
                Ok(other) => return Err(RunnerError(format!("unexpected answer {other:?}"))),
                Err(_) => return Err(RunnerError("the daemon has gone".to_owned())),
            }
        }
    }
}
