//! What is wrong is said in one sentence, at its place, with a hint where one helps.

mod support;

use support::{Project, with_keys};

/// A whole file and everything that is said about it.
#[track_caller]
fn check(yaml: &str, expect: &[&str]) {
    let said = Project::new(yaml).refused();
    let expect: Vec<String> = expect.iter().map(|line| format!("compose.yaml:{line}")).collect();
    assert_eq!(said, expect.join("\n"), "\n{yaml}");
}

/// Keys of a service, from line 4 column 5 on.
#[track_caller]
fn check_keys(keys: &str, expect: &[&str]) {
    let said = with_keys(keys).refused();
    let expect: Vec<String> = expect.iter().map(|line| format!("compose.yaml:{line}")).collect();
    assert_eq!(said, expect.join("\n"), "\n{keys}");
}

#[test]
fn yaml_itself() {
    check(
        "services:\n\ta: 1\n",
        &[
            "2:2: error: not valid YAML: tabs disallowed within this context (block indentation); hint: indent with spaces, not tabs",
        ],
    );
    check(
        "a: *nope\n",
        &[
            "1:4: error: not valid YAML: while parsing node, found unknown anchor; hint: define the anchor with `&name` before the alias uses it",
        ],
    );
    check(
        "services:\n  a:\n    image: x\n    image: y\n",
        &["4:5: error: `image` is already defined on line 3; hint: keep one of the two"],
    );
    check(
        "services: {a: {image: x, environment: {1: a}}}",
        &["1:40: error: a key must be text, this is a number; hint: put it in quotes: \"1\""],
    );
    check(
        "services:\n  a:\n    <<: 5\n    image: x\n",
        &["3:9: error: `<<` takes a mapping or a list of mappings"],
    );
    check("", &["1:1: error: the Compose file is empty; hint: start it with `services:`"]);
    check("# only a comment\n", &["1:1: error: the Compose file is empty; hint: start it with `services:`"]);
    check(
        "- a\n",
        &["1:1: error: a Compose file must be a mapping, this is a list; hint: start it with `services:`"],
    );
    check(
        "just text",
        &["1:1: error: a Compose file must be a mapping, this is text; hint: start it with `services:`"],
    );
    let said = Project::empty().bytes("compose.yaml", b"a: 1\nb: \xff").refused();
    assert_eq!(said, "compose.yaml:2:4: error: the file is not UTF-8 text");
    let said = Project::new("a: 1\nb: x\0y").refused();
    assert_eq!(said, "compose.yaml:2:5: error: the file contains a NUL byte");
}

#[test]
fn limits_of_yaml() {
    let said = Project::new(&format!("a: {}{}", "[".repeat(200), "]".repeat(200))).refused();
    assert_eq!(said, "compose.yaml:1:131: error: nested deeper than 128 levels");
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let said = Project::new(&laughs).refused();
    assert!(said.contains("error: anchors and aliases repeat more than 12 MiB of values"), "{said}");
    let said = Project::new(&format!("a: [{}]", "x, ".repeat(400_000))).refused();
    assert!(said.contains("error: the file has more than 400000 values"), "{said}");
    let said = Project::new("a: &a [*a]").refused();
    assert_eq!(said, "compose.yaml:1:8: error: the alias stands inside the value it names");
    let big = format!("services: {{a: {{image: x}}}}\n# {}", "x".repeat(9 << 20));
    let expect = format!("compose.yaml:1:1: error: the file has {} bytes, the limit is 8388608", big.len());
    assert_eq!(Project::new(&big).refused(), expect);
}

#[test]
fn unknown_keys_and_their_nearest() {
    check_keys(
        "enviroment: {}",
        &["4:5: error: `services.a` has an unknown key `enviroment`; hint: did you mean `environment`?"],
    );
    check_keys("zzz: {}", &["4:5: error: `services.a` has an unknown key `zzz`"]);
    check(
        "service: {}\nservices: {a: {image: x}}",
        &["1:1: error: unknown top-level key `service`; hint: did you mean `services`?"],
    );
    check_keys(
        "healthcheck: {test: x, intervall: 5s}",
        &[
            "4:28: error: `services.a.healthcheck` has an unknown key `intervall`; hint: did you mean `interval`?",
        ],
    );
    check_keys(
        "x-juchu: {image: {pakages: [a]}}",
        &[
            "4:23: error: `services.a.x-juchu.image` has an unknown key `pakages`; hint: did you mean `packages`?",
        ],
    );
}

