//! No request and no stream is lost while a stack is deployed, gone back with, configured, and while
//! the daemon dies and the gateway is replaced. The bench `cutover` has the same at full length.

use super::machine::Machine;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use testkit::{free_port, wait_until};
use traffic::clock::now_us;
use traffic::programs::Programs;
use traffic::running::{Load, Settings};
use traffic::timeline::{Event, Timeline, Told};

/// Requests in a second: what a build without optimisation carries with ease.
const RATE: u64 = 250;
/// The load ends with the last change, however slow the machine is, or with this.
const REQUESTS_LIMIT: u64 = 300 * RATE;
/// Requests between two changes.
const APART: u64 = RATE;
/// How long anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(60);

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

    /// The daemon dies while a deploy goes on; asked again, the next one brings it to its end.
    fn kill_daemon_within_deploy(&self, release: u32, configuration: u32) {
        self.declare(release, configuration);
        let mut deploying = self.machine.command(&self.directory, &["deploy", "web"]);
        let mut deploying =
            deploying.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        wait_until(LIMIT, "a deploy that goes on", || {
            let status = self.machine.must(&self.directory, &["ps", "--json"]);
            status.contains("\"pending\": \"deploy") || status.contains("\"pending\":\"deploy")
        });
        self.machine.kill_daemon();
        deploying.wait().expect("it ends");
        wait_until(LIMIT, "the declared state", || {
            self.machine.run(&self.directory, &["up", "-d"]).code == 0
        });
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
        requests: REQUESTS_LIMIT,
        websockets: 20,
        sessions: 10,
        seed: 1,
        before_others: false,
    };
    let load = Load::start(&programs.load, machine.home(), &settings, |_| {}).expect("the load starts");
    let mut timeline = Timeline::default();
    let mut after = APART;
    let mut change = |what: &str, make: &mut dyn FnMut()| {
        wait_until(LIMIT, "requests before a change", || load.progress().done >= after);
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
    change("daemon kill within a deploy", &mut || stack.kill_daemon_within_deploy(4, 2));
    change("deploy 3", &mut || deploy(5, 2));
    change("the end", &mut || load.stop());
    let (report, _) = load.finish().expect("the load ends");
    for failure in &report.failures {
        eprintln!("{}", Told(failure, &timeline));
    }
    assert_eq!(report.failed, 0, "of {} requests and the streams beside them", report.requests);
    assert!(report.requests < REQUESTS_LIMIT, "the load outlasted the changes");
    // Everything that was asked for did happen, in this order, under the load.
    assert_eq!(report.releases, ["r1+c1", "r2+c1", "r3+c1", "r2+c2", "r4+c2", "r5+c2"]);
    assert!(report.websockets.ended_politely > 0 && report.sessions.ended_politely > 0, "{report:?}");
}
