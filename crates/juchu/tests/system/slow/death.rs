//! The daemon is killed at 200 random moments of `up` and `deploy`; each time the next one brings
//! the stack to what was declared, with a journal that verifies.

use super::machine::{Machine, get, tiny};
use std::process::Stdio;
use std::time::Duration;
use testkit::{free_port, wait_until};

const KILLS: u32 = 200;
/// Longest wait before a kill; a change takes about a third of it.
const LONGEST_WAIT_MS: u64 = 500;

/// A release takes over quickly and the one before is kept for a short time.
const SETTINGS: &str = "    stop_signal: SIGKILL
    deploy: {update_config: {monitor: 50ms}}
";
const ROLLOUT: &str = "      rollout: {min_healthy: 50ms, warm: 2s, drain: 1s}\n";

/// A fixed sequence, so that a failure can be had again.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn death_at_random_moments_ends_in_the_declared_state() {
    let Some(machine) = Machine::new("death") else { return };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let directory = tiny(&machine, "mortal", port, "version 0", SETTINGS);
    let file = directory.join("compose.yaml");
    let compose = std::fs::read_to_string(&file).expect("just written");
    let policy = "    x-juchu:\n";
    let compose = compose.replace(policy, &format!("{policy}{ROLLOUT}"));
    std::fs::write(&file, compose).expect("a file");
    machine.must(&directory, &["up", "-d"]);
    let mut random = 0x9E37_79B9_7F4A_7C15;
    let mut interrupted = 0;
    for round in 1..=KILLS {
        let text = format!("version {round} of {KILLS}");
        std::fs::write(directory.join("web/index.html"), &text).expect("a page");
        let verb = if round % 2 == 0 { "deploy" } else { "up" };
        let arguments: &[&str] = if verb == "up" { &["up", "-d"] } else { &["deploy"] };
        let mut child = machine
            .command(&directory, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(next_random(&mut random) % LONGEST_WAIT_MS));
        let under_way = child.try_wait().expect("ours").is_none();
        machine.kill_daemon();
        interrupted += u32::from(under_way);
        child.wait().expect("it ends");
        // Whether or not the change had been accepted, asking again makes it so. The first answer
        // may be that the accepted one is still being carried out.
        wait_until(Duration::from_secs(60), &format!("round {round}: the declared state"), || {
            machine.run(&directory, &["up", "-d"]).code == 0
        });
        let (status, body) =
            get(&address, "/").unwrap_or_else(|e| panic!("round {round}: {e}\n{}", machine.daemon_log()));
        assert_eq!((status, body.as_str()), (200, text.as_str()), "round {round}");
        if round % 20 == 0 {
            machine.must(&directory, &["verify"]);
        }
    }
    machine.must(&directory, &["verify"]);
    wait_until(Duration::from_secs(20), "one instance is left", || {
        machine.must(&directory, &["ps", "--json"]).matches("\"slot\":").count() == 1
    });
    assert!(interrupted > KILLS / 4, "the kills came too late to matter: {interrupted}");
}
