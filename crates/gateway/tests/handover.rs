//! A gateway in the place of another: nobody is refused, cut or forgotten, and a successor that
//! dies on the way has changed nothing.

mod common;

use common::process::Process;
use common::{Instance, Raw, connect, eventually, status_of, table};
use gateway::wire::{CONTROL_VERSION, HANDING_FORM, Reply, ReplyLine, Request, RequestLine, Status};
use model::route::RouteTable;
use model::service::Protocol::Http;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct World {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    running: Vec<Process>,
}

impl World {
    fn start(threads: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let first = Process::with(dir.path(), &[("GATEWAY_TEST_THREADS", &threads.to_string())]);
        let world = Self { dir, runtime, running: vec![first] };
        world.status();
        world
    }
    fn socket(&self) -> PathBuf {
        self.dir.path().join("gateway.sock")
    }
    fn status(&self) -> Status {
        self.runtime.block_on(async { connect(self.socket()).await.status().await.expect("it answers") })
    }
    fn apply(&self, table: &RouteTable) -> Vec<SocketAddr> {
        let report = self.runtime.block_on(async { connect(self.socket()).await.apply(table).await });
        let report = report.expect("the table is valid");
        assert_eq!(report.failed, []);
        report.bound.iter().map(|(_, bound)| *bound).collect()
    }
    fn successor(&self, threads: usize) -> Process {
        let threads = threads.to_string();
        let variables = [("GATEWAY_TEST_THREADS", threads.as_str()), ("GATEWAY_TEST_TAKE_OVER", "1")];
        Process::with(self.dir.path(), &variables)
    }
    /// Starts a successor and waits until it serves.
    fn hand_over(&mut self, threads: usize) {
        let next = self.successor(threads);
        let before = self.running.last().expect("one runs").id();
        eventually(|| self.status().pid != before);
        assert_eq!(self.status().pid, next.id());
        self.running.push(next);
    }
}

/// Counts what clients got while something else happens.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// Half of the clients keep their connection as long as they are told that they may.
    fn on(address: SocketAddr, count: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..count)
            .map(|n| {
                let (stop, served) = (stop.clone(), served.clone());
                std::thread::spawn(move || {
                    let mut client = Raw::to(address);
                    while !stop.load(Relaxed) {
                        let (head, body) = client.send(GET).response();
                        assert_eq!((status_of(&head), body.as_str()), (200, "ok"), "{head}");
                        served.fetch_add(1, Relaxed);
                        if n % 2 == 0 || head.contains("Connection: close") {
                            client = Raw::to(address);
                        }
                    }
                })
            })
            .collect();
        Self { stop, served, clients }
    }
    fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }
    /// All clients go on being served.
    fn goes_on(&self) {
        let enough = self.served() + 200;
        eventually(|| self.served() > enough || self.clients.iter().any(|client| client.is_finished()));
    }
    fn end(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("no request was lost"));
        self.served.load(Relaxed)
    }
}

#[test]
fn a_dozen_handovers_under_load_lose_nothing() {
    let instance = Instance::saying("ok");
    let mut world = World::start(2);
    let address = world.apply(&table(1, &[(Http, true, &[instance.address])]))[0];
    let load = Load::on(address, 8);
    // More threads, fewer, and two handovers while the first one still drains.
    for threads in [2, 3, 1, 2, 4, 1, 1, 2, 3, 2, 1, 2] {
        world.hand_over(threads);
        load.goes_on();
    }
    assert!(load.end() > 12 * 200);
    assert_eq!(world.status().listeners[0].counts.errors, 0);
}

/// How far a successor of our own comes before it says nothing more.
const STAGES: [&str; 4] = ["asked", "received", "ready", "let"];

/// Not a test of its own: the process of a successor that stops in the middle.
#[test]
fn a_successor_that_stops() {
    let (Some(dir), Ok(stage)) =
        (std::env::var_os("GATEWAY_TEST_STOP_DIR"), std::env::var("GATEWAY_TEST_STAGE"))
    else {
        return;
    };
    let mut talk = UnixStream::connect(Path::new(&dir).join("gateway.sock")).expect("it listens");
    let reached = |at: &str| {
        if at == stage {
            println!("there");
            // Until it is killed.
            std::thread::park();
        }
    };
    let promised = match ask(&mut talk, Some(Request::HandOver { form: HANDING_FORM })) {
        Reply::Handing(handing) => handing.descriptors(),
        other => panic!("{other:?}"),
    };
    reached("asked");
    say(&mut talk, Request::Descriptors);
    // Read as bytes, they lose their descriptors; what counts is what the other side has given.
    let mut bytes = vec![0; promised.div_ceil(128)];
    talk.read_exact(&mut bytes).expect("they come");
    reached("received");
    say(&mut talk, Request::Ready);
    reached("ready");
    assert_eq!(ask(&mut talk, None), Reply::Go);
    reached("let");
}

fn say(talk: &mut UnixStream, request: Request) {
    let mut line = serde_json::to_vec(&RequestLine { version: CONTROL_VERSION, request }).expect("valid");
    line.push(b'\n');
    talk.write_all(&line).expect("it reads");
}

fn ask(talk: &mut UnixStream, request: Option<Request>) -> Reply {
    if let Some(request) = request {
        say(talk, request);
    }
    let mut line = String::new();
    BufReader::new(talk).read_line(&mut line).expect("it answers");
    serde_json::from_str::<ReplyLine>(&line).expect("an answer").reply
}

/// Starts a successor that stops at the stage; returns once it is there.
fn stopped_at(dir: &Path, stage: &str) -> Process {
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_successor_that_stops", "--nocapture"])
        .env("GATEWAY_TEST_STOP_DIR", dir)
        .env("GATEWAY_TEST_STAGE", stage)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it can be started");
    let told = child.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(told).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("there"))), "it stopped before {stage}");
    Process(child)
}

#[test]
fn a_successor_that_is_killed_on_the_way_changes_nothing() {
    let instance = Instance::saying("ok");
    let mut world = World::start(2);
    let address = world.apply(&table(1, &[(Http, true, &[instance.address])]))[0];
    let load = Load::on(address, 4);
    let first = world.running[0].id();
    for stage in STAGES {
        for _ in 0..3 {
            drop(stopped_at(world.dir.path(), stage));
            load.goes_on();
        }
        assert_eq!(world.status().pid, first, "{stage}");
    }
    world.hand_over(2);
    load.goes_on();
    load.end();
}

#[test]
fn a_successor_that_hangs_is_waited_for_only_so_long() {
    let instance = Instance::saying("ok");
    let mut world = World::start(2);
    let address = world.apply(&table(1, &[(Http, true, &[instance.address])]))[0];
    let load = Load::on(address, 4);
    for stage in STAGES {
        let hanging = stopped_at(world.dir.path(), stage);
        load.goes_on();
        // Answered once the other one has been given up, although it still lives.
        assert_eq!(world.status().pid, world.running[0].id(), "{stage}");
        drop(hanging);
    }
    world.hand_over(2);
    load.goes_on();
    load.end();
}

/// Not a test of its own: the process that [`Process`] starts.
#[test]
fn a_gateway_as_a_process() {
    common::process::serve_if_asked();
}
