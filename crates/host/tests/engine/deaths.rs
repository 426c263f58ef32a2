//! The daemon, the supervisor, the machine: each may die at any time.

use crate::fixture::{Fixture, groups, start_time, test};
use model::instance::InstanceState;
use run::engine::Engine;
use std::fs;
use std::io::{BufRead, BufReader};
use std::time::Duration;

fn kill(pid: i64) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn shim_of(fixture: &Fixture, id: &model::InstanceId) -> i64 {
    let run = fs::read_to_string(fixture.state_dir(id).join("run.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&run).unwrap()["shim"]["pid"].as_i64().unwrap()
}

async fn becomes_lost(fixture: &Fixture, id: &model::InstanceId) {
    let wait = async {
        while fixture.state(id).await != InstanceState::Lost {
            let _ = tokio::time::timeout(Duration::from_millis(100), fixture.engine.changed()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the instance is lost");
}

#[test]
fn a_new_daemon_finds_what_runs_and_what_has_ended() {
    test("adopt", async || {
        let mut fixture = Fixture::new().await;
        let lasting = fixture.spec("echo up; sleep 100");
        let ending = fixture.spec("exit 5");
        let (lasting, ending) = (fixture.run(&lasting).await.unwrap(), fixture.run(&ending).await.unwrap());
        let pid = fixture.pid(&lasting).await;
        assert_eq!(fixture.exit(&ending).await.code, 5);
        fixture.reopen().await;
        assert_eq!(fixture.pid(&lasting).await, pid);
        let InstanceState::Exited(exit) = fixture.state(&ending).await else { panic!("its end is kept") };
        assert_eq!(exit.code, 5);
        assert_eq!(fixture.exec(&lasting, "echo inside").await.output, "inside\n");
        assert_eq!(fixture.output(&lasting).await, "up\n");
        // Ends are noticed for what was taken over, too.
        fixture.engine.kill(&lasting, "KILL").await.unwrap();
        let exit = fixture.exit(&lasting).await;
        assert_eq!((exit.code, exit.signal, exit.requested), (137, Some(9), false));
    });
}

#[test]
fn an_end_without_a_daemon_is_not_forgotten() {
    test("end without a daemon", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("while ! test -e /tmp/go; do sleep 0.02; done; exit 8");
        let id = fixture.run(&spec).await.unwrap();
        let root = format!("/proc/{}/root/tmp/go", fixture.pid(&id).await);
        let state = fixture.state_dir(&id);
        fs::write(root, "").unwrap();
        testkit::wait_until(Duration::from_secs(10), "the record of the end", || {
            state.join("exit.json").exists()
        });
        fixture.reopen().await;
        assert_eq!(fixture.exit(&id).await.code, 8);
    });
}

#[test]
fn an_instance_does_not_outlive_its_supervisor() {
    test("shim killed", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 999 & sleep 999");
        let id = fixture.run(&spec).await.unwrap();
        let pid = fixture.pid(&id).await;
        let started = start_time(pid.into());
        kill(shim_of(&fixture, &id));
        becomes_lost(&fixture, &id).await;
        testkit::wait_until(Duration::from_secs(5), "the program's end", || {
            start_time(pid.into()) != started
                || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") Z"))
        });
        assert!(groups(&id).is_empty());
        fixture.engine.start(&id).await.unwrap();
        assert_eq!(fixture.observed(&id).await.starts, 2);
        fixture.engine.remove(&id).await.unwrap();
    });
}

#[test]
fn a_supervisor_lost_while_no_daemon_ran_is_noticed() {
    test("shim killed without a daemon", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 999");
        let id = fixture.run(&spec).await.unwrap();
        let shim = shim_of(&fixture, &id);
        kill(shim);
        fixture.reopen().await;
        becomes_lost(&fixture, &id).await;
        assert!(groups(&id).is_empty());
    });
}

#[test]
fn after_a_reboot_everything_is_made_anew() {
    test("reboot", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("cat /kept; echo here > /kept; sleep 100");
        let id = fixture.run(&spec).await.unwrap();
        fixture.exec(&id, "while ! test -e /kept; do sleep 0.02; done").await;
        kill(shim_of(&fixture, &id));
        becomes_lost(&fixture, &id).await;
        // A power cut leaves the durable part alone, under another boot id.
        fs::remove_dir_all(fixture.dir.join("run")).unwrap();
        let run = fixture.state_dir(&id).join("run.json");
        let mut record: serde_json::Value = serde_json::from_str(&fs::read_to_string(&run).unwrap()).unwrap();
        record["boot_id"] = "another".into();
        record["shim"]["pid"] = std::process::id().into();
        fs::write(&run, record.to_string()).unwrap();
        fixture.reopen().await;
        assert_eq!(fixture.state(&id).await, InstanceState::Lost);
        fixture.engine.start(&id).await.unwrap();
        fixture.said(&id, "here").await;
    });
}

