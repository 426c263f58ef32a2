//! The gateway as a process: one lock, one control thread, its workers, signals, the end.

use crate::client::GatewayClient;
use crate::control::controller::Controller;
use crate::control::server::{self, Server, Told};
use crate::datagram;
use crate::handover::predecessors::Predecessors;
use crate::handover::take::{self, Heir, Inheritance, TakeError};
use crate::log::Log;
use crate::names;
use crate::options::GatewayOptions;
use crate::outside::Outside;
use crate::tls::Terminator;
use crate::watch::Retiring;
use crate::wire::Refusal;
use crate::worker::{self, Shared};
use model::ErrorKind;
use rustix::fs::FlockOperation;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Worker threads at most.
const MAX_THREADS: usize = 64;
/// Control connections that wait to be accepted.
const CONTROL_BACKLOG: i32 = 128;
/// How long connections that are cut at the end of the grace may take to end.
const CUT_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("another gateway (process {pid}) serves {}", .socket.display())]
    Running { pid: String, socket: PathBuf },
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the gateway could not be started: {0}")]
    System(#[from] io::Error),
    #[error("the gateway could not be taken over: {}", causes(.0))]
    Take(#[from] TakeError),
    #[error("the gateway could not be taken over: {0}")]
    Adopt(Refusal),
}

/// The error and what lies behind it, as one sentence.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// Runs a gateway until it is told to end. Called before the process has a second thread.
pub fn main(options: GatewayOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let (hint, kind) = match &error {
                StartError::Running { .. } => ("end it first with SIGTERM", ErrorKind::Conflict),
                StartError::File { .. } => ("make the folder writable for this user", ErrorKind::Environment),
                StartError::System(_) => {
                    ("look at this user's limits with `ulimit -a`", ErrorKind::Environment)
                }
                StartError::Take(_) | StartError::Adopt(_) => {
                    ("the one that runs goes on; its log says why", ErrorKind::Environment)
                }
            };
            eprintln!("hint: {hint}");
            ExitCode::from(kind.exit_code())
        }
    }
}

fn run(options: GatewayOptions) -> Result<(), StartError> {
    for path in [&options.control_socket, &options.table_file] {
        make_folder_of(path)?;
    }
    // First, because a predecessor may have as many descriptors to give.
    raise_file_limit();
    let inherited = match options.take_over {
        true => take::inherit(&options.control_socket)?,
        false => None,
    };
    let start = match inherited {
        Some(inheritance) => Start::Inherited(Box::new(inheritance)),
        None => {
            let lock = lock(&options.control_socket)?;
            claim(&lock, &options)?;
            Start::Alone(lock)
        }
    };
    let outside = match &options.inside {
        Some(inside) => Outside::leave_for(inside).map_err(at(inside))?,
        None => Outside::default(),
    };
    let log = Log::start(&options)?;
    let threads = options.threads.unwrap_or_else(cores).clamp(1, MAX_THREADS);
    let tls = Terminator::new().map_err(|error| StartError::System(io::Error::other(error)))?;
    tls.load(&options.certificates).iter().for_each(|fault| log.say(fault));
    let shared = Arc::new(Shared::new(options.limits.clone(), log.clone(), tls, threads, outside));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_keep_alive(Duration::from_secs(1))
        .build_local(Default::default())?;
    let workers =
        (0..threads).map(|index| worker::start(index, shared.clone())).collect::<io::Result<_>>()?;
    let names = names::start(shared.clone(), &options)?;
    let relay = datagram::start(shared.clone())?;
    let controller = Controller::new(options.clone(), shared, workers, names, relay);
    let ended = runtime.block_on(serve(options.clone(), log.clone(), controller, start));
    log.flush();
    if let (Some(path), Ok(Ending::Alone)) = (&options.pid_file, &ended) {
        // A pid file left behind names a process that is gone, which readers have to expect.
        let _ = std::fs::remove_file(path);
    }
    ended.map(|_| ())
}

/// How the process comes to its socket.
enum Start {
    Alone(File),
    Inherited(Box<Inheritance>),
}

/// How it went.
enum Ending {
    Alone,
    /// Another process goes on in its place.
    Succeeded,
}

fn make_folder_of(path: &Path) -> Result<(), StartError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => {
            std::fs::create_dir_all(folder).map_err(at(folder))
        }
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::File { path, source }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Only one gateway at a control socket, for as long as the file is open.
fn lock(socket: &Path) -> Result<File, StartError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(at(&path))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(at(&path))?;
        return Err(StartError::Running { pid: pid.trim().to_owned(), socket: socket.to_owned() });
    }
    Ok(file)
}

/// Writes who serves into the lock, and into the pid file.
fn claim(lock: &File, options: &GatewayOptions) -> Result<(), StartError> {
    let line = format!("{}\n", std::process::id());
    // The place in a file that was handed over is shared with the predecessor.
    lock.set_len(0)
        .and_then(|()| lock.write_all_at(line.as_bytes(), 0))
        .map_err(at(&options.control_socket))?;
    match &options.pid_file {
        Some(path) => std::fs::write(path, line).map_err(at(path)),
        None => Ok(()),
    }
}

