//! The command line as a person uses it: real processes, a real socket, a daemon that `up` started.
//! The control plane behind it is the fake one of `examples/showcase.rs`.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const COMPOSE: &str = "name: guestbook\nservices:\n  web:\n    image: nginx\n  db:\n    image: postgres\n";

/// A machine of its own: home, folder with a Compose file, and a daemon once something started it.
struct Machine {
    directory: tempfile::TempDir,
    scene: &'static str,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Machine {
    fn new() -> Self {
        Self::with_scene("guestbook")
    }

    fn with_scene(scene: &'static str) -> Self {
        // Before there is anything to tidy up.
        program();
        let directory =
            tempfile::Builder::new().prefix("jc").tempdir_in("/tmp").expect("a temporary directory");
        let machine = Self { directory, scene };
        machine.write("compose.yaml", COMPOSE);
        machine
    }

    fn folder(&self) -> PathBuf {
        let folder = self.directory.path().join("app");
        std::fs::create_dir_all(&folder).expect("made");
        folder
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder().join(name), content).expect("written");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.folder())
            .env("JUCHU_HOME", self.directory.path().join("home"))
            .env("JUCHU_CONSOLE", "127.0.0.1:0")
            .env("SHOWCASE", self.scene)
            .env("TZ", "UTC")
            .env_remove("COMPOSE_FILE")
            .env_remove("SUDO_USER")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().expect("the program runs"))
    }

    fn daemon(&self) -> Option<Pid> {
        let checkup: Value = serde_json::from_str(&self.run(&["doctor", "--json"]).out).ok()?;
        Pid::from_raw(checkup["daemon"]["pid"].as_i64()?.try_into().ok()?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon() {
            let _ = kill_process(daemon, Signal::KILL);
        }
    }
}

/// Examples are built with the tests, beside them.
fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("a test has a program");
    let profile = tests.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples/showcase");
    assert!(program.exists(), "build it first: cargo build -p juchu --example showcase");
    program
}

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn without_a_daemon_reading_says_so() {
    let machine = Machine::new();
    let reading = [&["ps"][..], &["logs"], &["history"], &["why", "web"], &["console"], &["verify"]];
    let changing = [&["stop"][..], &["releases"], &["diff", "r1"], &["rollback"], &["promote", "production"]];
    for args in reading.into_iter().chain(changing) {
        let said = machine.run(args);
        assert_eq!(said.code, 8, "{args:?}");
        assert_eq!(said.err, "error: the daemon is not running\nhint: `juchu up` starts it\n", "{args:?}");
        assert_eq!(said.out, "", "{args:?}");
    }
    let doctor = machine.run(&["doctor"]);
    assert_eq!(doctor.code, 0, "nothing fatal is lacking");
    assert!(
        doctor.out.contains("the daemon is not running") && doctor.out.contains("nf_tables"),
        "{}",
        doctor.out
    );
}

