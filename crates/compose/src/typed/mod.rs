//! The validated tree → [`model::Stack`].

mod block_io;
mod build_extras;
mod gateway;
mod health;
mod hooks;
mod image;
mod limit;
mod metrics;
mod mounts;
mod network;
mod networks;
mod notify;
mod objectives;
mod probes;
mod process;
mod proxy;
mod ranges;
mod resources;
mod rollout;
mod security;
mod service;
mod sharing;
mod tls;
mod traffic;
mod watch;

use crate::diagnostics::Sink;
use crate::tree::{Node, Value};
use crate::unit::{Loader, Merged};
use model::stack::{FileSource, Volume};
use model::{DurationMs, NetworkName, ServiceName, Stack, StackName, VolumeName};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Builds the stack; what cannot be typed is in the sink.
pub(crate) fn stack(
    merged: &Merged,
    name: StackName,
    directory: PathBuf,
    files: Vec<PathBuf>,
    loader: &mut Loader<'_>,
) -> Option<Stack> {
    let root = &merged.tree;
    let volumes = volumes(root, &name, &mut loader.sink);
    let mut services = BTreeMap::new();
    for (key, entry) in root.get("services").into_iter().flat_map(Node::entries) {
        let (Some(_), Ok(key)) = (entry.node.as_map(), ServiceName::new(key.as_str())) else { continue };
        if let Some(mut service) =
            service::service(key.clone(), entry, root, &volumes, &directory, &mut loader.sink)
        {
            security::read_profile(&mut service, &entry.node, &directory, loader);
            services.insert(key, service);
        }
    }
    loader.sink.about("");
    sharing::volumes_from(root, &mut services, &mut loader.sink);
    network::check(root, &services, &mut loader.sink);
    gateway::check(root, &services, &mut loader.sink);
    let mut used = Used::by(&services);
    used.secrets.extend(notify::secrets(root, &mut loader.sink));
    let networks = networks::networks(root, &name, &used, &mut loader.sink);
    let configs = file_sources(merged, "configs", &used.configs, loader);
    let secrets = file_sources(merged, "secrets", &used.secrets, loader);
    let volumes = volumes.into_iter().filter(|(_, volume)| used.volumes.contains(&volume.name)).collect();
    let policy = root.get("x-juchu").map_or(serde_json::Value::Null, Node::to_json);
    Some(Stack { name, directory, files, services, networks, volumes, configs, secrets, policy })
}

/// What the services of the stack use; nothing else becomes part of it.
struct Used {
    networks: BTreeSet<NetworkName>,
    volumes: BTreeSet<VolumeName>,
    configs: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Used {
    fn by(services: &BTreeMap<ServiceName, model::Service>) -> Self {
        let all = || services.values();
        let volume = |mount: &model::mount::Mount| match &mount.source {
            model::mount::MountSource::Volume { name, .. } => Some(name.clone()),
            _ => None,
        };
        Self {
            networks: all().flat_map(|service| service.networks.keys().cloned()).collect(),
            volumes: all().flat_map(|service| service.mounts.iter().filter_map(volume)).collect(),
            configs: all()
                .flat_map(|service| service.configs.iter().map(|grant| grant.source.clone()))
                .collect(),
            secrets: all()
                .flat_map(|service| service.secrets.iter().map(|grant| grant.source.clone()))
                .collect(),
        }
    }
}

fn volumes(root: &Node, stack: &StackName, sink: &mut Sink) -> BTreeMap<String, Volume> {
    let mut volumes = BTreeMap::new();
    for (key, entry) in root.get("volumes").into_iter().flat_map(Node::entries) {
        let node = &entry.node;
        let external = flag(node, "external");
        let host_name = resource_name(node, key, stack, external);
        match VolumeName::new(host_name) {
            Ok(name) => {
                let (options, labels) = (texts_of(node.get("driver_opts")), texts_of(node.get("labels")));
                volumes.insert(key.clone(), Volume { name, external, options, labels });
            }
            Err(error) => sink.error(entry.key, error.to_string()),
        }
    }
    volumes
}

/// The name on this host: as declared, the bare key of what is external, else `stack_key`.
fn resource_name(node: &Node, key: &str, stack: &StackName, external: bool) -> String {
    match node.get("name").and_then(Node::as_text).filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None if external => key.to_owned(),
        None => format!("{stack}_{key}"),
    }
}

