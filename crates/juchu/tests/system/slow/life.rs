//! What a person does with one small service from its first `up` to its `down`.

use super::machine::{Machine, get, tiny};
use std::time::Duration;
use testkit::{free_port, wait_until};

fn answers(address: &str, text: &str) -> bool {
    get(address, "/").is_ok_and(|(status, body)| status == 200 && body.contains(text))
}

#[test]
fn every_command_does_what_it_says() {
    let Some(machine) = Machine::new("life") else { return };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let directory = tiny(&machine, "tiny", port, "version one", "");

    let plan = machine.must(&directory, &["plan"]);
    assert!(plan.contains("web"), "{plan}");
    assert!(get(&address, "/").is_err(), "a plan does nothing");

    let out = machine.must(&directory, &["up", "-d"]);
    assert!(out.contains(&format!("http://127.0.0.1:{port}")), "{out}");
    assert!(answers(&address, "version one"));

    let ps = machine.must(&directory, &["ps"]);
    assert!(ps.contains("web") && ps.contains("ready"), "{ps}");
    let json = machine.must(&directory, &["ps", "--json"]);
    assert!(json.contains("\"name\""), "{json}");

    let inside = machine.must(&directory, &["exec", "-T", "web", "/app/busybox", "echo", "inside"]);
    assert_eq!(inside.trim(), "inside");
    let code = machine.run(&directory, &["exec", "-T", "web", "/app/busybox", "false"]).code;
    assert_eq!(code, 1, "the command's own exit code");

    assert!(answers(&address, "version one"));
    wait_until(Duration::from_secs(10), "the request in the log", || {
        machine.must(&directory, &["logs", "web"]).contains("response:200")
    });

    machine.must(&directory, &["stop", "web"]);
    assert!(!answers(&address, "version one"));
    machine.must(&directory, &["start", "web"]);
    assert!(answers(&address, "version one"));

    std::fs::write(directory.join("web/index.html"), "version two").expect("a page");
    machine.must(&directory, &["deploy"]);
    assert!(answers(&address, "version two"));

    let history = machine.must(&directory, &["history"]);
    assert!(history.contains("deploy") && history.contains("kept"), "{history}");
    let why = machine.must(&directory, &["why", "web"]);
    assert!(why.contains("image"), "{why}");
    machine.must(&directory, &["verify"]);
    machine.must(&directory, &["doctor"]);

    machine.must(&directory, &["down"]);
    assert!(get(&address, "/").is_err());
    assert!(!machine.must(&directory, &["ps"]).contains("web"));
}

#[test]
fn a_crash_is_mended_and_told() {
    let Some(machine) = Machine::new("crash") else { return };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let directory = tiny(&machine, "crash", port, "alive", "    restart: always\n");
    machine.must(&directory, &["up", "-d"]);
    machine.run(&directory, &["exec", "-T", "web", "/app/busybox", "kill", "-9", "1"]);
    // The first process of a container is deaf to signals from inside; from outside it is not.
    let ps = machine.must(&directory, &["ps", "--json"]);
    let pid = ps
        .split("\"pid\":")
        .nth(1)
        .and_then(|rest| rest.split([',', '}']).next()?.trim().parse::<i32>().ok());
    let pid = rustix::process::Pid::from_raw(pid.expect("a process")).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
    wait_until(Duration::from_secs(15), "the service to come back", || {
        answers(&address, "alive") && machine.must(&directory, &["why", "web"]).contains("killed by signal 9")
    });
}

