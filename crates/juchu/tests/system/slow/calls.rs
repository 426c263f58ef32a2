//! Who calls whom, as real services do it: told by the command line, the measurements and a page.

use super::machine::Machine;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::{free_port, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// A service of nothing but busybox; `keys` are lines with an indentation of four.
fn service(name: &str, entrypoint: &str, keys: &str) -> String {
    format!(
        "  {name}:\n    build: ./app\n    stop_grace_period: 1s\n    x-juchu:\n      builder: native\n      image: \
         {{kind: binary, user: root, entrypoint: {entrypoint}, files: {{\"/site/index.html\": index.html}}}}\n{keys}"
    )
}

const SLEEP: &str = r#"["/app/busybox", "sleep", "100000"]"#;

/// The port inside is one that nobody publishes on this host, for then the gateway could not have it.
fn project(machine: &Machine, name: &str, (port, inside): (u16, u16)) -> PathBuf {
    let httpd = format!(r#"["/app/busybox", "httpd", "-f", "-p", "{inside}", "-h", "/site"]"#);
    let web = service("web", &httpd, &format!("    ports: [\"{port}:{inside}\"]\n"));
    let compose = format!("name: {name}\nservices:\n{web}{}", service("worker", SLEEP, ""));
    let directory = machine.project(name, &compose);
    let app = directory.join("app");
    std::fs::create_dir_all(&app).expect("a directory");
    std::fs::copy(testkit::busybox_static(), app.join("busybox")).expect("busybox is there");
    std::fs::write(app.join("index.html"), "here").expect("a page");
    directory
}

/// One request from this host; the whole answer.
fn ask(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it is published");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    answer
}

fn work(machine: &Machine, directory: &Path, url: &str) {
    let wget = ["exec", "-T", "worker", "/app/busybox", "timeout", "5", "/app/busybox", "wget", "-qO-", url];
    let said = machine.run(directory, &wget);
    assert_eq!(said.out.trim(), "here", "{}", said.err);
}

/// What this caller has of the service, once it is measured.
fn call(machine: &Machine, directory: &Path, caller: &Value) -> Value {
    wait_for(LIMIT, "the call is measured", || {
        let map: Value =
            serde_json::from_str(&machine.must(directory, &["map", "--json"])).expect("it is JSON");
        let found = map["calls"].as_array()?.iter().find(|call| {
            call["caller"] == *caller && call["service"] == "web" && call["requests"].as_f64() > Some(0.0)
        });
        found.cloned()
    })
}

#[test]
fn calls_between_services_are_told_with_their_caller() {
    let Some(machine) = Machine::new("calls") else { return };
    let (port, inside) = (free_port(), free_port());
    let directory = project(&machine, "calls", (port, inside));
    machine.must(&directory, &["up", "-d"]);
    for _ in 0..3 {
        assert!(ask(port, "/").starts_with("HTTP/1.1 200"));
        work(&machine, &directory, &format!("http://web:{inside}/"));
    }
    let worker = call(&machine, &directory, &serde_json::json!({"service": "calls/worker"}));
    assert_eq!(
        (&worker["stack"], &worker["port"]),
        (&"calls".into(), &inside.to_string().into()),
        "{worker}"
    );
    assert!(worker["errors"].as_f64() == Some(0.0) && worker["p95_s"].as_f64() > Some(0.0), "{worker}");
    call(&machine, &directory, &"host".into());
    let text = machine.must(&directory, &["map", "worker"]);
    assert!(text.contains("calls/worker") && text.contains(&format!("calls/web:{inside}")), "{text}");
    assert!(!text.contains("this host"), "{text}");
    let total = "juchu_calls_requests_total{caller=\"worker\",service=\"web\"}";
    let total = machine.must(&directory, &["query", total]);
    assert!(total.contains("caller_stack=\"calls\"") && total.contains('3'), "{total}");

    let id = wait_for(LIMIT, "a span of the gateway is kept", || {
        let asked = machine.must(&directory, &["trace", "--service", "web", "--json"]);
        let found: Value = serde_json::from_str(&asked).expect("it is JSON");
        found["traces"][0]["trace"].as_str().map(str::to_owned)
    });
    let shown = machine.must(&directory, &["trace", &id]);
    assert!(shown.contains("GET /") && shown.contains("1 span, 1 service"), "{shown}");
    let spans = machine.must(&directory, &["trace", &id, "--json"]);
    assert!(spans.contains("\"juchu.caller\": \"calls/worker\"") || spans.contains("this host"), "{spans}");
}

#[test]
fn what_is_wrong_with_the_file_of_addresses_is_told_by_the_doctor() {
    let Some(machine) = Machine::new("calls-declared") else { return };
    let directory = super::machine::tiny(&machine, "declared-wrong", free_port(), "here", "");
    machine.must(&directory, &["up", "-d"]);
    let file = machine.home().join("observe.toml");
    let doctor = || machine.run(&directory, &["doctor"]).out;
    std::fs::write(&file, "[receive]\nsyslog = 5514\n").expect("written");
    wait_for(LIMIT, "a mistake is told", || doctor().contains("line 2").then_some(()));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    std::fs::write(&file, format!("[receive]\nhttp = \"{address}\"\n")).expect("written");
    let told = format!("nothing is received at {address}");
    wait_for(LIMIT, "an address that is taken is told", || doctor().contains(&told).then_some(()));
    drop(taken);
    wait_for(LIMIT, "it is tried again", || (!doctor().contains("observe.toml")).then_some(()));
    TcpStream::connect(address).expect("it listens now");
}
