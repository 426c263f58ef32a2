//! Releases that are judged while people use them, with real processes behind the real gateway: an
//! equal one stays, one that fails some requests is taken back and not tried again, and without
//! traffic nothing is known and the policy decides. The bench `judge` replays thousands of them.

use super::machine::{Machine, Said};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testkit::{free_port, wait_until};
use traffic::clock::now_us;
use traffic::programs::Programs;
use traffic::report::{Report, Sample};
use traffic::running::{Load, Settings};

const RATE: u64 = 100;
/// The load ends when it is told to, or with this.
const REQUESTS_LIMIT: u64 = 240 * RATE;
const LIMIT: Duration = Duration::from_secs(60);
/// A release that fails one request of four is found within this, its start and the cold start with it.
const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// As promised for the time from the decision to all traffic back: 100 ms, and what a busy machine adds.
const BACK_WITHIN_MS: i64 = 1_000;

struct Stack<'a> {
    machine: &'a Machine,
    directory: PathBuf,
    http: u16,
    lines: u16,
}

impl Stack<'_> {
    /// The release and what is wrong with it; what follows where nobody asks it anything.
    fn declare(&self, release: u32, fault: &str, without_traffic: &str) {
        let (http, lines) = (self.http, self.lines);
        let compose = format!(
            r#"
name: judged
services:
  web:
    build: ./web
    command: [/app/traffic-app, --http, "0.0.0.0:8080", --lines, "0.0.0.0:9000",
              --release-file, /app/release.txt, --on-stop, exit{fault}]
    ports:
      - {{ target: 8080, published: "{http}", host_ip: 127.0.0.1, app_protocol: http }}
      - {{ target: 9000, published: "{lines}", host_ip: 127.0.0.1, app_protocol: tcp }}
    x-juchu:
      builder: native
      image: {{ kind: binary }}
      health: {{ http: 8080/health, interval: 1s, start_period: 10s, start_interval: 100ms }}
      rollout:
        drain: 3s
        judge: {{ cold_start: 3s, limit: 20s, without_traffic: {without_traffic} }}
"#
        );
        std::fs::write(self.directory.join("web/release.txt"), format!("r{release}\n")).expect("a file");
        std::fs::write(self.directory.join("compose.yaml"), compose).expect("a Compose file");
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.machine.run(&self.directory, arguments)
    }

    /// What `why` tells of the last change, and its verdict on the service.
    fn last_change(&self) -> (Value, Value) {
        let told = self.machine.must(&self.directory, &["why", "web", "--json"]);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let change = told["last_change"].clone();
        let verdict = change["verdicts"][0].clone();
        (change, verdict)
    }
}

fn stack<'a>(machine: &'a Machine, app: &Path) -> Stack<'a> {
    let directory = machine.project("judged", "");
    std::fs::create_dir_all(directory.join("web")).expect("a directory");
    std::fs::copy(app, directory.join("web/traffic-app")).expect("the application is there");
    let stack = Stack { machine, directory, http: free_port(), lines: free_port() };
    stack.declare(1, "", "keep");
    machine.must(&stack.directory, &["up", "-d"]);
    stack
}

fn load(machine: &Machine, stack: &Stack<'_>, programs: &Programs) -> Load {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let settings = Settings {
        http: address(stack.http),
        lines: address(stack.lines),
        rate: RATE,
        requests: REQUESTS_LIMIT,
        websockets: 2,
        sessions: 2,
        seed: 1,
        before_others: false,
    };
    let load = Load::start(&programs.load, machine.home(), &settings, |_| {}).expect("the load starts");
    wait_until(LIMIT, "requests", || load.progress().done > RATE);
    load
}

/// Milliseconds from the decision to the last request that was sent to the release.
fn back_after_ms(report: &Report, samples: &[Sample], release: &str, decided_ms: i64) -> i64 {
    let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64;
    let ahead_us = wall_us - now_us() as i64;
    let number = report.releases.iter().position(|known| known == release).expect("it answered");
    let of_it = samples.iter().filter(|sample| usize::from(sample.release) == number);
    let last_us = of_it.map(|sample| i64::from(sample.intended_us)).max().expect("it answered");
    (report.started_us as i64 + last_us + ahead_us) / 1000 - decided_ms
}

