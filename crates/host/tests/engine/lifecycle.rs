//! Created, running, ended, started again, removed.

use crate::fixture::{Fixture, groups, test};
use model::instance::InstanceState;
use run::engine::{Engine, EngineError};

#[test]
fn an_instance_runs_and_its_output_and_exit_are_kept() {
    test("run", async || {
        let mut fixture = Fixture::new().await;
        let (exit, output) = fixture.script("echo out; echo err >&2; printf tail; exit 7", |_| {}).await;
        assert_eq!((exit.code, exit.signal, exit.oom, exit.requested), (7, None, false, false));
        let mut lines: Vec<&str> = output.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["err", "out", "tail"]);
    });
}

#[test]
fn every_operation_may_be_asked_for_twice() {
    test("idempotent", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 100");
        let id = fixture.run(&spec).await.unwrap();
        let pid = fixture.pid(&id).await;
        fixture.run(&spec).await.unwrap();
        assert_eq!(fixture.pid(&id).await, pid, "the second start did nothing");
        let mut other = spec.clone();
        other.hostname = "else".into();
        assert!(matches!(fixture.engine.create(&other).await, Err(EngineError::Conflict(_))));
        fixture.engine.stop(&id, None).await.unwrap();
        fixture.engine.stop(&id, None).await.unwrap();
        assert!(fixture.exit(&id).await.requested);
        fixture.engine.remove(&id).await.unwrap();
        fixture.engine.remove(&id).await.unwrap();
        assert!(fixture.engine.observe().await.unwrap().is_empty());
        assert!(groups(&id).is_empty());
        assert!(!fixture.state_dir(&id).exists() && !fixture.runtime_dir(&id).exists());
        assert!(matches!(fixture.engine.start(&id).await, Err(EngineError::UnknownInstance(_))));
    });
}

#[test]
fn a_start_after_an_exit_keeps_the_writable_layer_and_counts() {
    test("restart", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("cat /note 2>/dev/null; echo was here > /note");
        let id = fixture.run(&spec).await.unwrap();
        fixture.exit(&id).await;
        assert_eq!(fixture.observed(&id).await.quick_failures, 1);
        fixture.engine.start(&id).await.unwrap();
        fixture.exit(&id).await;
        let observed = fixture.observed(&id).await;
        assert_eq!((observed.starts, observed.quick_failures), (2, 2));
        assert_eq!(fixture.output(&id).await, "was here\n");
        assert!(matches!(observed.state, InstanceState::Exited(_)));
    });
}
