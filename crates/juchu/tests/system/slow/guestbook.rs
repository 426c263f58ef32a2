//! The example end to end: a web page, PostgreSQL and Redis, all real.

use super::machine::{Machine, get, http};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::{free_port, wait_until};

/// The example under another name and port, so that it can run beside others.
fn example(machine: &Machine, port: u16) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guestbook");
    let compose = std::fs::read_to_string(source.join("compose.yaml")).expect("the example");
    let compose = compose
        .replace("\"8080:8080\"", &format!("\"{port}:8080\""))
        .replace("name: guestbook", "name: book");
    let directory = machine.project("book", &compose);
    for part in ["web", "secrets"] {
        copy(&source.join(part), &directory.join(part));
    }
    directory
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("the example") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

fn write_entry(address: &str, name: &str, message: &str) {
    let body = format!("name={name}&message={message}");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = http(address, &request).expect("an answer");
    assert!(status == 303 || status == 302 || status == 200, "{status} {answer}");
}

fn address_in(out: &str) -> String {
    let url = out.split_whitespace().find_map(|word| word.strip_prefix("http://"));
    let url = url.unwrap_or_else(|| panic!("no address in {out:?}"));
    url.split('/').next().unwrap_or(url).to_owned()
}

fn shows(address: &str, text: &str) -> bool {
    get(address, "/").is_ok_and(|(status, body)| status == 200 && body.contains(text))
}

#[test]
fn an_entry_survives_restarts_deploys_and_the_death_of_the_daemon() {
    let Some(machine) = Machine::new("guestbook") else { return };
    story(&machine);
}

/// The same for everybody.
pub fn story(machine: &Machine) {
    let directory = example(machine, free_port());
    let out = machine.must(&directory, &["up", "-d"]);
    let address = address_in(&out);
    write_entry(&address, "Anna", "first-entry");
    assert!(shows(&address, "first-entry"));

    machine.must(&directory, &["restart"]);
    wait_until(Duration::from_secs(30), "the entry after a restart", || shows(&address, "first-entry"));

    let again = machine.run(&directory, &["up", "-d"]);
    assert_eq!(again.code, 0, "{}", again.err);

    machine.kill_daemon();
    assert!(shows(&address, "first-entry"), "traffic does not need the daemon");
    write_entry(&address, "Bob", "second-entry");
    machine.must(&directory, &["deploy", "web"]);
    wait_until(Duration::from_secs(30), "the entry after a deploy", || shows(&address, "second-entry"));

    let secret = std::fs::read_to_string(directory.join("secrets/db_password.txt")).expect("the secret");
    assert_nothing_holds(machine, secret.trim());
    let verified = machine.must(&directory, &["verify"]);
    assert!(!verified.is_empty());

    machine.must(&directory, &["down"]);
    machine.must(&directory, &["up", "-d"]);
    wait_until(Duration::from_secs(30), "the entry after down and up", || shows(&address, "first-entry"));
    machine.must(&directory, &["down", "--volumes"]);
    assert!(get(&address, "/").is_err(), "nothing listens any more");
}

/// A secret is in no journal, log, route table or process list.
fn assert_nothing_holds(machine: &Machine, secret: &str) {
    assert!(secret.len() >= 8, "too short to search for");
    for name in ["journal.db", "journal.db-wal", "daemon.log", "gateway.log", "access.log", "routes.json"] {
        let content = std::fs::read(machine.home().join(name)).unwrap_or_default();
        let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{name} holds the secret");
    }
    for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let found = line.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the command line of {} holds the secret", process.path().display());
    }
}
