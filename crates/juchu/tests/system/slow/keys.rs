//! Keys of a Compose file from the file to the running instance, and what is said of those without effect.

use crate::machine::{Machine, get, tiny};
use testkit::free_port;

/// Ten keys and values that are valid and not acted on.
const IDLE: &str = r#"
    attach: true
    cpu_count: 2
    cpu_percent: 50
    isolation: process
    runtime: odd
    storage_opt: {size: 1G}
    credential_spec: {file: x.json}
    deploy: {labels: {a: b}, placement: {constraints: [x]}, endpoint_mode: dnsrr}
    security_opt: ["label=level:s0", "no-new-privileges"]
    logging: {driver: syslog}
"#;

#[test]
fn what_has_no_effect_is_said_in_one_block_before_anything_happens() {
    let Some(machine) = Machine::new("idle-keys") else { return };
    let directory = tiny(&machine, "idle", free_port(), "text", IDLE);
    let plan = machine.run(&directory, &["plan"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    assert!(plan.err.starts_with("warning: 10 keys have no effect here:\n"), "{}", plan.err);
    let line = |key: &str| plan.err.lines().find(|line| line.contains(key)).unwrap_or_default().to_owned();
    let placement = line("deploy.placement");
    assert!(
        placement.starts_with("  web: deploy.placement ") && placement.contains("there is one machine"),
        "{placement}"
    );
    assert!(placement.contains("(compose.yaml:"), "{placement}");
    for key in
        ["cpu_count", "isolation", "runtime: ", "storage_opt", "label=level:s0", "logging.driver: syslog"]
    {
        assert!(!line(key.trim_end_matches(": ")).is_empty(), "{key}: {}", plan.err);
    }
    assert!(machine.must(&directory, &["ps"]).lines().all(|line| !line.contains("web")), "nothing happened");
}

#[test]
fn hooks_and_shared_volumes_work_from_the_file_to_the_instance() {
    let Some(machine) = Machine::new("hook-keys") else { return };
    let port = free_port();
    let keys = |hook: &str| {
        format!(
            r#"
    post_start:
      - command: ["/app/busybox", "sh", "-c", "{hook}"]
        environment: {{WORD: hooked}}
    volumes: ["notes:/notes"]
  other:
    volumes_from: ["web:ro"]
    x-juchu:
      builder: native
      image: {{kind: binary, user: root, entrypoint: ["/app/busybox", "sleep", "1000"]}}
    build: ./web
    stop_grace_period: 1s
volumes: {{notes: }}
"#
        )
    };
    let good = keys("echo $$WORD > /notes/word; echo $$WORD > /site/word");
    let directory = tiny(&machine, "hooks", port, "text", &good);
    machine.must(&directory, &["up", "-d"]);
    let address = format!("127.0.0.1:{port}");
    let (status, body) = get(&address, "/word").expect("it answers");
    assert_eq!((status, body.trim()), (200, "hooked"), "ready only after the hook");
    let read = machine.must(&directory, &["exec", "-T", "other", "/app/busybox", "cat", "/notes/word"]);
    assert_eq!(read.trim(), "hooked");
    let wrote = machine.run(&directory, &["exec", "-T", "other", "/app/busybox", "touch", "/notes/x"]);
    assert!(wrote.code != 0 && wrote.err.contains("Read-only"), "{}", wrote.err);

    // A hook that fails is a release that does not take over.
    let file = directory.join("compose.yaml");
    let text = std::fs::read_to_string(&file).expect("the file");
    let bad = text.replace(&good, &keys("echo no such table; exit 3"));
    std::fs::write(&file, bad).expect("the file");
    let deploy = machine.run(&directory, &["deploy"]);
    assert_ne!(deploy.code, 0, "{}", deploy.out);
    let said = format!("{}{}", deploy.out, deploy.err);
    assert!(said.contains("ended with code 3: no such table"), "{said}");
    let (status, _) = get(&address, "/").expect("the release before serves again");
    assert_eq!(status, 200);
    machine.must(&directory, &["down", "-v"]);
}
