//! Commands after the start and before the stop.

use crate::fixture::{Fixture, test};
use model::instance::{InstanceSpec, InstanceState, ResolvedMount};
use model::mount::MountSource;
use model::service::Hook;
use run::engine::Engine;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn hook(script: &str) -> Hook {
    Hook { command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), ..Hook::default() }
}

/// A directory of the host at `/out`, in which hooks leave what they saw.
fn with_out(fixture: &mut Fixture, script: &str) -> (InstanceSpec, std::path::PathBuf) {
    let out = fixture.dir.join("out");
    fs::create_dir_all(&out).unwrap();
    let mut spec = fixture.spec(script);
    let source = MountSource::Bind { path: out.clone(), create: false, recursive: false };
    let (options, volume_options) = Default::default();
    spec.mounts =
        vec![ResolvedMount { source, target: "/out".into(), read_only: false, options, volume_options }];
    (spec, out)
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn hooks_run_in_order_as_they_are_declared() {
    test("hooks", async || {
        let mut fixture = Fixture::new().await;
        let script = "trap 'echo term >> /out/log; exit 0' TERM; while true; do sleep 0.05; done";
        let (mut spec, out) = with_out(&mut fixture, script);
        spec.environment.insert("A".into(), "instance".into());
        let second = Hook {
            user: Some("app".into()),
            working_dir: Some("/tmp".into()),
            environment: [("B".to_owned(), "hook".to_owned())].into(),
            ..hook("echo $(id -u) $(pwd) $A $B > /tmp/seen")
        };
        let third = Hook {
            privileged: true,
            ..hook("grep CapEff /proc/self/status >> /out/log; cat /tmp/seen >> /out/log")
        };
        spec.hooks.post_start = vec![hook("echo first >> /out/log"), second, third];
        spec.hooks.pre_stop =
            vec![hook("echo stopping >> /out/log"), hook("exit 9"), hook("echo never >> /out/log")];
        let id = fixture.run(&spec).await.unwrap();
        assert!(!fixture.observed(&id).await.is_preparing);
        // Asked again, a start does nothing, and its hooks neither.
        fixture.engine.start(&id).await.unwrap();
        fixture.engine.stop(&id, None).await.unwrap();
        let log = fs::read_to_string(out.join("log")).unwrap();
        let said: Vec<&str> = log.lines().collect();
        assert_eq!(said.len(), 5, "{log}");
        assert_eq!(
            (said[0], said[2], said[3], said[4]),
            ("first", "1000 /tmp instance hook", "stopping", "term")
        );
        let rights = u64::from_str_radix(said[1].split_whitespace().last().unwrap(), 16).unwrap();
        assert!(rights & 1 << 21 != 0, "an administrator: {}", said[1]);
        // Each run has its own.
        fixture.engine.start(&id).await.unwrap();
        assert_eq!(lines(&out.join("log")), 8);
    });
}

#[test]
fn a_hook_that_fails_is_a_start_that_failed() {
    test("failing hook", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("sleep 100");
        spec.stop_grace_ms = 10;
        spec.hooks.post_start = vec![hook("echo no table; exit 3"), hook("echo never")];
        fixture.run(&spec).await.unwrap();
        let wanted = "the post_start command `/bin/sh -c echo no table; exit 3` ended with code 3: no table";
        let exit = fixture.exit(&spec.id).await;
        assert_eq!((exit.requested, exit.start_error.as_deref()), (false, Some(wanted)));
        // The reason is on disk.
        fixture.reopen().await;
        assert_eq!(fixture.exit(&spec.id).await.start_error.as_deref(), Some(wanted));
    });
}

#[test]
fn hooks_that_were_under_way_are_run_again_by_the_next_daemon() {
    test("hooks after a crash", async || {
        let mut fixture = Fixture::new().await;
        let (mut spec, out) = with_out(&mut fixture, "sleep 100");
        spec.hooks.post_start =
            vec![hook("echo run >> /out/log; while ! test -e /out/go; do sleep 0.05; done")];
        fixture.engine.create(&spec).await.unwrap();
        let (engine, id) = (fixture.engine.clone(), spec.id.clone());
        let starting = tokio::spawn(async move { engine.start(&id).await });
        until("the hook begins", async || lines(&out.join("log")) == 1).await;
        let observed = fixture.observed(&spec.id).await;
        assert!(observed.is_preparing && matches!(observed.state, InstanceState::Running { .. }));
        starting.abort();
        fixture.reopen().await;
        assert!(fixture.observed(&spec.id).await.is_preparing, "it is known to be unfinished");
        until("the hook is run again", async || lines(&out.join("log")) == 2).await;
        fs::write(out.join("go"), "").unwrap();
        until("it is done", async || !fixture.observed(&spec.id).await.is_preparing).await;
        fixture.reopen().await;
        assert!(!fixture.observed(&spec.id).await.is_preparing);
        assert_eq!(lines(&out.join("log")), 2, "and not once more");
    });
}
