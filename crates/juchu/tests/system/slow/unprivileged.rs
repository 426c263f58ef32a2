//! The whole program as an ordinary user: builds, runs, is reached, survives, and stays inside.

use super::guestbook;
use super::machine::{Machine, get, kill, tiny};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;
use testkit::{Person, free_port, wait_until};

fn digest(machine: &Machine, directory: &Path) -> String {
    let text = machine.must(directory, &["build", "--json"]);
    let made: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    made[0]["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn an_image_has_the_digest_that_root_gives_it() {
    let name = "images without root";
    let Some(root) = Machine::new(name) else { return };
    let expected = digest(&root, &tiny(&root, "same", 8080, "hello", ""));
    let people = [Person::new(name), Person::without_ranges(name), Person::confined(name)];
    for person in people.into_iter().flatten() {
        let machine = Machine::of(person);
        let directory = tiny(&machine, "same", 8080, "hello", "");
        assert_eq!(digest(&machine, &directory), expected);
        let checked = machine.must(&directory, &["build", "--check"]);
        assert!(checked.contains("twice the same"), "{checked}");
        assert!(machine.must(&directory, &["image", "ls"]).contains("same/web"));
        assert!(machine.daemon().is_none(), "a build needs no daemon");
    }
}

#[test]
fn the_example_runs_for_an_ordinary_user() {
    let Some(person) = Person::new("guestbook without root") else { return };
    let uid = person.id();
    let machine = Machine::of(person);
    guestbook::story(&machine);
    assert!(machine.daemon().is_some_and(|pid| owner_of(pid) == uid), "nothing of it is root's");
}

fn owner_of(pid: i32) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/{pid}")).expect("it runs").uid()
}

#[test]
fn a_service_survives_its_daemon_its_keeper_and_a_newer_gateway() {
    let Some(person) = Person::new("survival without root") else { return };
    let machine = Machine::of(person);
    let port = free_port();
    let directory = tiny(&machine, "lives", port, "hello", "");
    machine.must(&directory, &["up", "-d"]);
    let address = format!("127.0.0.1:{port}");
    let answers = || get(&address, "/").is_ok_and(|(status, body)| status == 200 && body == "hello");
    assert!(answers());
    machine.kill_daemon();
    assert!(answers(), "traffic does not need the daemon");
    let said = machine.run(&directory, &["up", "-d"]);
    assert!(said.err.contains("unchanged"), "{}", said.err);
    machine.must(&directory, &["upgrade"]);
    assert!(answers());
    let (keeper, way_out) = machine.keeper().expect("it is on record");
    kill(keeper);
    let hello = machine.must(&directory, &["exec", "-T", "web", "/app/busybox", "echo", "inside"]);
    assert_eq!(hello, "inside\n", "who is inside leads others there");
    assert!(answers());
    // Then everybody goes who could lead there: what still runs is begun anew.
    machine.kill_daemon();
    machine.gateway().into_iter().chain(way_out).for_each(kill);
    machine.must(&directory, &["up", "-d"]);
    wait_until(Duration::from_secs(30), "the service", answers);
    machine.must(&directory, &["down"]);
    assert!(get(&address, "/").is_err(), "nothing listens any more");
}

/// Descriptors, groups and the host's own loopback stay out of instances.
#[test]
fn nothing_of_the_host_is_inside() {
    let Some(person) = Person::new("confinement without root") else { return };
    let uid = person.id();
    let machine = Machine::of(person);
    let host = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host_port = host.local_addr().expect("bound").port();
    let directory = tiny(&machine, "shut", free_port(), "hello", "");
    machine.must(&directory, &["up", "-d"]);
    let script = format!(
        "b=/app/busybox; $b ls /proc/1/fd; echo --; $b cat /proc/1/status; echo --; $b cat /proc/self/uid_map; \
         echo --; for a in 127.0.0.1 $($b ip route | $b awk '/default/{{print $3}}'); do \
         $b nc -w 2 $a {host_port} </dev/null && echo reached $a; done; $b chown 70000:0 /site || echo refused"
    );
    let said = machine.must(&directory, &["exec", "-T", "web", "/app/busybox", "sh", "-c", &script]);
    let parts: Vec<&str> = said.split("--\n").collect();
    // Standard streams and what the program itself listens on.
    assert!(parts[0].split_whitespace().count() <= 4, "descriptors: {}", parts[0]);
    let groups = parts[1].lines().find_map(|line| line.strip_prefix("Groups:")).expect("a line");
    assert!(groups.split_whitespace().all(|group| group == "0"), "groups: {groups}");
    assert!(parts[2].lines().next().expect("a map").contains(&uid.to_string()), "{}", parts[2]);
    assert!(!parts[3].contains("reached"), "{}", parts[3]);
    assert!(parts[3].contains("refused"), "an id beyond the range is nobody's: {}", parts[3]);
}

#[test]
fn what_cannot_be_had_is_said() {
    let Some(person) = Person::without_ranges("lacks without root") else { return };
    let machine = Machine::of(person);
    let doctor = machine.run(machine.home(), &["doctor"]);
    assert!(doctor.out.contains("sudo usermod --add-subuids"), "{}", doctor.out);
    let limited = tiny(&machine, "limited", free_port(), "hello", "    mem_limit: 64m\n");
    let said = machine.run(&limited, &["up", "-d"]);
    let usable = fs::read_to_string("/proc/self/mountinfo").expect("readable").contains(" - cgroup ");
    if usable {
        assert_ne!(said.code, 0);
        assert!(said.err.contains("the limit memory could not be put in force"), "{}", said.err);
    }
    let other = tiny(&machine, "other", free_port(), "hello", "    user: \"1000\"\n");
    let said = machine.run(&other, &["up", "-d"]);
    assert_ne!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("juchu doctor"), "{}", said.err);
    let plain = tiny(&machine, "plain", free_port(), "hello", "");
    machine.must(&plain, &["up", "-d"]);
}

#[test]
fn who_can_have_no_name_space_is_told() {
    let Some(person) = Person::confined("no name spaces") else { return };
    let machine = Machine::of(person);
    let directory = tiny(&machine, "none", free_port(), "hello", "");
    let doctor = machine.run(&directory, &["doctor"]);
    assert_eq!(doctor.code, i32::from(model::ErrorKind::Environment.exit_code()), "{}", doctor.out);
    assert!(doctor.out.contains("user name spaces"), "{}", doctor.out);
    let said = machine.run(&directory, &["up", "-d"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("make a user name space") && said.err.contains("juchu doctor"), "{}", said.err);
}
