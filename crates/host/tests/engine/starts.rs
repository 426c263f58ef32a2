//! What does not start says why in one sentence; who runs, where, with what around it.

use crate::fixture::{Fixture, test};
use model::Digest;
use model::instance::{InstanceSpec, InstanceState};
use run::engine::{Engine, EngineError};
use std::fs;
use std::os::unix::fs::PermissionsExt;

async fn refused(fixture: &mut Fixture, change: impl FnOnce(&mut InstanceSpec)) -> (String, i32) {
    let mut spec = fixture.spec("true");
    change(&mut spec);
    match fixture.run(&spec).await {
        Err(EngineError::Start { reason, .. }) => {
            let InstanceState::Exited(exit) = fixture.state(&spec.id).await else {
                panic!("an end is recorded")
            };
            assert_eq!(exit.start_error.as_ref(), Some(&reason));
            (reason, exit.code)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_cannot_run_is_explained() {
    test("start errors", async || {
        let mut fixture = Fixture::new().await;
        let bin = fixture.layer_dir().join("bin");
        let put = |name: &str, content: &[u8], mode: u32| {
            fs::write(bin.join(name), content).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        let mut elf = fs::read(bin.join("busybox")).unwrap()[..4096].to_vec();
        elf[18..20].copy_from_slice(&22u16.to_le_bytes());
        put("other-machine", &elf, 0o755);
        put("text", b"hello\n", 0o755);
        put("script", b"#!/bin/bash\n", 0o755);
        put("plain", b"", 0o644);
        let mut check = async |program: &str, expect: &str, code: i32| {
            let answer = refused(&mut fixture, |spec| spec.argv = vec![program.to_owned()]).await;
            assert_eq!((answer.0.as_str(), answer.1), (expect, code));
        };
        check("nosuch", "executable `nosuch` not found in the image", 127).await;
        check("/bin/nosuch", "executable `/bin/nosuch` not found in the image", 127).await;
        check("plain", "`/bin/plain` is not executable", 126).await;
        check("/etc", "`/etc` is a directory", 126).await;
        check("text", "`/bin/text` is neither a program nor a script that begins with `#!`", 126).await;
        check("script", "the interpreter `/bin/bash` of `/bin/script` is not in the image", 127).await;
        let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        check(
            "other-machine",
            &format!("`/bin/other-machine` is built for s390x, this machine is {own}"),
            126,
        )
        .await;
        let (reason, _) = refused(&mut fixture, |spec| spec.argv.clear()).await;
        assert_eq!(reason, "neither the image nor the service says what to run");
        let (reason, _) = refused(&mut fixture, |spec| spec.process.user = Some("nobody".into())).await;
        assert_eq!(reason, "the image has no user `nobody`");
        let (reason, _) = refused(&mut fixture, |spec| spec.process.cap_add = vec!["NOPE".into()]).await;
        assert_eq!(reason, "`NOPE` is not a capability");
    });
}

#[test]
fn a_missing_layer_is_named() {
    test("missing layer", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("true");
        spec.layers.push(Digest::of(b"not there"));
        assert!(
            matches!(fixture.run(&spec).await, Err(EngineError::MissingLayer(digest)) if digest == Digest::of(b"not there"))
        );
    });
}

#[test]
fn the_program_runs_as_declared() {
    test("process", async || {
        let mut fixture = Fixture::new().await;
        let output = fixture
            .says("id; pwd; stat -c %u . ; echo $HOME $A; cat /etc/hostname; cat /proc/self/oom_score_adj; id -G", |spec| {
                spec.process.user = Some("app".into());
                spec.process.group_add = vec!["99".into()];
                spec.process.working_dir = Some("/new/dir".into());
                spec.environment.insert("A".into(), "b=c d".into());
                spec.hostname = "other".into();
            })
            .await;
        let lines: Vec<&str> = output.lines().collect();
        assert!(lines[0].starts_with("uid=1000(app) gid=1000(app) groups="), "{}", lines[0]);
        assert_eq!(&lines[1..5], ["/new/dir", "1000", "/home/app b=c d", "other"]);
        assert_eq!(lines[6], "1000 50 99");
        let output = fixture.says("id -u; id -g", |spec| spec.process.user = Some("4711:4712".into())).await;
        assert_eq!(output, "4711\n4712");
    });
}

#[test]
fn layers_lie_over_each_other_in_their_order() {
    test("layers", async || {
        let mut fixture = Fixture::new().await;
        let upper = Digest::of(b"upper");
        let dir = fixture.layer_dir().with_file_name(upper.hex());
        fs::create_dir_all(dir.join("etc")).unwrap();
        fs::write(dir.join("etc/passwd"), "who:x:5:5::/:/bin/sh\n").unwrap();
        let output = fixture
            .says("id -u; cat /etc/group | wc -l", |spec| {
                spec.layers.push(upper.clone());
                spec.process.user = Some("who".into());
            })
            .await;
        assert_eq!(output, "5\n3");
    });
}

#[test]
fn a_terminal_is_one_inside() {
    test("tty", async || {
        let mut fixture = Fixture::new().await;
        let output = fixture
            .says("tty; test -t 0 && test -t 1 && echo yes; echo err >&2", |spec| spec.process.tty = true)
            .await;
        let lines: Vec<&str> = output.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["/dev/pts/0", "yes", "err"]);
    });
}

#[test]
fn init_passes_signals_and_reaps() {
    test("init", async || {
        let mut fixture = Fixture::new().await;
        let script = "trap 'echo got; exit 9' TERM; (sleep 0.1 & exec sleep 0.05) & echo $$; wait $!; echo ready; \
            while true; do sleep 0.1; done";
        let mut spec = fixture.spec(script);
        spec.process.init = true;
        let id = fixture.run(&spec).await.unwrap();
        fixture.said(&id, "ready").await;
        let processes =
            fixture.exec(&id, "ps; cat /proc/1/comm; ls -l /proc/1/exe 2>&1; exit 0").await.output;
        assert!(processes.contains("init"), "{processes}");
        assert!(!processes.contains(" Z "), "no zombies: {processes}");
        fixture.engine.stop(&id, None).await.unwrap();
        let exit = fixture.exit(&id).await;
        assert_eq!((exit.code, exit.signal, exit.requested), (9, None, true));
        let output = fixture.output(&id).await;
        assert!(output.starts_with("2\n") && output.ends_with("got\n"), "{output}");
    });
}
