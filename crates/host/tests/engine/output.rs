//! Output: kept, capped, followed, also over restarts and rotations.

use crate::fixture::{Fixture, test};
use run::engine::{Engine, ExecRequest, LogQuery, LogStream};
use std::fs;
use std::time::Duration;

#[test]
fn output_is_followed_over_restarts_until_removal() {
    test("follow", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("echo one; echo two >&2");
        let id = fixture.run(&spec).await.unwrap();
        fixture.exit(&id).await;
        let mut lines =
            fixture.engine.logs(&id, LogQuery { follow: true, tail: Some(0), since: None }).await.unwrap();
        fixture.engine.start(&id).await.unwrap();
        fixture.exit(&id).await;
        let mut next =
            async || tokio::time::timeout(Duration::from_secs(10), lines.recv()).await.expect("in time");
        let mut seen = Vec::new();
        for _ in 0..2 {
            let line = next().await.unwrap();
            seen.push((line.stream == LogStream::Stderr, line.text));
        }
        seen.sort();
        assert_eq!(seen, [(false, "one".to_owned()), (true, "two".to_owned())]);
        fixture.engine.remove(&id).await.unwrap();
        assert_eq!(next().await, None);
    });
}

#[test]
fn much_output_is_rotated_and_nothing_within_the_cap_is_lost() {
    test("rotation", async || {
        let mut fixture = Fixture::new().await;
        let (exit, output) = fixture
            .script("seq 1 60000", |spec| {
                spec.log_max_bytes = 256 << 10;
                spec.log_max_files = 3;
            })
            .await;
        assert_eq!(exit.code, 0);
        let numbers: Vec<u32> = output.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&60000));
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        let id = fixture.engine.observe().await.unwrap()[0].spec.id.clone();
        let files: Vec<_> =
            fs::read_dir(fixture.state_dir(&id).join("log")).unwrap().map(|e| e.unwrap()).collect();
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 256 << 10));
    });
}

/// Programs that log to a file by name, such as nginx, are given `/dev/stdout`.
#[test]
fn a_program_of_any_user_may_open_its_streams_by_name() {
    test("streams by name", async || {
        let mut fixture = Fixture::new().await;
        let script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin; id -u";
        for tty in [false, true] {
            let said = fixture
                .says(if tty { "echo out > /dev/stdout; id -u" } else { script }, |spec| {
                    spec.process.user = Some("app".into());
                    spec.process.tty = tty;
                })
                .await;
            let mut lines: Vec<&str> = said.lines().map(str::trim_end).collect();
            lines.sort_unstable();
            assert_eq!(lines, if tty { vec!["1000", "out"] } else { vec!["1000", "err", "out"] });
        }
        let spec = fixture.spec("sleep 100");
        let id = fixture.run(&spec).await.unwrap();
        let argv = ["/bin/sh", "-c", "echo named > /dev/stdout"].map(str::to_owned).to_vec();
        let user = Some("app".into());
        let request = ExecRequest { argv, user, output_limit: 100, ..Default::default() };
        assert_eq!(fixture.engine.exec(&id, request).await.unwrap().output, "named\n");
    });
}

#[test]
fn a_supervisor_is_small() {
    test("shim memory", async || {
        let mut fixture = Fixture::new().await;
        let mut shims = Vec::new();
        for _ in 0..10 {
            let spec = fixture.spec("sleep 100");
            let id = fixture.run(&spec).await.unwrap();
            let run = fs::read_to_string(fixture.state_dir(&id).join("run.json")).unwrap();
            let run: serde_json::Value = serde_json::from_str(&run).unwrap();
            shims.push(run["shim"]["pid"].as_u64().unwrap());
        }
        let kib = |pid: u64, key: &str| -> u64 {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let mean = |key: &str| shims.iter().map(|pid| kib(*pid, key)).sum::<u64>() / shims.len() as u64;
        println!(
            "shim: PSS {} KiB, private dirty {} KiB, RSS {} KiB",
            mean("Pss"),
            mean("Private_Dirty"),
            mean("Rss")
        );
        assert!(mean("Pss") <= 1024, "{} KiB", mean("Pss"));
    });
}