#[test]
fn up_starts_the_daemon_and_says_where() {
    let machine = Machine::new();
    let said = machine.run(&["up", "-d", "--why", "first"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out, "http://127.0.0.1:8080  web  first byte in 2.8 ms\n", "data alone");
    assert!(said.err.starts_with("the daemon was started"), "{}", said.err);
    assert!(said.err.contains("● web  ready      2 of 2 ready\n"), "{}", said.err);
    assert!(said.err.contains("✓ kept: all 3 services are ready (r4, 3.1 s)\n"), "{}", said.err);
    assert!(!said.err.contains("/enter/"), "a link is for a terminal only");
    assert!(!said.err.contains('\u{1b}'), "no colours in a pipe");
    let first = machine.daemon().expect("it goes on");
    let again = machine.run(&["up", "-d", "-q"]);
    assert_eq!((again.code, again.out.lines().count()), (0, 1));
    assert!(!again.err.contains("started") && !again.err.contains("kept"), "{}", again.err);
    assert_eq!(machine.daemon(), Some(first), "one daemon is enough");
}

#[test]
fn a_daemon_that_does_not_start_is_quoted() {
    let machine = Machine::with_scene("broken");
    let said = machine.run(&["up", "-d"]);
    assert_eq!(said.code, 8);
    assert!(said.err.contains("the daemon could not be started: it ended at once"), "{}", said.err);
    assert!(said.err.contains("the journal is held by another daemon"), "its own words: {}", said.err);
    assert!(said.err.contains("home/daemon.log"), "{}", said.err);
}

#[test]
fn wrong_input_is_one_sentence_its_place_and_a_hint() {
    let machine = Machine::new();
    let unknown = machine.run(&["up", "-d", "wbe"]);
    assert_eq!(unknown.code, 1);
    let expected =
        "error: there is no service `wbe`\nhint: did you mean `web`?\nhint: the services are db, web\n";
    assert_eq!(unknown.err, expected);

    machine.write("compose.yaml", "services:\n  web:\n    image: [a, b]\n");
    let bad = machine.run(&["config"]);
    assert_eq!(bad.code, 1);
    let lines: Vec<_> = bad.err.lines().collect();
    assert!(lines[0].starts_with("error: compose.yaml:3:"), "{}", bad.err);
    assert_eq!(lines[1], "3 |     image: [a, b]");
    assert!(lines[2].starts_with("  |") && lines[2].ends_with('^'), "{}", bad.err);

    let empty = machine.folder().join("empty");
    std::fs::create_dir(&empty).expect("made");
    std::fs::remove_file(machine.folder().join("compose.yaml")).expect("removed");
    let none = machine.run(&["up", "empty/"]);
    assert_eq!(none.code, 1);
    assert!(none.err.starts_with("error: ") && none.err.contains("\nhint: "), "{}", none.err);
    assert_eq!(machine.daemon(), None, "nothing was started for it");

    let typo = machine.run(&["lgos"]);
    assert_eq!((typo.code, typo.out.as_str()), (1, ""));
    assert!(typo.err.starts_with("error: unrecognized subcommand 'lgos'\nhint: "), "{}", typo.err);
    let help = machine.run(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    assert!(help.out.contains("juchu up"));
}

#[test]
fn every_reading_command_speaks_json() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["up", "-d"]).code, 0);
    let reading = [
        "ps",
        "ps --all",
        "history",
        "why web",
        "plan",
        "releases",
        "diff r4",
        "diff 4 r5",
        "doctor",
        "verify",
        "console",
        "config",
        "upgrade",
    ];
    for args in reading {
        let args: Vec<_> = args.split(' ').chain(["--json"]).collect();
        let said = machine.run(&args);
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        serde_json::from_str::<Value>(&said.out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}", said.out));
    }
    for args in
        [&["logs", "--json"][..], &["deploy", "--json"], &["up", "-d", "--json"], &["restart", "--json"]]
    {
        let said = machine.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        assert!(said.out.lines().count() > 3, "{args:?}");
        for line in said.out.lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{args:?}: {e}\n{line}"));
        }
    }
}

#[test]
fn the_stack_is_found_by_name_by_folder_or_alone() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["up", "-d"]).code, 0);
    machine.write("compose.yaml", "name: other\nservices:\n  web:\n    image: nginx\n");
    let other = machine.run(&["ps"]);
    assert_eq!(other.code, 0, "nothing runs, which is an answer");
    assert!(
        other.err.starts_with("nothing of the stack other runs\nhint: `juchu up` starts it"),
        "{}",
        other.err
    );
    assert_eq!(machine.run(&["-p", "guestbook", "ps"]).code, 0);
    assert_eq!(machine.run(&["ps", "-p", "guestbook", "web"]).code, 0);
    std::fs::remove_file(machine.folder().join("compose.yaml")).expect("removed");
    assert_eq!(machine.run(&["ps"]).code, 0, "the only one there is");
}

#[test]
fn a_command_inside_has_its_own_output_and_code() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["up", "-d"]).code, 0);
    let said = machine.run(&["exec", "web", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "out\n", "err\n"));
    assert_eq!(machine.run(&["exec", "web"]).code, 1, "no command");
    assert_eq!(machine.run(&["exec", "nothing", "true"]).code, 1, "no such service");
}

/// Runs in the foreground until lines come, sends the signal, and gives the rest of what was said.
fn interrupt(machine: &Machine, args: &[&str], signal: Signal) -> Said {
    let mut child = machine
        .command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with("web-1") {
        line.clear();
        assert_ne!(out.read_line(&mut line).expect("readable"), 0, "it ended before its logs");
    }
    kill_process(Pid::from_child(&child), signal).expect("it runs");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("readable");
    let mut said = said(child.wait_with_output().expect("it ends"));
    said.out = rest;
    said
}

