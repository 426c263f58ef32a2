//! Images are made in a process apart: its end, the daemon's end and a change of mind each leave
//! nothing behind and touch nothing that runs.

use super::machine::{Machine, get, tiny};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;
use testkit::{free_port, wait_until};

/// A registry that takes requests and never answers; accepted connections wait in its backlog.
fn silent_registry(machine: &Machine, name: &str) -> (TcpListener, std::path::PathBuf) {
    let registry = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = registry.local_addr().expect("bound");
    let compose = format!("name: {name}\nservices:\n  web: {{image: '{address}/slow:1'}}\n");
    let directory = machine.project(name, &compose);
    (registry, directory)
}

/// The build worker of this machine's daemon.
fn worker(daemon: i32) -> Option<i32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.into_iter().find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Running or waiting, and not what is left of one that has ended.
        ["S", "R", "D"].iter().any(|state| stat.contains(&format!("(juchu-build) {state} {daemon} ")))
    })
}

fn is_gone(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[test]
fn a_build_that_is_killed_is_told_and_what_ran_goes_on() {
    let Some(machine) = Machine::new("killed build") else { return };
    let port = free_port();
    let running = tiny(&machine, "good", port, "still here", "");
    machine.must(&running, &["up", "-d"]);
    let daemon = machine.daemon().expect("it runs");
    assert_eq!(worker(daemon), None, "a worker stays no longer than its image takes");

    let (_registry, directory) = silent_registry(&machine, "killed");
    let up = machine.command(&directory, &["up", "-d"]).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_until(Duration::from_secs(20), "the worker", || worker(daemon).is_some());
    let pid = rustix::process::Pid::from_raw(worker(daemon).expect("seen before")).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
    let said = up.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(2), "{text}");
    assert!(text.contains("service web: the build was killed from outside"), "{text}");
    assert!(text.contains("hint: look for `Out of memory` in `dmesg`"), "{text}");
    assert_eq!(get(&format!("127.0.0.1:{port}"), "/").expect("it goes on").1, "still here");
    assert_eq!(machine.daemon(), Some(daemon));
}

#[test]
fn a_build_ends_with_the_daemon_or_when_nobody_wants_it() {
    let Some(machine) = Machine::new("unwanted build") else { return };
    let (_registry, directory) = silent_registry(&machine, "unwanted");
    let seen = || machine.daemon().and_then(worker);
    let mut up = machine.command(&directory, &["up", "-d"]).stderr(Stdio::null()).spawn().expect("it starts");
    wait_until(Duration::from_secs(20), "the worker", || seen().is_some());
    let orphan = seen().expect("seen before");
    machine.kill_daemon();
    wait_until(Duration::from_secs(20), "the orphan to end", || is_gone(orphan));

    // The command that waits for its change starts the next daemon, which begins the build anew.
    wait_until(Duration::from_secs(20), "the next worker", || seen().is_some());
    let unwanted = seen().expect("seen before");
    machine.must(&directory, &["down"]);
    wait_until(Duration::from_secs(20), "the unwanted one to end", || is_gone(unwanted));
    assert_eq!(up.wait().expect("it ends").code(), Some(7), "another change took its place");
}