#[test]
fn wrong_types() {
    check_keys(
        "user: 1000",
        &["4:11: error: `services.a.user` must be text, this is a number; hint: put it in quotes: \"1000\""],
    );
    check_keys("ports: 80", &["4:12: error: `services.a.ports` must be a list, this is a number"]);
    check_keys(
        "environment: A=1",
        &["4:18: error: `services.a.environment` must be a mapping or a list of `NAME=value`, this is text"],
    );
    check_keys(
        "environment: {A: [1]}",
        &["4:22: error: `services.a.environment.A` must be text, a number or a boolean, this is a list"],
    );
    check_keys(
        "environment: [A=1, {B: 1}]",
        &["4:24: error: `services.a.environment[1]` must be text, this is a mapping"],
    );
    check_keys("init: maybe", &["4:11: error: `services.a.init` must be `true` or `false`, `maybe` is not"]);
    check_keys("scale: 1.5", &["4:12: error: `services.a.scale` must be a whole number, `1.5` is not"]);
    check_keys(
        "depends_on: b",
        &["4:17: error: `services.a.depends_on` must be a list or a mapping, this is text"],
    );
    check_keys(
        "environment:",
        &[
            "4:16: error: `services.a.environment` must be a mapping or a list of `NAME=value`, this is nothing; hint: give a value or remove the key",
        ],
    );
    check(
        "services:\n  a:\n",
        &[
            "2:4: error: `services.a` must be a mapping, this is nothing; hint: give a value or remove the key",
        ],
    );
    check(
        "version: 3.8\nservices: {a: {image: x}}",
        &["1:10: error: `version` must be text, this is a number; hint: put it in quotes: \"3.8\""],
    );
    check_keys(
        "volumes: [{type: tmpfs, target: /t, tmpfs: {mode: '0999'}}]",
        &["4:55: error: `services.a.volumes[0].tmpfs.mode` must be a number without quotes, `0999` is not"],
    );
}

#[test]
fn wrong_values() {
    check_keys(
        "stop_grace_period: 10x",
        &[
            "4:24: error: `services.a.stop_grace_period`: `10x` is not a duration; hint: write a number with a unit, such as `500ms`, `30s` or `1m30s`",
        ],
    );
    check_keys(
        "mem_limit: 5x",
        &[
            "4:16: error: `services.a.mem_limit`: `5x` is not a size; hint: write a number with a unit, such as `64m` or `1gb`",
        ],
    );
    check_keys("cpus: many", &["4:11: error: `services.a.cpus` must be a number, `many` is not"]);
    check_keys(
        "restart: allways",
        &["4:14: error: `restart` cannot be `allways`; hint: did you mean `always`?"],
    );
    check_keys(
        "restart: always:3",
        &[
            "4:14: error: `restart` cannot be `always:3`; hint: use no, always, on-failure[:TIMES] or unless-stopped",
        ],
    );
    check_keys(
        "command: \"a 'b\"",
        &[
            "4:14: error: `command` has an open quote, an open escape or a parenthesis; hint: close the quote, or write the command as a list",
        ],
    );
    check_keys(
        "network_mode: container:x",
        &[
            "4:19: error: no service of this stack has the container name `x`; hint: only networks of this stack's own services can be shared: `network_mode: service:NAME`",
        ],
    );
    check_keys(
        "healthcheck: {test: [curl, x]}",
        &[
            "4:25: error: the health check starts with `curl` instead of `CMD`, `CMD-SHELL` or `NONE`; hint: write `[CMD, curl, …]`, or the command as one text",
        ],
    );
    check_keys(
        "x-juchu: {health: {http: 99999/x}}",
        &["4:30: error: `99999` is not a port, which is a number from 1 to 65535"],
    );
    check_keys(
        "x-juchu: {health: {interval: 5s}}",
        &[
            "4:23: error: `x-juchu.health` says neither `http` nor `tcp`; hint: write `http: 8080/healthz` or `tcp: 5432`",
        ],
    );
    check_keys(
        "x-juchu: {builder: docker}",
        &[
            "4:24: error: `services.a.x-juchu.builder` cannot be `docker`; hint: use one of `auto`, `native`, `dockerfile`",
        ],
    );
    check_keys(
        "ulimits: {nofiles: 5}",
        &["4:15: error: `nofiles` is not a limit of the kernel; hint: did you mean `nofile`?"],
    );
    check_keys(
        "ulimits: {nofile: {soft: 5, hard: 2}}",
        &[
            "4:15: error: the limit `nofile` has soft 5 and hard 2; hint: soft must not be above hard; -1 is unlimited",
        ],
    );
    check_keys("ulimits: {nofile: {soft: 5}}", &["4:23: error: `services.a.ulimits.nofile` needs `hard`"]);
    check_keys(
        "deploy: {replicas: -1}",
        &["4:24: error: `deploy.replicas` of the service `a` must be at least 0, -1 is not"],
    );
    check_keys("dns: [ns.local]", &["4:11: error: the name server `ns.local` is not an IP address"]);
    check_keys(
        "extra_hosts: [a]",
        &["4:19: error: `a` in `extra_hosts` has no address; hint: write `host=address`"],
    );
    check_keys(
        "oom_score_adj: 5000",
        &["4:20: error: `services.a.oom_score_adj` must be from -1000 to 1000, `5000` is not"],
    );
    check_keys(
        "pull_policy: sometimes",
        &[
            "4:18: error: `services.a.pull_policy` cannot be `sometimes`; hint: use one of `always`, `missing`, `never`, `build`, `daily`, `weekly`, `every_12h`",
        ],
    );
    check_keys(
        "cpuset: first",
        &["4:13: error: `cpuset` cannot be `first`; hint: write processors such as `0-1,3`"],
    );
    check_keys(
        "mem_limit: 64m\nmemswap_limit: 32m",
        &[
            "5:20: error: `memswap_limit` is smaller than the memory limit; hint: it counts memory and swap together",
        ],
    );
    check_keys(
        "build: https://example.org/x.git",
        &[
            "4:12: error: a build context is a directory, `https://example.org/x.git` is somewhere else; hint: fetch it into a directory and name that",
        ],
    );
}