fn file_sources(
    merged: &Merged,
    section: &'static str,
    used: &BTreeSet<String>,
    loader: &mut Loader<'_>,
) -> BTreeMap<String, FileSource> {
    let mut sources = BTreeMap::new();
    for (key, entry) in merged.tree.get(section).into_iter().flat_map(Node::entries) {
        if !used.contains(key) {
            continue;
        }
        let origin = merged.origins.get(&format!("{section}/{key}")).copied().unwrap_or(0);
        let environment = loader.environment(origin);
        if let Some(source) = file_source(section, key, &entry.node, &environment, &mut loader.sink) {
            sources.insert(key.clone(), source);
        }
    }
    sources
}

fn file_source(
    section: &str,
    key: &str,
    node: &Node,
    environment: &BTreeMap<String, String>,
    sink: &mut Sink,
) -> Option<FileSource> {
    let text = |key: &str| node.get(key).and_then(Node::as_text);
    if flag(node, "external") {
        let what = section.trim_end_matches('s');
        let message =
            format!("the {what} `{key}` is external, and there is no store of {section} on this host");
        sink.error_hint(
            node.get("external").map(|node| node.pos),
            message,
            "give its content by `file` or `environment`",
        );
        return None;
    }
    if let Some(file) = text("file") {
        return Some(FileSource::File(PathBuf::from(file)));
    }
    if let Some(content) = text("content") {
        return Some(FileSource::Inline(content.to_owned()));
    }
    let variable = node.get("environment")?;
    let name = variable.as_text()?;
    let value = environment.get(name);
    if value.is_none() {
        let message = format!("`{key}` takes its content from {name}, which is not set");
        sink.error_hint(variable.pos, message, format!("set {name} in the environment or in .env"));
    }
    value.map(|value| FileSource::Inline(value.clone()))
}

// Small readers every part uses. Kinds were checked before, so what does not fit is absent.

fn flag(node: &Node, key: &str) -> bool {
    node.get(key).and_then(Node::as_bool).unwrap_or(false)
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::as_text).map(str::to_owned)
}

/// As [`text`], where an empty text says nothing.
fn word(node: &Node, key: &str) -> Option<String> {
    text(node, key).filter(|text| !text.is_empty())
}

fn text_list(node: Option<&Node>) -> Vec<String> {
    node.map(Node::items).unwrap_or_default().iter().filter_map(Node::scalar_text).collect()
}

fn texts_of(node: Option<&Node>) -> BTreeMap<String, String> {
    let entries = node.into_iter().flat_map(Node::entries);
    entries.filter_map(|(key, entry)| Some((key.clone(), entry.node.scalar_text()?))).collect()
}

fn duration(node: &Node, key: &str) -> Option<DurationMs> {
    node.get(key).and_then(Node::as_text).and_then(|text| DurationMs::parse(text).ok())
}

/// A whole number that is not negative; a negative one is reported.
fn count(node: &Node, key: &str, sink: &mut Sink) -> Option<u32> {
    let found = node.get(key)?;
    let value = found.as_int()?;
    match u32::try_from(value) {
        Ok(value) => Some(value),
        Err(_) => {
            sink.error(found.pos, format!("`{key}` must be between 0 and {}, {value} is not", u32::MAX));
            None
        }
    }
}

/// A port number from text.
fn port_number(node: &Node, sink: &mut Sink) -> Option<u16> {
    let text = node.scalar_text()?;
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Some(port),
        _ => {
            sink.error(node.pos, format!("`{text}` is not a port, which is a number from 1 to 65535"));
            None
        }
    }
}

/// Parses the text under `key`, reporting what `parse` says.
fn parsed<T, E: std::fmt::Display>(
    node: &Node,
    key: &str,
    sink: &mut Sink,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    let found = node.get(key)?;
    let text = match &found.value {
        Value::Text(text) => text.clone(),
        _ => found.scalar_text()?,
    };
    match parse(&text) {
        Ok(value) => Some(value),
        Err(error) => {
            sink.error(found.pos, format!("`{key}`: {error}"));
            None
        }
    }
}
