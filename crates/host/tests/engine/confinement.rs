//! What a program inside cannot do. Each trap of the container library is one test.

use crate::fixture::{Fixture, groups, test};
use model::Bytes;
use run::engine::Engine;
use std::fs;

fn status(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).trim().to_owned()
}

/// The library drops filters silently when built without its C library.
#[test]
fn a_system_call_filter_is_in_force() {
    test("seccomp", async || {
        let mut fixture = Fixture::new().await;
        // Anybody may make a user name space, so only the filter can refuse it.
        let script = "cat /proc/self/status; unshare -U true && echo MADE; sleep 100";
        let spec = fixture.spec(script);
        let id = fixture.run(&spec).await.unwrap();
        let inside = fixture.exec(&id, "cat /proc/self/status; unshare -U true || echo refused").await;
        assert_eq!(status(&inside.output, "Seccomp"), "2", "for commands inside as well");
        assert!(inside.output.contains("refused"));
        fixture.said(&id, "unshare: unshare(0x10000000): Operation not permitted").await;
        let output = fixture.output(&id).await;
        assert_eq!(status(&output, "Seccomp"), "2");
        assert!(!output.contains("MADE"));
        let open = fixture
            .says("grep Seccomp: /proc/self/status", |spec| spec.process.seccomp_unconfined = true)
            .await;
        assert_eq!(status(&open, "Seccomp"), "0", "an explicit choice");
    });
}

#[test]
fn capabilities_are_few_and_follow_the_declaration() {
    test("capabilities", async || {
        let mut fixture = Fixture::new().await;
        let script = "cat /proc/self/status";
        let root = fixture.says(script, |_| {}).await;
        // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status(&root, set), "00000000800405fb", "{set}");
        }
        assert_eq!(status(&root, "CapInh"), "0000000000000000");
        assert_eq!(status(&root, "NoNewPrivs"), "0", "as in Docker: set-user-id programs work");
        let app = fixture.says(script, |spec| spec.process.user = Some("app".into())).await;
        assert_eq!(status(&app, "CapEff"), "0000000000000000");
        let none = fixture
            .says(script, |spec| {
                spec.process.cap_drop = vec!["ALL".into()];
                spec.process.cap_add = vec!["NET_ADMIN".into()];
                spec.process.no_new_privileges = true;
            })
            .await;
        assert_eq!(status(&none, "CapBnd"), "0000000000001000");
        assert_eq!((status(&none, "NoNewPrivs"), status(&none, "Seccomp")), ("1".into(), "2".into()));
        let full = fixture.says(script, |spec| spec.process.privileged = true).await;
        assert_eq!(
            status(&full, "CapEff"),
            status(&fs::read_to_string("/proc/self/status").unwrap(), "CapEff")
        );
    });
}

/// On v1 the library ignores `ro` on the cgroup mount: root inside raised its own limit.
#[test]
fn root_inside_cannot_raise_its_own_limit() {
    test("own limit", async || {
        let mut fixture = Fixture::new().await;
        let script = "for f in $(ls -d /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes \
            /sys/fs/cgroup/memory/*/*/memory.limit_in_bytes 2>/dev/null); do echo 999999999 > $f && echo RAISED; done; \
            mkdir /tmp/c; mount -t cgroup -o memory c /tmp/c && echo MOUNTED; \
            mount -t cgroup2 c /tmp/c && echo MOUNTED; echo done; sleep 100";
        let mut spec = fixture.spec(script);
        spec.resources.memory = Some(Bytes::mib(32));
        let id = fixture.run(&spec).await.unwrap();
        fixture.said(&id, "done").await;
        let output = fixture.output(&id).await;
        assert!(!output.contains("RAISED") && !output.contains("MOUNTED"), "{output}");
        assert_eq!(fixture.engine.usage(&id).await.unwrap().memory_limit_bytes, Some(32 << 20));
    });
}

/// The library sets its caller's own value for good.
#[test]
fn the_order_of_killing_is_the_instances_alone() {
    test("oom_score_adj", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("sleep 100");
        spec.process.oom_score_adj = Some(700);
        let id = fixture.run(&spec).await.unwrap();
        let pid = fixture.pid(&id).await;
        let adjustment = |pid: &str| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        assert_eq!(adjustment(&pid.to_string()), "700\n");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let shim = stat[stat.rfind(')').unwrap() + 2..].split(' ').nth(1).unwrap().to_owned();
        assert_eq!(adjustment(&shim), adjustment("self"));
    });
}

#[test]
fn name_spaces_are_its_own() {
    test("name spaces", async || {
        let mut fixture = Fixture::new().await;
        let script = "echo $$; hostname; ls /proc | grep -c '^[0-9]'; ip link | grep -c '^[0-9]'; \
            for n in mnt pid net uts ipc; do ls -l /proc/self/ns/$n; done";
        let output = fixture.says(script, |_| {}).await;
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(&lines[..2], ["1", "web-1"]);
        assert!(lines[2].parse::<u32>().unwrap() <= 5, "only its own processes");
        for name in ["mnt", "pid", "net", "uts", "ipc"] {
            let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            assert!(!output.contains(own.to_str().unwrap()), "{name} is shared");
        }
        let shared = fixture
            .says("ls -l /proc/self/ns/pid /proc/self/ns/net", |spec| {
                spec.process.host_pid = true;
                spec.network = model::instance::InstanceNetwork::Host;
            })
            .await;
        for name in ["pid", "net"] {
            assert!(
                shared.contains(fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap()),
                "{name}"
            );
        }
    });
}

#[test]
fn kernel_files_are_hidden_or_read_only() {
    test("masked", async || {
        let mut fixture = Fixture::new().await;
        let script = "for f in kcore keys timer_list; do test -e /proc/$f && wc -c < /proc/$f; done; ls /sys/firmware | wc -l; \
            exec 2>/dev/null; echo 1 > /proc/sys/kernel/panic && echo WROTE; echo b > /proc/sysrq-trigger && echo WROTE; \
            echo x > /sys/kernel/x && echo WROTE; mknod /tmp/d b 8 0 && echo MADE; ls /dev; true";
        let output = fixture.says(script, |_| {}).await;
        let sizes: Vec<&str> = output.lines().take_while(|line| line.parse::<u64>().is_ok()).collect();
        assert!(!sizes.is_empty() && sizes.iter().all(|size| *size == "0"), "{output}");
        assert!(!output.contains("WROTE") && !output.contains("MADE"), "{output}");
        let dev =
            ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "stdin"];
        assert!(dev.iter().all(|name| output.lines().any(|line| line == *name)), "{output}");
        assert!(!output.lines().any(|line| line.starts_with("sd") || line.starts_with("vd")));
    });
}

#[test]
fn nothing_is_left_in_the_hosts_view_of_mounts() {
    test("mounts", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 100");
        let id = fixture.run(&spec).await.unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(fixture.runtime_dir(&id).to_str().unwrap()), "{mounts}");
        assert!(!groups(&id).is_empty());
        fixture.engine.remove(&id).await.unwrap();
        assert!(groups(&id).is_empty());
    });
}