#[test]
fn ctrl_c_stops_or_keeps_as_asked() {
    let machine = Machine::new();
    let kept = interrupt(&machine, &["up", "--on-interrupt", "keep"], Signal::INT);
    assert_eq!(kept.code, 0);
    assert!(
        kept.err.ends_with("guestbook goes on running\nhint: `juchu -p guestbook stop` stops it\n"),
        "{}",
        kept.err
    );
    let stopped = interrupt(&machine, &["up"], Signal::INT);
    assert_eq!(stopped.code, 0);
    assert!(stopped.err.contains("\nstopping guestbook; "), "not a terminal, so it stops: {}", stopped.err);
    assert!(!stopped.out.contains("http://"), "nobody goes there now");
    let ended = interrupt(&machine, &["up", "--on-interrupt", "ask"], Signal::TERM);
    assert!(ended.err.contains("\nstopping guestbook; "), "nobody can be asked: {}", ended.err);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["up", "-d"]).code, 0);
    let mut child = machine
        .command(&["logs", "-f"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    out.read_line(&mut String::new()).expect("a line");
    drop(out);
    let said = said(child.wait_with_output().expect("it ends"));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

/// Standard output and error as a terminal of 100 columns.
fn on_a_terminal(machine: &Machine, args: &[&str], no_color: bool) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let leader = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&leader).and_then(|()| unlockpt(&leader)).expect("it opens");
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&leader, size).expect("it has a size");
    let name = ptsname(&leader, Vec::new()).expect("it has a name").into_string().expect("text");
    let open = || std::fs::OpenOptions::new().read(true).write(true).open(&name).expect("it opens");
    let mut command = machine.command(args);
    command.env_remove("NO_COLOR").env("TERM", "xterm").stdout(open()).stderr(open());
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let mut child = command.spawn().expect("the program runs");
    drop(command);
    let mut seen = Vec::new();
    // The terminal reports an error when its last user has gone.
    let _ = std::fs::File::from(leader).read_to_end(&mut seen);
    child.wait().expect("it ends");
    String::from_utf8(seen).expect("text")
}

#[test]
fn a_terminal_gets_colours_and_a_link() {
    let machine = Machine::new();
    let up = on_a_terminal(&machine, &["up", "-d"], false);
    assert!(up.contains("http://juchu.localhost:") && up.contains("/enter/"), "{up}");
    let ps = on_a_terminal(&machine, &["ps"], false);
    assert!(ps.contains("\u{1b}[32m● ready\u{1b}[0m"), "{ps}");
    let plain = on_a_terminal(&machine, &["ps"], true);
    assert!(plain.contains("● ready") && !plain.contains('\u{1b}'), "{plain}");
    assert!(plain.lines().all(|line| line.trim_end().chars().count() <= 100), "{plain}");
}

#[test]
fn a_deep_home_is_refused_before_anything_is_made() {
    let machine = Machine::new();
    let deep = machine.directory.path().join("d".repeat(100));
    let said = said(machine.command(&["up", "-d"]).env("JUCHU_HOME", &deep).output().expect("it runs"));
    assert_eq!(said.code, 8);
    assert!(said.err.contains("too long for the sockets") && said.err.contains("hint: "), "{}", said.err);
    assert!(!deep.exists());
}

/// How one change ends: what is said, and that programs hear the same.
fn ending(scene: &'static str, args: &[&str]) -> Said {
    let machine = Machine::with_scene(scene);
    let said = machine.run(args);
    let programs = machine.run(&[args, &["--json"]].concat());
    assert_eq!(programs.code, said.code, "{args:?}: {}", programs.err);
    let documents: Vec<Value> = programs
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{args:?}: {e}\n{line}")))
        .collect();
    let last = documents.last().expect("at least one line");
    let expected = if scene == "held" { "refused" } else { "concluded" };
    assert_eq!(last["event"], expected, "{last}");
    said
}