#[test]
fn wrong_ports() {
    let form = "hint: write [HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]";
    for (port, reason) in [
        ("a:b", "`b` is not a port or a range of ports"),
        ("99999:80", "`99999` is not a port or a range of ports"),
        ("3000-3002:80-81", "the ranges 3000-3002 and 80-81 do not have the same length"),
        ("90-80", "`90-80` is not a port or a range of ports"),
        ("80/foo", "`foo` is not a protocol of ports"),
        ("nope:80:80", "`nope` is not an IP address"),
        ("::1:6:7", "the IPv6 address ::1 must stand in square brackets"),
        ("80:", "the port inside the service is missing"),
        ("1-65535", "the range 1-65535 has more than 4096 ports"),
    ] {
        check_keys(
            &format!("ports: ['{port}']"),
            &[&format!("4:13: error: the port `{port}` is not valid: {reason}; {form}")],
        );
    }
    check_keys(
        "ports: [{published: 80}]",
        &["4:13: error: the port has no `target`; hint: add the port inside the service: `target: 80`"],
    );
    check_keys(
        "ports: [{target: 0}]",
        &["4:22: error: `0` is not a port, which is a number from 1 to 65535"],
    );
    check_keys(
        "ports: ['1/sctp']",
        &["4:13: error: ports of protocol `sctp` are not supported; hint: use tcp or udp"],
    );
    check_keys("expose: [x]", &["4:14: error: `x` in `expose` is not a port; hint: write PORT[-PORT][/udp]"]);
    check(
        "services:\n  a: {image: x, ports: ['80:80']}\n  b: {image: x, ports: ['127.0.0.1:80:8080']}",
        &[
            "3:24: error: the services `a` and `b` both publish port 80; hint: publish one of them on another port",
        ],
    );
}

