//! What is printed of a resolved project, and where its values came from.

mod support;

use compose::{Part, Skip, Source};
use support::Project;

fn resolved(project: &Project) -> compose::Resolved {
    let loaded = project.load();
    let said = support::said(&loaded);
    loaded.resolved.unwrap_or_else(|| panic!("it was not read:\n{said}"))
}

/// The YAML of the service `a` of a file with `image: x` and these keys, without what every service
/// has.
#[track_caller]
fn check(keys: &str, expect: &str) {
    let text = resolved(&support::with_keys(keys)).yaml_text();
    let body = text.split_once("  a:\n").expect("the service a").1;
    let body = body.split_once("\nnetworks:\n").map_or(body, |(body, _)| body);
    let lines = body.lines().map(|line| line.strip_prefix("    ").unwrap_or(line));
    let shown: String = lines.filter(|line| *line != "image: x").map(|line| format!("{line}\n")).collect();
    let shown = shown.replace("networks:\n  default: null\n", "").trim().to_owned();
    assert_eq!(shown, expect.trim(), "\n{keys}");
}

#[test]
fn a_project_has_names_defaults_and_only_what_is_used() {
    let project = Project::new(
        "x-top: {b: [1, 2.5, ~], a: yes}\nservices:\n  a:\n    image: x\n    x-own: 1\n    volumes: ['data:/d', './s:/s']\n    \
         secrets: [token]\n    links: [b]\n  b: {build: ./b, profiles: []}\n  off: {image: y, profiles: [p]}\n\
         volumes: {data: , spare: }\nnetworks: {spare: }\nsecrets: {token: {environment: TOKEN}, spare: {file: f}}\n",
    );
    let expect = "\
name: app
services:
  a:
    depends_on:
      b:
        condition: service_started
        restart: true
        required: true
    image: x
    links:
      - b
    networks:
      default: null
    secrets:
      - source: token
        target: /run/secrets/token
    volumes:
      - type: volume
        source: data
        target: /d
        volume: {}
      - type: bind
        source: /p/app/s
        target: /s
        bind:
          create_host_path: true
    x-own: 1
  b:
    build:
      context: /p/app/b
      dockerfile: Dockerfile
    networks:
      default: null
networks:
  default:
    name: app_default
volumes:
  data:
    name: app_data
secrets:
  token:
    name: app_token
    environment: TOKEN
x-top:
  a: \"yes\"
  b:
    - 1
    - 2.5
    - null
";
    assert_eq!(resolved(&project.env("TOKEN", "hidden")).yaml_text(), expect);
}

#[test]
fn json_has_what_yaml_leaves_out_and_no_extensions_below_the_top() {
    let text = resolved(&support::with_keys("x-own: 1\ncommand: ''")).json_text();
    let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let expect = serde_json::json!({
        "command": [], "entrypoint": null, "image": "x", "networks": {"default": null},
    });
    assert_eq!(json["services"]["a"], expect);
    assert_eq!(json["networks"]["default"], serde_json::json!({"name": "app_default", "ipam": {}}));
}

#[test]
fn every_short_form_is_printed_in_full() {
    check(
        "ports: ['9-11:9-11']",
        "ports:\n  - mode: ingress\n    target: 10\n    published: \"10\"\n    protocol: tcp\n  - mode: ingress\n    \
         target: 11\n    published: \"11\"\n    protocol: tcp\n  - mode: ingress\n    target: 9\n    published: \"9\"\n    \
         protocol: tcp",
    );
    check("extra_hosts: ['b:1.1.1.1', 'a=::1']", "extra_hosts:\n  - a=::1\n  - b=1.1.1.1");
    check(
        "ulimits: {nofile: 5, core: {soft: 0, hard: 1}}",
        "ulimits:\n  core:\n    soft: 0\n    hard: 1\n  nofile: 5",
    );
    check("expose: [80, '90']", "expose:\n  - \"80\"\n  - \"90\"");
    check("gpus: all", "gpus:\n  - count: -1");
    check("healthcheck: {test: curl x}", "healthcheck:\n  test:\n    - CMD-SHELL\n    - curl x");
    check(
        "sysctls: [a=1]\nlabels: {b: true, a: }",
        "labels:\n  a: \"\"\n  b: \"true\"\nsysctls:\n  a: \"1\"",
    );
    check("environment: [A, B=1.50]", "environment:\n  A: null\n  B: \"1.50\"");
    check("configs: []\ndns: 1.1.1.1", "dns:\n  - 1.1.1.1");
}

