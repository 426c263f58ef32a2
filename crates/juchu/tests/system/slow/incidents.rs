//! A process that ends is told within seconds, once, and its end as well, whatever becomes of the
//! daemon meanwhile.

use super::machine::{Machine, tiny};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::{free_port, wait_for, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// As promised for a dead process or a closed port, and for a range that is left.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
const LEFT_WITHIN: Duration = Duration::from_secs(25);
/// The program stays when its server ends.
const OUTLIVES: &str = r#"    restart: 'no'
    entrypoint: ["/app/busybox", "sh", "-c", "/app/busybox httpd -f -p 8080 -h /site & exec /app/busybox sleep 100000"]
"#;

/// Takes every message.
struct Hook {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<(Instant, Value)>>>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut length = 0;
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    let lower = line.to_ascii_lowercase();
                    length = lower
                        .strip_prefix("content-length:")
                        .map_or(length, |n| n.trim().parse().expect("a length"));
                    line.clear();
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_ok() {
                    let message = serde_json::from_slice(&body).expect("JSON");
                    kept.lock().expect("not poisoned").push((Instant::now(), message));
                }
                // Whoever is gone has sent it all the same.
                let _ = reader.into_inner().write_all(b"HTTP/1.1 204 taken\r\nConnection: close\r\n\r\n");
            }
        });
        Self { address, taken }
    }

    /// When the first message of this kind about an incident of this service came.
    fn told(&self, what: &str, service: &str) -> Option<(Instant, Value)> {
        let taken = self.taken.lock().expect("not poisoned");
        taken.iter().find(|(_, message)| message["what"] == what && message["service"] == service).cloned()
    }

    /// What is told of the service; this machine may have troubles of its own.
    fn count(&self, what: &str) -> usize {
        self.taken.lock().expect("not poisoned").iter().filter(|(_, message)| message["what"] == what).count()
    }
}