#[test]
fn a_record_cut_short_by_a_power_cut_stops_nothing() {
    test("half a record", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("exit 3");
        let id = fixture.run(&spec).await.unwrap();
        fixture.exit(&id).await;
        fs::write(fixture.state_dir(&id).join("run.json"), "{\"ver").unwrap();
        fixture.reopen().await;
        assert_eq!(fixture.state(&id).await, InstanceState::Lost);
        fixture.engine.start(&id).await.unwrap();
        assert_eq!(fixture.exit(&id).await.code, 3);
        assert_eq!(fixture.observed(&id).await.starts, 3);
    });
}

#[test]
fn a_start_nobody_waits_for_is_still_watched() {
    test("dropped start", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("exit 4");
        fixture.engine.create(&spec).await.unwrap();
        let start = fixture.engine.start(&spec.id);
        assert!(tokio::time::timeout(Duration::ZERO, start).await.is_err());
        assert_eq!(fixture.exit(&spec.id).await.code, 4);
    });
}

#[test]
fn what_is_half_made_or_half_removed_is_cleared() {
    test("half", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("true");
        fixture.engine.create(&spec).await.unwrap();
        fs::remove_file(fixture.state_dir(&spec.id).join("spec.json")).unwrap();
        fs::create_dir_all(fixture.runtime_dir(&spec.id)).unwrap();
        fixture.reopen().await;
        assert!(fixture.engine.observe().await.unwrap().is_empty());
        assert!(!fixture.state_dir(&spec.id).exists() && !fixture.runtime_dir(&spec.id).exists());
    });
}

/// Supervisors are forked from one process; it may die alone.
#[test]
fn the_supervisors_parent_may_die() {
    test("parent of shims", async || {
        let mut fixture = Fixture::new().await;
        let (first, second) = (fixture.spec("sleep 100"), fixture.spec("sleep 100"));
        let first = fixture.run(&first).await.unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", shim_of(&fixture, &first))).unwrap();
        let parent: i64 = stat[stat.rfind(')').unwrap() + 2..].split(' ').nth(1).unwrap().parse().unwrap();
        let command = fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap();
        assert!(command.contains("shim\0--serve\0"), "{command:?}");
        kill(parent);
        let second = fixture.run(&second).await.unwrap();
        for id in [first, second] {
            assert!(matches!(fixture.state(&id).await, InstanceState::Running { .. }));
        }
    });
}

#[test]
fn a_program_that_ignores_its_stop_signal_is_killed() {
    test("grace", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("trap '' TERM; echo ready; while true; do sleep 1; done");
        spec.stop_grace_ms = 200;
        let id = fixture.run(&spec).await.unwrap();
        fixture.said(&id, "ready").await;
        fixture.engine.stop(&id, None).await.unwrap();
        let exit = fixture.exit(&id).await;
        assert_eq!((exit.code, exit.requested), (137, true));
        assert_eq!(fixture.observed(&id).await.quick_failures, 0);
        let mut polite = fixture.spec("trap 'exit 0' INT; echo ready; while true; do sleep 0.05; done");
        polite.stop_signal = "SIGINT".into();
        let id = fixture.run(&polite).await.unwrap();
        fixture.said(&id, "ready").await;
        fixture.engine.stop(&id, None).await.unwrap();
        assert_eq!(fixture.exit(&id).await.code, 0);
    });
}

/// The daemon is killed at many moments of a start: what the next one sees as not running must not
/// begin to run afterwards, or a volume would have two writers.
#[test]
fn a_start_under_way_ends_with_the_daemon_or_is_seen() {
    test("start without a daemon", async || {
        let mut interrupted = 0;
        for delay in (0..30).map(|step| Duration::from_micros(step * 1000)) {
            let mut fixture = Fixture::new().await;
            let spec = fixture.spec("echo began >> /began; sleep 100");
            fixture.engine.create(&spec).await.unwrap();
            kill_while_it_starts(&fixture, &spec.id, delay);
            fixture.reopen().await;
            if matches!(fixture.state(&spec.id).await, InstanceState::Running { .. }) {
                continue;
            }
            interrupted += 1;
            // A parent of supervisors that was late sees that nobody waits for it, and ends.
            let lock = fs::File::options().write(true).open(fixture.dir.join("run/starts.lock")).unwrap();
            testkit::wait_until(Duration::from_secs(5), "whoever could begin it to end", || {
                rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
            });
            assert!(groups(&spec.id).iter().all(|group| members(group).is_empty()), "{delay:?}");
        }
        assert!(interrupted > 0, "every start was faster than its kill");
    });
}

/// By a process of its own, which is killed so long after it has begun.
fn kill_while_it_starts(fixture: &Fixture, id: &model::InstanceId, delay: Duration) {
    let mut daemon = std::process::Command::new(env!("CARGO_BIN_EXE_host-test"))
        .args(["start".as_ref(), fixture.dir.as_os_str(), id.as_str().as_ref()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "starting\n");
    std::thread::sleep(delay);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

fn members(group: &std::path::Path) -> String {
    fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default()
}
