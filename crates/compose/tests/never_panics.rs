//! No input panics or hangs: bytes, mutated files, mutated templates.

mod support;

use compose::env_file::{Format, parse};
use proptest::prelude::*;
use std::time::{Duration, Instant};
use support::Project;

/// Far above what any of these inputs needs in an unoptimised build.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file with most of what the specification has.
const RICH: &str = r#"
name: rich
include: [{path: i.yaml}]
x-common: &common
  environment: &env {A: 1, B: "${B:-two}", C: }
  labels: [x=1]
services:
  web:
    <<: *common
    build: {context: ., args: [V=1], target: t}
    command: sh -c 'echo "$$HOME" | cat'
    ports: ["80:80", "127.0.0.1:3000-3002:3000-3002/udp", {target: 90, published: "91"}]
    volumes: ["./x:/y:ro,z", "data:/data", /anon, {type: tmpfs, target: /t, tmpfs: {size: 64m}}]
    depends_on: {db: {condition: service_healthy, required: false}}
    networks: {front: {aliases: [w], ipv4_address: 10.0.0.3}, default: }
    healthcheck: {test: [CMD, curl, x], interval: 1m30s, retries: 3}
    deploy: {replicas: 1, resources: {limits: {cpus: "0.5", memory: 64m}}}
    ulimits: {nofile: {soft: 1, hard: 2}}
    extra_hosts: ["a:1.2.3.4"]
    secrets: [s]
    env_file: [{path: e, required: false}]
    x-juchu: {health: {http: 80/ok}, log: {max_size: 1m}}
  db:
    extends: {service: base}
    profiles: []
    environment:
      <<: *env
      B: !reset null
  base: {image: "pg:${V:?set it}", restart: "on-failure:3", tmpfs: /run}
networks: {front: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}
volumes: {data: {driver_opts: {type: none, o: bind, device: ./d}}}
secrets: {s: {environment: TOKEN}}
---
services: {web: {ports: !override ["81:81"]}}
"#;

fn survives(bytes: &[u8]) {
    let project = Project::empty()
        .bytes("compose.yaml", bytes)
        .file("i.yaml", "services: {inc: {image: x}}")
        .file("e", "A=1")
        .env("V", "1")
        .env("TOKEN", "t");
    let start = Instant::now();
    let loaded = project.load();
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
    let mut said = loaded.diagnostics.iter().chain(&loaded.refusals);
    assert_eq!(loaded.stack.is_none(), said.any(|d| d.is_error()));
}

#[test]
fn the_rich_file_loads() {
    survives(RICH.as_bytes());
    let project =
        Project::new(RICH).file("i.yaml", "services: {inc: {image: x}}").env("V", "1").env("TOKEN", "t");
    let stack = project.warned().0;
    assert_eq!(stack.services.len(), 4);
}

/// Pieces that mean something to one of the stages.
fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "&a ",
        "*a",
        "<<: *common",
        "!reset ",
        "!override ",
        "${",
        "}",
        "$$",
        "$",
        ":",
        ": ",
        "- ",
        "-",
        "[",
        "]",
        "{",
        "}",
        "\n",
        "  ",
        "\t",
        "\"",
        "'",
        "#",
        "|",
        ">",
        "?",
        "? ",
        "%",
        "@",
        "`",
        "~",
        "null",
        "0x",
        "1e999",
        "-1",
        "99999999999999999999",
        "ports:",
        "extends: web",
        "extends: db",
        "include: [compose.yaml]",
        "services:",
        "...",
        "---\n",
        "\u{feff}",
        "é",
        "\u{1f600}",
        "\r\n",
        "\0",
        "!!str ",
        "!!int ",
        "*",
        "&",
        ",",
        "/",
        "..",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn any_text(text in "\\PC{0,300}") {
        survives(text.as_bytes());
    }

    #[test]
    fn any_tokens(tokens in prop::collection::vec(token(), 0..60)) {
        survives(tokens.concat().as_bytes());
    }

    #[test]
    fn a_mutated_file(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, token()), 1..8)
    ) {
        let mut text: Vec<char> = RICH.chars().collect();
        for (at, removed, inserted) in edits {
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        survives(text.into_iter().collect::<String>().as_bytes());
    }

    #[test]
    fn any_environment_file(text in "[A-C=:$\\{\\}'\"#\\\\ \n\r\tx?+-]{0,80}") {
        for format in [Format::Dotenv, Format::Raw] {
            let parsed = parse(&text, format, &|name| (name == "A").then(|| "a".to_owned()));
            prop_assert!(parsed.variables.iter().all(|variable| variable.line > 0));
        }
    }

    #[test]
    fn any_template(text in "[$\\{\\}ABu:?+x-]{0,60}") {
        let yaml = format!("services: {{a: {{image: x, hostname: '{text}'}}}}");
        survives(yaml.as_bytes());
    }
}

#[test]
fn long_chains_and_large_files_end() {
    let extends: String = (0..5000).map(|n| format!("  s{n}: {{extends: s{}}}\n", n + 1)).collect();
    survives(format!("services:\n{extends}  s5000: {{image: x}}\n").as_bytes());
    let depends: String =
        (0..5000).map(|n| format!("  s{n}: {{image: x, depends_on: [s{}]}}\n", n + 1)).collect();
    survives(format!("services:\n{depends}  s5000: {{image: x}}\n").as_bytes());
    let ports: String = (0..20).map(|n| format!("'{}-{}', ", n * 3000 + 1, n * 3000 + 3000)).collect();
    survives(format!("services: {{a: {{image: x, ports: [{ports}]}}}}").as_bytes());
    survives("[".repeat(200_000).as_bytes());
    survives("{a: ".repeat(100_000).as_bytes());
    survives("- ".repeat(100_000).as_bytes());
    survives("? ".repeat(50_000).as_bytes());
    survives(format!("a: {}", "&a ".repeat(50_000)).as_bytes());
    survives("x".repeat(1 << 20).as_bytes());
    survives(format!("a: \"{}\"", "\\n".repeat(200_000)).as_bytes());
}
