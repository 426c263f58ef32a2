//! Random projects that are valid: every value is of a form that the specification allows, and what
//! is referred to is declared.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// A whole project: up to four services, and networks, volumes, configs and secrets for them.
pub fn project() -> impl Strategy<Value = Value> {
    subsequence(NAMES.to_vec(), 1..=NAMES.len()).prop_flat_map(|names| {
        let services = vec(service(), names.len());
        services.prop_map(move |services| {
            let pairs = names.iter().map(|name| (*name).to_owned()).zip(services);
            json!({
                "services": pairs.collect::<Map<String, Value>>(),
                "networks": {"front": null, "back": {"driver": "bridge", "internal": true}},
                "volumes": {"data": null, "more": {"driver": "local"}},
                "configs": {"settings": {"content": "a $$b"}},
                "secrets": {"token": {"file": "./token"}},
            })
        })
    })
}

/// A service with an image and some of the other keys.
fn service() -> impl Strategy<Value = Value> {
    let keys = (1u32.., some_of(texts()), some_of(lists()), some_of(maps()), some_of(parts()));
    keys.prop_map(|(seed, texts, lists, maps, parts)| {
        let mut service = Map::from_iter([("image".to_owned(), json!(format!("image:{}", seed % 3)))]);
        // Without any it is in the default network, which merging would not take away again.
        service.insert("networks".to_owned(), json!(["front"]));
        for (key, value) in [texts, lists, maps, parts].into_iter().flatten() {
            service.insert(key.to_owned(), value);
        }
        Value::Object(service)
    })
}

type Key = (&'static str, BoxedStrategy<Value>);

/// A few of these keys with a value each.
fn some_of(keys: Vec<Key>) -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let count = keys.len();
    subsequence(keys, 0..=count.min(4))
        .prop_flat_map(|keys| keys.into_iter().map(|(key, value)| (Just(key), value)).collect::<Vec<_>>())
}

fn word() -> BoxedStrategy<String> {
    "[a-z][a-z0-9_-]{0,6}".boxed()
}

/// Anything that may stand as text, with what is special to YAML and to interpolation.
fn text() -> BoxedStrategy<String> {
    "([a-zA-Z0-9 _.:#'\"{}é/-]|\\$\\$){0,12}".boxed()
}

fn one(values: &[&'static str]) -> BoxedStrategy<Value> {
    select(values.to_vec()).prop_map(Value::from).boxed()
}

fn texts() -> Vec<Key> {
    let flag = || any::<bool>().prop_map(Value::from).boxed();
    vec![
        ("hostname", word().prop_map(Value::from).boxed()),
        ("user", one(&["root", "1000:1000"])),
        ("working_dir", one(&["/srv", "/"])),
        ("restart", one(&["no", "always", "on-failure:3", "unless-stopped"])),
        ("stop_grace_period", one(&["1s", "1m30s", "1500ms"])),
        ("mem_limit", one(&["64m", "1gb", "1073741824"])),
        ("pull_policy", one(&["always", "missing", "never"])),
        ("init", flag()),
        ("read_only", flag()),
        ("pids_limit", (1..100).prop_map(Value::from).boxed()),
        ("x-note", text().prop_map(Value::from).boxed()),
    ]
}

fn lists() -> Vec<Key> {
    let several = |values: &[&'static str]| {
        let all = values.to_vec();
        let count = all.len();
        subsequence(all, 0..=count).prop_map(|list| json!(list)).boxed()
    };
    vec![
        ("command", vec(text(), 1..4).prop_map(|list| json!(list)).boxed()),
        ("ports", several(&["80:80", "127.0.0.1:81:81/udp", "82", "9000-9001:90-91"])),
        ("expose", several(&["80", "81/udp"])),
        ("volumes", several(&["data:/data", "more:/more:ro", "./here:/here", "/anonymous"])),
        ("networks", Just(json!(["front", "back"])).boxed()),
        ("configs", several(&["settings"])),
        ("secrets", several(&["token"])),
        ("cap_add", several(&["NET_ADMIN", "SYS_TIME"])),
        ("dns", several(&["1.1.1.1", "8.8.8.8"])),
        ("tmpfs", several(&["/run", "/tmp:size=1m"])),
        ("devices", several(&["/dev/a:/dev/b", "/dev/c"])),
        ("profiles", several(&["one", "two"])),
        ("extra_hosts", several(&["a=1.1.1.1", "b=2.2.2.2"])),
    ]
}

fn maps() -> Vec<Key> {
    let pairs = || btree_map(word(), text(), 0..4).prop_map(|map| json!(map)).boxed();
    let listed = || {
        let list = btree_map(word(), text(), 0..4)
            .prop_map(|map| map.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>());
        list.prop_map(|list| json!(list)).boxed()
    };
    vec![
        ("environment", prop_oneof![pairs(), listed()].boxed()),
        ("labels", prop_oneof![pairs(), listed()].boxed()),
        ("annotations", pairs()),
        ("sysctls", btree_map(word(), 0..9i32, 0..3).prop_map(|map| json!(map)).boxed()),
    ]
}

fn parts() -> Vec<Key> {
    let fixed = |value: Value| Just(value).boxed();
    vec![
        ("healthcheck", (1..9).prop_map(|n| json!({"test": ["CMD", "x"], "retries": n})).boxed()),
        ("logging", fixed(json!({"driver": "json-file", "options": {"max-size": "1m"}}))),
        ("ulimits", (1..9).prop_map(|n| json!({"nproc": n, "nofile": {"soft": n, "hard": 9}})).boxed()),
        ("build", fixed(json!({"context": "./app", "args": {"A": "1"}, "target": "t"}))),
        (
            "deploy",
            (0..4).prop_map(|n| json!({"replicas": n, "update_config": {"order": "start-first"}})).boxed(),
        ),
        ("develop", fixed(json!({"watch": [{"path": "./src", "action": "restart"}]}))),
        ("blkio_config", fixed(json!({"weight": 300}))),
    ]
}