#[test]
fn numbers_sizes_and_durations() {
    check("mem_limit: 1.5gb\nshm_size: 64m", "mem_limit: \"1610612736\"\nshm_size: \"67108864\"");
    for (duration, shown) in [
        ("90s", "1m30s"),
        ("0s", "0s"),
        ("1h", "1h0m0s"),
        ("1.5s", "1.5s"),
        ("250ms", "250ms"),
        ("1d", "24h0m0s"),
        ("10us", "10µs"),
    ] {
        check(&format!("stop_grace_period: {duration}"), &format!("stop_grace_period: {shown}"));
    }
    check("cpus: 0.1\ncpu_count: 2", "cpu_count: 2\ncpus: 0.1");
    check("init: false\ntty: false\nscale: 0", "init: false\nscale: 0");
}

#[test]
fn texts_are_quoted_where_they_would_mean_something_else() {
    for (written, shown) in [
        ("'yes'", "\"yes\""),
        ("'0x1f'", "\"0x1f\""),
        ("'1_000'", "\"1_000\""),
        ("'08'", "\"08\""),
        ("'1.2.3'", "1.2.3"),
        ("'1:30'", "\"1:30\""),
        ("'2020-02-30'", "2020-02-30"),
        ("'2020-02-29'", "\"2020-02-29\""),
        ("''", "\"\""),
        ("'a: b'", "'a: b'"),
        ("'a #b'", "'a #b'"),
        ("'a#b'", "a#b"),
        ("'*a'", "'*a'"),
        ("'-'", "'-'"),
        ("'-a'", "-a"),
        ("' a'", "' a'"),
        ("\"a\\tb\"", "\"a\\tb\""),
        ("\"it's: x\"", "'it''s: x'"),
        ("'ü'", "ü"),
        ("\"\\U0001F600\"", "\"\\U0001F600\""),
        ("'$$a'", "$$a"),
    ] {
        check(&format!("labels: {{k: {written}}}"), &format!("labels:\n  k: {shown}"));
    }
    check("labels: {k: \"a\\nb\"}", "labels:\n  k: |-\n    a\n    b");
    check("labels: {k: \"a\\n\\nb\\n\"}", "labels:\n  k: |\n    a\n\n    b");
    check("labels: {k: \"a \\nb\"}", "labels:\n  k: \"a \\nb\"");
    check(
        "labels: {a10: '', a9: '', ab: '', a-: '', A: ''}",
        "labels:\n  A: \"\"\n  a-: \"\"\n  a9: \"\"\n  a10: \"\"\n  ab: \"\"",
    );
}

#[test]
fn a_printed_project_reads_as_itself() {
    let project = Project::new(
        "services:\n  a:\n    image: 'x'\n    command: 'sh -c \"echo $$HOME\"'\n    environment: {A: 'a$$b', B: }\n    \
         healthcheck: {test: curl x, interval: 90s}\n    ports: ['8000-8001:80-81', '127.0.0.1:53:53/udp']\n    \
         volumes: ['data:/d', './s:/s:ro', {type: tmpfs, target: /t, tmpfs: {size: 1m}}]\n    \
         deploy: {resources: {limits: {cpus: '0.5', memory: 1g}}, labels: [a=b]}\n    ulimits: {nofile: 5}\n    \
         extra_hosts: {h: 1.2.3.4}\nvolumes: {data: {driver_opts: {a: 1}}}\n",
    );
    let printed = resolved(&project);
    let again = resolved(&Project::new(&printed.yaml_text()));
    assert_eq!(again.yaml_text(), printed.yaml_text());
    let from_json = resolved(&Project::new(&printed.json_text()));
    assert_eq!(from_json.json(), printed.json());
}

