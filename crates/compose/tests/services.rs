//! The keys of a service, short and long forms.

mod support;

use model::image::ImageSource;
use model::mount::{Mount, MountSource};
use model::service::{HealthTest, NetworkMode, PublishedPort, Transport};
use model::{DurationMs, Service};
use support::{Project, check, service, with_keys};

fn ports(service: &Service) -> String {
    let one = |p: &PublishedPort| {
        let ip = p.host_ip.map_or(String::new(), |ip| format!("{ip} "));
        let transport = if p.transport == Transport::Udp { "/udp" } else { "" };
        format!("{ip}{}>{}{transport}", p.published, p.target)
    };
    service.ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn ports_in_the_short_form() {
    for (port, expect) in [
        ("80", "0>80"),
        ("\"80\"", "0>80"),
        ("8080:80", "8080>80"),
        ("\"8080:80/udp\"", "8080>80/udp"),
        ("\"8080:80/TCP\"", "8080>80"),
        ("\"127.0.0.1:8001:8001\"", "127.0.0.1 8001>8001"),
        ("\"0.0.0.0::99\"", "0.0.0.0 0>99"),
        ("\"[::1]:80:81\"", "::1 80>81"),
        ("\"3000-3002\"", "0>3000, 0>3001, 0>3002"),
        ("\"9090-9091:8080-8081\"", "9090>8080, 9091>8081"),
        ("22:22", "22>22"),
    ] {
        assert_eq!(ports(&service(&format!("ports: [{port}]"))), expect, "{port}");
    }
}

#[test]
fn ports_in_the_long_form() {
    let long = |port: &str| ports(&service(&format!("ports: [{port}]")));
    assert_eq!(long("{target: 80}"), "0>80");
    assert_eq!(
        long("{target: 80, published: 8080, host_ip: 127.0.0.1, protocol: udp, mode: host}"),
        "127.0.0.1 8080>80/udp"
    );
    assert_eq!(long("{target: '80', published: '8080', name: web}"), "8080>80");
    let ranged = service("ports: ['3000-3010:80', '[::1]:53:53/udp']").ports;
    assert_eq!((ranged[0].published, ranged[0].published_last, ranged[0].target), (3000, 3010, 80));
    assert_eq!((ranged[1].published_last, ranged[1].host_ip.map(|ip| ip.is_ipv6())), (0, Some(true)));
}

#[test]
fn a_port_speaks_what_app_protocol_or_the_service_says() {
    let protocol = |s: &Service| s.ports.iter().map(|p| p.protocol).collect::<Vec<_>>();
    check("ports: [{target: 1, app_protocol: http}, 2]", protocol, "[Http, Auto]");
    check("ports: [{target: 1, app_protocol: http}, 2]\nx-juchu: {protocol: tcp}", protocol, "[Http, Tcp]");
    let http2 =
        |s: &Service| (s.policy.gateway.traffic.http2, s.ports.iter().map(|p| p.http2).collect::<Vec<_>>());
    check(
        "ports: [{target: 1, app_protocol: grpc}, {target: 2, app_protocol: h2c}, 3]",
        http2,
        "(false, [true, true, false])",
    );
    check("ports: [{target: 1, app_protocol: http2}]", protocol, "[Http]");
    check("x-juchu: {gateway: {protocol: grpc}}", http2, "(true, [])");
}

#[test]
fn repeated_ports_are_one() {
    assert_eq!(
        ports(&service("ports: ['80:80', '80:80/tcp', {target: 80, published: '80'}, '80:80/udp']")),
        "80>80, 80>80/udp"
    );
}

#[test]
fn exposed_ports_and_ranges() {
    let expose =
        |s: &Service| s.expose.iter().map(|e| (e.port, e.transport == Transport::Udp)).collect::<Vec<_>>();
    check("expose: [80, '90-91', '53/udp']", expose, "[(80, false), (90, false), (91, false), (53, true)]");
}

fn mounts(service: &Service) -> String {
    let one = |mount: &Mount| {
        let source = match &mount.source {
            MountSource::Bind { path, create, .. } => {
                format!("{}{}", path.display(), if *create { "+" } else { "" })
            }
            MountSource::Volume { name, no_copy, subpath } => {
                format!("@{name}{}{}", if *no_copy { "!" } else { "" }, subpath.as_deref().unwrap_or(""))
            }
            MountSource::Anonymous => "anonymous".to_owned(),
            MountSource::Tmpfs { size, mode } => format!("tmpfs {:?} {mode:?}", size.map(|s| s.0)),
        };
        format!("{source}>{}{}", mount.target, if mount.read_only { " ro" } else { "" })
    };
    service.mounts.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn with_volumes(keys: &str) -> String {
    let yaml = format!(
        "services:\n  a:\n    image: x\n    {keys}\nvolumes: {{vol: , owned: {{name: own}}, ext: {{external: true}}}}\n"
    );
    let (stack, said) = Project::new(&yaml).warned();
    assert!(!said.contains("error"), "{said}");
    mounts(&stack.services["a"])
}

#[test]
fn volumes_in_the_short_form() {
    for (volume, expect) in [
        ("./x:/y", "/p/app/x+>/y"),
        (".:/y:ro", "/p/app+>/y ro"),
        ("../up:/y:rw", "/p/up+>/y"),
        ("/abs/./a/../b:/y", "/abs/b+>/y"),
        ("~/a:/b", "/home/me/a+>/b"),
        ("~:/b", "/home/me+>/b"),
        ("vol:/data", "@app_vol>/data"),
        ("owned:/data:ro", "@own>/data ro"),
        ("ext:/data:nocopy", "@ext!>/data"),
        ("/anonymous", "anonymous>/anonymous"),
        ("./x:/y:ro,z", "/p/app/x+>/y ro"),
    ] {
        assert_eq!(with_volumes(&format!("volumes: ['{volume}']")), expect, "{volume}");
    }
}

#[test]
fn volumes_in_the_long_form() {
    for (volume, expect) in [
        ("{type: bind, source: ./q, target: /q}", "/p/app/q>/q"),
        (
            "{type: bind, source: ./q, target: /q, read_only: true, bind: {create_host_path: true}}",
            "/p/app/q+>/q ro",
        ),
        ("{type: volume, source: vol, target: /v, volume: {nocopy: true, subpath: s}}", "@app_vol!s>/v"),
        ("{type: volume, target: /v}", "anonymous>/v"),
        ("{type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 0755}}", "tmpfs Some(67108864) Some(493)>/t"),
        ("{type: tmpfs, target: /t, tmpfs: {size: 1024, mode: 01777}}", "tmpfs Some(1024) Some(1023)>/t"),
    ] {
        assert_eq!(with_volumes(&format!("volumes: [{volume}]")), expect, "{volume}");
    }
}

#[test]
fn tmpfs_as_text_and_list() {
    assert_eq!(mounts(&service("tmpfs: /run")), "tmpfs None None>/run");
    assert_eq!(
        mounts(&service("tmpfs: [/run, '/tmp:size=64m,mode=1777,noexec']")),
        "tmpfs None None>/run, tmpfs Some(67108864) Some(1023)>/tmp"
    );
}

#[test]
fn commands_as_text_list_and_nothing() {
    check("command: sh -c 'echo hi' x", |s| s.command.clone(), r#"Some(["sh", "-c", "echo hi", "x"])"#);
    check("command: [a, b c]", |s| s.command.clone(), r#"Some(["a", "b c"])"#);
    check("command:", |s| s.command.clone(), "None");
    check("command: []", |s| s.command.clone(), "Some([])");
    check("entrypoint: ''", |s| s.entrypoint.clone(), "Some([])");
    check("command: >\n  a\n  b", |s| s.command.clone(), r#"Some(["a", "b"])"#);
}

#[test]
fn dependencies_short_long_and_implied() {
    let yaml = |keys: &str| format!("services:\n  a: {{image: x, {keys}}}\n  b: {{image: x}}\n");
    let depends = |keys: &str| {
        let stack = Project::new(&yaml(keys)).warned().0;
        format!(
            "{:?}",
            stack.services["a"]
                .depends_on
                .iter()
                .map(|(n, d)| (n.to_string(), d.condition, d.required, d.restart))
                .collect::<Vec<_>>()
        )
    };
    assert_eq!(depends("depends_on: [b]"), r#"[("b", ServiceStarted, true, false)]"#);
    assert_eq!(
        depends("depends_on: {b: {condition: service_healthy, required: false, restart: true}}"),
        r#"[("b", ServiceHealthy, false, true)]"#
    );
    assert_eq!(
        depends("depends_on: {b: {condition: service_completed_successfully}}"),
        r#"[("b", ServiceCompletedSuccessfully, true, false)]"#
    );
    assert_eq!(depends("links: ['b']"), r#"[("b", ServiceStarted, true, true)]"#);
    assert_eq!(depends("network_mode: 'service:b'"), r#"[("b", ServiceStarted, true, true)]"#);
    assert_eq!(depends("volumes_from: ['b:ro']"), r#"[("b", ServiceStarted, true, false)]"#);
}

fn test_of(service: &Service) -> Option<HealthTest> {
    service.healthcheck.as_ref().map(|check| check.test.clone())
}

#[test]
fn health_checks() {
    check("healthcheck: {test: curl x}", test_of, r#"Some(Shell { script: "curl x" })"#);
    check("healthcheck: {test: [CMD, curl, x]}", test_of, r#"Some(Exec { argv: ["curl", "x"] })"#);
    check("healthcheck: {test: [CMD-SHELL, curl x]}", test_of, r#"Some(Shell { script: "curl x" })"#);
    check("healthcheck: {test: [NONE]}", test_of, "Some(None)");
    check("healthcheck: {disable: true}", test_of, "Some(None)");
    let check = service(
        "healthcheck: {test: x, interval: 1m30s, timeout: 500ms, retries: 5, start_period: 2h, start_interval: 1.5s}",
    )
    .healthcheck
    .unwrap();
    assert_eq!(
        [check.interval, check.timeout, check.start_period, check.start_interval],
        [90_000, 500, 7_200_000, 1500].map(|ms| Some(DurationMs(ms)))
    );
    assert_eq!(check.retries, Some(5));
}

#[test]
fn health_from_the_host_wins() {
    check("x-juchu: {health: {http: 8080/ok}}", test_of, r#"Some(Http { port: 8080, path: "/ok" })"#);
    check("x-juchu: {health: {http: 8080}}", test_of, r#"Some(Http { port: 8080, path: "/" })"#);
    check(
        "x-juchu: {health: {http: {port: 80, path: ok}}}",
        test_of,
        r#"Some(Http { port: 80, path: "/ok" })"#,
    );
    check("x-juchu: {health: {tcp: 5432, retries: 2}}", test_of, "Some(Tcp { port: 5432 })");
    check("healthcheck: {test: x}\nx-juchu: {health: {tcp: 1}}", test_of, "Some(Tcp { port: 1 })");
}

#[test]
fn restart_policies() {
    let restart = |s: &Service| s.restart;
    check("init: true", restart, "No");
    check("restart: 'no'", restart, "No");
    check("restart: no", restart, "No");
    check("restart: always", restart, "Always");
    check("restart: unless-stopped", restart, "UnlessStopped");
    check("restart: on-failure", restart, "OnFailure { max_retries: None }");
    check("restart: on-failure:3", restart, "OnFailure { max_retries: Some(3) }");
    check("deploy: {restart_policy: {condition: none}}", restart, "No");
    check("deploy: {restart_policy: {condition: any}}", restart, "Always");
    check(
        "restart: always\ndeploy: {restart_policy: {condition: on-failure, max_attempts: 2}}",
        restart,
        "OnFailure { max_retries: Some(2) }",
    );
}

#[test]
fn replicas_and_limits_in_both_forms() {
    check("scale: 3", |s| s.replicas, "3");
    check("deploy: {replicas: 2}", |s| s.replicas, "2");
    check("deploy: {replicas: 0}", |s| s.replicas, "0");
    let new = service(
        "deploy: {resources: {limits: {cpus: '0.5', memory: 64m, pids: 9}, reservations: {memory: 32m}}}",
    );
    let old = service("cpus: 0.5\nmem_limit: 64m\npids_limit: 9\nmem_reservation: 32m");
    assert_eq!(new.resources, old.resources);
    assert_eq!(new.resources.memory.unwrap().0, 64 << 20);
    assert_eq!(new.resources.cpus.unwrap().0, 500);
    let more = service("cpu_shares: 512\ncpuset: 0-1,3\nmemswap_limit: -1\nmem_limit: 1024").resources;
    assert_eq!(
        (more.cpu_shares, more.cpuset.as_deref(), more.memory_swap),
        (Some(512), Some("0-1,3"), Some(-1))
    );
    assert_eq!(more.memory.unwrap().0, 1024);
    check("mem_limit: -1\npids_limit: -1", |s| (s.resources.memory, s.resources.pids), "(None, Some(-1))");
}

#[test]
fn update_config() {
    let update = service(
        "deploy: {update_config: {parallelism: 2, delay: 10s, order: start-first, failure_action: rollback, monitor: 5s, max_failure_ratio: 0.1}}",
    )
    .update;
    assert_eq!(
        format!("{update:?}"),
        "UpdateConfig { order: Some(StartFirst), parallelism: Some(2), delay: Some(DurationMs(10000)), \
         monitor: Some(DurationMs(5000)), failure_action: Some(Rollback), max_failure_ratio: Some(0.1) }"
    );
}

#[test]
fn process_settings() {
    check("user: '1000:1000'", |s| s.process.user.clone(), r#"Some("1000:1000")"#);
    check(
        "init: true\nread_only: true\ntty: true\nstdin_open: true\nprivileged: true",
        |s| {
            let p = &s.process;
            (p.init, p.read_only, p.tty, p.stdin_open, p.privileged)
        },
        "(true, true, true, true, true)",
    );
    check(
        "cap_add: [NET_ADMIN, NET_ADMIN]\ncap_drop: [ALL]",
        |s| (s.process.cap_add.clone(), s.process.cap_drop.clone()),
        r#"(["NET_ADMIN"], ["ALL"])"#,
    );
    check(
        "ulimits: {nofile: 1024, nproc: {soft: 1, hard: 2}, core: -1}",
        |s| s.process.ulimits.clone(),
        r#"{"core": (-1, -1), "nofile": (1024, 1024), "nproc": (1, 2)}"#,
    );
    check(
        "sysctls: [net.core.somaxconn=1024]",
        |s| s.process.sysctls.clone(),
        r#"{"net.core.somaxconn": "1024"}"#,
    );
    check(
        "sysctls: {net.core.somaxconn: 1024}",
        |s| s.process.sysctls.clone(),
        r#"{"net.core.somaxconn": "1024"}"#,
    );
    let hosts = r#"{"a": ["1.2.3.4"], "b": ["::1"]}"#;
    check("extra_hosts: ['a:1.2.3.4', 'b:::1']", |s| s.process.extra_hosts.clone(), hosts);
    check("extra_hosts: ['a=1.2.3.4', 'b=[::1]']", |s| s.process.extra_hosts.clone(), hosts);
    check("extra_hosts: {a: 1.2.3.4, b: ['::1']}", |s| s.process.extra_hosts.clone(), hosts);
    check(
        "extra_hosts: ['host.docker.internal:host-gateway']",
        |s| s.process.extra_hosts.clone(),
        r#"{"host.docker.internal": ["host-gateway"]}"#,
    );
    check(
        "dns: 1.1.1.1\ndns_search: [x.y]\ndns_opt: [ndots:2]",
        |s| (s.process.dns.clone(), s.process.dns_search.clone(), s.process.dns_opt.clone()),
        r#"([1.1.1.1], ["x.y"], ["ndots:2"])"#,
    );
    check("shm_size: 64m", |s| s.process.shm_size, "Some(Bytes(67108864))");
    check(
        "devices: [/dev/a, '/dev/a:/dev/b:r']",
        |s| {
            s.process
                .devices
                .iter()
                .map(|d| format!("{} {} {}", d.source, d.target, d.permissions))
                .collect::<Vec<_>>()
        },
        r#"["/dev/a /dev/a rwm", "/dev/a /dev/b r"]"#,
    );
    check(
        "devices: [{source: /dev/a, target: /dev/b, permissions: rw}]",
        |s| s.process.devices[0].target.clone(),
        r#""/dev/b""#,
    );
    check("group_add: [1, audio]", |s| s.process.group_add.clone(), r#"["1", "audio"]"#);
    check(
        "security_opt: ['no-new-privileges:true', seccomp=unconfined]",
        |s| (s.process.no_new_privileges, s.process.seccomp_unconfined),
        "(true, true)",
    );
    check(
        "pid: host\nipc: host\noom_score_adj: -500",
        |s| (s.process.host_pid, s.process.host_ipc, s.process.oom_score_adj),
        "(true, true, Some(-500))",
    );
    check(
        "hostname: h\ndomainname: d\ncontainer_name: cc\nworking_dir: /w",
        |s| {
            let p = &s.process;
            (p.hostname.clone(), p.domainname.clone(), p.container_name.clone(), p.working_dir.clone())
        },
        r#"(Some("h"), Some("d"), Some("cc"), Some("/w"))"#,
    );
    check(
        "stop_signal: SIGINT\nstop_grace_period: 1m",
        |s| (s.stop_signal.clone(), s.stop_grace),
        r#"(Some("SIGINT"), DurationMs(60000))"#,
    );
    check("init: true", |s| s.stop_grace, "DurationMs(10000)");
    check("platform: linux/amd64", |s| s.platform.clone(), r#"Some("linux/amd64")"#);
}

#[test]
fn labels_in_both_forms() {
    check("labels: ['a=b', c]", |s| s.labels.clone(), r#"{"a": "b", "c": ""}"#);
    check("labels: {a: 1.5, b: true, c: }", |s| s.labels.clone(), r#"{"a": "1.5", "b": "true", "c": ""}"#);
}

#[test]
fn network_modes() {
    check("network_mode: host", |s| s.network_mode.clone(), "Host");
    check("network_mode: none", |s| (s.network_mode.clone(), s.networks.len()), "(None, 0)");
    check("network_mode: bridge", |s| (s.network_mode.clone(), s.networks.len()), "(Stack, 1)");
    let stack =
        Project::new("services:\n  a: {image: x, network_mode: 'service:b'}\n  b: {image: x}").clean();
    assert!(
        matches!(&stack.services["a"].network_mode, NetworkMode::Service { service } if service.as_str() == "b")
    );
    let (stack, said) = with_keys("network_mode: host\nports: ['80:80']").warned();
    assert!(stack.services["a"].ports.is_empty());
    assert!(said.contains("warning: `ports` have no effect with `network_mode: host`"), "{said}");
}

fn image(keys: &str) -> ImageSource {
    let yaml = format!("services:\n  a:\n    {}\n", keys.replace('\n', "\n    "));
    Project::new(&yaml).warned().0.services.remove("a").unwrap().image
}

#[test]
fn the_source_of_an_image() {
    assert_eq!(
        format!("{:?}", image("image: x\npull_policy: always")),
        r#"Pull { reference: "x", policy: Always }"#
    );
    let ImageSource::Build(build) = image("image: x\nbuild: ./ctx") else { panic!("build wins over image") };
    assert_eq!(build.context.as_deref(), Some(std::path::Path::new("/p/app/ctx")));
    let ImageSource::Build(build) = image(
        "build: {dockerfile: D, args: [A=1, NOPE], target: t, labels: {l: 1}}\nx-juchu: {builder: dockerfile}",
    ) else {
        panic!("a build")
    };
    assert_eq!(build.context.as_deref(), Some(std::path::Path::new("/p/app")));
    assert_eq!(
        format!("{:?} {:?} {:?} {:?}", build.builder, build.args, build.target, build.labels),
        r#"Dockerfile {"A": "1"} Some("t") {"l": "1"}"#
    );
    assert_eq!(
        format!("{:?}", image("build: .\nx-juchu: {component: postgres, options: {version: 17}}")),
        r#"Component { name: "postgres", options: Object {"version": Number(17)} }"#
    );
}

#[test]
fn the_native_image_stated_by_hand() {
    let ImageSource::Build(build) = image(
        "x-juchu:\n  builder: native\n  image:\n    kind: python\n    packages: [curl]\n    user: 1000\n    expose: [8000]\n    environment: {N: 1}\n    files: {/etc/x: conf/x}\n    archive: {suite: trixie}",
    ) else {
        panic!("x-juchu.image is a build")
    };
    assert_eq!(build.context, None);
    assert_eq!(build.image.kind.as_deref(), Some("python"));
    assert_eq!(
        (build.image.user.as_deref(), &build.image.expose[..]),
        (Some("1000"), &["8000".to_owned()][..])
    );
    assert_eq!(build.image.environment["N"], "1");
    assert_eq!(build.image.archive.unwrap().suite.as_deref(), Some("trixie"));
}

#[test]
fn the_policy_of_a_service() {
    let policy = service(
        "x-juchu: {direct: true, on_unhealthy: drain, ready_timeout: 5s, log: {max_size: 1m, max_files: 2}}",
    )
    .policy;
    assert_eq!(
        format!("{:?} {:?} {:?}", policy.direct, policy.on_unhealthy, policy.ready_timeout),
        "true Some(Drain) Some(DurationMs(5000))"
    );
    assert_eq!(
        format!("{:?}", policy.log),
        "LogPolicy { max_size: Some(Bytes(1048576)), max_files: Some(2), off: false }"
    );
    check(
        "logging: {driver: json-file, options: {max-size: 10m, max-file: '3'}}",
        |s| s.policy.log.clone(),
        "LogPolicy { max_size: Some(Bytes(10485760)), max_files: Some(3), off: false }",
    );
    check("logging: {driver: none}", |s| s.policy.log.off, "true");
}

#[test]
fn how_a_release_takes_over() {
    check(
        "x-juchu: {hold: 10s, rollout: {canary: 10%, canary_time: 20s, probes: 2, min_healthy: 1s, warm: 0s, drain: 5s}}",
        |s| (s.policy.hold, s.policy.rollout.clone()),
        "(Some(DurationMs(10000)), RolloutPolicy { canary: Some(Percent(10)), canary_time: Some(DurationMs(20000)), \
         probes: Some(2), min_healthy: Some(DurationMs(1000)), warm: Some(DurationMs(0)), drain: Some(DurationMs(5000)), judge: None })",
    );
    check(
        "x-juchu: {rollout: {judge: true}}",
        |s| (s.policy.rollout.is_compared(), s.policy.rollout.trial().map(|judge| judge.without_traffic)),
        "(true, Some(Keep))",
    );
    check(
        "x-juchu: {rollout: {canary: 10%, judge: false}}",
        |s| (s.policy.rollout.serves_beside(), s.policy.rollout.is_compared()),
        "(true, false)",
    );
    check(
        "x-juchu: {rollout: {judge: {limit: 5m, cold_start: 10s, without_traffic: rollback}}}",
        |s| s.policy.rollout.judge.clone(),
        "Some(JudgePolicy { off: false, limit: Some(DurationMs(300000)), cold_start: Some(DurationMs(10000)), \
         without_traffic: Rollback, ask: [] })",
    );
    check(
        "x-juchu: {rollout: {judge: {ask: [8080/, '8080/cart?of=1']}}}",
        |s| s.policy.rollout.trial().map(|judge| judge.ask.clone()),
        r#"Some([Asked { port: 8080, path: "/" }, Asked { port: 8080, path: "/cart?of=1" }])"#,
    );
    check(
        "x-juchu: {rollout: {progress_deadline: 90s}}",
        |s| s.policy.ready_timeout,
        "Some(DurationMs(90000))",
    );
    check(
        "deploy: {rollback_config: {order: stop-first, parallelism: 0}}",
        |s| s.rollback.as_ref().map(|r| (r.order, r.parallelism)),
        "Some((Some(StopFirst), Some(0)))",
    );
}

#[test]
fn yaml_scalars_read_as_in_compose() {
    let yaml = "environment: {O: 0755, P: 0o17, H: 0x1F, U: 1_000, F: 1.10, E: 1e3, B: TRUE, Y: yes, S: 22:22, L: 12345678.5, BIG: 1e21, N: -0, Q: '1.10'}";
    check(
        yaml,
        |s| s.environment.clone(),
        r#"{"B": "true", "BIG": "1e+21", "E": "1000", "F": "1.1", "H": "31", "L": "1.23456785e+07", "N": "0", "O": "493", "P": "15", "Q": "1.10", "S": "22:22", "U": "1000", "Y": "yes"}"#,
    );
}

#[test]
fn tls_by_one_word_and_by_its_keys() {
    let tls = |s: &Service| match &s.policy.tls {
        None => "none".to_owned(),
        Some(tls) => {
            let ports = tls.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
            format!("{} [{}] [{ports}] {}", tls.source.word(), tls.hosts.join(" "), tls.redirect)
        }
    };
    let said =
        |policy: &str| tls(&service(&format!("ports: ['443:80', '80:80']\nx-juchu: {{tls: {policy}}}")));
    assert_eq!(said("off"), "none");
    assert_eq!(said("{from: off}"), "none");
    assert_eq!(said("internal"), "internal [] [] false");
    assert_eq!(
        said("{from: internal, hosts: [Shop.test, 127.0.0.1, '*.shop.test'], ports: [443], redirect: true}"),
        "internal [shop.test 127.0.0.1 *.shop.test] [443] true"
    );
    assert_eq!(
        said("{from: auto, hosts: [shop.example.org], accept_terms: true}"),
        "auto [shop.example.org] [] false"
    );
    let files = service("ports: ['443:80']\nx-juchu: {tls: {certificate: ./a.pem, key: /etc/a.key}}");
    let source = files.policy.tls.expect("it is declared").source;
    let model::certificate::CertificateSource::Files { certificate, key } = source else {
        panic!("it comes from files")
    };
    assert!(certificate.starts_with('/') && certificate.ends_with("a.pem"), "{certificate}");
    assert_eq!(key, "/etc/a.key");
}
