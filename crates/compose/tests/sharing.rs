//! Keys by which a service shares with the host or with another service, and what is run beside it.

mod support;

use model::service::{BlockIo, Hook, Hooks};
use support::{Project, with_keys};

/// The service `a` with these keys, beside a service `b`.
fn service(keys: &str) -> model::Service {
    let body: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    let yaml = format!("services:\n  b: {{image: y}}\n  a:\n    image: x\n{body}");
    let project = Project::new(&yaml).file("profile.json", r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#);
    project.clean().services.remove("a").expect("it is there")
}

#[test]
fn hooks_keep_their_order_and_their_settings() {
    let hooks = service(
        "post_start:\n- {command: [a, b], user: root, privileged: true, working_dir: /w, environment: {A: b}}\n\
         - command: c 'd e'\npre_stop: [{command: f}]",
    )
    .hooks;
    let command = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    let first = Hook {
        command: command(&["a", "b"]),
        user: Some("root".into()),
        privileged: true,
        working_dir: Some("/w".into()),
        environment: [("A".to_owned(), "b".to_owned())].into(),
    };
    let second = Hook { command: command(&["c", "d e"]), ..Hook::default() };
    let stop = Hook { command: command(&["f"]), ..Hook::default() };
    assert_eq!(hooks, Hooks { post_start: vec![first, second], pre_stop: vec![stop] });
}

#[test]
fn what_is_shared_is_said_with_whom() {
    let process =
        service("ipc: service:b\npid: service:b\nuts: host\ncgroup: host\nuserns_mode: host").process;
    let name = |name: &Option<model::ServiceName>| name.as_ref().map(ToString::to_string);
    assert_eq!((name(&process.ipc_of), name(&process.pid_of)), (Some("b".into()), Some("b".into())));
    assert!(process.host_uts && process.host_cgroup && !process.host_ipc && !process.host_pid);
    let process =
        service("ipc: host\npid: host\nannotations: {a: b}\ndevice_cgroup_rules: ['c 1:* rw']").process;
    assert!(process.host_ipc && process.host_pid && !process.host_uts);
    assert_eq!(process.device_cgroup_rules, ["c 1:* rw"]);
    assert_eq!(process.annotations["a"], "b");
    let process = service(
        "ipc: shareable\nsecurity_opt: ['seccomp:profile.json', 'apparmor=unconfined', 'label:disable']",
    )
    .process;
    assert_eq!(process.seccomp_profile.as_deref(), Some(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#));
}

#[test]
fn limits_of_time_and_disk() {
    let resources = service(
        "cpu_quota: 50000\ncpu_period: 20000\nmem_swappiness: 10\noom_kill_disable: true\n\
         blkio_config: {weight: 300, device_read_bps: [{path: /dev/sda, rate: '12mb'}], device_write_iops: [{path: /dev/sda, rate: 30}]}",
    )
    .resources;
    assert_eq!((resources.cpu_quota_us, resources.cpu_period_us), (Some(50_000), Some(20_000)));
    assert_eq!((resources.swappiness, resources.oom_kill_disable), (Some(10), true));
    let io: BlockIo = *resources.block_io.expect("it is declared");
    assert_eq!(
        (io.weight, io.device_read_bps[0].number, io.device_write_iops[0].number),
        (Some(300), 12 << 20, 30)
    );
}

#[test]
fn volumes_from_takes_the_mounts_of_another_service() {
    let stack = Project::new(
        "services:\n  a: {image: x, volumes_from: ['b:ro', c], volumes: ['own:/data']}\n  \
         b: {image: x, volumes: ['data:/data', 'logs:/logs', '/host:/host']}\n  c: {image: x, volumes: ['more:/more']}\n\
         volumes: {data: , logs: , own: , more: }",
    )
    .clean();
    let a = &stack.services["a"];
    let mounts: Vec<_> = a.mounts.iter().map(|mount| (mount.target.as_str(), mount.read_only)).collect();
    assert_eq!(mounts, [("/data", false), ("/logs", true), ("/host", true), ("/more", false)]);
    assert!(a.depends_on.len() == 2 && stack.volumes.contains_key("data"));
}

#[test]
fn options_of_mounts_are_kept_and_those_that_cannot_be_are_said() {
    let service = service(
        "tmpfs: ['/run:size=1m,mode=755,uid=5,exec']\nvolumes:\n\
         - {type: bind, source: /s, target: /t, read_only: true, bind: {propagation: rslave, recursive: writable}}\n\
         - /p:/p:slave",
    );
    let options: Vec<_> = service.mounts.iter().map(|mount| mount.options.join(",")).collect();
    assert_eq!(options, ["rslave,writable-below", "slave", "uid=5,exec"]);
    assert!(service.stop_grace.0 == 10_000 && !service.stop_grace_given);
}

#[test]
fn values_that_cannot_be_are_refused_or_said_to_have_no_effect() {
    let said = |keys: &str| {
        let loaded = with_keys(keys).load();
        let all = loaded.diagnostics.into_iter().chain(loaded.refusals);
        all.map(|diagnostic| diagnostic.message).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        said("ipc: 'container:x'"),
        "`ipc: container:x` of `a` has no effect: use `host` or `service:NAME`; without it the service has its own"
    );
    assert_eq!(
        said("deploy: {mode: replicated-job}"),
        "`deploy.mode: replicated-job` of `a` has no effect: it runs as a service does; with `restart: \"no\"` it may end"
    );
    assert_eq!(said("deploy: {mode: global}"), "");
    assert!(
        said("volumes: ['/p:/p:rshared']")
            .contains("`volumes.bind.propagation: rshared` of `a` has no effect")
    );
    assert!(
        said("security_opt: ['seccomp=gone.json']").contains("the seccomp profile gone.json cannot be used")
    );
    assert!(said("device_cgroup_rules: ['x']").contains("`x` is not a rule for devices"));
    assert!(said("cpus: 1\ncpu_quota: 5").contains("`cpus` and `cpu_quota` say the same"));
    assert!(said("blkio_config: {weight: 5}").contains("a weight cannot be `5`"));
}