#[test]
fn releases_are_judged_while_people_use_them() {
    let Some(machine) = Machine::new("judged") else { return };
    let programs = Programs::build(false).expect("the load is built");
    let stack = stack(&machine, &programs.app);
    let load = load(&machine, &stack, &programs);

    stack.declare(2, "", "keep");
    let equal = stack.run(&["deploy", "web"]);
    assert_eq!(equal.code, 0, "{}\n{}", equal.out, equal.err);
    let (_, verdict) = stack.last_change();
    assert_eq!(verdict["verdict"], "kept", "{verdict}");

    stack.declare(3, r#", --fails-every, "4""#, "keep");
    let failed_before = load.progress().failed;
    let begun = std::time::Instant::now();
    let bad = stack.run(&["deploy", "web"]);
    let found = begun.elapsed();
    assert_eq!(bad.code, 5, "{}\n{}", bad.out, bad.err);
    assert!(bad.err.contains("failed") && bad.err.contains("r2 serves again"), "{}", bad.err);
    assert!(found < FOUND_WITHIN, "found after {found:?}");
    let failed = load.progress().failed - failed_before;
    eprintln!("a release that fails one request of four was taken back after {found:?}, {failed} failed");
    let (change, verdict) = stack.last_change();
    assert_eq!((&change["ending"]["outcome"], &verdict["verdict"]), (&"rolled_back".into(), &"worse".into()));
    let told = machine.must(&stack.directory, &["why", "web"]);
    for part in ["judged worse", "requests failed", "of the release before", "needed)", "the usual noise"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    it_is_not_tried_again(&stack);

    load.stop();
    let (report, samples) = load.finish().expect("the load ends");
    let decided = verdict["at"].as_i64().expect("a time");
    let back_ms = back_after_ms(&report, &samples, "r3", decided);
    eprintln!("all traffic was back {back_ms} ms after the decision");
    assert!(back_ms < BACK_WITHIN_MS, "{back_ms} ms");
    assert_eq!(report.releases, ["r1", "r2", "r3"], "nothing else answered");

    without_traffic(&stack);
}

/// The same once more is refused by name, and shown as what it is.
fn it_is_not_tried_again(stack: &Stack<'_>) {
    for command in ["deploy", "up"] {
        let again = stack.run(&[command, "web", if command == "up" { "-d" } else { "--no-build" }]);
        assert_eq!(again.code, 5, "{}", again.err);
        assert!(again.err.contains("this is r3 again, which was rolled back: service web:"), "{}", again.err);
        assert!(again.err.contains("--again"), "{}", again.err);
    }
    let plan = stack.run(&["plan"]);
    assert!(plan.err.contains("this is r3 again"), "{}", plan.err);
    let shown = stack.run(&["ps"]);
    assert!(shown.err.contains("r3 was rolled back and is not tried again"), "{}", shown.err);
    let history = stack.run(&["history"]);
    assert!(
        history.out.contains("rolled back") && history.out.contains("this is r3 again"),
        "{}",
        history.out
    );
}

fn without_traffic(stack: &Stack<'_>) {
    let forced = stack.run(&["deploy", "web", "--again"]);
    assert_eq!(forced.code, 0, "{}", forced.err);
    assert!(forced.err.contains("undecided, too little traffic"), "{}", forced.err);
    let (_, verdict) = stack.last_change();
    assert_eq!(verdict["verdict"], "undecided", "{verdict}");

    stack.declare(4, "", "rollback");
    let taken_back = stack.run(&["deploy", "web"]);
    assert_eq!(taken_back.code, 5, "{}", taken_back.err);
    assert!(taken_back.err.contains("undecided, too little traffic"), "{}", taken_back.err);
    // Nothing was found against it: with traffic it may be tried again.
    let shown = stack.run(&["ps"]);
    assert!(!shown.err.contains("not tried again"), "{}", shown.err);
}
