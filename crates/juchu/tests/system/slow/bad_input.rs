//! Bad input: one sentence, where, the next command, the documented exit code; and what ran goes on.

use super::machine::{Machine, get, tiny};
use testkit::free_port;

struct Case<'a> {
    compose: &'a str,
    arguments: &'a [&'a str],
    code: i32,
    says: &'a [&'a str],
}

fn check(machine: &Machine, name: &str, case: &Case<'_>) {
    let directory = machine.project(name, case.compose);
    let said = machine.run(&directory, case.arguments);
    assert_eq!(said.code, case.code, "{name}: {}\n{}", said.out, said.err);
    for text in case.says {
        assert!(said.err.contains(text), "{name}: `{text}` is not in\n{}", said.err);
    }
    assert!(said.err.contains("error:") && said.err.contains("hint:"), "{name}:\n{}", said.err);
    let ps = machine.run(&directory, &["ps", "-p", name]);
    assert!(!ps.out.contains("ready"), "{name} left something behind: {}", ps.out);
}

#[test]
fn each_mistake_is_told_in_one_sentence() {
    let Some(machine) = Machine::new("bad input") else { return };
    let port = free_port();
    let running = tiny(&machine, "good", port, "still here", "");
    machine.must(&running, &["up", "-d"]);

    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let held = holder.local_addr().expect("bound").port();
    std::fs::write(machine.home().join("a-file"), "").expect("written");
    let file = machine.home().join("a-file").display().to_string();
    let hand = "x-juchu: { image: { packages: [busybox-static], entrypoint: [/bin/busybox, sleep, '100'] } }";
    let up: &[&str] = &["up", "-d"];

    let cases = [
        ("badyaml", "services:\n  web: [\n".into(), 1, vec!["compose.yaml:"]),
        ("cycle", "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n".into(), 1, vec!["compose.yaml:3:", "depend on each other"]),
        ("novar", "services:\n  web: {image: '${NOPE:?must be set}'}\n".into(), 1, vec!["compose.yaml:2:", "must be set"]),
        ("nofile", "services:\n  web: {image: x, env_file: missing.env}\n".into(), 1, vec!["missing.env"]),
        ("taken", format!("services:\n  web:\n    {hand}\n    ports: ['{held}:80']\n"), 8, vec!["port", "already"]),
        ("nobind", format!("services:\n  web:\n    {hand}\n    volumes: [{{type: bind, source: /no/such/place, target: /x}}]\n"), 1, vec!["/no/such/place"]),
        ("nocontext", "services:\n  web: {build: ./nowhere}\n".into(), 1, vec!["nowhere"]),
        ("noregistry", "services:\n  web: {image: '127.0.0.1:1/nothing:1'}\n".into(), 2, vec!["127.0.0.1:1"]),
        ("noarchive", "services:\n  web:\n    x-juchu: { image: { packages: [bash], entrypoint: [bash], archive: { mirror: 'http://127.0.0.1:1/debian' } } }\n".into(), 2, vec!["127.0.0.1:1"]),
        ("nopackage", "services:\n  web:\n    x-juchu: { image: { packages: [no-such-package-x], entrypoint: [x] } }\n".into(), 1, vec!["no-such-package-x"]),
        ("nosecret", "services:\n  web: {image: x, secrets: [s]}\nsecrets: {s: {file: ./nothing}}\n".into(), 1, vec!["nothing"]),
        ("volumefile", format!("services:\n  web:\n    {hand}\n    volumes: ['{file}/below:/data']\n"), 4, vec!["a-file"]),
        ("noprogram", "services:\n  web:\n    x-juchu: { image: { packages: [busybox-static], entrypoint: [/bin/not-there] } }\n".into(), 4, vec!["/bin/not-there"]),
    ];
    for (name, compose, code, says) in &cases {
        check(&machine, name, &Case { compose, arguments: up, code: *code, says });
    }

    let unknown = machine.run(&running, &["logs", "wbe"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("wbe") && unknown.err.contains("web"), "{}", unknown.err);
    let nothing = machine.run(machine.home(), &["up"]);
    assert_eq!(nothing.code, 1);
    assert!(nothing.err.contains("hint:"), "{}", nothing.err);

    let (status, body) = get(&format!("127.0.0.1:{port}"), "/").expect("what ran goes on");
    assert_eq!((status, body.as_str()), (200, "still here"));
    drop(holder);
}