fn add_receiver(machine: &Machine, hook: &Hook) {
    let mut command = machine.command(machine.home(), &["notify", "add", "ops", "webhook"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
    write!(child.stdin.take().expect("piped"), "http://{}/hook/SECRET", hook.address).expect("read");
    assert!(child.wait().expect("it ends").success(), "{}", machine.daemon_log());
}

/// The only process that this one started.
fn child(pid: i64) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn ask(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The process of the only instance of `web`.
fn pid(machine: &Machine, directory: &std::path::Path) -> Option<i64> {
    let text = machine.must(directory, &["ps", "--json"]);
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let find = |value: &Value| value["services"][0]["instances"][0]["pid"].as_i64();
    find(&all).or_else(|| find(&all[0]))
}

#[test]
fn a_dead_process_is_told_within_seconds_and_its_end_as_well() {
    let Some(machine) = Machine::new("incidents") else { return };
    let hook = Hook::start();
    let directory = tiny(&machine, "fragile", free_port(), "here", "    restart: 'no'\n");
    machine.must(&directory, &["up", "-d"]);
    add_receiver(&machine, &hook);
    machine.must(&directory, &["notify", "test", "ops"]);
    assert_eq!(hook.count("test"), 1);
    // What is seen each second is there before what is measured.
    wait_until(LIMIT, "signals are watched", || {
        machine.must(&directory, &["range", "ls", "fragile/web/instances"]).contains("at least 1")
    });
    assert_eq!(hook.count("opened"), 0, "nothing is wrong: {:?}", hook.taken.lock());

    let victim = wait_for(LIMIT, "it runs", || pid(&machine, &directory));
    let killed = Instant::now();
    super::machine::kill(i32::try_from(victim).expect("a process"));
    let (at, message) = wait_for(LIMIT, "it is told", || hook.told("opened", "web"));
    assert!(at - killed < TOLD_WITHIN, "told after {:?}", at - killed);
    eprintln!("a dead process was told after {:?}", at - killed);
    assert_eq!((&message["level"], &message["signal"]), (&"urgent".into(), &"instances".into()), "{message}");
    assert!(message["changed"].as_str().is_some_and(|text| text.starts_with("up by ")), "{message}");

    let number = message["incident"].to_string();
    machine.must(&directory, &["incident", "ack", &number, "-m", "on it"]);
    machine.kill_daemon();
    // What ended and is not started again stays so; the daemon is started.
    machine.run(&directory, &["up", "-d"]);
    let shown = machine.must(&directory, &["incidents", &number]);
    assert!(shown.contains("fragile/web") && shown.contains("on it"), "{shown}");
    let why = machine.must(&directory, &["why", "web"]);
    assert!(why.contains(&format!("incident {number} opened")), "{why}");

    machine.must(&directory, &["restart", "web"]);
    wait_until(Duration::from_secs(120), "its end is told", || hook.told("over", "web").is_some());
    assert_eq!((hook.count("opened"), hook.count("over")), (1, 1), "{:?}", hook.taken.lock());
    machine.must(&directory, &["verify"]);
    let log = machine.daemon_log();
    assert!(!log.contains("SECRET"), "{log}");
}

#[test]
fn a_range_that_is_left_and_a_closed_port_are_told_in_time() {
    let Some(machine) = Machine::new("left") else { return };
    let hook = Hook::start();
    let port = free_port();
    let directory = tiny(&machine, "leaving", port, "here", OUTLIVES);
    machine.must(&directory, &["up", "-d"]);
    add_receiver(&machine, &hook);
    ask(port);
    wait_until(LIMIT, "requests are watched", || {
        let known = machine.must(&directory, &["range", "ls", "leaving/web"]);
        known.contains("leaving/web/requests") && known.contains("leaving/web/ports")
    });
    machine.must(&directory, &["range", "set", "leaving/web/requests", "--max", "0.5", "-m", "a test"]);
    let asked = Instant::now();
    (0..60).for_each(|_| ask(port));
    let (at, message) = wait_for(LIMIT, "it is told", || hook.told("opened", "web"));
    eprintln!("a range that was left was told after {:?}", at - asked);
    assert_eq!(message["signal"], "requests", "{message}");
    assert!(at - asked < LEFT_WITHIN, "told after {:?}", at - asked);
    machine.must(&directory, &["range", "set", "leaving/web/requests", "--reset"]);
    wait_until(Duration::from_secs(120), "its end is told", || hook.told("over", "web").is_some());

    let main = wait_for(LIMIT, "it runs", || pid(&machine, &directory));
    let server = child(main).expect("the server is its child");
    let killed = Instant::now();
    super::machine::kill(server);
    let is_of_port = |message: &Value| message["signal"] == "ports" && message["service"] == "web";
    let (at, message) = wait_for(LIMIT, "it is told", || {
        let taken = hook.taken.lock().expect("not poisoned");
        taken.iter().find(|(_, message)| is_of_port(message)).cloned()
    });
    eprintln!("a closed port was told after {:?}", at - killed);
    assert!(at - killed < TOLD_WITHIN, "told after {:?}", at - killed);
    assert_eq!(message["level"], "urgent", "{message}");
    let number = message["incident"].to_string();
    let report = machine.must(&directory, &["report", &number]);
    assert!(report.contains("Cause") && report.contains("Not known"), "{report}");
    let measures: Value =
        serde_json::from_str(&machine.must(&directory, &["dora", "leaving", "--json"])).expect("JSON");
    assert_eq!(measures["measures"][0]["deployments"], 1, "{measures}");
}

#[test]
fn what_was_learned_outlives_a_daemon_that_is_killed() {
    let Some(machine) = Machine::new("learned") else { return };
    let directory = tiny(&machine, "learning", free_port(), "here", "");
    machine.must(&directory, &["up", "-d"]);
    let log = machine.home().join("vigil/grown.jsonl");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default().matches("machine/cpu").count();
    let since = || {
        let all = machine.must(&directory, &["range", "ls", "machine/cpu", "--json"]);
        serde_json::from_str::<Value>(&all).expect("JSON")[0]["since_ms"].as_i64()
    };
    // What came to it is written once a minute.
    wait_until(Duration::from_secs(200), "what was learned is added to", || lines() >= 1);
    let before = since().expect("it is watched");
    machine.kill_daemon();
    machine.run(&directory, &["up", "-d"]);
    let after = wait_for(LIMIT, "it is watched again", since);
    assert_eq!(after, before, "it goes on where it was");
    machine.must(&directory, &["range", "accept", "machine/cpu", "-m", "as it was"]);
    machine.kill_daemon();
    machine.run(&directory, &["up", "-d"]);
    wait_for(LIMIT, "it is watched again", since);
    let shown = machine.must(&directory, &["range", "show", "machine/cpu"]);
    assert!(shown.contains("as somebody said"), "{shown}");
}
