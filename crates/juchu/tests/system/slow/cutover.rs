//! No request and no stream is lost while a stack is deployed, gone back with, configured, and while
//! the daemon dies and the gateway is replaced. The bench `cutover` has the same at full length.

use super::machine::Machine;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::{free_port, wait_until};
use traffic::clock::now_us;
use traffic::programs::Programs;
use traffic::running::{Load, Settings};
use traffic::timeline::{Event, Timeline, Told};

/// Requests in a second: what a build without optimisation carries with ease.
const RATE: u64 = 250;
const SECONDS: u64 = 30;
/// Requests between two changes.
const APART: u64 = RATE;

struct Stack<'a> {
    machine: &'a Machine,
    directory: PathBuf,
    http: u16,
    lines: u16,
}

impl Stack<'_> {
    /// What runs says its release and its configuration with each answer.
    fn declare(&self, release: u32, configuration: u32) {
        let (http, lines) = (self.http, self.lines);
        let compose = format!(
            r#"
name: cutover
services:
  web:
    build: ./web
    command: [/app/traffic-app, --http, "0.0.0.0:8080", --lines, "0.0.0.0:9000",
              --release-file, /app/release.txt, --on-stop, exit]
    environment: {{ CONFIGURATION: c{configuration} }}
    ports:
      - {{ target: 8080, published: "{http}", host_ip: 127.0.0.1, app_protocol: http }}
      - {{ target: 9000, published: "{lines}", host_ip: 127.0.0.1, app_protocol: tcp }}
    x-juchu:
      builder: native
      image: {{ kind: binary }}
      health: {{ http: 8080/health, interval: 1s, start_period: 10s, start_interval: 100ms }}
      rollout: {{ drain: 3s }}
"#
        );
        std::fs::write(self.directory.join("web/release.txt"), format!("r{release}\n")).expect("a file");
        std::fs::write(self.directory.join("compose.yaml"), compose).expect("a Compose file");
    }

    fn juchu(&self, arguments: &[&str]) {
        self.machine.must(&self.directory, arguments);
    }

    fn kill_daemon(&self) {
        assert!(self.machine.daemon().is_some(), "a daemon runs");
        self.machine.kill_daemon();
        // The next command starts it again.
        self.juchu(&["up", "-d"]);
    }
}

fn stack<'a>(machine: &'a Machine, app: &Path) -> Stack<'a> {
    let directory = machine.project("cutover", "");
    std::fs::create_dir_all(directory.join("web")).expect("a directory");
    std::fs::copy(app, directory.join("web/traffic-app")).expect("the application is there");
    let stack = Stack { machine, directory, http: free_port(), lines: free_port() };
    stack.declare(1, 1);
    stack.juchu(&["up", "-d"]);
    stack
}

#[test]
fn nothing_is_lost_while_everything_is_changed() {
    let Some(machine) = Machine::new("cutover") else { return };
    let programs = Programs::build(false).expect("the load is built");
    let stack = stack(&machine, &programs.app);
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let settings = Settings {
        http: address(stack.http),
        lines: address(stack.lines),
        rate: RATE,
        requests: RATE * SECONDS,
        websockets: 20,
        sessions: 10,
        seed: 1,
        before_others: false,
    };
    let load = Load::start(&programs.load, machine.home(), &settings, |_| {}).expect("the load starts");
    let mut timeline = Timeline::default();
    let mut after = APART;
    let mut change = |what: &str, make: &mut dyn FnMut()| {
        wait_until(Duration::from_secs(60), "requests before a change", || load.progress().done >= after);
        let begun_us = now_us();
        make();
        let ended_us = now_us();
        eprintln!("{what}: {} ms", (ended_us - begun_us) / 1000);
        timeline.0.push(Event { what: what.to_owned(), begun_us, ended_us });
        after = load.progress().done + APART;
    };
    let deploy = |release, configuration| {
        stack.declare(release, configuration);
        stack.juchu(&["deploy", "web"]);
    };
    change("deploy 1", &mut || deploy(2, 1));
    change("deploy 2", &mut || deploy(3, 1));
    change("rollback", &mut || stack.juchu(&["rollback", "web"]));
    change("gateway upgrade", &mut || stack.juchu(&["upgrade", "--gateway"]));
    change("configuration release", &mut || {
        stack.declare(2, 2);
        stack.juchu(&["up", "-d"]);
    });
    change("daemon kill", &mut || stack.kill_daemon());
    change("deploy 3", &mut || deploy(4, 2));
    let (report, _) = load.finish().expect("the load ends");
    for failure in &report.failures {
        eprintln!("{}", Told(failure, &timeline));
    }
    assert_eq!(report.failed, 0, "of {} requests and the streams beside them", report.requests);
    assert_eq!(report.requests, RATE * SECONDS);
    // Everything that was asked for did happen, in this order, under the load.
    assert_eq!(report.releases, ["r1+c1", "r2+c1", "r3+c1", "r2+c2", "r4+c2"]);
    assert!(report.websockets.ended_politely > 0 && report.sessions.ended_politely > 0, "{report:?}");
}