#[test]
fn stages_can_be_left_out() {
    let mut project = Project::new(
        "services:\n  a:\n    image: 'x:${TAG:-1}'\n    ports: ['${P}:80', '80:80']\n    \
         volumes: ['${D:-./d}:/d', './e:/e']\n    labels: {one: 1}\n",
    );
    project.input.skip = Skip { interpolation: true, paths: true, ..Skip::default() };
    let text = resolved(&project).yaml_text();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for line in ["image: x:${TAG:-1}", "- ${P}:80", "- source: ${D:-./d}", "source: ./e", "one: 1"] {
        assert!(lines.contains(&line), "{line} is missing:\n{text}");
    }
    let variables = resolved(&project).variables();
    assert_eq!(variables.keys().collect::<Vec<_>>(), ["D", "P", "TAG"]);
    assert_eq!(variables["TAG"].default, "1");

    let mut project = support::with_keys("build: ./b\nlinks: []");
    project.input.skip = Skip { normalization: true, paths: true, ..Skip::default() };
    let text = resolved(&project).yaml_text();
    assert!(text.contains("context: ./b\n") && !text.contains("dockerfile"), "{text}");
    assert!(!text.contains("app_default"), "{text}");

    let mut project = support::with_keys("depends_on: [nobody]");
    assert!(project.load().resolved.is_none());
    project.input.skip = Skip { consistency: true, ..Skip::default() };
    assert!(resolved(&project).yaml_text().contains("nobody:"));
}

#[test]
fn named_services_come_with_what_they_need() {
    let mut project = Project::new(
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: y, profiles: [p], volumes: ['data:/d']}\n  \
         c: {image: z}\nvolumes: {data: }\n",
    )
    .profiles(&["p"]);
    assert_eq!(resolved(&project).services(), ["b", "a", "c"]);
    project.input.profiles.clear();
    project.input.services = vec!["b".to_owned()];
    let only = resolved(&project);
    assert_eq!(
        (only.services(), only.volumes(), only.images()),
        (vec!["b".into()], vec!["data".into()], vec!["y".into()])
    );
    assert_eq!(only.profiles(), ["p"]);
    project.input.services = vec!["d".to_owned()];
    assert!(project.load().resolved.is_none());
}

#[test]
fn a_hash_changes_with_the_configuration_alone() {
    let hash = |keys: &str| resolved(&support::with_keys(keys)).hashes()["a"].clone();
    assert_eq!(hash("scale: 2\npull_policy: always"), hash("scale: 3\nbuild: ."));
    assert_ne!(hash("environment: [A=1]"), hash("environment: [A=2]"));
    assert_eq!(hash("").len(), 64);
}

/// `PART PLACE WRITTEN [NAME SOURCE…]` of each step.
fn told(project: &Project, path: &str) -> Vec<String> {
    let mut project = project.clone();
    project.input.trace = true;
    let known =
        resolved(&project).explain(path).unwrap_or_else(|unknown| panic!("{unknown}; {}", unknown.hint));
    let step = |step: &compose::Step| {
        let part = match step.part {
            Part::First => "first",
            Part::Over => "over",
            Part::Merged => "merged",
            Part::TakenAway => "away",
            Part::Override => "override",
            Part::EnvFile => "line",
        };
        let mut text = format!("{part} {} {}", step.place, step.written.as_deref().unwrap_or("-"));
        for used in &step.variables {
            let source = match &used.source {
                Source::Environment => "environment".to_owned(),
                Source::Line(place) => place.to_string(),
                Source::ProjectName => "project".to_owned(),
                Source::Default => "default".to_owned(),
                Source::Unset => "unset".to_owned(),
            };
            text += &format!(" {}={source}", used.name);
        }
        text
    };
    known.steps.iter().map(step).collect()
}

