//! What a build may take of the machine and what it is given beside its context: `x-juchu.build`,
//! secrets, keys, further contexts.

use super::{duration, parsed, text, text_list, texts_of};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::image::{BuildLimits, BuildSecret, BuildSecretSource, BuildTools};
use model::{Bytes, Cpus, DurationMs};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Less does not hold the tools that build.
const MEMORY_LEAST: Bytes = Bytes::mib(32);
const DISK_LEAST: Bytes = Bytes::mib(1);

pub(super) fn limits(node: &Node, sink: &mut Sink) -> BuildLimits {
    let build = node.get("build");
    let cut_off = build.and_then(|build| network(build, sink));
    let Some(policy) = node.get("x-juchu").and_then(|policy| policy.get("build")) else {
        return BuildLimits { network: cut_off, ..BuildLimits::default() };
    };
    BuildLimits {
        memory: at_least(policy, "memory", MEMORY_LEAST, sink),
        cpus: parsed(policy, "cpus", sink, Cpus::parse).filter(|cpus| cpus.0 > 0),
        weight: between(policy, "weight", 2, 262_144, sink).map(i64::cast_unsigned),
        disk: at_least(policy, "disk", DISK_LEAST, sink),
        pids: between(policy, "pids", 8, 1 << 22, sink),
        timeout: duration(policy, "timeout").filter(|limit| *limit > DurationMs(0)),
        network: policy.get("network").and_then(Node::as_bool).or(cut_off),
    }
}

pub(super) fn tools(node: &Node) -> BuildTools {
    let policy = node.get("x-juchu").and_then(|policy| policy.get("build"));
    BuildTools {
        host: policy.and_then(|policy| policy.get("host")).and_then(Node::as_bool).unwrap_or(false),
        packages: text_list(policy.and_then(|policy| policy.get("packages"))),
    }
}

/// `build.network: none`; every other value means the host's, which builds have anyway.
fn network(build: &Node, sink: &mut Sink) -> Option<bool> {
    let found = build.get("network")?;
    match found.as_text().unwrap_or_default() {
        "none" => Some(false),
        "host" => Some(true),
        "" | "default" => None,
        other => {
            let why = "only `none` and `host` are known here";
            sink.no_effect(found.pos, &format!("build.network: {other}"), why);
            None
        }
    }
}

fn at_least(node: &Node, key: &str, least: Bytes, sink: &mut Sink) -> Option<Bytes> {
    let size = parsed(node, key, sink, Bytes::parse)?;
    if size < least {
        let pos = node.get(key).map(|node| node.pos);
        sink.error(pos, format!("`x-juchu.build.{key}` must be at least {least}, {size} is not"));
    }
    Some(size)
}

fn between(node: &Node, key: &str, least: i64, most: i64, sink: &mut Sink) -> Option<i64> {
    let found = node.get(key)?;
    let value = found.as_int()?;
    if !(least..=most).contains(&value) {
        let message = format!("`x-juchu.build.{key}` must be between {least} and {most}, {value} is not");
        sink.error(found.pos, message);
    }
    Some(value)
}

/// `build.secrets`, with what the file's own `secrets` say of them.
pub(super) fn secrets(build: Option<&Node>, root: &Node, sink: &mut Sink) -> Vec<BuildSecret> {
    let items = build.and_then(|build| build.get("secrets")).map(Node::items).unwrap_or_default();
    let mut found: Vec<BuildSecret> = Vec::new();
    for item in items {
        let Some(source) = text(item, "source") else { continue };
        let declared = root.get("secrets").and_then(|secrets| secrets.get(&source));
        let Some(declared) = declared.and_then(|node| secret_source(node, sink, item)) else { continue };
        let target = text(item, "target").unwrap_or_else(|| source.clone());
        let id = target.strip_prefix("/run/secrets/").unwrap_or(&target).to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.starts_with('.') || !id.chars().all(plain) {
            let hint = "use letters, digits, `.`, `_` and `-`; commands read it at `/run/secrets/NAME`";
            sink.error_hint(
                item.pos,
                format!("the build secret `{source}` cannot be called `{target}`"),
                hint,
            );
            continue;
        }
        found.push(BuildSecret { id, source: declared });
    }
    found
}

fn secret_source(node: &Node, sink: &mut Sink, item: &Node) -> Option<BuildSecretSource> {
    if let Some(file) = text(node, "file") {
        return Some(BuildSecretSource::File(PathBuf::from(file)));
    }
    if let Some(name) = text(node, "environment") {
        return Some(BuildSecretSource::Variable(name));
    }
    sink.error_hint(
        item.pos,
        "a build reads a secret from a file or a variable, and this one names neither",
        "give its content by `file` or `environment`",
    );
    None
}

pub(super) fn contexts(build: Option<&Node>, sink: &mut Sink) -> BTreeMap<String, String> {
    let declared = build.and_then(|build| build.get("additional_contexts"));
    for (name, entry) in declared.into_iter().flat_map(Node::entries) {
        if entry.node.as_text().is_some_and(|text| text.starts_with("service:")) {
            let message = format!("the additional context `{name}` is the image of a service");
            let hint = "name a directory, or an image as `docker-image://NAME`";
            sink.error_hint(entry.node.pos, message, hint);
        }
    }
    texts_of(declared)
}

/// Ids of keys with their files; one without a file is the agent's.
pub(super) fn keys(build: Option<&Node>) -> BTreeMap<String, String> {
    let declared = build.and_then(|build| build.get("ssh")).into_iter().flat_map(Node::entries);
    declared.map(|(id, entry)| (id.clone(), entry.node.scalar_text().unwrap_or_default())).collect()
}

/// The one platform; several would be an index, which nothing here runs.
pub(super) fn platform(build: Option<&Node>, sink: &mut Sink) -> Option<String> {
    let found = build?.get("platforms")?;
    match found.items() {
        [one] => one.as_text().map(str::to_owned),
        [] => None,
        _ => {
            sink.no_effect(
                found.pos,
                "build.platforms",
                "an image is built for one platform, this machine's",
            );
            None
        }
    }
}
