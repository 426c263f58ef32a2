//! Several files: what is found, merged, included, extended; names and profiles.

mod support;

use model::image::ImageSource;
use model::stack::FileSource;
use model::{Service, Stack};
use support::Project;

fn image(stack: &Stack, service: &str) -> String {
    match &stack.services[service].image {
        ImageSource::Pull { reference, .. } => reference.clone(),
        other => format!("{other:?}"),
    }
}

/// Service `a` of two files laid onto each other, each given as the keys of `a`.
fn merged(base: &str, over: &str) -> Service {
    let file = |keys: &str| format!("services:\n  a:\n    {}\n", keys.replace('\n', "\n    "));
    let project =
        Project::empty().file("1.yaml", &file(&format!("image: x\n{base}"))).file("2.yaml", &file(over));
    project.named(&["1.yaml", "2.yaml"]).clean().services.remove("a").unwrap()
}

#[track_caller]
fn check<T: std::fmt::Debug>(base: &str, over: &str, part: impl Fn(&Service) -> T, expect: &str) {
    assert_eq!(format!("{:?}", part(&merged(base, over))), expect, "\n{base}\n--- under\n{over}");
}

#[test]
fn the_file_is_found_here_or_above() {
    let small = "services: {a: {image: x}}";
    for name in ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"] {
        assert_eq!(Project::empty().file(name, small).clean().name.as_str(), "app");
    }
    let mut below = Project::new(small);
    below.input.directory = "/p/app/deep/er".into();
    let stack = below.clean();
    assert_eq!(
        (stack.directory.to_str(), stack.files[0].to_str()),
        (Some("/p/app"), Some("/p/app/compose.yaml"))
    );
    let said = Project::empty().refused();
    assert_eq!(
        said,
        "-: error: no compose.yaml in /p/app or a directory above it; \
         hint: go to the directory of the project, or name the file with `-f FILE`"
    );
}

#[test]
fn the_preferred_file_wins_and_its_override_is_laid_over() {
    let project = Project::new("services: {a: {image: x, hostname: h}}")
        .file("docker-compose.yml", "services: {a: {image: old}}")
        .file("compose.override.yaml", "services: {a: {image: y}}");
    let (stack, said) = project.warned();
    assert_eq!((image(&stack, "a").as_str(), stack.files.len()), ("y", 2));
    assert_eq!(stack.services["a"].process.hostname.as_deref(), Some("h"));
    assert!(
        said.starts_with("-: warning: compose.yaml is used, docker-compose.yml beside it is not"),
        "{said}"
    );
    // A named file stands alone.
    assert_eq!(image(&project.named(&["compose.yaml"]).clean(), "a"), "x");
}

#[test]
fn compose_file_names_the_files() {
    let project = Project::empty()
        .file(".env", "COMPOSE_FILE=one.yaml:sub/two.yaml\nCOMPOSE_PROFILES=p,q\nCOMPOSE_PROJECT_NAME=named")
        .file("one.yaml", "services: {a: {image: $COMPOSE_PROJECT_NAME, profiles: [q]}}")
        .file("sub/two.yaml", "services: {a: {command: x}, b: {image: x, profiles: [r]}}");
    let stack = project.clean();
    assert_eq!(
        (image(&stack, "a").as_str(), stack.name.as_str(), stack.services.len()),
        ("named", "named", 1)
    );
    let said = project.env("COMPOSE_FILE", "nope.yaml").refused();
    assert!(said.starts_with("-: error: the Compose file nope.yaml does not exist"), "{said}");
}