#[test]
fn a_deploy_ends_with_one_word_its_numbers_and_the_next_command() {
    let kept = ending("kept", &["deploy", "web"]);
    assert_eq!(kept.code, 0, "{}", kept.err);
    assert_eq!(kept.out, "http://127.0.0.1:8080  web  first byte in 2.8 ms\n", "data alone");
    assert!(kept.err.contains("✓ kept: every service is ready (r4 → r5, 3.1 s)\n"), "{}", kept.err);
    assert!(kept.err.contains("  web  2 replicas ready in 1.9 s, decided 540 ms later"), "{}", kept.err);
    assert!(kept.err.ends_with("`juchu rollback web` goes back at once\n"), "{}", kept.err);

    let back = ending("rolled-back", &["deploy", "web"]);
    assert_eq!((back.code, back.out.as_str()), (5, ""));
    let told = back.err.split_once("◁ going back to r4: service web: exited").expect("as it happens").1;
    let told = told.split_once("error: DEBUG must be 0 or 1").expect("the last lines of what failed").1;
    let told = told.split_once("◁ rolled back: r4 serves again (8.4 s)\n").expect("the word").1;
    assert!(told.contains("\nerror: service web: exited with code 1 three times\n"), "{told}");
    assert!(told.ends_with("hint: `juchu logs web`\nhint: `juchu diff r4 r5`\n"), "{told}");

    let failed = ending("failed", &["up", "-d"]);
    assert_eq!(failed.code, 2, "the kind of failure decides");
    assert!(failed.err.contains("✗ failed: r4 serves as before"), "{}", failed.err);
    let undecided = ending("undecided", &["deploy"]);
    assert_eq!(undecided.code, 6);
    assert!(undecided.err.contains("▲ undecided: halted half way from r4 to r5"), "{}", undecided.err);
}

#[test]
fn the_second_of_two_people_is_told_who_holds_it() {
    let held = ending("held", &["deploy"]);
    assert_eq!((held.code, held.out.as_str()), (7, ""));
    let told = held.err.split_once("error: ").expect("an error").1;
    let expected = "the stack guestbook is held by deploy web of ada (cli, sudo), begun 12 s ago\n\
                    hint: `juchu ps`\nhint: `juchu history`\n";
    assert_eq!(told, expected);
}

/// What the daemon is asked for.
fn asked(machine: &Machine, args: &[&str]) -> Value {
    let said = machine.run(&[args, &["--json"]].concat());
    assert_eq!(said.code, 0, "{args:?}: {}", said.err);
    let warning = said.out.lines().find(|line| line.contains("\"warning\"")).expect("the echo");
    let warning: Value = serde_json::from_str(warning).expect("JSON");
    serde_json::from_str(warning["text"].as_str().expect("text")).expect("a request")
}

#[test]
fn going_back_and_promoting_ask_for_the_right_thing() {
    let machine = Machine::with_scene("echo");
    let configuration = asked(&machine, &["deploy", "--no-build", "web"]);
    assert_eq!(configuration["intent"]["intent"], "up", "{configuration}");

    let back = asked(&machine, &["rollback"]);
    assert_eq!(
        (&back["intent"], &back["declared"]),
        (&serde_json::json!({"intent": "rollback"}), &Value::Null)
    );
    let back = asked(&machine, &["rollback", "web", "--to", "r3", "--why", "slow"]);
    assert_eq!(back["intent"], serde_json::json!({"intent": "rollback", "to": 3}));
    assert_eq!((&back["services"][0], &back["why"]), (&"web".into(), &"slow".into()));

    let promoted = asked(&machine, &["promote", "production", "--release", "5", "web"]);
    assert_eq!(promoted["stack"], "production");
    assert_eq!((&promoted["from"], &promoted["services"][0]), (&"guestbook".into(), &"web".into()));
    assert_eq!(promoted["intent"], serde_json::json!({"intent": "promote", "release": 5}));
    assert_eq!(promoted["declared"]["name"], "production", "the same file under the other name");

    machine.write("production.yaml", "services:\n  web:\n    image: nginx\n    environment: [A=$A]\n");
    machine.write("production.env", "A=other\n");
    let own = ["-p", "guestbook", "promote", "production", "-f", "production.yaml", "--env-file"];
    let promoted = asked(&machine, &[&own[..], &["production.env"]].concat());
    assert_eq!(promoted["from"], "guestbook");
    assert_eq!(promoted["declared"]["services"]["web"]["environment"]["A"], "other");

    for (args, expected) in [
        (&["promote", "guestbook"][..], "error: guestbook cannot be promoted to itself\nhint: "),
        (&["promote", "Not A Name"], "error: "),
        (&["-p", "nothing", "promote", "production"], "error: there is no stack `nothing`\nhint: "),
        (&["rollback", "wbe"], "error: there is no service `wbe`\nhint: did you mean `web`?\n"),
        (
            &["rollback", "--to", "latest"],
            "error: invalid value 'latest' for '--to <RELEASE>': a release such",
        ),
        (&["diff", "r0"], "error: invalid value 'r0'"),
    ] {
        let said = machine.run(args);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{args:?}");
        assert!(said.err.starts_with(expected), "{args:?}: {}", said.err);
    }
}