#[test]
fn the_doctor_needs_no_daemon() {
    let Some(machine) = Machine::new("doctor") else { return };
    let said = machine.run(machine.home(), &["doctor"]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    assert!(machine.daemon().is_none(), "none was started for it");
}

#[test]
fn a_broken_deploy_leaves_the_old_one_serving() {
    let Some(machine) = Machine::new("broken deploy") else { return };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let directory = tiny(&machine, "broken", port, "good", "");
    machine.must(&directory, &["up", "-d"]);
    let compose = std::fs::read_to_string(directory.join("compose.yaml")).expect("the file");
    std::fs::write(directory.join("compose.yaml"), compose.replace("\"httpd\"", "\"no-such-applet\""))
        .expect("written");
    let said = machine.run(&directory, &["deploy"]);
    assert_eq!(said.code, 5, "{}\n{}", said.out, said.err);
    assert!(said.err.contains("error:") && said.err.contains("hint:"), "{}", said.err);
    assert!(said.err.contains("applet not found"), "the last log lines are shown: {}", said.err);
    wait_until(Duration::from_secs(20), "the old one to serve", || answers(&address, "good"));
}

#[test]
fn what_cannot_start_in_the_place_of_what_was_stopped_gives_it_back_before_that_is_said() {
    let Some(machine) = Machine::new("stop first") else { return };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let volume = "    volumes: [\"data:/data\"]\nvolumes:\n  data: {}\n";
    let directory = tiny(&machine, "stopfirst", port, "good", volume);
    machine.must(&directory, &["up", "-d"]);
    let compose = std::fs::read_to_string(directory.join("compose.yaml")).expect("the file");
    let broken = compose.replace("[\"/app/busybox\", \"httpd\"", "[\"/no/such/program\", \"httpd\"");
    assert_ne!(broken, compose);
    std::fs::write(directory.join("compose.yaml"), broken).expect("written");
    let said = machine.run(&directory, &["deploy"]);
    let page = get(&address, "/");
    assert_eq!(said.code, 5, "{}\n{}", said.out, said.err);
    assert!(said.err.contains("r1 serves again"), "{}", said.err);
    assert_eq!(page.expect("it serves").1, "good", "{}", said.err);
}

#[test]
fn releases_are_gone_back_to_and_forward() {
    let Some(machine) = Machine::new("releases") else { return };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let directory = tiny(&machine, "releases", port, "first", "");
    machine.must(&directory, &["up", "-d"]);
    std::fs::write(directory.join("web/index.html"), "second").expect("a page");
    machine.must(&directory, &["deploy"]);
    assert!(answers(&address, "second"));

    let preview = machine.must(&directory, &["rollback", "web", "--dry-run"]);
    assert!(preview.contains("1. move the traffic of web to r1, which is warm"), "{preview}");
    assert!(answers(&address, "second"), "a preview does nothing");
    let begun = std::time::Instant::now();
    machine.must(&directory, &["rollback", "web"]);
    let took = begun.elapsed();
    assert!(answers(&address, "first"));
    assert!(took < Duration::from_secs(1), "a warm rollback took {took:?}");
    let releases = machine.must(&directory, &["releases", "--json"]);
    assert!(releases.contains("\"warm\"") && releases.contains("\"active\""), "{releases}");

    // Only a value is changed: another release of the same image.
    let compose = std::fs::read_to_string(directory.join("compose.yaml")).expect("the file");
    let changed =
        compose.replace("    build: ./web\n", "    build: ./web\n    environment: {COLOUR: blue}\n");
    std::fs::write(directory.join("compose.yaml"), changed).expect("written");
    machine.must(&directory, &["deploy", "--no-build"]);
    let inside = machine.must(&directory, &["exec", "-T", "web", "/app/busybox", "env"]);
    assert!(inside.contains("COLOUR=blue"), "{inside}");
    let diff = machine.must(&directory, &["diff", "r2", "r3"]);
    assert!(diff.contains("COLOUR") && !diff.contains("blue"), "names, not values: {diff}");

    let refused = machine.run(&directory, &["rollback", "--to", "r9"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("has no r9") && refused.err.contains("hint:"), "{}", refused.err);
    machine.must(&directory, &["verify"]);
}

#[test]
fn a_release_that_dies_later_is_taken_back_by_itself() {
    let Some(machine) = Machine::new("taken back") else { return };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let directory = tiny(&machine, "taken", port, "good", "");
    machine.must(&directory, &["up", "-d"]);
    let file = directory.join("compose.yaml");
    let compose = std::fs::read_to_string(&file).expect("the file");
    let entry = compose.lines().find(|line| line.contains("entrypoint:")).expect("the project has one");
    let script = "/app/busybox httpd -p 8080 -h /site; /app/busybox sleep 4; exit 7";
    let dying = format!(r#"        entrypoint: ["/app/busybox", "ash", "-c", "{script}"]"#);
    std::fs::write(&file, compose.replace(entry, &dying)).expect("written");
    std::fs::write(directory.join("web/index.html"), "bad").expect("a page");
    machine.must(&directory, &["deploy"]);
    assert!(answers(&address, "bad"), "it was kept at first");
    let kept = || machine.must(&directory, &["releases", "--json"]);
    wait_until(Duration::from_secs(30), "the release to be taken back", || {
        answers(&address, "good") && kept().contains("rolled_back")
    });
    let why = machine.must(&directory, &["why", "web"]);
    assert!(why.contains("exited with code 7"), "{why}");
}

#[test]
fn limits_are_in_force_and_names_resolve() {
    let Some(machine) = Machine::new("limits") else { return };
    let port = free_port();
    let extra = r#"
    deploy: { resources: { limits: { memory: 64m, pids: 50 } } }
  client:
    build: ./web
    depends_on: [web]
    x-juchu:
      builder: native
      image: { kind: binary, user: root, entrypoint: ["/app/busybox", "sleep", "1000"] }
"#;
    let directory = tiny(&machine, "limits", port, "hello", extra);
    machine.must(&directory, &["up", "-d"]);
    let fetched = machine
        .must(&directory, &["exec", "-T", "client", "/app/busybox", "wget", "-qO-", "http://web:8080/"]);
    assert_eq!(fetched.trim(), "hello", "by name, through the gateway");
    let killed = machine.run(
        &directory,
        &["exec", "-T", "web", "/app/busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"],
    );
    assert_ne!(killed.code, 0, "200 MB do not fit into 64 MB");
}