#[test]
fn paths_are_relative_to_the_first_file_or_the_project_directory() {
    let yaml = "services: {a: {build: ./c, env_file: e}}";
    let mut project = Project::empty().file("sub/c.yaml", yaml).file("sub/e", "A=1").file("e", "A=2");
    project = project.named(&["sub/c.yaml"]);
    let context = |stack: &Stack| match &stack.services["a"].image {
        ImageSource::Build(build) => build.context.clone().unwrap().to_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    let stack = project.clean();
    assert_eq!(
        (context(&stack).as_str(), stack.services["a"].environment["A"].as_str()),
        ("/p/app/sub/c", "1")
    );
    assert_eq!(stack.name.as_str(), "sub");
    project.input.project_directory = Some("/p/app".into());
    let stack = project.clean();
    assert_eq!((context(&stack).as_str(), stack.services["a"].environment["A"].as_str()), ("/p/app/c", "2"));
}

#[test]
fn the_project_name_in_its_order() {
    let named = |yaml: &str| Project::new(yaml);
    let plain = "services: {a: {image: $COMPOSE_PROJECT_NAME}}";
    assert_eq!(image(&named(plain).clean(), "a"), "app");
    let declared = "name: ${N:-My App.1}\nservices: {a: {image: $COMPOSE_PROJECT_NAME}}";
    assert_eq!(named(declared).clean().name.as_str(), "myapp1");
    assert_eq!(image(&named(declared).env("N", "n").clean(), "a"), "n");
    let mut project = named(declared).env("COMPOSE_PROJECT_NAME", "fromenv");
    assert_eq!(project.clean().name.as_str(), "fromenv");
    project.input.project_name = Some("flag".to_owned());
    assert_eq!(image(&project.clean(), "a"), "flag");
    project.input.project_name = Some("Not Valid".to_owned());
    assert!(project.refused().contains("`Not Valid` is not a valid stack name"));
}

#[test]
fn mappings_merge_and_commands_are_replaced() {
    check(
        "environment: [A=1, B=2]",
        "environment: {B: 3, C: 4}",
        |s| s.environment.clone(),
        r#"{"A": "1", "B": "3", "C": "4"}"#,
    );
    check("labels: {a: 1}", "labels: [b=2]", |s| s.labels.clone(), r#"{"a": "1", "b": "2"}"#);
    check("command: [a, b]", "command: c", |s| s.command.clone(), r#"Some(["c"])"#);
    check("command: [a, b]", "command:", |s| s.command.clone(), "None");
    check("entrypoint: a", "entrypoint: [b]", |s| s.entrypoint.clone(), r#"Some(["b"])"#);
    check(
        "healthcheck: {test: a, retries: 2}",
        "healthcheck: {test: [CMD, b]}",
        |s| format!("{:?}", s.healthcheck.as_ref().map(|h| (&h.test, h.retries))),
        r#""Some((Exec { argv: [\"b\"] }, Some(2)))""#,
    );
    check(
        "deploy: {resources: {limits: {cpus: '1'}}}",
        "deploy: {resources: {limits: {memory: 1g}}}",
        |s| (s.resources.cpus, s.resources.memory),
        "(Some(Cpus(1000)), Some(Bytes(1073741824)))",
    );
    check(
        "ulimits: {nofile: 5}",
        "ulimits: {nofile: {soft: 1, hard: 2}}",
        |s| s.process.ulimits.clone(),
        r#"{"nofile": (1, 2)}"#,
    );
    check(
        "x-juchu: {direct: true}",
        "x-juchu: {on_unhealthy: none}",
        |s| (s.policy.direct, s.policy.on_unhealthy),
        "(true, Some(None))",
    );
}

#[test]
fn lists_are_joined_by_what_makes_items_the_same() {
    check("dns: 1.1.1.1", "dns: [1.1.1.1, 2.2.2.2]", |s| s.process.dns.clone(), "[1.1.1.1, 2.2.2.2]");
    check("cap_add: [A, B]", "cap_add: [B, C]", |s| s.process.cap_add.clone(), r#"["A", "B", "C"]"#);
    check(
        "ports: ['80:80', '81:81']",
        "ports: ['8080:80', '81:81']",
        |s| s.ports.iter().map(|p| (p.published, p.target)).collect::<Vec<_>>(),
        "[(80, 80), (81, 81), (8080, 80)]",
    );
    check(
        "volumes: ['./a:/a', '/b']",
        "volumes: ['./c:/a:ro']",
        |s| s.mounts.iter().map(|m| (m.target.clone(), m.read_only)).collect::<Vec<_>>(),
        r#"[("/a", true), ("/b", false)]"#,
    );
    check(
        "devices: ['/dev/a:/dev/x']",
        "devices: ['/dev/b:/dev/x:r']",
        |s| s.process.devices.iter().map(|d| d.source.clone()).collect::<Vec<_>>(),
        r#"["/dev/b"]"#,
    );
    check(
        "extra_hosts: ['a:1.1.1.1']",
        "extra_hosts: {a: 2.2.2.2}",
        |s| s.process.extra_hosts.clone(),
        r#"{"a": ["1.1.1.1", "2.2.2.2"]}"#,
    );
    check("expose: ['80']", "expose: [80, 81]", |s| s.expose.len(), "2");
    check("tmpfs: /a", "tmpfs: [/b]", |s| s.mounts.len(), "2");
}

#[test]
fn reset_and_override_tags() {
    check("ports: ['80:80']", "ports: !reset []", |s| s.ports.len(), "0");
    check("command: [a]", "command: !reset null", |s| s.command.clone(), "None");
    check(
        "environment: {A: 1, B: 2}",
        "environment: !override {C: 3}",
        |s| s.environment.clone(),
        r#"{"C": "3"}"#,
    );
    check("ports: ['80:80']", "ports: !override ['81:81']", |s| s.ports[0].published, "81");
    check(
        "environment: {A: 1, B: 2}",
        "environment: {A: !reset null}",
        |s| s.environment.clone(),
        r#"{"B": "2"}"#,
    );
}

#[test]
fn documents_of_one_file_are_laid_over_each_other() {
    let stack = Project::new(
        "services: {a: {image: x, command: a}}\n---\nservices: {a: {command: b}, b: {image: y}}",
    )
    .clean();
    assert_eq!(stack.services["a"].command, Some(vec!["b".to_owned()]));
    assert_eq!(stack.services.len(), 2);
}

#[test]
fn anchors_and_merge_keys() {
    let stack = Project::new(
        "x-common: &c\n  environment: &e {A: 1, B: 2}\n  labels: [x]\nservices:\n  a:\n    <<: *c\n    image: x\n    \
         environment:\n      <<: *e\n      B: 3\n  b:\n    <<: [*c, {image: y, hostname: q}]\n",
    )
    .clean();
    assert_eq!(format!("{:?}", stack.services["a"].environment), r#"{"A": "1", "B": "3"}"#);
    assert_eq!(stack.services["b"].process.hostname.as_deref(), Some("q"));
    assert_eq!(stack.services["b"].labels["x"], "");
}

#[test]
fn a_service_extends_another_of_the_same_file_or_of_another() {
    let stack = Project::new(
        "services:\n  a:\n    extends: {service: b, file: sub/o.yaml}\n    environment: {A: 2}\n    ports: ['80:80']\n  \
         z:\n    extends: a\n    hostname: z\n    ports: !reset []\n",
    )
    .file(
        "sub/o.yaml",
        "services:\n  b:\n    extends: c\n    environment: {A: 1, B: 1}\n    volumes: ['./q:/q']\n    env_file: e\n  \
         c:\n    image: c\n    command: hi\n",
    )
    .file("sub/e", "E=1")
    .clean();
    let a = &stack.services["a"];
    assert_eq!((image(&stack, "a").as_str(), a.command.as_ref().unwrap()[0].as_str()), ("c", "hi"));
    assert_eq!(format!("{:?}", a.environment), r#"{"A": "2", "B": "1", "E": "1"}"#);
    assert!(format!("{:?}", a.mounts[0].source).contains("/p/app/sub/q"));
    let z = &stack.services["z"];
    assert_eq!(
        (z.process.hostname.as_deref(), z.ports.len(), z.environment["A"].as_str()),
        (Some("z"), 0, "2")
    );
    // A service of the other file does not come along.
    assert_eq!(stack.services.len(), 2);
}

#[test]
fn an_include_has_its_own_directory_and_environment() {
    let project = Project::new(
        "include: [sub/i.yaml, {path: [j.yaml, k.yaml], project_directory: sub, env_file: own.env}]\n\
         services: {a: {image: x, depends_on: [b]}}",
    )
    .file(
        "sub/i.yaml",
        "services: {b: {image: $Q, build: ./ctx, networks: [n], environment: [Q]}}\nnetworks: {n: }",
    )
    .file("sub/.env", "Q=fromsub")
    .file("j.yaml", "services: {j: {image: $Q, volumes: ['./x:/x']}}")
    .file("k.yaml", "services: {j: {command: k}}")
    .file("own.env", "Q=own");
    let stack = project.clean();
    let ImageSource::Build(build) = &stack.services["b"].image else { panic!("b is built") };
    assert_eq!(build.context.as_ref().unwrap().to_str(), Some("/p/app/sub/ctx"));
    assert_eq!(stack.services["b"].environment["Q"], "fromsub");
    assert_eq!(image(&stack, "j"), "own");
    assert!(format!("{:?}", stack.services["j"].mounts[0].source).contains("/p/app/sub/x"));
    assert_eq!(stack.networks["n"].name, "app_n");
    // The including environment wins.
    assert_eq!(image(&project.env("Q", "outer").clean(), "j"), "outer");
}

#[test]
fn a_second_file_may_change_what_is_included() {
    let project = Project::new("include: [i.yaml]\nservices: {a: {image: x}}")
        .file("i.yaml", "services: {b: {image: y}}")
        .file("o.yaml", "services: {b: {command: z}}");
    let stack = project.named(&["compose.yaml", "o.yaml"]).clean();
    assert_eq!((image(&stack, "b").as_str(), stack.services["b"].command.is_some()), ("y", true));
}

#[test]
fn profiles_choose_services() {
    let yaml = "services:\n  a: {image: x}\n  p: {image: x, profiles: [p]}\n  q: {image: x, profiles: [q, r], depends_on: [a]}\n";
    let with = |profiles: &[&str]| {
        let stack = Project::new(yaml).profiles(profiles).clean();
        stack.services.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(with(&[]), "a");
    assert_eq!(with(&["p"]), "a p");
    assert_eq!(with(&["r", "none"]), "a q");
    assert_eq!(with(&["*"]), "a p q");
    assert_eq!(Project::new(yaml).env("COMPOSE_PROFILES", "p,q").clean().services.len(), 3);
}

#[test]
fn host_names_of_networks_and_volumes() {
    let stack = Project::new(
        "services:\n  a:\n    image: x\n    networks: {n: {aliases: [b, c], ipv4_address: 10.0.0.3}, own: , out: }\n    \
         volumes: ['vol:/v', 'own:/o', 'out:/p']\n\
         networks:\n  n: {ipam: {config: [{subnet: 10.0.0.0/24}]}, internal: true, labels: [l]}\n  own: {name: mine}\n  \
         out: {external: true}\n  unused: {}\n\
         volumes:\n  vol: {driver: local, driver_opts: {type: none, o: bind, device: ./d}}\n  own: {name: mine}\n  \
         out: {external: true, name: there}\n  unused: {}\n",
    )
    .clean();
    let networks: Vec<String> = stack
        .networks
        .iter()
        .map(|(key, n)| format!("{key}={} {} {}", n.name, n.external, n.internal))
        .collect();
    assert_eq!(networks, ["n=app_n false true", "out=out true false", "own=mine false false"]);
    assert_eq!(stack.networks["n"].subnet.as_deref(), Some("10.0.0.0/24"));
    let n = &stack.services["a"].networks["n"];
    assert_eq!((n.aliases.len(), n.ipv4_address.unwrap().to_string().as_str()), (2, "10.0.0.3"));
    let volumes: Vec<String> =
        stack.volumes.iter().map(|(key, v)| format!("{key}={} {}", v.name, v.external)).collect();
    assert_eq!(volumes, ["out=there true", "own=mine false", "vol=app_vol false"]);
    assert_eq!(stack.volumes["vol"].options["device"], "/p/app/d");
}

#[test]
fn configs_and_secrets() {
    let stack = Project::new(
        "services:\n  a:\n    image: x\n    configs: [c, {source: d, target: /etc/d, mode: 0440, uid: '5', gid: '6'}]\n    \
         secrets: [s, {source: t, target: short, mode: '0400'}]\n\
         configs: {c: {file: ./c.txt}, d: {content: \"hi $$X $X\"}, unused: {file: ./u}}\n\
         secrets: {s: {environment: TOKEN}, t: {file: ~/t}}\n",
    )
    .env("X", "1")
    .env("TOKEN", "secret")
    .clean();
    let a = &stack.services["a"];
    let grants: Vec<String> = a
        .configs
        .iter()
        .chain(&a.secrets)
        .map(|g| format!("{}>{} {:?} {:?} {:?}", g.source, g.target, g.uid, g.gid, g.mode))
        .collect();
    assert_eq!(
        grants,
        [
            "c>/c None None None",
            "d>/etc/d Some(5) Some(6) Some(288)",
            "s>/run/secrets/s None None None",
            "t>/run/secrets/short None None Some(256)"
        ]
    );
    assert_eq!(stack.configs["c"], FileSource::File("/p/app/c.txt".into()));
    assert_eq!(stack.configs["d"], FileSource::Inline("hi $X 1".into()));
    assert_eq!(stack.secrets["s"], FileSource::Inline("secret".into()));
    assert_eq!(stack.secrets["t"], FileSource::File("/home/me/t".into()));
    assert!(!stack.configs.contains_key("unused"));
}

#[test]
fn the_stack_survives_its_own_serialisation() {
    let stack =
        Project::new("services: {a: {build: ., ports: ['80:80'], volumes: ['vol:/v']}}\nvolumes: {vol: }")
            .clean();
    let text = serde_json::to_string(&stack).unwrap();
    assert_eq!(serde_json::from_str::<Stack>(&text).unwrap(), stack);
}

/// What the host lacks for a file, as `line:column message`.
fn missing(project: &Project) -> Vec<String> {
    let loaded = project.load();
    assert!(loaded.stack.is_some(), "{}", support::said(&loaded));
    let line = |d: &model::Diagnostic| {
        let span = d.span.as_ref().unwrap();
        format!("{}:{} {}; {}", span.line, span.column, d.message, d.hint.as_deref().unwrap_or(""))
    };
    loaded.missing.iter().map(line).collect()
}

#[test]
fn files_that_are_served_lie_in_the_project() {
    let project = Project::new(
        "services:\n  a:\n    image: x\n    x-juchu:\n      gateway:\n        routes:\n\
         \u{20}         - {path: /here, files: ./public}\n          - {path: /file, files: public/a}\n\
         \u{20}         - {path: /gone, files: ./gone}\n          - {path: /out, files: ../other}\n\
         \u{20}         - {path: /abs, files: /srv/www}\n          - {path: /all, files: .}\n",
    )
    .file("public/a", "")
    .file("/p/other/a", "")
    .file("/srv/www/a", "");
    assert_eq!(
        missing(&project),
        [
            "8:34 the directory of `files` public/a is not a directory; correct the path",
            "9:34 the directory of `files` gone does not exist; create /p/app/gone, or correct the path",
            "10:33 the directory of `files` /p/other lies outside the project; copy it below /p/app, or serve it by a service",
            "11:33 the directory of `files` /srv/www lies outside the project; copy it below /p/app, or serve it by a service",
        ]
    );
}

#[test]
fn paths_that_are_not_there_are_told_apart() {
    let project = Project::new(
        "services:\n  a:\n    build: ./ctx\n    volumes: ['./made:/m', {type: bind, source: ./gone, target: /g}]\n    \
         secrets: [s]\n  b: {build: {context: ./here, dockerfile: D}}\n  c: {build: {dockerfile_inline: FROM x}}\n  \
         d: {build: ./here/file}\n  e: {build: ./here, x-juchu: {builder: dockerfile}}\n  \
         f: {build: ./nope, x-juchu: {component: redis}}\n\
         secrets: {s: {file: ./key}, unused: {file: ./x}}\n",
    )
    .file("here/file", "");
    assert_eq!(
        missing(&project),
        [
            "3:12 the build context ctx does not exist; create /p/app/ctx, or correct the path",
            "4:49 the bind source gone does not exist; create /p/app/gone, or correct the path",
            "6:44 the Dockerfile here/D does not exist; create /p/app/here/D, or correct the path",
            "8:14 the build context here/file is not a directory; correct the path",
            "9:41 the Dockerfile here/Dockerfile does not exist; create /p/app/here/Dockerfile, or correct the path",
            "11:21 the file of the secret `s` key does not exist; create /p/app/key, or correct the path",
        ]
    );
    let project = project
        .file("ctx/x", "")
        .file("gone/x", "")
        .file("here/D", "")
        .file("here/Dockerfile", "")
        .file("key/x", "");
    assert_eq!(
        missing(&project),
        [
            "8:14 the build context here/file is not a directory; correct the path",
            "11:21 the file of the secret `s` key is a directory; correct the path"
        ]
    );
}
