//! The gateway as a process: one lock, one control thread, its workers, signals, the end.

use crate::control::controller::Controller;
use crate::control::server::{self, Server};
use crate::log::Log;
use crate::names;
use crate::options::GatewayOptions;
use crate::worker::{self, Shared};
use model::ErrorKind;
use rustix::fs::FlockOperation;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};

/// Worker threads at most.
const MAX_THREADS: usize = 64;

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("another gateway (process {pid}) serves {}", .socket.display())]
    Running { pid: String, socket: PathBuf },
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the gateway could not be started: {0}")]
    System(#[from] io::Error),
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
    let lock = lock(&options.control_socket)?;
    if let Some(path) = &options.pid_file {
        std::fs::write(path, format!("{}\n", std::process::id())).map_err(at(path))?;
    }
    raise_file_limit();
    let log = Log::start(&options)?;
    let threads = options.threads.unwrap_or_else(cores).clamp(1, MAX_THREADS);
    let shared = Arc::new(Shared::new(options.limits.clone(), log.clone(), threads));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_keep_alive(Duration::from_secs(1))
        .build_local(Default::default())?;
    let workers =
        (0..threads).map(|index| worker::start(index, shared.clone())).collect::<io::Result<_>>()?;
    let names = names::start(shared.clone(), &options)?;
    let ended = runtime.block_on(serve(options.clone(), shared, workers, names));
    log.flush();
    if let Some(path) = &options.pid_file {
        // A pid file left behind names a process that is gone, which readers have to expect.
        let _ = std::fs::remove_file(path);
    }
    drop(lock);
    ended
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
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(at(&path))?;
    Ok(file)
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
    shared: Arc<Shared>,
    workers: Vec<worker::Handle>,
    names: names::Handle,
) -> Result<(), StartError> {
    let mut ends = Ends::new(options.limits.grace)?;
    let retry = options.limits.bind_retry;
    let socket = options.control_socket.clone();
    let mut controller = Controller::new(options, shared.clone(), workers, names);
    controller.restore().await;
    let controller = Rc::new(Mutex::new(controller));
    let listener = server::bind(&socket).map_err(at(&socket))?;
    let (asked, mut shutdown) = mpsc::channel(1);
    let server = Rc::new(Server::new(controller.clone(), asked));
    let serving = tokio::task::spawn_local(server.run(listener));
    let retrying = tokio::task::spawn_local(keep_trying(controller.clone(), retry));
    let grace = tokio::select! {
        grace = ends.told() => grace,
        Some(grace) = shutdown.recv() => grace,
    };
    serving.abort();
    retrying.abort();
    shared.log.say(&format!("ending; requests under way have {} s", grace.as_secs()));
    finish(&controller, grace, &mut ends).await;
    Ok(())
}

async fn keep_trying(controller: Rc<Mutex<Controller>>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        controller.lock().await.retry().await;
    }
}

/// Waits for the connections, the end of the grace, or a second signal.
async fn finish(controller: &Mutex<Controller>, grace: Duration, ends: &mut Ends) {
    let finished = controller.lock().await.finish();
    let all = async {
        for worker in finished {
            // A worker that has ended has no connections.
            let _ = worker.await;
        }
    };
    tokio::select! {
        () = all => {}
        () = tokio::time::sleep(grace) => {}
        _ = ends.told() => {}
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