#[test]
fn wrong_volumes() {
    let form = "hint: write [SOURCE:]TARGET[:ro|rw]";
    check_keys(
        "volumes: [':/c']",
        &[&format!("4:15: error: the volume `:/c` is not valid: a part is empty; {form}")],
    );
    check_keys(
        "volumes: ['aa:/b:ro:z']",
        &[&format!("4:15: error: the volume `aa:/b:ro:z` is not valid: it has too many colons; {form}")],
    );
    check_keys(
        "volumes: [relative]",
        &[
            "4:15: error: the target of a volume must be an absolute path, `relative` is not; hint: write `/relative`",
        ],
    );
    check_keys("volumes: ['./a:/']", &["4:15: error: the target of a volume cannot be `/`"]);
    check_keys(
        "volumes: [{type: bind, target: /x}]",
        &["4:15: error: a bind mount has no `source`; hint: name a file or directory of this host"],
    );
    check_keys(
        "volumes: [{type: npipe, target: /x}]",
        &[
            "4:22: error: volumes of the type `npipe` are not supported; hint: use `bind`, `volume` or `tmpfs`",
        ],
    );
    check_keys(
        "volumes: ['a/b:/x']",
        &[
            "4:15: error: the service `a` uses the volume `a/b`, which is not declared; hint: write `./a/b` for a directory beside the file",
        ],
    );
    check_keys(
        "volumes: ['/a']\ntmpfs: [/a/]",
        &["5:12: error: two mounts have the same target `/a`; hint: remove one of them"],
    );
}

#[test]
fn references_to_nothing() {
    check_keys(
        "depends_on: [zz]\nvolumes: ['nv:/x']\nnetworks: [nn]\nconfigs: [cc]\nsecrets: [ss]",
        &[
            "4:18: error: the service `a` depends on `zz`, which is not declared; hint: declare `zz` under `services`",
            "5:15: error: the service `a` uses the volume `nv`, which is not declared; hint: declare it: `volumes: {nv: {}}`",
            "6:16: error: the service `a` uses the network `nn`, which is not declared; hint: declare it: `networks: {nn: {}}`",
            "7:15: error: the service `a` uses the config `cc`, which is not declared; hint: declare it: `configs: {cc: {}}`",
            "8:15: error: the service `a` uses the secret `ss`, which is not declared; hint: declare it: `secrets: {ss: {}}`",
        ],
    );
    check(
        "services:\n  web: {image: x, depends_on: [databse]}\n  database: {image: x}",
        &[
            "2:32: error: the service `web` depends on `databse`, which is not declared; hint: did you mean `database`?",
        ],
    );
    check(
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, profiles: [p]}",
        &[
            "2:30: error: the service `a` depends on `b`, whose profile is not active; hint: say `--profile p`, or set `required: false`",
        ],
    );
}

#[test]
fn circles() {
    check(
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}",
        &[
            "4:30: error: services depend on each other: a → b → c → a; hint: remove one of these dependencies",
        ],
    );
    check_keys(
        "depends_on: [a]",
        &[
            "4:18: error: the service `a` depends on itself; hint: remove it from `depends_on`, `links` or the mode",
        ],
    );
    check(
        "services:\n  a: {extends: b}\n  b: {extends: a}",
        &["2:16: error: services extend each other: a → b → a; hint: remove one of these `extends`"],
    );
    let said = Project::new("include: [i.yaml]\nservices: {a: {image: x}}")
        .file("i.yaml", "include: [compose.yaml]")
        .refused();
    assert_eq!(
        said,
        "i.yaml:1:11: error: files include each other: compose.yaml → i.yaml → compose.yaml; hint: remove one of these `include` entries"
    );
}

#[test]
fn extends_and_include_of_nothing() {
    check(
        "services:\n  a: {extends: webb}\n  web: {image: x}",
        &["2:16: error: the extended service `webb` is not in compose.yaml; hint: did you mean `web`?"],
    );
    check(
        "services: {a: {extends: {service: b, file: o.yaml}}}",
        &[
            "1:44: error: the Compose file o.yaml does not exist; hint: create /p/app/o.yaml, or correct the path",
        ],
    );
    check(
        "include: [o.yaml]\nservices: {}",
        &[
            "1:11: error: the Compose file o.yaml does not exist; hint: create /p/app/o.yaml, or correct the path",
        ],
    );
    let said = Project::new("include: [i.yaml]\nservices: {a: {image: x}}")
        .file("i.yaml", "services: {a: {image: y}}")
        .refused();
    assert_eq!(
        said,
        "compose.yaml:2:12: error: the service `a` is also declared, otherwise, in the included i.yaml; hint: rename one of them, or change the included one in a second `-f` file"
    );
}

