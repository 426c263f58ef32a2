//! A gateway in the place of another: nobody is refused, cut or forgotten, and a successor that
//! dies on the way has changed nothing.

mod common;

use common::http2::Http2;
use common::process::Process;
use common::{Instance, PATIENCE, Raw, connect, endpoint, eventually, status_of, table};
use gateway::wire::{CONTROL_VERSION, HANDING_FORM, Reply, ReplyLine, Request, RequestLine, Status};
use model::route::{Endpoint, NameZone, RouteTable};
use model::service::Protocol::{Http, Tcp};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct World {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    variables: Vec<(&'static str, String)>,
    running: Vec<Process>,
}

impl World {
    fn start(threads: usize) -> Self {
        Self::with(threads, &[])
    }
    fn with(threads: usize, variables: &[(&'static str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut world = Self { dir, runtime, variables, running: Vec::new() };
        world.running.push(world.process(threads, &[]));
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
    fn drained(&self, instance: &Instance, limit: Duration) -> u64 {
        let name = endpoint(instance.address).instance;
        let left =
            self.runtime.block_on(async { connect(self.socket()).await.wait_drained(&name, limit).await });
        left.expect("it answers")
    }
    fn process(&self, threads: usize, more: &[(&str, &str)]) -> Process {
        let threads = threads.to_string();
        let mut variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.push(("GATEWAY_TEST_THREADS", &threads));
        variables.extend(more);
        Process::with(self.dir.path(), &variables)
    }
    /// Starts a successor and waits until it serves.
    fn hand_over(&mut self, threads: usize) {
        let next = self.process(threads, &[("GATEWAY_TEST_TAKE_OVER", "1")]);
        let before = self.running.last().expect("one runs").id();
        eventually(|| self.status().pid != before);
        assert_eq!(self.status().pid, next.id());
        let stream = UnixStream::connect(self.socket()).expect("it listens");
        let peer = rustix::net::sockopt::socket_peercred(&stream).expect("a local socket");
        assert_eq!(peer.pid.as_raw_nonzero().get() as u32, next.id(), "the kernel names the one that serves");
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

#[test]
fn streams_of_http2_that_were_begun_get_their_answers_over_handovers() {
    let instance = Instance::saying("ok");
    let mut world = World::start(2);
    let address = world.apply(&table(1, &[(Http, true, &[instance.address])]))[0];
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            std::thread::spawn(move || {
                let mut connections = 0;
                while !stop.load(Relaxed) {
                    let mut client = Http2::to(address);
                    connections += 1;
                    while !stop.load(Relaxed) && client.is_open() {
                        let answer = client.get("http://a/").expect("a stream that was begun is served");
                        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
                        served.fetch_add(1, Relaxed);
                    }
                }
                connections
            })
        })
        .collect();
    for _ in 0..4 {
        let enough = served.load(Relaxed) + 100;
        eventually(|| served.load(Relaxed) > enough || clients.iter().any(|client| client.is_finished()));
        world.hand_over(2);
    }
    stop.store(true, Relaxed);
    let connections = clients.into_iter().map(|client| client.join().expect("no request was lost"));
    assert!(connections.sum::<i32>() >= 4 * 4, "each handover sends the clients to the successor");
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
    let promised = match ask(&mut talk, Some(Request::HandOver { form: HANDING_FORM, datagrams: true })) {
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

#[test]
fn what_is_under_way_finishes_in_the_old_process_and_the_new_one_knows_of_it() {
    let instance = Instance::start(|mut talk| {
        while let Some(head) = talk.head() {
            if head.contains("/slow") {
                talk.body("2\r\ngo\r\n0\r\n\r\n").expect("the test says when");
            }
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let other = Instance::saying("other");
    let mut world = World::with(2, &[("GATEWAY_TEST_GRACE_MS", "60000")]);
    let address = world.apply(&table(1, &[(Http, true, &[instance.address])]))[0];
    let mut busy = Raw::to(address);
    busy.send("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    eventually(|| instance.received().contains("/slow"));
    let mut idle = Raw::to(address);
    idle.send(GET).response();
    world.hand_over(2);
    let first = world.running[0].id();
    let status = world.status();
    assert_eq!(status.predecessors.len(), 1);
    assert_eq!((status.predecessors[0].pid, status.predecessors[0].connections), (first, 2));
    // A table that comes now concerns the old process, too, and its work is waited for.
    let mut next = table(2, &[(Http, true, &[other.address])]);
    let old = Endpoint { draining: true, drain_ms: 60_000, ..endpoint(instance.address) };
    next.backends.get_mut("t/0:1").expect("it is there").endpoints.push(old);
    world.apply(&next);
    assert_eq!(world.drained(&instance, Duration::from_millis(50)), 1);
    // An idle connection is answered once more, by whom the table says, and told to come anew.
    let (head, body) = idle.send(GET).response();
    assert!(head.contains("Connection: close") && body == "other", "{head}{body}");
    assert!(idle.ends());
    let (head, body) = busy.send("2\r\ngo\r\n0\r\n\r\n").response();
    assert!(head.contains("Connection: close") && body == "ok", "{head}{body}");
    assert_eq!(world.drained(&instance, PATIENCE), 0);
    eventually(|| world.running[0].has_ended());
    assert_eq!(world.status().predecessors, []);
    assert!(world.dir.path().join("gateway.pid").exists(), "it names the one that serves");
}

#[test]
fn requests_that_wait_in_the_old_process_are_served_by_the_table_of_the_new_one() {
    let mut world = World::with(1, &[("GATEWAY_TEST_GRACE_MS", "60000")]);
    let mut empty = table(1, &[(Http, true, &[])]);
    empty.backends.get_mut("t/0:1").expect("it is there").hold_ms = 60_000;
    let address = world.apply(&empty)[0];
    let mut client = Raw::to(address);
    client.send(GET);
    eventually(|| world.status().listeners[0].counts.active == 1);
    world.hand_over(1);
    world.hand_over(1);
    let instance = Instance::saying("late");
    world.apply(&table(2, &[(Http, true, &[instance.address])]));
    assert_eq!(client.response().1, "late");
    // The oldest has ended, and with it the one that only knew of it.
    eventually(|| world.status().predecessors.is_empty());
}

#[test]
fn streams_are_ended_within_the_grace_of_the_old_process() {
    let instance = Instance::start(|mut talk| {
        let head = talk.head().expect("a request");
        match head.contains("/ws") {
            true => talk.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            ),
            false => talk.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"),
        }
        while talk.more() {}
    });
    let mut world = World::with(2, &[("GATEWAY_TEST_GRACE_MS", "1500")]);
    let addresses =
        world.apply(&table(1, &[(Http, true, &[instance.address]), (Tcp, true, &[instance.address])]));
    let mut frames = Raw::to(addresses[0]);
    frames
        .send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .until("\r\n\r\n");
    let mut events = Raw::to(addresses[0]);
    events.send(GET).until("data: 1\n\n");
    let mut bytes = Raw::to(addresses[1]);
    bytes.send("/ws\r\n\r\n").until("\r\n\r\n");
    let mut silent = Raw::to(addresses[0]);
    world.hand_over(2);
    assert_eq!(frames.exactly(4), [0x88, 2, 3, 0xe9]);
    frames.send([0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]);
    assert!(frames.ends());
    assert!(events.all().ends_with("\r\n0\r\n\r\n"));
    assert!(bytes.ends());
    // One that never said anything ends in silence, late.
    assert!(silent.ends());
    eventually(|| world.running[0].has_ended());
}

#[test]
fn names_are_answered_by_the_one_that_serves() {
    let port = UdpSocket::bind("127.0.0.5:0").expect("a port").local_addr().expect("bound").port();
    let mut world = World::with(1, &[("GATEWAY_TEST_NAME_PORT", &port.to_string())]);
    let mut zones = table(1, &[]);
    let addresses = vec!["10.1.2.3".parse().expect("an address")];
    let names = BTreeMap::from([("web".to_owned(), addresses)]);
    zones.zones.push(NameZone {
        listen: "127.0.0.5".parse().expect("an address"),
        names,
        forward: false,
        domain: String::new(),
        reverse: BTreeMap::new(),
    });
    world.apply(&zones);
    let asks_udp = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket.send_to(QUERY, ("127.0.0.5", port)).expect("it is sent");
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).expect("an answer");
        assert!(answer[..length].ends_with(&[10, 1, 2, 3]));
    };
    let asks_tcp = || {
        let mut stream = TcpStream::connect(("127.0.0.5", port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.write_all(&[&(QUERY.len() as u16).to_be_bytes(), QUERY].concat()).expect("it reads");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).expect("all of it");
        assert!(answer.ends_with(&[10, 1, 2, 3]));
    };
    for _ in 0..3 {
        (0..20).for_each(|_| asks_udp());
        asks_tcp();
        world.hand_over(1);
    }
    let counts = world.status().names;
    (0..5).for_each(|_| asks_udp());
    assert_eq!(world.status().names.answered, counts.answered + 5);
}

#[test]
fn datagrams_lose_nothing_and_stay_with_their_instance() {
    let instances = [common::datagrams::Echo::start(), common::datagrams::Echo::start()];
    let mut world = World::with(2, &[("GATEWAY_TEST_GRACE_MS", "5000")]);
    let mut served = table(1, &[]);
    common::datagrams::serve(&mut served, "t/dns:53/udp", &[&instances[0], &instances[1]]);
    world.apply(&served);
    let bound = |world: &World| {
        let status = world.status();
        let udp = status.listeners.iter().find(|l| l.transport == model::service::Transport::Udp);
        udp.expect("it listens").bound
    };
    let address = bound(&world);
    let clients: Vec<_> = (0..8).map(|_| common::datagrams::Client::of(address)).collect();
    let first: Vec<String> = clients.iter().map(|client| client.ask("hello")).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut asked = 0u32;
            // Each of them must be answered: a lost datagram would run into the client's patience.
            while !stop.load(Relaxed) {
                let client = common::datagrams::Client::of(address);
                assert!(client.ask(&asked.to_string()).ends_with(&asked.to_string()));
                asked += 1;
            }
            asked
        })
    };
    for threads in [1, 3] {
        world.hand_over(threads);
        assert_eq!(bound(&world), address);
        let again: Vec<String> = clients.iter().map(|client| client.ask("hello")).collect();
        assert_eq!(again, first, "the successor chooses as its predecessor did");
    }
    stop.store(true, Relaxed);
    assert!(load.join().expect("nothing was lost") > 0);
}

/// The address of "web", asked.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01";

#[test]
fn without_a_gateway_the_successor_starts_alone_and_a_second_one_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let running = Process::with(dir.path(), &[("GATEWAY_TEST_TAKE_OVER", "1")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let status = runtime.block_on(async {
        connect(dir.path().join("gateway.sock")).await.status().await.expect("it answers")
    });
    assert_eq!(status.pid, running.id());
    let conflict = format!("{:?}", std::process::ExitCode::from(7));
    let (as_expected, told) = Process::start(dir.path(), &conflict).wait();
    assert!(as_expected && told.contains(&format!("(process {})", running.id())), "{told}");
}

#[test]
fn after_a_crash_of_the_successor_another_can_start_while_the_old_one_still_finishes() {
    let instance = Instance::start(|mut talk| while talk.more() {});
    let mut world = World::with(1, &[("GATEWAY_TEST_GRACE_MS", "60000")]);
    let address = world.apply(&table(1, &[(Tcp, true, &[instance.address])]))[0];
    let mut session = Raw::to(address);
    session.send("hello");
    eventually(|| instance.received().contains("hello"));
    world.hand_over(1);
    world.running.pop();
    let next = Process::with(world.dir.path(), &[("GATEWAY_TEST_THREADS", "1")]);
    eventually(|| TcpStream::connect(address).is_ok());
    assert_eq!(world.status().pid, next.id());
    session.send("more");
    eventually(|| instance.received().contains("more"));
    world.running.push(next);
}

/// Not a test of its own: the process that [`Process`] starts.
#[test]
fn a_gateway_as_a_process() {
    common::process::serve_if_asked();
}
