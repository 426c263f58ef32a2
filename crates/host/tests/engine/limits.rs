//! Limits are in force, or the start fails and says which is not.

use crate::fixture::{Fixture, test};
use model::instance::InstanceState;
use model::{Bytes, Cpus};
use run::engine::{Engine, EngineError};

#[test]
fn every_limit_is_read_back_and_used() {
    test("limits", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("sleep 100");
        spec.resources.memory = Some(Bytes::mib(64));
        spec.resources.memory_reservation = Some(Bytes::mib(32));
        spec.resources.memory_swap = Some(64 << 20);
        spec.resources.cpus = Some(Cpus(500));
        spec.resources.cpu_shares = Some(512);
        spec.resources.cpuset = Some("0".into());
        spec.resources.pids = Some(20);
        let id = fixture.run(&spec).await.unwrap();
        let usage = fixture.engine.usage(&id).await.unwrap();
        assert_eq!(usage.memory_limit_bytes, Some(64 << 20));
        assert!(usage.memory_bytes.unwrap() > 0 && usage.cpu_us.unwrap() > 0 && usage.tasks.unwrap() >= 1);
        let output = fixture
            .exec(&id, "grep Cpus_allowed_list /proc/self/status; for i in $(seq 30); do sleep 5 & done")
            .await
            .output;
        assert!(output.contains("Cpus_allowed_list:\t0\n"), "{output}");
        assert!(output.contains("can't fork"), "{output}");
    });
}

#[test]
fn running_out_of_memory_is_told_apart() {
    test("oom", async || {
        let mut fixture = Fixture::new().await;
        let (exit, _) = fixture
            .script("exec dd if=/dev/zero of=/dev/null bs=200M count=1", |spec| {
                spec.resources.memory = Some(Bytes::mib(16));
            })
            .await;
        assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), true), "{}", exit.describe());
        assert_eq!(exit.describe(), "killed by signal 9 (out of memory)");
    });
}

#[test]
fn a_limit_that_cannot_be_had_fails_the_start() {
    test("missing limit", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("true");
        spec.resources.memory_swap = Some(64 << 20);
        match fixture.run(&spec).await {
            Err(EngineError::Limit(limit, reason)) => {
                assert_eq!((&*limit, &*reason), ("swap", "a limit on memory is needed beside it"))
            }
            other => panic!("{other:?}"),
        }
        let mut spec = fixture.spec("true");
        spec.process.ulimits.insert("nosuch".into(), (1, 1));
        assert!(
            matches!(fixture.run(&spec).await, Err(EngineError::Limit(limit, _)) if limit == "ulimit nosuch")
        );
        let InstanceState::Exited(exit) = fixture.state(&spec.id).await else { panic!("an end is recorded") };
        assert!(exit.start_error.unwrap().contains("there is no such limit"));
    });
}

#[test]
fn resource_limits_and_kernel_parameters_are_set() {
    test("ulimits", async || {
        let mut fixture = Fixture::new().await;
        let output = fixture
            .says("ulimit -n; ulimit -Hn; cat /proc/sys/kernel/msgmax", |spec| {
                spec.process.ulimits.insert("nofile".into(), (64, 128));
                spec.process.sysctls.insert("kernel.msgmax".into(), "9000".into());
            })
            .await;
        assert_eq!(output, "64\n128\n9000");
        let mut spec = fixture.spec("true");
        spec.process.ulimits.insert("nofile".into(), (-1, -1));
        let held = std::fs::read_to_string("/proc/self/status").unwrap();
        let bits = held.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
        if u64::from_str_radix(bits, 16).unwrap() & 1 << 24 == 0 {
            match fixture.run(&spec).await {
                Err(EngineError::Limit(_, reason)) => assert!(reason.contains("SYS_RESOURCE"), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
    });
}