#[test]
fn services_that_do_not_fit() {
    check(
        "services: {a: {}}",
        &[
            "1:12: error: the service `a` has neither `image`, `build` nor `x-juchu.component`; hint: say where its image comes from, such as `build: .`",
        ],
    );
    check(
        "x-a: 1",
        &["1:1: error: the file declares no services; hint: add `services:` with at least one service"],
    );
    check(
        "services: {\"a b\": {image: x}}",
        &["1:12: error: `a b` cannot be a name in `services`; hint: use letters, digits, `.`, `_` and `-`"],
    );
    check_keys(
        "build: {dockerfile: D, dockerfile_inline: FROM x}",
        &[
            "4:28: error: the service `a` has both `dockerfile` and `dockerfile_inline`; hint: keep one of the two",
        ],
    );
    check_keys(
        "network_mode: host\nnetworks: [default]",
        &["4:5: error: the service `a` has both `network_mode` and `networks`; hint: keep one of the two"],
    );
    check_keys(
        "scale: 3\ndeploy: {replicas: 2}",
        &["4:5: error: `scale` and `deploy.replicas` of the service `a` differ; hint: keep one of the two"],
    );
    check_keys(
        "container_name: qq\ndeploy: {replicas: 2}",
        &[
            "4:5: error: the service `a` has a `container_name` and 2 replicas; hint: remove `container_name`: every replica needs its own name",
        ],
    );
    check(
        "services:\n  a: {image: x, container_name: qq}\n  b: {image: x, container_name: qq}",
        &[
            "3:33: error: the services `a` and `b` have the same `container_name` `qq`; hint: give each its own, or remove the key",
        ],
    );
    check(
        "services:\n  a: {image: x, network_mode: 'service:b', ports: [80]}\n  b: {image: x}",
        &[
            "2:52: error: a service on the network of `b` cannot publish ports of its own; hint: publish them at `b`",
        ],
    );
}