/// As many descriptors as the host allows; each connection needs two.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer, connections wait in the backlog sooner.
    let _ = setrlimit(Resource::Nofile, limit);
}

async fn serve(
    options: GatewayOptions,
    log: Log,
    mut controller: Controller,
    start: Start,
) -> Result<Ending, StartError> {
    let mut ends = Ends::new(options.limits.grace)?;
    let (retry, grace) = (options.limits.bind_retry, options.limits.grace);
    let predecessors = Rc::new(Predecessors::default());
    let (lock, listener) = match start {
        Start::Alone(lock) => {
            controller.restore().await;
            (lock, server::bind(&options.control_socket).map_err(at(&options.control_socket))?)
        }
        Start::Inherited(inheritance) => {
            let (lock, listener) = (inheritance.lock.try_clone()?, inheritance.control.try_clone()?);
            let predecessor = succeed(&options, &mut controller, *inheritance).await?;
            claim(&lock, &options)?;
            controller.complete().await;
            predecessor.into_iter().for_each(|client| predecessors.add(client));
            // Who connects from here on is told this process's number and not the predecessor's.
            rustix::net::listen(&listener, CONTROL_BACKLOG).map_err(io::Error::from)?;
            listener.set_nonblocking(true)?;
            (lock, UnixListener::from_std(listener)?)
        }
    };
    let own = [OwnedFd::from(lock), listener.as_fd().try_clone_to_owned()?];
    let controller = Rc::new(Mutex::new(controller));
    let (telling, mut told) = mpsc::channel(1);
    let server = Server::new(controller.clone(), predecessors.clone(), options.limits, own, telling);
    let serving = tokio::task::spawn_local(Rc::new(server).run(listener));
    let retrying = tokio::task::spawn_local(keep_trying(controller.clone(), retry));
    let told = tokio::select! {
        grace = ends.told() => Told::Shutdown { grace },
        Some(told) = told.recv() => told,
    };
    serving.abort();
    retrying.abort();
    let (how, grace, ending) = match told {
        Told::Shutdown { grace } => (Retiring::WhenIdle, grace, Ending::Alone),
        Told::HandedOver => (Retiring::AtNextAnswer, grace, Ending::Succeeded),
    };
    log.say(&match ending {
        Ending::Alone => format!("ending; what is under way has {} s", grace.as_secs()),
        Ending::Succeeded => format!("handed over; what is under way has {} s", grace.as_secs()),
    });
    finish(&controller, &predecessors, how, grace, &mut ends).await;
    Ok(ending)
}

/// Takes the place of the gateway that gave everything it has; returns it.
async fn succeed(
    options: &GatewayOptions,
    controller: &mut Controller,
    inheritance: Inheritance,
) -> Result<Option<GatewayClient>, StartError> {
    let Inheritance { given, conversation, .. } = inheritance;
    let predecessor = given.handing.pid;
    let mut heir = Heir::new(conversation, predecessor, options.limits.clone())?;
    controller.adopt(given).await.map_err(StartError::Adopt)?;
    heir.ready().await?;
    controller.accept_handed().await;
    match heir.serving().await {
        Ok(client) => {
            controller.say(&format!("took over from process {predecessor}"));
            Ok(client)
        }
        Err(error) => {
            // It goes on itself; what was accepted here meanwhile is served to its end.
            controller.pause().await;
            controller.let_go().await;
            all_ended(controller.finish(Retiring::AtNextAnswer, options.limits.grace).await).await;
            Err(error.into())
        }
    }
}

async fn keep_trying(controller: Rc<Mutex<Controller>>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        controller.lock().await.retry().await;
    }
}

/// Waits for the connections, the end of the grace, or a second signal.
async fn finish(
    controller: &Mutex<Controller>,
    predecessors: &Predecessors,
    how: Retiring,
    grace: Duration,
    ends: &mut Ends,
) {
    let finished = controller.lock().await.finish(how, grace).await;
    let all = async {
        all_ended(finished).await;
        // They are known only here.
        predecessors.ended().await;
    };
    tokio::select! {
        () = all => {}
        () = tokio::time::sleep(grace + CUT_LIMIT) => {}
        _ = ends.told() => {}
    }
}

async fn all_ended(finished: Vec<oneshot::Receiver<()>>) {
    for worker in finished {
        // A worker that has ended has no connections.
        let _ = worker.await;
    }
}

/// The signals that end the gateway; SIGHUP is taken and does nothing.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    grace: Duration,
}

impl Ends {
    fn new(grace: Duration) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            grace,
        })
    }
    async fn told(&mut self) -> Duration {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return self.grace,
                _ = self.interrupt.recv() => return self.grace,
                _ = self.hang_up.recv() => {}
            }
        }
    }
}
