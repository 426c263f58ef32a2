//! `build` and `x-juchu.build`: what a build may take, and what it is given.

mod support;

use model::image::{BuildSecretSource, BuildSpec, ImageSource};
use model::{Bytes, Cpus, DurationMs};
use std::path::Path;
use support::Project;

const FILES: &str = "secrets:\n  tok: {file: ./tok}\n  var: {environment: TOKEN}\n";

fn project(build: &str, policy: &str) -> Project {
    let text = format!("services:\n  a:\n    build: {build}\n    x-juchu: {{build: {policy}}}\n{FILES}");
    Project::new(&text).file("tok", "x").file("app/Dockerfile", "").env("TOKEN", "hidden")
}

fn spec(project: &Project) -> BuildSpec {
    match project.clean().services.remove("a").expect("the service").image {
        ImageSource::Build(spec) => *spec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_have_their_units() {
    let policy = "{memory: 1g, cpus: '1.5', weight: 64, disk: 2gb, pids: 100, timeout: 20m, network: true}";
    let limits = spec(&project("{context: ./app, network: none}", policy)).limits;
    assert_eq!((limits.memory, limits.disk), (Some(Bytes::mib(1024)), Some(Bytes::mib(2048))));
    assert_eq!((limits.cpus, limits.weight, limits.pids), (Some(Cpus(1500)), Some(64), Some(100)));
    assert_eq!(limits.timeout, Some(DurationMs::from_secs(1200)));
    assert_eq!(limits.network, Some(true), "ours goes before the common key");
    assert_eq!(spec(&project("{context: ./app, network: none}", "{}")).limits.network, Some(false));
    assert_eq!(spec(&project("./app", "{}")).limits, Default::default());
    let tools = spec(&project("./app", "{host: true, packages: [cmake]}")).tools;
    assert_eq!((tools.host, tools.packages), (true, vec!["cmake".to_owned()]));
}

#[test]
fn limits_that_cannot_be_are_refused_with_their_place() {
    for (policy, expect) in [
        ("{memory: 1m}", "4:31: error: `x-juchu.build.memory` must be at least 32 MiB"),
        ("{weight: 1}", "`x-juchu.build.weight` must be between 2 and 262144, 1 is not"),
        ("{pids: 0}", "`x-juchu.build.pids` must be between 8 and"),
        ("{memroy: 1g}", "memroy"),
        ("{timeout: soon}", "`soon` is not a duration"),
        ("{network: maybe}", "network"),
    ] {
        let said = project("./app", policy).refused();
        assert!(said.contains(expect), "{policy}: {said}");
    }
}

#[test]
fn secrets_keep_where_they_come_from_and_nothing_else() {
    let stack = project("{context: ./app, secrets: [tok, {source: var, target: npm}]}", "{}").clean();
    let text = serde_json::to_string(&stack).expect("plain data");
    assert!(!text.contains("hidden"), "the content of a variable is in the stack: {text}");
    let spec = spec(&project("{context: ./app, secrets: [tok, {source: var, target: npm}]}", "{}"));
    let of = |id: &str| spec.secrets.iter().find(|secret| secret.id == id).map(|s| s.source.clone());
    assert_eq!(of("tok"), Some(BuildSecretSource::File("/p/app/tok".into())));
    assert_eq!(of("npm"), Some(BuildSecretSource::Variable("TOKEN".into())));
    let said = project("{context: ./app, secrets: [{source: tok, target: ../x}]}", "{}").refused();
    assert!(said.contains("the build secret `tok` cannot be called `../x`"), "{said}");
}

#[test]
fn further_contexts_and_keys_are_found() {
    let build = "{context: ./app, additional_contexts: {lib: ./app, base: 'docker-image://debian:12'}, \
                 ssh: [default, k=./tok], platforms: [linux/amd64], no_cache: true, pull: true}";
    let spec = spec(&project(build, "{}"));
    assert_eq!(spec.additional_contexts["lib"], "/p/app/app");
    assert_eq!(spec.additional_contexts["base"], "docker-image://debian:12");
    assert_eq!((spec.ssh["default"].as_str(), Path::new(&spec.ssh["k"])), ("", Path::new("/p/app/tok")));
    assert_eq!(spec.platform.as_deref(), Some("linux/amd64"));
    let said = project("{context: ./app, additional_contexts: {b: 'service:a'}}", "{}").refused();
    assert!(said.contains("is the image of a service"), "{said}");
}