#[test]
fn resources_that_do_not_fit() {
    let with = |rest: &str| format!("services: {{a: {{image: x}}}}\n{rest}");
    check(
        &with("secrets: {s: {}}"),
        &["2:11: error: the secret `s` has no source; hint: give it `file` or `environment`"],
    );
    check(
        &with("configs: {c: {file: a, content: b}}"),
        &[
            "2:11: error: the config `c` has more than one source; hint: keep one of `file` or `content` or `environment`",
        ],
    );
    check(
        "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {environment: TOKEN}}",
        &[
            "2:28: error: `s` takes its content from TOKEN, which is not set; hint: set TOKEN in the environment or in .env",
        ],
    );
    check(
        "services: {a: {image: x, networks: [n]}}\nnetworks: {n: {ipam: {config: [{subnet: 10/8}]}}}",
        &["2:41: error: the subnet `10/8` is not an IPv4 network; hint: write it as `10.10.0.0/24`"],
    );
    check(
        "services: {a: {image: x, networks: {n: {ipv4_address: 10.1.0.3}}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}",
        &["1:55: error: 10.1.0.3 is not in 10.0.0.0/24, the subnet of the network `n`"],
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    check(
        "services:\n  a:\n    imagee: x\n    user: 5\n    ports: ['a:b']\n    hostname: ${H:?}\n    depends_on: [c]\n  b:\n    image: x\n    networks: [n]\n    restart: maybe\n",
        &[
            "2:3: error: the service `a` has neither `image`, `build` nor `x-juchu.component`; hint: say where its image comes from, such as `build: .`",
            "3:5: error: `services.a` has an unknown key `imagee`; hint: did you mean `image`?",
            "4:11: error: `services.a.user` must be text, this is a number; hint: put it in quotes: \"5\"",
            "5:13: error: the port `a:b` is not valid: `b` is not a port or a range of ports; hint: write [HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]",
            "6:15: error: required variable H is missing a value; hint: set H in the environment or in .env",
            "7:18: error: the service `a` depends on `c`, which is not declared; hint: declare `c` under `services`",
            "10:16: error: the service `b` uses the network `n`, which is not declared; hint: declare it: `networks: {n: {}}`",
            "11:14: error: `restart` cannot be `maybe`; hint: use no, always, on-failure[:TIMES] or unless-stopped",
        ],
    );
}

#[test]
fn what_has_no_effect_is_a_warning_with_its_place() {
    let warned = |keys: &str| with_keys(keys).warned().1;
    assert_eq!(
        warned("runtime: odd"),
        "compose.yaml:4:5: warning: `runtime` of `a` has no effect: programs are run by this program itself"
    );
    assert_eq!(
        warned("isolation: process"),
        "compose.yaml:4:5: warning: `isolation` of `a` has no effect: a key of Windows"
    );
    assert!(
        warned("build: {context: ., tags: [x:1]}")
            .contains("4:25: warning: `build.tags` of `a` has no effect")
    );
    assert!(
        warned("x-juchu: {zzz: 1}").contains("4:15: warning: `services.a.x-juchu` has an unknown key `zzz`")
    );
    assert!(warned("x-juchu: {directt: true}").contains("hint: did you mean `direct`?"));
    assert!(
        warned("security_opt: [label:level]")
            .contains("4:20: warning: `security_opt: label:level` of `a` has no effect")
    );
    assert!(
        warned("init: yes").contains("4:11: warning: `yes` is not a boolean of YAML 1.2; hint: write `true`")
    );
    assert!(warned("logging: {driver: syslog}").contains("`logging.driver: syslog` of `a` has no effect"));
    assert!(warned("healthcheck: {interval: 5s}").contains("a health check without `test` has no effect"));
    assert!(warned("x-other: {anything: 1}").is_empty());
    let (_, said) = Project::new("version: '3'\nservices: {a: {image: x}}").warned();
    assert_eq!(
        said,
        "compose.yaml:1:1: warning: `version` is obsolete and has no effect; hint: remove the line"
    );
    let (_, said) = Project::new(
        "services: {a: {image: x, networks: [n]}}\nnetworks: {n: {driver: overlay}}\nvolumes: {v: {driver: local}}",
    )
    .warned();
    assert!(said.contains("compose.yaml:2:24: warning: the network `n` is a bridge of this host"), "{said}");
}

#[test]
fn what_is_not_here_is_refused_although_the_file_is_valid() {
    let refused = |yaml: &str| {
        let loaded = Project::new(yaml).load();
        assert!(loaded.resolved.is_some() && loaded.stack.is_none(), "{yaml}");
        loaded.refusals.into_iter().map(|d| format!("{}: {}", d.span.expect("a place"), d.message)).collect()
    };
    let said: Vec<String> =
        refused("services:\n  a:\n    image: x\n    secrets: [s]\nsecrets: {s: {external: true}}");
    let wanted =
        "compose.yaml:5:25: the secret `s` is external, and there is no store of secrets on this host";
    assert_eq!(said, [wanted]);
    let said: Vec<String> = refused("services:\n  a:\n    image: x\n    provider: {type: p}\n");
    assert_eq!(said, ["compose.yaml:4:5: `provider` of `a` cannot be honoured"]);
    // What no service uses is nobody's business.
    Project::new("services: {a: {image: x}}\nsecrets: {s: {external: true}}").clean();
}

#[test]
fn no_more_problems_are_listed_than_the_limit() {
    let keys: String = (0..600).map(|n| format!("k{n}: 1\n")).collect();
    let loaded = with_keys(&keys).load();
    assert_eq!(loaded.diagnostics.len(), 501);
    assert_eq!(loaded.diagnostics[500].message, "more than 500 problems; the rest is not listed");
}

#[test]
fn tls_that_cannot_be() {
    let check = |policy: &str, expect: &str| {
        let said =
            with_keys(&format!("ports: ['443:80', '53:53/udp']\nx-juchu: {{tls: {policy}}}")).refused();
        assert!(said.contains(expect) && said.lines().count() == 1, "{policy}\n{said}");
    };
    check("{from: auto, hosts: [a.example]}", "needs its terms accepted; hint: read");
    check("{from: auto, accept_terms: true}", "from an authority needs its hosts; hint: name them");
    let auto = |rest: &str| format!("{{from: auto, accept_terms: true, {rest}}}");
    check(&auto("hosts: ['*.a.example']"), "cannot be proved over HTTP or TLS");
    check(&auto("hosts: [10.0.0.1]"), "is an address; authorities certify names");
    check(&auto("hosts: [localhost]"), "is not a name that others know");
    check(&auto("hosts: [a.example], directory: 'http://x'"), "is an https address");
    check("{from: internal, hosts: ['a b']}", "`a b` in `hosts` is not a name");
    check("{certificate: a.pem}", "needs both `certificate` and `key`");
    check("{redirect: true}", "does not say where its certificate comes from; hint: write `internal`");
    check("{from: internal, ports: [80]}", "`80` in `x-juchu.tls.ports` is no published TCP port");
    check("{from: internal, ports: [53]}", "`53` in `x-juchu.tls.ports` is no published TCP port");
    let said = with_keys("x-juchu: {tls: internal}").refused();
    assert!(said.contains("has no published TCP port to speak it on; hint: publish one"), "{said}");
}
