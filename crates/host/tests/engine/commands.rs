//! Commands inside a running instance, captured and with a person's terminal.

use crate::fixture::{Fixture, patience, test};
use model::DurationMs;
use run::engine::{Engine, EngineError, ExecOutcome, ExecRequest};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn request(argv: &[&str]) -> ExecRequest {
    ExecRequest {
        argv: argv.iter().map(|a| a.to_string()).collect(),
        output_limit: 1 << 16,
        ..ExecRequest::default()
    }
}

#[test]
fn a_command_has_the_instances_surroundings() {
    test("exec", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("sleep 100");
        spec.environment.insert("A".into(), "instance".into());
        spec.process.user = Some("app".into());
        spec.process.working_dir = Some("/tmp".into());
        spec.resources.pids = Some(50);
        let id = fixture.run(&spec).await.unwrap();
        let outcome = fixture
            .exec(&id, "id -u; pwd; echo $A; hostname; cat /proc/self/cgroup; echo err >&2; exit 3")
            .await;
        assert_eq!(outcome.code, 3);
        assert!(outcome.output.starts_with("1000\n/tmp\ninstance\nweb-1\n"), "{}", outcome.output);
        assert!(outcome.output.ends_with("err\n"), "in the order it came: {}", outcome.output);
        // In a cgroup name space of its own the instance's group is the root.
        let group = format!("/juchu/{id}");
        assert!(
            outcome.output.contains(&group) || outcome.output.contains("0::/exec-"),
            "under the same limits: {}",
            outcome.output
        );
        let mut other = request(&["/bin/sh", "-c", "id -u; pwd; echo $A"]);
        other.user = Some("0:50".into());
        other.working_dir = Some("/srv".into());
        other.environment = vec![("A".into(), "command".into())];
        assert_eq!(fixture.engine.exec(&id, other).await.unwrap().output, "0\n/srv\ncommand\n");
    });
}

#[test]
fn what_cannot_be_run_has_the_codes_of_a_shell() {
    test("exec codes", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 100");
        let id = fixture.run(&spec).await.unwrap();
        let check = async |argv: &[&str], code: i32, text: &str| {
            let outcome = fixture.engine.exec(&id, request(argv)).await.unwrap();
            assert_eq!((outcome.code, outcome.output.trim_end()), (code, text));
        };
        check(&["nosuch"], 127, "error: executable `nosuch` not found in the image").await;
        check(&["/etc/passwd"], 126, "error: `/etc/passwd` is not executable").await;
        check(&["sh", "-c", "kill -9 $$"], 137, "").await;
        check(&["true"], 0, "").await;
        let mut user = request(&["true"]);
        user.user = Some("nobody".into());
        let outcome = fixture.engine.exec(&id, user).await.unwrap();
        assert_eq!((outcome.code, outcome.output.trim_end()), (125, "error: the image has no user `nobody`"));
        fixture.engine.stop(&id, Some(DurationMs(0))).await.unwrap();
        assert!(matches!(
            fixture.engine.exec(&id, request(&["true"])).await,
            Err(EngineError::NotRunning(_))
        ));
    });
}

#[test]
fn time_and_output_are_limited_and_stragglers_end() {
    test("exec limits", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 1000");
        let id = fixture.run(&spec).await.unwrap();
        let mut slow = request(&["sh", "-c", "echo begun; (sleep 777 &) ; sleep 777"]);
        let limit = patience(DurationMs(3000));
        slow.timeout = Some(limit);
        let begun = Instant::now();
        let outcome = fixture.engine.exec(&id, slow).await.unwrap();
        assert_eq!(outcome, ExecOutcome { code: 137, output: "begun\n".into(), timed_out: true });
        assert!(begun.elapsed() < Duration::from_millis(limit.0) + Duration::from_secs(17));
        let processes = fixture.exec(&id, "ps").await.output;
        assert!(!processes.contains("777"), "{processes}");
        let mut much = request(&["sh", "-c", "yes | head -c 1000000; echo end >&2"]);
        much.output_limit = 100;
        let outcome = fixture.engine.exec(&id, much).await.unwrap();
        assert_eq!((outcome.code, outcome.output.len()), (0, 100));
        let quick = fixture.exec(&id, "(sleep 888 &); echo gone").await;
        assert_eq!(quick.output, "gone\n");
        assert!(!fixture.exec(&id, "ps").await.output.contains("888"));
    });
}

#[test]
fn a_persons_own_streams_reach_inside() {
    test("enter", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 100");
        let id = fixture.run(&spec).await.unwrap();
        let argv = fixture.engine.enter(&id, &request(&["sh", "-c", "cat; exit 4"]), false);
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        use std::io::Write;
        child.stdin.take().unwrap().write_all(b"through").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(4), &b"through"[..]));
    });
}

#[test]
fn a_persons_terminal_reaches_inside() {
    test("enter tty", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 100");
        let id = fixture.run(&spec).await.unwrap();
        let outer =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&outer).unwrap();
        rustix::pty::unlockpt(&outer).unwrap();
        let name = rustix::pty::ptsname(&outer, Vec::new()).unwrap().into_string().unwrap();
        let size = rustix::termios::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&outer, size).unwrap();
        let inner = || Stdio::from(std::fs::File::options().read(true).write(true).open(&name).unwrap());
        let argv = fixture.engine.enter(
            &id,
            &request(&["sh", "-c", "tty; stty size 2>/dev/null; read x; echo [$x]; exit 6"]),
            true,
        );
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(inner())
            .stdout(inner())
            .stderr(inner())
            .spawn()
            .unwrap();
        rustix::io::write(&outer, b"typed\n").unwrap();
        let status = child.wait().unwrap();
        let mut text = vec![0; 4096];
        let length = rustix::io::read(&outer, &mut text[..]).unwrap();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        assert_eq!(status.code(), Some(6), "{text}");
        assert!(text.contains("/dev/pts/0") && text.contains("[typed]"), "{text}");
    });
}