#[test]
fn an_upgrade_replaces_the_daemon_and_the_gateway() {
    let machine = Machine::new();
    let none = machine.run(&["upgrade"]);
    assert_eq!((none.code, none.out.as_str()), (8, ""));
    assert!(
        none.err.starts_with("error: the daemon is not running: there is nothing to upgrade\nhint: "),
        "{}",
        none.err
    );

    assert_eq!(machine.run(&["up", "-d"]).code, 0);
    let before = machine.daemon().expect("it runs");
    let said = machine.run(&["upgrade"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let after = machine.daemon().expect("it runs");
    assert_ne!(before, after);
    let lines: Vec<_> = said.out.lines().collect();
    let versions =
        format!("(process {}) → 0.1.0 (process {})", before.as_raw_nonzero(), after.as_raw_nonzero());
    assert!(lines[0].starts_with("● daemon   0.1.0 ") && lines[0].contains(&versions), "{}", said.out);
    assert_eq!(lines[1], "● gateway  process 41 → process 42, 3 connections end with the one before");

    let gateway = machine.run(&["upgrade", "--gateway"]);
    assert_eq!((gateway.code, gateway.out.lines().count()), (0, 1));
    assert_eq!(machine.daemon(), Some(after), "it was left alone");
    let daemon = machine.run(&["upgrade", "--daemon", "--json"]);
    let told: Value = serde_json::from_str(&daemon.out).expect("JSON");
    assert_eq!((&told["daemon"]["killed"], &told["gateway"]), (&Value::Bool(false), &Value::Null));
}

#[test]
fn a_daemon_that_does_not_end_is_killed() {
    let machine = Machine::with_scene("stubborn");
    assert_eq!(machine.run(&["up", "-d"]).code, 0);
    let said = machine.run(&["upgrade", "--daemon"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains(", killed, away for 5"), "{}", said.out);
}

#[test]
fn config_prints_lists_and_says_where_a_value_came_from() {
    let machine = Machine::new();
    machine.write(
        "compose.yaml",
        "services:\n  web: {image: 'nginx:${TAG:-1}', depends_on: [db]}\n  db: {image: pg}\n",
    );
    let run = |args: &[&str]| {
        let said = machine.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        said.out
    };
    assert_eq!(run(&["config", "--services"]), "db\nweb\n");
    assert_eq!(run(&["config", "--images", "db"]), "pg\n");
    assert!(run(&["config"]).contains("\n  web:\n"), "YAML unless asked otherwise");
    assert!(run(&["config", "--no-interpolate"]).contains("nginx:${TAG:-1}"));
    let table = "NAME                REQUIRED            DEFAULT VALUE       ALTERNATE VALUE\n\
                 TAG                 false               1                   \n";
    assert_eq!(run(&["config", "--variables"]), table);
    assert_eq!(run(&["config", "-q"]), "");
    let told = "services.web.image: nginx:1\n\n  \
                compose.yaml:2:16  says it: nginx:${TAG:-1}\n    TAG is not set: its default stands\n";
    assert_eq!(run(&["config", "--explain", "web.image"]), told);
    let json: Value =
        serde_json::from_str(&run(&["config", "--explain", "web.image", "--json"])).expect("JSON");
    assert_eq!((&json["value"], &json["steps"][0]["place"]["line"]), (&"nginx:1".into(), &2.into()));

    let file = machine.folder().join("out.json");
    run(&["config", "--json", "-o", &file.display().to_string()]);
    let written: Value = serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
    assert_eq!(written["services"]["db"]["image"], "pg");

    for (args, expect) in [
        (
            &["config", "--explain", "web.imag"][..],
            "error: `web.imag` is not there: there is no `imag` of `web`\nhint: did you mean `image`?\n",
        ),
        (&["config", "--hash", "wbe"], "error: there is no service `wbe`\nhint: the services are db, web\n"),
        (&["config", "-o", "/nonexistent/x"], "error: /nonexistent/x cannot be written"),
    ] {
        let said = machine.run(args);
        assert_ne!(said.code, 0, "{args:?}");
        assert!(said.err.contains(expect), "{args:?}: {}", said.err);
    }
}