fn layered() -> Project {
    Project::new(
        "include: [inc/i.yaml]\nservices:\n  web:\n    extends: {service: base}\n    image: 'n:${TAG:-1}'\n    \
         environment: {LOG: info, T: '${TOKEN}', HERE: }\n    volumes: ['./a:/a']\n    env_file: web.env\n    labels: [a=b]\n    \
         depends_on: [db]\n  base:\n    image: base\n    environment: [LOG=base]\n    command: run it\n    build: .\n",
    )
    .file(
        "compose.override.yaml",
        "services:\n  web:\n    image: 'n:${TAG:-2}'\n    command: !override [b]\n    labels: !reset\n    volumes: ['./b:/a']\n",
    )
    .file("inc/i.yaml", "services: {db: {image: 'pg:${V}'}}")
    .file("inc/.env", "V=15\n")
    .file(".env", "# first\nTOKEN=abc\n")
    .file("web.env", "LOG=file\nEF=1\n")
}

#[test]
fn a_value_knows_every_place_that_speaks_of_it() {
    let project = layered();
    assert_eq!(
        told(&project, "web.image"),
        [
            "first compose.yaml:12:12 base",
            "over compose.yaml:5:12 n:${TAG:-1} TAG=default",
            "over compose.override.yaml:3:12 n:${TAG:-2} TAG=default",
        ]
    );
    assert_eq!(
        told(&project.clone().env("TAG", "9"), "web.image")[2].split(' ').next_back(),
        Some("TAG=environment")
    );
    assert_eq!(
        told(&project, "services.web.environment.LOG"),
        ["line web.env:1:1 -", "over compose.yaml:13:19 LOG=base", "over compose.yaml:6:24 info"]
    );
    assert_eq!(told(&project, "web.environment.EF"), ["line web.env:2:1 -"]);
    assert_eq!(told(&project, "web.environment.T"), ["first compose.yaml:6:33 ${TOKEN} TOKEN=.env:2:1"]);
    assert_eq!(
        told(&project.clone().env("HERE", "1"), "web.environment.HERE")[0].split(' ').next_back(),
        Some("HERE=environment")
    );
    assert_eq!(told(&project, "db.image"), ["first inc/i.yaml:1:24 pg:${V} V=inc/.env:1:1"]);
    assert_eq!(told(&project, "web.build.context"), ["first compose.yaml:15:12 ."]);
    assert_eq!(
        told(&project, "web.volumes./a"),
        ["first compose.yaml:7:15 ./a:/a", "over compose.override.yaml:6:15 ./b:/a"]
    );
    assert_eq!(
        told(&project, "web.command"),
        ["first compose.yaml:14:14 run it", "override compose.override.yaml:4:24 -"]
    );
    assert_eq!(
        told(&project, "web.labels"),
        ["first compose.yaml:9:13 -", "away compose.override.yaml:5:5 -"]
    );
}

#[test]
fn what_no_file_says_and_what_is_not_there() {
    let mut project = layered();
    assert_eq!(told(&project, "web.build.dockerfile"), [""; 0]);
    assert_eq!(told(&project, "networks.default.name"), [""; 0]);
    project.input.trace = true;
    let resolved = resolved(&project);
    let filled = resolved.explain("web.build.dockerfile").expect("it is there");
    assert_eq!((filled.yaml.as_str(), filled.value.as_str()), ("Dockerfile\n", Some("Dockerfile")));
    assert_eq!(filled.filled_in_for.map(|place| place.to_string()).as_deref(), Some("compose.yaml:15:12"));
    let unknown = |path: &str| {
        let unknown = resolved.explain(path).expect_err("it is not there");
        format!("{unknown}; {}", unknown.hint)
    };
    assert_eq!(
        unknown("web.imag"),
        "`web.imag` is not there: there is no `imag` of `web`; did you mean `image`?"
    );
    assert_eq!(unknown("wbe.image"), "`wbe.image` is not there: there is no `wbe`; did you mean `web`?");
    assert_eq!(
        unknown("web.volumes[3]"),
        "`web.volumes[3]` is not there: there is no `3` of `web.volumes`; there is /a"
    );
    assert_eq!(unknown(""), "the path is empty; name a value, such as `web.image`");
}
