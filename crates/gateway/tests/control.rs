//! Tables: put in force without a lost request, kept over a crash, refused when wrong.

mod common;

use common::process::{Process, success};
use common::{Gateway, Instance, Raw, connect, endpoint, eventually, status_of, table};
use gateway::ClientError;
use gateway::wire::Refusal;
use model::route::{Backend, Listener, RouteTable};
use model::service::Protocol::{Auto, Http, Tcp};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_thousand_tables_under_load_lose_no_request() {
    let one = Instance::saying("one");
    let two = Instance::saying("two");
    // It is about requests that get lost, not about a machine that is slow.
    let mut gateway = Gateway::with(|options| options.limits.response_header = common::PATIENCE);
    let address = gateway.serve(&[(Http, true, &[one.address])])[0];
    let stop = Arc::new(AtomicBool::new(false));
    let served = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let (stop, served) = (stop.clone(), served.clone());
            std::thread::spawn(move || {
                let mut client = Raw::to(address);
                while !stop.load(Ordering::Relaxed) {
                    // Half of the clients keep their connection, half come anew each time.
                    if n % 2 == 0 {
                        client = Raw::to(address);
                    }
                    let (head, body) = client.send(GET).response();
                    assert_eq!(status_of(&head), 200, "{head}{body}");
                    served[usize::from(body == "two")].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..1000 {
        let instance = if round % 2 == 0 { two.address } else { one.address };
        let mut next = table(gateway.next_revision(), &[(Http, true, &[instance])]);
        // The old instance drains every other time and vanishes the others.
        if round % 4 < 2 {
            let old = if round % 2 == 0 { one.address } else { two.address };
            let backend = next.backends.get_mut("t/0:1").expect("it is there");
            backend.endpoints.push(model::route::Endpoint { draining: true, ..endpoint(old) });
        }
        gateway.apply(&next);
    }
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("no request was lost"));
    let served = served.map(|count| count.load(Ordering::Relaxed));
    assert!(served.iter().all(|&count| count > 100), "{served:?}");
    assert_eq!(gateway.status().listeners[0].counts.errors, 0);
}

#[test]
fn nothing_new_goes_to_an_instance_once_it_drains() {
    let slow = Instance::start(|mut talk| {
        while let Some(head) = talk.head() {
            if head.contains("/slow") {
                talk.body("2\r\ngo\r\n0\r\n\r\n").expect("the test says when");
            }
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
        }
    });
    let other = Instance::saying("other");
    let mut gateway = Gateway::with(|options| options.limits.response_header = Duration::from_secs(30));
    let address = gateway.serve(&[(Http, true, &[slow.address])])[0];
    let mut under_way = Raw::to(address);
    under_way.send("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    eventually(|| slow.received().contains("/slow"));
    let mut next = table(gateway.next_revision(), &[(Http, true, &[other.address])]);
    let draining = model::route::Endpoint { draining: true, ..endpoint(slow.address) };
    next.backends.get_mut("t/0:1").expect("it is there").endpoints.push(draining);
    gateway.apply(&next);
    for _ in 0..20 {
        assert_eq!(Raw::to(address).send(GET).response().1, "other");
    }
    let name = endpoint(slow.address).instance;
    let left = gateway.wait(async |client| client.wait_drained(&name, Duration::from_millis(50)).await);
    assert_eq!(left.expect("the gateway answers"), 1);
    // A request of which not all was sent when its instance began to drain is served to its end.
    under_way.send("2\r\ngo\r\n0\r\n\r\n");
    assert_eq!(under_way.response().1, "slow");
    assert_eq!(under_way.send(GET).response().1, "other");
    let left = gateway.wait(async |client| client.wait_drained(&name, common::PATIENCE).await);
    assert_eq!(left.expect("the gateway answers"), 0);
}

#[test]
fn a_listener_that_goes_finishes_what_it_has() {
    let instance = Instance::start(|mut talk| {
        while let Some(head) = talk.head() {
            if head.contains("/slow") {
                talk.body("2\r\ngo\r\n0\r\n\r\n").expect("the test says when");
            }
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut gateway = Gateway::with(|options| options.limits.keep_alive = Duration::from_secs(60));
    let addresses = gateway.serve(&[(Http, true, &[instance.address]), (Tcp, true, &[instance.address])]);
    let mut busy = Raw::to(addresses[0]);
    busy.send("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut idle = Raw::to(addresses[0]);
    idle.send(GET).response();
    let mut relayed = Raw::to(addresses[1]);
    relayed.send(GET).response();
    eventually(|| instance.received().contains("/slow"));
    let revision = gateway.next_revision();
    gateway.apply(&table(revision, &[]));
    assert!(idle.ends(), "an idle connection is closed at once");
    assert!(TcpStream::connect(addresses[0]).is_err());
    let (head, body) = busy.send("2\r\ngo\r\n0\r\n\r\n").response();
    assert!(head.contains("Connection: close") && body == "ok", "{head}");
    assert!(busy.ends());
    assert_eq!(relayed.send(GET).response().1, "ok", "a raw connection goes on");
}

#[test]
fn a_port_in_use_is_named_and_taken_once_it_is_free() {
    let instance = Instance::saying("ok");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound");
    let mut gateway = Gateway::start();
    let mut wanted = table(gateway.next_revision(), &[(Http, true, &[instance.address]), (Http, true, &[])]);
    wanted.listeners[0].address = address;
    let report = gateway.apply(&wanted);
    assert_eq!(report.failed.len(), 1);
    assert_eq!(report.failed[0].address, address);
    let told = &report.failed[0].error;
    assert!(told.contains("in use by") && told.contains(&std::process::id().to_string()), "{told}");
    assert_eq!(report.bound.len(), 1, "everything else is in force");
    assert_eq!(gateway.status().failed, report.failed);
    drop(taken);
    eventually(|| gateway.status().failed.is_empty());
    assert_eq!(Raw::to(address).send(GET).response().1, "ok");
}

#[test]
fn any_port_stays_the_same_over_tables_and_restarts() {
    let instance = Instance::saying("ok");
    let mut gateway = Gateway::start();
    let services: [(_, _, &[SocketAddr]); 2] = [(Http, true, &[instance.address]), (Tcp, true, &[])];
    let first = gateway.serve(&services);
    assert_ne!(first[0].port(), 0);
    assert_eq!(gateway.serve(&services), first);
    let mut gateway = Gateway::in_dir(gateway.stop(), |_| ());
    // Served before any daemon has said a word.
    assert_eq!(Raw::to(first[0]).send(GET).response().1, "ok");
    let status = gateway.status();
    assert_eq!((status.revision, status.listeners[0].bound), (2, first[0]));
}

#[test]
fn tables_that_are_old_or_wrong_are_refused_and_change_nothing() {
    let mut gateway = Gateway::start();
    gateway.apply(&table(5, &[(Http, true, &[])]));
    let mut refused = |change: &dyn Fn(&mut RouteTable)| {
        let mut wrong = table(6, &[(Http, true, &[])]);
        change(&mut wrong);
        match gateway.wait(async |client| client.apply(&wrong).await) {
            Err(ClientError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|t| t.revision = 4), Refusal::Stale { asked: 4, present: 5 });
    let wrongs: [&dyn Fn(&mut RouteTable); 4] =
        [&|t| t.version = 2, &|t| t.backends.clear(), &|t| t.listeners.push(t.listeners[0].clone()), &|t| {
            let many = (0..5000).map(|n| endpoint(SocketAddr::from(([10, 0, 0, 1], n)))).collect();
            t.backends
                .insert("x".into(), Backend { endpoints: many, hold_ms: 0, traffic: Default::default() });
        }];
    for wrong in wrongs {
        assert!(matches!(refused(wrong), Refusal::InvalidTable { .. }));
    }
    assert_eq!(gateway.status().revision, 5);
    gateway.apply(&table(5, &[(Tcp, true, &[])]));
}

#[test]
fn all_addresses_and_a_virtual_one_share_a_port() {
    let (published, virtual_) = (Instance::saying("published"), Instance::saying("virtual"));
    let mut gateway = Gateway::start();
    let revision = gateway.next_revision();
    let mut wanted =
        table(revision, &[(Http, true, &[published.address]), (Http, false, &[virtual_.address])]);
    wanted.listeners[0].address = SocketAddr::from(([0, 0, 0, 0], 0));
    wanted.listeners.pop();
    let port = gateway.apply(&wanted).bound[0].1.port();
    wanted.revision = gateway.next_revision();
    wanted.listeners.push(Listener {
        address: SocketAddr::from(([127, 0, 0, 9], port)),
        protocol: Auto,
        backend: "t/1:1".into(),
        public: false,
        last_port: 0,
        rules: Vec::new(),
        tls: None,
        https_port: None,
        proxied: None,
    });
    assert_eq!(gateway.apply(&wanted).failed, []);
    assert_eq!(Raw::to(SocketAddr::from(([127, 0, 0, 1], port))).send(GET).response().1, "published");
    assert_eq!(Raw::to(SocketAddr::from(([127, 0, 0, 9], port))).send(GET).response().1, "virtual");
}

#[test]
fn what_is_no_request_is_answered_with_a_reason() {
    let gateway = Gateway::start();
    let path = gateway.dir.path().join("gateway.sock");
    let ask = |line: &str| {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(line.as_bytes()).expect("it reads");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("it answers");
        answer
    };
    assert!(ask("{}\n").contains("bad_request"));
    assert!(ask("nonsense\n").contains("bad_request"));
    assert!(ask("{\"version\":1,\"request\":\"status\"}").contains("ends before its line does"));
    assert!(ask("{\"version\":9,\"request\":\"new\"}\n").contains("\"code\":\"version\""));
    assert!(ask("{\"version\":1,\"request\":\"status\"}\n").contains("\"revision\":0"));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn requests_are_logged_without_secrets() {
    let instance = Instance::saying("ok");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("access.log");
    let log = path.clone();
    let mut gateway = Gateway::in_dir(dir, move |options| options.access_log = Some(log));
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    Raw::to(address).send("GET /login?password=x HTTP/1.1\r\nHost: a\r\nX-Request-Id: me\r\n\r\n").response();
    eventually(|| std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
    let text = std::fs::read_to_string(&path).expect("it is there");
    let line: serde_json::Value = serde_json::from_str(&text).expect("a line is JSON");
    assert_eq!((&line["path"], &line["id"], &line["status"]), (&"/login".into(), &"me".into(), &200.into()));
    assert_eq!(line["instance"], endpoint(instance.address).instance);
    assert!(!text.contains("password"));
}

/// Not a test of its own: the process that [`Process`] starts.
#[test]
fn a_gateway_as_a_process() {
    common::process::serve_if_asked();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn after_a_crash_the_last_table_is_served_again() {
    let instance = Instance::saying("ok");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("gateway.sock");
    let runtime = runtime();
    let success = success();
    let process = Process::start(dir.path(), &success);
    let wanted = table(3, &[(Http, true, &[instance.address])]);
    let report = runtime.block_on(async { connect(socket.clone()).await.apply(&wanted).await });
    let address = report.expect("the table is valid").bound[0].1;
    assert_eq!(Raw::to(address).send(GET).response().1, "ok");
    process.signal(rustix::process::Signal::KILL);
    drop(process);
    assert!(TcpStream::connect(address).is_err());
    let mut process = Process::start(dir.path(), &success);
    eventually(|| TcpStream::connect(address).is_ok());
    assert_eq!(Raw::to(address).send(GET).response().1, "ok");
    let status = runtime.block_on(async { connect(socket).await.status().await }).expect("it answers");
    assert_eq!((status.revision, status.pid), (3, process.id()));
    // A hang-up is no end; a request under way when the end is asked for is still served.
    process.signal(rustix::process::Signal::HUP);
    let mut client = Raw::to(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    eventually(|| {
        runtime.block_on(async {
            let status = connect(dir.path().join("gateway.sock")).await.status().await.expect("it answers");
            status.listeners[0].counts.connections >= 3
        })
    });
    process.signal(rustix::process::Signal::TERM);
    eventually(|| TcpStream::connect(address).is_err());
    let (head, body) = client.send("\r\n").response();
    assert!(head.contains("Connection: close") && body == "ok", "{head}");
    let (ended_well, told) = process.wait();
    assert!(ended_well, "{told}");
    assert!(!dir.path().join("gateway.pid").exists());
}

#[test]
fn a_second_gateway_on_the_same_socket_refuses_to_start() {
    let gateway = Gateway::start();
    let conflict = format!("{:?}", std::process::ExitCode::from(7));
    let (as_expected, told) = Process::start(gateway.dir.path(), &conflict).wait();
    assert!(as_expected, "{told}");
    let expect = format!("error: another gateway (process {}) serves ", std::process::id());
    assert!(told.contains(&expect) && told.contains("hint: "), "{told}");
}

#[test]
fn a_table_file_that_is_damaged_is_set_aside() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("table.json"), "{\"version\":1,\"table\":").expect("writable");
    let mut gateway = Gateway::in_dir(dir, |_| ());
    assert_eq!(gateway.status().revision, 0);
    assert!(gateway.dir.path().join("table.json.bad").exists());
    eventually(|| gateway.log().contains("is not a route table"));
}

#[test]
fn a_table_that_cannot_be_written_is_in_force_and_said_so() {
    let instance = Instance::saying("ok");
    let mut gateway = Gateway::with(|options| options.table_file = "/proc/table.json".into());
    let wanted = table(1, &[(Http, true, &[instance.address])]);
    match gateway.wait(async |client| client.apply(&wanted).await) {
        Err(ClientError::Refused(Refusal::NotKept { reason })) => {
            assert!(reason.contains("/proc/table.json"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    let bound = gateway.status().listeners[0].bound;
    assert_eq!(Raw::to(bound).send(GET).response().1, "ok");
}
